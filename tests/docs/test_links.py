"""Links of README.md lead to headings that are there; the site's build holds those of docs."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from blocks import ROOT
from markdown_it import MarkdownIt

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)#([\w-]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    headings = [b for a, b in pairwise(tokens) if a.type == "heading_open"]
    shown = ["".join(each.content for each in h.children or []).lower() for h in headings]
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in shown}


def test_links_of_readme_lead_to_headings() -> None:
    links = LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 5
    dead = [f"{page}#{name}" for page, name in links if name not in anchors(ROOT / page)]
    assert not dead
