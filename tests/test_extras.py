"""What works without the packages of an extra, and what names the command that installs them."""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from fresh import blocking, python
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OWN = {"marginface", "marginface_torch", "marginface_tf"}
# Where every import of a package's files comes after the check in its __init__.
FRAMEWORKS = {"marginface_torch": "torch", "marginface_tf": "tf"}
# What is imported for an extra, by the name that it is imported by.
PACKAGES = {
    "google_crc32c": "data",
    "google.protobuf": "data",
    "pyarrow": "data",
    "absl": "train",
    "grain": "train",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "matplotlib": "report",
    "plotly": "report",
}
ABSENT = (*PACKAGES, "torch", "tensorflow", "keras", "pillow_heif")


def distributions(requirements: list[str]) -> set[str]:
    """Return what requirements bring, those of marginface's own extras with them."""
    brought = set()
    for text in requirements:
        each = Requirement(text)
        if each.name == "marginface":
            brought |= {name for extra in each.extras for name in distributions(EXTRAS[extra])}
        else:
            brought.add(canonicalize_name(each.name))
    return brought


BASE = distributions(PROJECT["dependencies"])


def imports(path: Path) -> set[tuple[str, str | None]]:
    """Return each third-party module that a file imports, with the extra that it names for it."""
    found: set[tuple[str, str | None]] = set()

    def visit(node: ast.AST, extra: str | None) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.With):
            for item in node.items:
                call = item.context_expr
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "needs":
                    extra = ast.literal_eval(call.args[0])
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        for name in names:
            if name.partition(".")[0] not in {*sys.stdlib_module_names, *OWN}:
                found.add((name, extra))
        for child in ast.iter_child_nodes(node):
            visit(child, extra)

    visit(ast.parse(path.read_text(encoding="utf-8")), None)
    return found


def test_every_import_is_of_a_dependency_or_names_its_extra() -> None:
    known = packages_distributions()
    known["google"] = ["protobuf"]  # a namespace that several share
    used: dict[str | None, set[str]] = {}
    for folder in ("core/marginface", "torch_impl/marginface_torch", "tf_impl/marginface_tf"):
        files = sorted((ROOT / folder).rglob("*.py"))
        assert len(files) > 10
        for path in files:
            for name, extra in imports(path):
                own = FRAMEWORKS.get(Path(folder).name)
                brought = BASE | distributions(EXTRAS[extra] if extra else EXTRAS.get(own, []))
                of = {canonicalize_name(each) for each in known[name.partition(".")[0]]}
                assert of & brought, f"{path} imports {name} with no `needs` of its extra"
                used.setdefault(extra, set()).update(of)
    everything = distributions(EXTRAS["all"]) - {"tensorflow", "tensorflow-cpu"}
    assert everything <= set().union(*used.values()), "a dependency that nothing imports"


def test_all_is_all() -> None:
    told = {name for extra in EXTRAS if extra != "dev" for name in distributions(EXTRAS[extra])}
    assert distributions(EXTRAS["all"]) == told - {"onnxruntime-gpu"}


RUN = """
import contextlib, io, json, sys
from marginface.cli.main import main
ends = []
for arguments in json.loads({commands!r}):
    sys.argv = ["marginface", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as left:
            status = left.code or 0
    ends.append((status, out.getvalue(), err.getvalue()))
print(json.dumps(ends))
"""


def run_without(packages: tuple[str, ...], commands: list[str]) -> list[tuple[int, str, str]]:
    """Run commands in one process where packages are absent; return how each ended."""
    split = json.dumps([command.split() for command in commands])
    done = python(blocking(*packages) + RUN.format(commands=split))
    assert done.returncode == 0, done.stderr
    return [tuple(end) for end in json.loads(done.stdout.splitlines()[-1])]
