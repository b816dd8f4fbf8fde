"""The index of the examples names them all, and each runs without arguments."""

import ast
import re
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_it_names_each_and_nothing_else() -> None:
    links = set(re.findall(r"\]\(([\w.]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    notebooks = {path.name for path in EXAMPLES.glob("*.ipynb")}
    assert links == {*SCRIPTS, *notebooks}


def test_each_says_how_it_is_run_and_has_a_main() -> None:
    for name in SCRIPTS:
        if name == "drawn_faces.py":
            continue
        code = ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))
        assert f"python examples/{name}" in str(ast.get_docstring(code)), name
        assert "main" in {each.name for each in code.body if isinstance(each, ast.FunctionDef)}
