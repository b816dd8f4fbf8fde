"""The commands that there are, and what a command ends with."""

from __future__ import annotations

import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from difflib import SequenceMatcher
from io import TextIOWrapper
from typing import Annotated, Any, cast

import typer

from marginface.calling import on_the_command_line
from marginface.cli.lazy import lazy_app
from marginface.errors import MarginfaceError, message_of
from marginface.other_names import KEYS
from marginface.text import print_error, printable
from marginface.version import __version__

UNFORESEEN = 70  # a status that is no answer, as 1 is of compare and parity
LEAST_LIKENESS = 0.6  # of an option to one that it may have been meant for
COMMANDS = {
    "train": "Train a model on a folder of face images.",
    "evaluate": "Measure verification accuracy on pairs of images.",
    "templates": "Measure IJB's protocols: templates of images, 1:1 and 1:N.",
    "identify": "Search probe images in a gallery: names and rates.",
    "calibrate": "Measure thresholds for false accept rates; keep them with the model.",
    "compare": "Say whether two photos show one person, or why it cannot be said.",
    "report": "Write a page with the curves and hardest errors of models.",
    "embed": "Write the embeddings of a folder of images.",
    "export": "Write a trained model as ONNX.",
    "info": "Say what a model is: a run, a model folder, an .onnx or weights of any project.",
    "convert": "Read anybody's weights; write them for another program.",
    "clean": "Find images that do not belong to their identity, by sub-centres.",
    "data": "Pack, inspect, split, align and preview images.",
    "losses": "List the losses, explain one, or draw them.",
    "parity": "Compare every loss in every framework with the reference.",
    "bench": "Time losses, heads, data, training steps and exports; compare two runs.",
    "demo": "Train, evaluate and export on drawn faces; needs no data.",
}


# The base of typer's usage errors: newer versions of typer carry a click of their own.
UsageProblem = cast(
    "type[typer.BadParameter]",
    next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"),
)


# Its warnings name no image; what matters is said with the name by `marginface.data.images`.
PILLOW = re.compile(r"[/\\](PIL|pillow_heif)[/\\]")

app = lazy_app("marginface.cli", COMMANDS, completion=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"marginface {__version__}")
        raise typer.Exit


@app.callback()
def marginface(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Margin-based face recognition: train, evaluate and deploy in PyTorch or TensorFlow."""
    del version


def _usage_message(error: Any) -> str:
    """Describe a usage error; for an unknown option, name the nearest or where all are listed."""
    if not hasattr(error, "possibilities"):
        return str(error.format_message())
    name, near = error.option_name, error.possibilities
    options = [each for parameter in error.ctx.command.params for each in parameter.opts]
    plain = name.lstrip("-").lower().replace("-", "_")
    meant = f"--{KEYS.get(plain, plain).replace('_', '-')}"
    if meant in options:
        return f"unknown option '{name}'; did you mean '{meant}'?"
    likeness = {other: SequenceMatcher(None, meant[2:], other[2:]).ratio() for other in near}
    nearest = max(likeness, key=likeness.__getitem__, default="")
    if likeness.get(nearest, 0) < LEAST_LIKENESS:
        return f"unknown option '{name}'; see {error.ctx.command_path} --help"
    return f"unknown option '{name}'; did you mean '{nearest}'?"


class _WarningLines:
    """Formats each warning once: Python forgets what it has shown where filters are changed."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def __call__(
        self, message: Warning | str, category: object, filename: str, *about: object
    ) -> str:
        del category, about  # and the line in the code: of no use to a command's user
        if PILLOW.search(filename):
            return ""
        text = str(message)
        if text in self._shown:
            return ""
        self._shown.add(text)
        return f"marginface: warning: {printable(text)}\n"


def run(stopped: Callable[[], bool]) -> None:
    """Run the command line; what the user can mend ends in one line and exit status 2.

    Args:
        stopped: tells whether Ctrl-C has come.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for letters that the terminal lacks
    warnings.formatwarning = cast("Any", _WarningLines())
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:
        with on_the_command_line():
            sys.exit(_status(stopped))
    except (typer.Abort, KeyboardInterrupt):
        print("marginface: stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)
    except UsageProblem as error:
        message = _usage_message(error)
        if not message:  # typer has shown the help instead, which was asked for
            sys.exit(0)
        print_error(" ".join(message.split()))
        sys.exit(2)
    except MarginfaceError as error:
        print_error(str(error))
        sys.exit(2)
    except Exception as error:  # whatever it is: Python's own status is an answer of `compare`
        if isinstance(error, OSError) and error.errno is not None:
            print_error(message_of(error))
            sys.exit(2)
        traceback.print_exception(error)
        sys.exit(UNFORESEEN)


def _status(stopped: Callable[[], bool]) -> Any:
    """Run the command and return its status.

    Raises:
        Abort: Ctrl-C came, though typer, or an import that it cut short, may say something else.
    """
    try:
        status = app(prog_name="marginface", standalone_mode=False)
    except Exception as error:  # an import that Ctrl-C cuts short raises anything
        if stopped():
            raise typer.Abort from error
        raise
    if stopped() and status:
        raise typer.Abort
    return status
