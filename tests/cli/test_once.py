"""An option given twice is an error in every command, unless it is a list."""

import pytest
import typer

from marginface.cli import app, data, lazy
from marginface.errors import MarginfaceError


def commands():
    """Yield every command's words and its options that are no lists, as typer builds them."""
    for names, package in (
        (app.COMMANDS, "marginface.cli"),
        (data.COMMANDS, "marginface.cli.data"),
    ):
        for name in names:
            found = lazy.load_command(package, name)
            if not isinstance(found, typer.Typer):
                prefix = "data " if package.endswith("data") else ""
                yield prefix + name, lazy.build_command(name, found)


def required(command, but):
    """Return words for all that a command requires, one option left out."""
    words = []
    for each in command.params:
        if each is but:
            continue
        if each.required and each.opts[0].startswith("-"):
            words += [each.opts[0], "x"]
        elif each.required:
            words.append("losses" if command.name == "bench" else "x")
    return words


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_option_of_every_command_is_taken_once(name, command):
    tried = 0
    for option in command.params:
        if not option.opts[0].startswith("-") or option.multiple or option.name == "help":
            continue
        names = [*option.opts, *option.secondary_opts]
        value = [] if option.is_flag else ["7"]
        words = [names[0], *value, names[-1], *value]
        with pytest.raises(MarginfaceError, match=f"^option {names[0]} is given twice"):
            command.make_context(name, [*required(command, option), *words])
        tried += 1
    assert tried


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --lr=0.1 --lr 0.2", "option --lr is given twice (0.1, 0.2); give it once"),
        ("train --augment flip --augment crop", "option --augment is given twice (flip, crop); "),
        ("train --output a --output b --output c", "option --output is given 3 times (a, b, c); "),
        ("train --resume --resume", "option --resume is given twice (--resume, --resume); "),
        ("train --skip-bad --no-skip-bad", "option --skip-bad is given twice (--skip-bad, --no-"),
        ("evaluate --model a --val b --flip --no-flip", "option --flip is given twice (--flip, -"),
        ("export --output x --run a --run=b", "option --model is given twice (a, b); give it once"),
        ("identify --embeddings e --probes p --gallery a --gallery b", "--gallery is given twice"),
        ("data split a --output b --output c", "option --output is given twice (b, c)"),
        ("data pack a b --pairs x --pairs y", "option --pairs is given twice (x, y)"),
        ("data pack a b c", "unexpected extra argument(s) (c)"),
        ("train --data a --output b --augment flip,flip", "augment: name flip is given twice"),
        ("data preview a b.png --augment crop,flip,crop", "name crop is given twice; give it once"),
        ("bench losses --losses arcface,softmax,arcface", "loss arcface is given twice"),
        ("bench losses --sizes 8x9,8x9", "size 8x9 is given twice"),
        ("parity --backend torch tf torch", "backend torch is given twice"),
        ("parity --loss arcface --loss arcface", "loss arcface is given twice"),
        ("data inspect a a", "set /"),
        ("evaluate --model a --model a --val b", "model /"),
    ],
)
def test_what_is_given_twice_is_one_line(cli, line, message):
    status, out, err = cli(*line.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_lists_stay_lists_and_help_comes_first(printed):
    assert "Usage: marginface train" in printed("train", "--lr", "1", "--lr", "2", "--help")
    evaluate = lazy.build_command("evaluate", lazy.load_command("marginface.cli", "evaluate"))
    words = ["--model", "a", "--model", "b", "--val", "c", "--val", "d"]
    given = evaluate.make_context("evaluate", words).params
    assert [list(map(str, given[name])) for name in ("model", "val")] == [["a", "b"], ["c", "d"]]
