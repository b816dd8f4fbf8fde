"""The code blocks of the pages: their languages, files and marks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / folder / "README.md" for folder in ("examples", "benchmarks")),
]
MARK = re.compile(r"^ *<!-- not run: (?P<reason>.+) -->$", re.M)
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: Path
    line: int  # of its fence, from 1
    language: str
    file: str  # the file that it is said to be, as in ```python title="my_losses.py"
    not_run: str  # why, as <!-- not run: ... --> on the line before says
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, those without a fence too."""
    blocks, mark = [], None
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            language, _, rest = token.info.strip().partition(" ")
            title = TITLE.search(rest)
            blocks.append(
                Block(
                    page=page,
                    line=(token.map or [0])[0] + 1,
                    language=language,
                    file=title[1] if title else "",
                    not_run=mark["reason"] if mark else "",
                    text=token.content,
                )
            )
        mark = MARK.match(token.content) if token.type == "html_block" else None
    return blocks


def files(page: str) -> dict[str, str]:
    """Return the files that a page of docs shows, by name."""
    blocks = read_blocks(ROOT / "docs" / page)
    return {block.file: block.text for block in blocks if block.file}


@cache
def read_all_blocks() -> tuple[Block, ...]:
    """Return the blocks of all pages."""
    return tuple(block for page in PAGES for block in read_blocks(page))
