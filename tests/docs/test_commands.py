"""Commands that README.md and docs show are there, and so are their options."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from blocks import ROOT, Block, read_all_blocks
from command_lines import commands, parse

from marginface.cli.app import UsageProblem
from marginface.errors import MarginfaceError

BLOCKS = [block for block in read_all_blocks() if block.language in ("sh", "console")]
# Others' programs, of which nothing is checked.
OTHERS = {"apt-get", "cd", "cp", "curl", "docker", "echo", "eval", "export", "git", "ls", "mkdir"}
OTHERS |= {"pipx", "rm", "source", "tar", "unzip"}


def marginface(words: list[str]) -> None:
    if words[1:] != ["--install-completion"]:  # which would be done at once
        parse(words[1:])


def make(words: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for target in words[1:]:
        assert "=" in target or target in targets, f"no target {target}"


def pip(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words[2:]:
        if named := re.match(r"(?:marginface|\.)\[([\w,-]+)\]", word):
            missing = {*named[1].split(",")} - {*project["optional-dependencies"]}
            assert not missing, f"no extra {missing}"


def python(words: list[str]) -> None:
    """Hold a script, or a module, to be there; marginface's own arguments, too."""
    if words[1] == "-m":
        assert importlib.util.find_spec(words[2]), words[2]
        if words[2] in ("marginface", "marginface.cli.main"):
            parse(words[3:])
    elif words[1] != "-c":
        own = [b.file for b in read_all_blocks() if b.file]
        assert words[1] in own or (ROOT / words[1]).is_file(), words[1]


def torchrun(words: list[str]) -> None:
    at = next(i for i, word in enumerate(words) if word == "-m" or word.endswith(".py"))
    python(["python", *words[at:]])


def pytest_(words: list[str]) -> None:
    for word in words[1:]:
        assert "/" not in word or (ROOT / word).exists(), word


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "marginface": marginface,
    "make": make,
    "pip": pip,
    "python": python,
    "torchrun": torchrun,
    "pytest": pytest_,
}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_its_commands_are_there(block: Block) -> None:
    for words in commands(block):
        program = Path(words[0]).name
        if program in OTHERS:
            continue
        assert program in PROGRAMS, f"{program} is unknown; add it here, or mend the block"
        try:
            PROGRAMS[program](words)
        except (MarginfaceError, UsageProblem) as error:
            text = error.format_message() if isinstance(error, UsageProblem) else str(error)
            pytest.fail(f"{block}: {' '.join(words)}: {text}", pytrace=False)


WRONG = {
    "train --outptu run": "no such option: --outptu",
    "train --batch-size many": "batch_size",
    "evaluate --val lfw.bin": "missing option '--model'",
    "data pack faces": "missing argument 'target'",
    "trian": "unknown command 'trian'",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_noticed(line: str) -> None:
    with pytest.raises((MarginfaceError, UsageProblem)) as error:
        parse(line.split())
    said = error.value
    text = said.format_message() if isinstance(said, UsageProblem) else str(said)
    assert WRONG[line] in text.lower()


SHOWN = """\
# a comment
OMP_NUM_THREADS=2 marginface train \\
    --output run/  # with another
cd run && pip install 'marginface[torch]' | tail -1 > log.txt 2>&1
"""


def test_a_block_is_split_into_commands() -> None:
    block = Block(ROOT / "README.md", 1, "sh", "", "", SHOWN)
    expected = ["marginface train --output run/", "cd run", "pip install marginface[torch]"]
    assert [" ".join(words) for words in commands(block)][:3] == expected
    typed = replace(block, language="console", text="$ make test\n5 passed\n")
    assert commands(typed) == [["make", "test"]]
