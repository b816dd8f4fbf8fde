"""Command lines as pages show them: several in a block, with comments and continued lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import typer
from blocks import Block

from marginface.cli.app import app
from marginface.training.config.files import coerce
from marginface.training.config.keys import TrainConfig

ENDS = {";", "&&", "||", "|", "&"}  # of a command
ASSIGNMENT = re.compile(r"\w+=.*")


def commands(block: Block) -> list[list[str]]:
    """Return the commands of a block in sh, or in console, as lists of words.

    Where output goes, and variables that are set for one command, are left out.
    """
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [command for line in lines for command in _split(line) if command]


def _split(line: str) -> list[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.commenters, lexer.whitespace_split = "", True
    found: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if word.startswith("#"):
            break
        if word in ENDS:
            found.append([])
        elif skip:
            skip = False
        elif set(word) in ({">"}, {">", "&"}):
            skip = True
        elif found[-1] or not ASSIGNMENT.fullmatch(word):
            found[-1].append(word)
    return found


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Return the values of a command line of marginface as it would be read; run nothing."""
    group: Any = typer.main.get_command(app)
    arguments, context = list(words), None
    while arguments or not hasattr(group, "resolve_command"):  # a group alone shows its help
        try:
            context = group.make_context("marginface", arguments, parent=context)
        except typer.Exit:  # so does an option
            return {}
        if not hasattr(group, "resolve_command"):
            break
        left = [*getattr(context, "_protected_args", []), *context.args]
        _, group, arguments = group.resolve_command(context, left)
    values: dict[str, Any] = context.params if context is not None else {}
    if group.name == "train":  # which takes any text and reads it later
        for name, value in values.items():
            if name in TrainConfig.model_fields and value not in (None, [], ()):
                coerce(name, value)
    return values
