"""What SECURITY.md says holds a threat is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = [
    line
    for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| what is read")
]
NAMED = re.compile(r"`((?:\w+/)?test_\w+\.py)(?:::(\w+))?`")


@cache
def names_in(name: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / name).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip() for row in ROWS])
def test_every_threat_has_tests_that_exist(row: str) -> None:
    named = NAMED.findall(row.split("|")[3])
    assert named
    for file, test in named:
        assert names_in(file)
        assert not test or test in names_in(file), f"{file} has no {test}"


def test_it_is_found_from_where_people_begin() -> None:
    assert ROWS
    for file in ("README.md", "CONTRIBUTING.md"):
        assert "(SECURITY.md)" in (ROOT / file).read_text(encoding="utf-8")
