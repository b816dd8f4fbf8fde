"""Groups of commands that are imported when they are called: listing them stays fast."""

from __future__ import annotations

import importlib
import inspect
import shutil
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup

from marginface.cli.once import OnceCommand
from marginface.errors import unknown_name
from marginface.other_names import COMMANDS

ROOMY = 80  # columns
HELP = ["--help", "-h"]


def lazy_app(package: str, commands: Mapping[str, str], *, completion: bool = False) -> typer.Typer:
    """Return a group that lists commands by their summaries.

    Each command is the function, or the group, of the same name in the module `package.<name>`.

    Args:
        package: of the modules.
        commands: summaries by name.
        completion: offer the shell's completion, as the program's first group does.
    """

    others = {name: known for name, known in COMMANDS.items() if known in commands}

    class Group(TyperGroup):
        def invoke(self, ctx: Any) -> Any:
            """Run a command; Ctrl-C is told from its statuses, which typer does not do."""
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt as error:
                raise typer.Abort from error

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            """Replace the listed stand-in by the command itself."""
            if args[0] not in commands:
                if ctx.resilient_parsing:  # a shell completes: nothing is said while one types
                    return None, None, args
                listed_by = f"{ctx.command_path} --help"
                raise unknown_name("command", args[0], commands, others, listed_by=listed_by)
            name, _, rest = super().resolve_command(ctx, args)
            command = build_command(str(name), load_command(package, str(name)))
            return name, command, rest

    app = typer.Typer(
        cls=Group,
        no_args_is_help=True,
        add_completion=completion,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": HELP},
    )
    app.callback()(lambda: None)  # without one, a group of one command would be that command
    for name, summary in commands.items():
        app.command(name, help=summary)(_stand_in)
    return app


def load_command(package: str, name: str) -> Any:
    """Import and return the function or the group behind a command."""
    return getattr(importlib.import_module(f"{package}.{name}"), name)


def build_command(name: str, command_or_group: Any) -> Any:
    """Return a function, or a group, as the command of that name."""
    if not isinstance(command_or_group, typer.Typer):
        columns = shutil.get_terminal_size().columns
        app = typer.Typer(
            add_completion=False,
            rich_markup_mode="rich" if columns >= ROOMY else None,  # rich cuts options to `--ou…`
            context_settings={"help_option_names": HELP, "terminal_width": min(columns, ROOMY)},
        )
        app.command(name, cls=OnceCommand)(command_or_group)
        command_or_group = app
    command = typer.main.get_command(command_or_group)
    command.name = name
    command.help = _without_linebreaks(command.help or "")
    return command


def _without_linebreaks(text: str) -> str:
    """Join the lines of each paragraph, which typer does for the first alone."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def _stand_in() -> None:
    """Stand in the list of commands; a group never calls this."""
