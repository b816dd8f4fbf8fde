"""What works without the packages of an extra, and what names the command that installs them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from fresh import blocking, python, run_without
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from record_files import pack

from marginface import extras
from marginface.cli import app, data
from marginface.errors import MissingPackageError

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OWN = {"marginface", "marginface_torch", "marginface_tf"}
# Where every import of a package's files comes after the check in its __init__.
FRAMEWORKS = {"marginface_torch": "torch", "marginface_tf": "tf"}
OPTIONAL = "heic"  # the one that is asked for in a `try`
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
    "faiss": "search",
}
KNOWN = {**packages_distributions(), "google": ["protobuf"]}  # a namespace that several share
ABSENT = (*PACKAGES, "torch", "tensorflow", "keras", "pillow_heif")


# Packages of one module, by the name of the one that the other stands in for.
INSTEAD_OF = {"tensorflow-cpu": "tensorflow", "onnxruntime-gpu": "onnxruntime"}


def distributions(requirements: list[str]) -> set[str]:
    """Return what requirements bring, marginface's own extras resolved; one name for a module."""
    brought = set()
    for text in requirements:
        each = Requirement(text)
        if each.name == "marginface":
            brought |= {name for extra in each.extras for name in distributions(EXTRAS[extra])}
        else:
            brought.add(single(each.name))
    return brought


def single(package: str) -> str:
    name = canonicalize_name(package)
    return INSTEAD_OF.get(name, name)


BASE = distributions(PROJECT["dependencies"])


def _handled(handler: ast.ExceptHandler) -> str | None:
    return handler.type and ast.unparse(handler.type)


def imports(path: Path) -> set[tuple[str, str | None]]:
    """Return each third-party module that a file imports, with the extra that it names for it."""
    found: set[tuple[str, str | None]] = set()

    def visit(node: ast.AST, extra: str | None) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Try) and "ImportError" in map(_handled, node.handlers):
            extra = OPTIONAL
        if isinstance(node, ast.With):
            for item in node.items:
                call = item.context_expr
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "needs":
                    extra = str(ast.literal_eval(call.args[0]))
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
    used: dict[str | None, set[str]] = {}
    for folder in ("core/marginface", "torch_impl/marginface_torch", "tf_impl/marginface_tf"):
        files = sorted((ROOT / folder).rglob("*.py"))
        assert len(files) > 10
        for path in {*files} - {ROOT / "core/marginface/extras.py"}:
            for name, extra in imports(path):
                if (path.name, name) == ("bars.py", "IPython"):
                    continue  # in a notebook alone, which runs on it
                own = FRAMEWORKS.get(Path(folder).name)
                brought = BASE | distributions(EXTRAS.get(extra or own, []))
                of = {single(each) for each in KNOWN[name.partition(".")[0]]}
                assert of & brought, f"{path} imports {name} with no `needs` of its extra"
                used.setdefault(extra, set()).update(of)
    assert distributions(EXTRAS["all"]) <= set().union(*used.values()), (
        "a dependency that nothing imports"
    )


def test_all_is_all() -> None:
    told = {
        name for extra in EXTRAS.keys() - {"dev", "docs"} for name in distributions(EXTRAS[extra])
    }
    assert distributions(EXTRAS["all"]) == told
    assert distributions(EXTRAS["all"]) <= distributions(EXTRAS["dev"])
    assert not [each for extra in ("all", "dev") for each in EXTRAS[extra] if "cuda" in each]


MACHINES = {
    "Linux": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "Linux on ARM": {"sys_platform": "linux", "platform_machine": "aarch64"},
    "macOS": {"sys_platform": "darwin", "platform_machine": "arm64"},
    "Windows": {"sys_platform": "win32", "platform_machine": "AMD64"},
}
SMALL = {"Linux", "Windows"}  # what tensorflow-cpu is built for


@pytest.mark.parametrize("system", MACHINES)
def test_each_extra_of_tensorflow_brings_one(system) -> None:
    for extra in ("tf", "tf-cpu", "tf-cuda"):
        requirements = [Requirement(text) for text in EXTRAS[extra]]
        if extra == "tf-cuda":  # which adds CUDA's libraries to `tf`
            requirements += [Requirement(text) for text in EXTRAS["tf"]]
        brought = {
            each.name: each.extras
            for each in requirements
            if each.name.startswith("tensorflow")
            and (each.marker is None or each.marker.evaluate(MACHINES[system]))
        }
        name = "tensorflow-cpu" if extra == "tf-cpu" and system in SMALL else "tensorflow"
        assert list(brought) == [name]


def test_every_help_and_the_losses_need_no_extra() -> None:
    names = [*app.COMMANDS, *(f"data {name}" for name in data.COMMANDS)]
    commands = ["--help", "--version", "losses", "losses arcface"]
    commands += [f"{name} --help" for name in names]
    for command, (status, out, err) in zip(commands, run_without(ABSENT, commands), strict=True):
        assert (status, err) == (0, ""), command
        assert out, command


PAIRS = "--images {faces} --pairs {pairs}"
TRAIN = (
    "train --backend torch --data {faces} --output {run} --backbone mobilefacenet --batch-size 6 "
    "--embedding-size 16 --max-steps 1 --threads 1 --val-images {faces} --val-pairs {pairs}"
)


@pytest.fixture(scope="module")
def places(tiny_faces, tmp_path_factory) -> dict[str, Path]:
    """What commands read and write."""
    folder = tmp_path_factory.mktemp("places")
    same = [f"person_{i % 3}\t{i + 1}\t{i + 2}" for i in range(6)]
    other = [f"person_{i % 3}\t{i + 1}\tperson_{(i + 1) % 3}\t{i + 1}" for i in range(6)]
    (folder / "pairs.txt").write_text("\n".join(["6", *same, *other]) + "\n")
    names = (
        "run",
        "new",
        "subset",
        "pairs.txt",
        "e.npz",
        "new.npz",
        "new.rec",
        "new.tfrecord",
        "a.rec",
        "a.tfrecord",
        "new.onnx",
        "new.csv",
        "new.md",
    )
    for name in ("a.rec", "a.tfrecord"):
        pack(tiny_faces, folder / name)
    return {"faces": tiny_faces, **{name.replace(".txt", ""): folder / name for name in names}}


def filled(commands: Sequence[str], places: dict[str, Path]) -> list[str]:
    return [
        re.sub(r"{([a-z.]+)}", lambda found: str(places[found[1]]), command) for command in commands
    ]


def test_a_trainer_needs_neither_onnx_nor_drawing(places) -> None:
    pytest.importorskip("torch")
    absent = ("onnx", "onnxruntime", "matplotlib", "plotly", "tensorflow", "keras", "pillow_heif")
    commands = [  # on folders, which need nothing of record files either
        TRAIN,
        "train --output {run} --resume --max-steps 2",
        f"evaluate --model {{run}} {PAIRS} --backend torch",
        "data inspect {faces}",
        "data pack {faces} {new.rec}",
        "data subset {faces} {subset}",
        "parity --backend torch --loss softmax",
        "bench losses --losses normface --sizes 4x30 --rounds 1 --no-memory",
    ]
    embedding = "embed --model {run} --images {faces} --output {e.npz} --backend torch"
    ends = run_without((*absent, "pyarrow", "google_crc32c"), filled(commands, places))
    ends += run_without((*absent, "google_crc32c", "google.protobuf"), filled([embedding], places))
    for command, (status, _, err) in zip([*commands, embedding], ends, strict=True):
        assert status == 0, (command, err)
    with np.load(places["e.npz"]) as arrays:
        assert arrays["embedding"].shape == (24, 16)


OF_TFRECORDS = ("data pack {faces} {new.tfrecord}", "data inspect {a.tfrecord}")
TRAINING = ("train --data {faces} --output {new} --backend torch", "demo --output {new}")
OF_ONNX = (
    f"evaluate --model {{run}} {PAIRS} --output {{new}}",
    "embed --model {run} --images {faces} --output {new.npz}",
    "export --run {run} --output {new.onnx}",
    "data align {faces} {new} --detector {new.onnx}",
    "demo --output {new}",
)
REFUSED = {
    "pyarrow": (
        "data inspect {a.rec}",
        "data inspect {a.tfrecord}",
        "embed --model {run} --images {faces} --output {new.npz} --backend torch",
        f"evaluate --model {{run}} {PAIRS} --backend torch --output {{new}}",
        "templates --embeddings {e.npz} --media {pairs} --pairs {pairs}",
        "identify --embeddings {e.npz} --gallery {pairs} --probes {pairs} --output {new}",
        "identify --model {run} --gallery {faces} --probes {faces} --output {new}",
    ),
    "google_crc32c": OF_TFRECORDS,
    "google.protobuf": OF_TFRECORDS,
    "absl": TRAINING,
    "grain": TRAINING,
    "onnx": OF_ONNX,
    "onnxruntime": OF_ONNX,
    "matplotlib": (
        f"evaluate --model {{run}} {PAIRS} --output {{new}}",
        "losses --plot {new}.png",
        "parity --report {new.md}",
        "bench losses --output {new}",
    ),
    "plotly": (f"report {{run}} {PAIRS} --output {{new}}", "demo --output {new}"),
    "torch": (
        "train --data {faces} --output {new} --backend torch",
        f"evaluate --model {{run}} {PAIRS} --backend torch",
        "parity --backend torch",
        "bench losses --backend torch",
        "export --run {run} --output {new.onnx} --backend torch",
    ),
}


@pytest.mark.parametrize("package", REFUSED)
def test_a_missing_package_is_named_with_its_command(package, places) -> None:
    extra = PACKAGES.get(package, package)
    command = rf"run: pip install 'marginface\[{extra}\]'(, or .*)?"
    name = canonicalize_name(KNOWN[package.partition(".")[0]][0])  # as pip knows it
    line = rf"marginface: error: .* needs {name}, which is not installed; {command}\n"
    before = set(places["run"].parent.iterdir())
    commands = filled(REFUSED[package], places)
    for tried, end in zip(commands, run_without([package], commands), strict=True):
        status, out, err = end
        assert (status, out) == (2, ""), (tried, end)
        assert re.fullmatch(line, err), (tried, err)
    assert set(places["run"].parent.iterdir()) == before


@pytest.mark.parametrize("module", [*PACKAGES, "google", "PIL", "PIL.Image", "yaml"])
def test_a_package_has_the_name_that_pip_knows(module) -> None:
    (name,) = map(canonicalize_name, KNOWN[module.partition(".")[0]])
    line = rf"^this needs {name}, which is not installed"
    with pytest.raises(MissingPackageError, match=line), extras.needs("data"):
        raise ModuleNotFoundError(name=module)


@pytest.mark.parametrize(("name", "framework"), [("torch", "torch"), ("tf", "tensorflow")])
def test_a_backend_names_its_framework(name, framework) -> None:
    done = python(blocking(framework, "keras") + f"import marginface_{name}")
    missing = rf"backend '{name}' needs ({framework}|keras), which is not installed; run: pip"
    assert re.search(missing, done.stderr)
