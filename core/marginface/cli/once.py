"""Commands that refuse an option given twice: the first one would be ignored silently."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from typer.core import TyperCommand

from marginface.errors import MarginfaceError


class OnceCommand(TyperCommand):
    """A command whose options are given once each, but for those that are lists."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line; --help and what else is wrong with it come first."""
        if any("--resize" in option.opts for option in self.get_params(ctx)):
            args = _with_choice(args)
        typed_args = list(args)  # reading empties the list
        remaining_args: list[str] = super().parse_args(ctx, args)
        if ctx.resilient_parsing:  # a shell completes: nothing is said while one types
            return remaining_args
        for option, values in _given_options(self, ctx, typed_args):
            if len(values) > 1 and not option.multiple:
                name = next((each for each in option.opts if each.startswith("--")), option.opts[0])
                times = "twice" if len(values) == 2 else f"{len(values)} times"
                typed = ", ".join(values)
                raise MarginfaceError(f"option {name} is given {times} ({typed}); give it once")
        return remaining_args


def _with_choice(args: Sequence[str]) -> list[str]:
    """Give --resize the value that it stands for where it is a flag.

    >>> _with_choice(["--resize", "--skip-bad", "--no-resize", "--resize", "fit", "--resize"])
    ['--resize', 'yes', '--skip-bad', '--resize', 'no', '--resize', 'fit', '--resize', 'yes']
    """
    given: list[str] = []
    for arg, behind in pairwise([*args, "-"]):
        given.append("--resize" if arg == "--no-resize" else arg)
        if arg == "--no-resize" or (arg == "--resize" and behind.startswith("-")):
            given.append("no" if arg == "--no-resize" else "yes")
    return given


def _given_options(
    command: TyperCommand, ctx: Any, args: Sequence[str]
) -> list[tuple[Any, list[str]]]:
    """Return each option with all its values as typed; a flag with the names typed."""
    # Any: typer with a click of its own has other classes than typer on click.
    parser: Any = type(command.make_parser(ctx))(ctx)
    parameters: list[Any] = command.get_params(ctx)
    options = {each.name: each for each in parameters if each.param_type_name == "option"}
    for name, option in options.items():
        if not option.is_flag:
            parser.add_option(option, option.opts, name, "append", option.nargs)
            continue
        for typed in (*option.opts, *option.secondary_opts):
            parser.add_option(option, [typed], name, "append_const", const=typed)
    typed_values, _, _ = parser.parse_args(list(args))
    return [(options[name], list(map(str, values))) for name, values in typed_values.items()]
