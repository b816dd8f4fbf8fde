"""Command lines as pages show them: several in a block, with comments and continued lines."""

from __future__ import annotations

import re
import shlex

from blocks import Block

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
