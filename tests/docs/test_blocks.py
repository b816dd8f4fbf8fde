"""Every code block has a language, and says why where it does not run."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from blocks import MARK, PAGES, Block, read_all_blocks, read_blocks

from marginface.training.config.files import read_config_file, resolve_config

BLOCKS = read_all_blocks()
# What is text is a formula, or what a command prints: nothing of it could run.
LANGUAGES = {"python", "pycon", "sh", "console", "yaml", "toml", "json", "text"}
NOT_RUN = 43  # blocks with a mark: one more or less is to be noticed


def test_every_block_has_a_language() -> None:
    wrong = {str(block): block.language for block in BLOCKS if block.language not in LANGUAGES}
    assert not wrong, f"give one of {sorted(LANGUAGES)} after ```; indented code needs a fence"


def test_marks_are_counted() -> None:
    marked = {str(block): block.not_run for block in BLOCKS if block.not_run}
    assert len(marked) == NOT_RUN, marked
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    assert sum(len(MARK.findall(text)) for text in texts) == len(marked), "a mark without a block"
    assert not [str(block) for block in BLOCKS if "doctest: +SKIP" in block.text]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lists_are_indented_as_the_site_reads_them(page: Path) -> None:
    """GitHub takes three blanks below a `1.`; the site's Markdown wants four, for blocks too."""
    loose = re.findall(r"^ {1,3}(?:[-*+] |\d+\. |```).*", page.read_text(encoding="utf-8"), re.M)
    assert not loose, "begin it with four blanks"


def test_tables_look_as_commands_print_them() -> None:
    framed = [str(b) for b in BLOCKS if b.language == "text" and {*"│┃┌┏"} & {*b.text}]
    assert not framed, "marginface prints tables without frames; copy what it prints"


def as_configuration(text: str, folder: Path) -> None:
    path = folder / "train.yaml"
    path.write_text(text, encoding="utf-8")
    resolve_config(read_config_file(path), {"output": folder / "run", "data": [folder]})


READ: dict[str, Callable[[str, Path], object]] = {
    "yaml": as_configuration,
    "toml": lambda text, _: tomllib.loads(text),
    "json": lambda text, _: json.loads(text),
}


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in READ], ids=str)
def test_settings_are_read(block: Block, tmp_path: Path) -> None:
    READ[block.language](block.text, tmp_path)


PAGE = """\
<!-- not run: needs a camera -->
```python title="mine.py"
take()
```
<!-- seen by nobody -->
- a list:

  ```sh
  make test
  ```

Words.

    indented
"""


def test_what_the_reader_sees(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert read_blocks(page) == [
        Block(page, 2, "python", "mine.py", "needs a camera", "take()\n"),
        Block(page, 8, "sh", "", "", "make test\n"),
        Block(page, 14, "", "", "", "indented\n"),
    ]
