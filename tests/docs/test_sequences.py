"""What README.md and docs have typed, typed in order: on drawn faces, for two steps."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from blocks import PAGES, ROOT, Block, read_blocks
from command import ERROR, cli
from command_lines import commands, parse
from own_losses import forgetting
from stage import set_stage, shorten_training

from marginface import backbones

pytestmark = pytest.mark.slow

PLACES = [ROOT / "README.md", *(page for page in PAGES if ROOT / "docs" in page.parents)]
TYPED = {
    page: [b for b in read_blocks(page) if b.language in ("sh", "console") and not b.not_run]
    for page in PLACES
}
OUTPUTS = ("output", "target", "sheet")  # options and arguments that name what is made
# What takes minutes; tests of their own run it.
LONG = {"bench", "demo", "parity"}
SMALLER = {"6000": "20", "1000": "3"}  # for numbers that want many images


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder where training is short."""
    monkeypatch.setattr(backbones, "_BUILDERS", dict(backbones._BUILDERS))
    shorten_training(monkeypatch)
    for _ in forgetting(monkeypatch, tmp_path):
        yield tmp_path


@pytest.mark.parametrize(
    "page", [page for page in TYPED if TYPED[page]], ids=lambda page: page.stem
)
def test_a_page_is_typed(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    for block in read_blocks(page):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
    typed = [words for block in TYPED[page] for words in commands(block)]
    given = set_stage(folder, "".join(f'"{word}"' for words in typed for word in words))
    for block in TYPED[page]:
        for words in commands(block):
            run(block, words, given)


def run(block: Block, words: list[str], given: set[str]) -> None:
    """Run a command of marginface, or a program that the page has; nothing else."""
    program = words[1] if words[0] == "python" and Path(words[1]).is_file() else ""
    if not program and words[0] != "marginface":
        return
    arguments = [SMALLER.get(word, word) for word in words[2 if program else 1 :]]
    if arguments[:1] and arguments[0] in LONG:
        return
    give_way(arguments, given)
    if program:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", [program, *arguments])
            with pytest.raises(SystemExit) as left:
                runpy.run_path(program, run_name="__main__")
        status, said = left.value.code, ""
    else:
        status, _, said = cli(*arguments)
    if status:
        pytest.fail(f"{block}: {' '.join(words)}: {said.split(ERROR)[-1]}", pytrace=False)


def give_way(arguments: list[str], given: set[str]) -> None:
    """Remove what the page was given where a command is about to make it."""
    values = parse(arguments)
    for name in OUTPUTS:
        place = Path(values.get(name) or "")
        if place.name in given and not values.get("resume"):
            given.remove(place.name)
            (shutil.rmtree if place.is_dir() else Path.unlink)(place)
            for beside in (place.with_suffix(".idx"), place.with_suffix(".lst"), Path("property")):
                beside.unlink(missing_ok=True)
