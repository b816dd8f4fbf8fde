"""What is loaded when: each check runs in a process of its own."""

from pathlib import Path

import pytest
from fresh import blocking, python
from real_faces import FACES

from marginface import backbones

FRAMEWORKS = ("torch", "tensorflow", "keras")
HEAVY = (
    *(*FRAMEWORKS, "grain", "pydantic", "onnxruntime", "matplotlib", "plotly", "pyarrow"),
    *("PIL", "cv2", "scipy", "sklearn", "pandas", "onnx", "tensorboardX", "google", "simplejpeg"),
)

HELP = """
import sys
sys.argv = ["marginface", *{arguments}]
from marginface.cli.main import main
try:
    main()
except SystemExit as left:
    assert not left.code, left.code
"""


def loaded_by(code: str, *paths: Path) -> set[str]:
    """Return which heavy packages `code` has loaded."""
    ask = f"\nimport sys\nprint('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = python(code + ask, *paths)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "code",
    [
        "import marginface",
        "import marginface.losses, marginface.backbones",
        HELP.format(arguments=["--help"]),
        HELP.format(arguments=["--version"]),
    ],
)
def test_the_start_loads_nothing_heavy(code):
    assert loaded_by(code) == set()


def test_the_help_of_train_loads_no_framework():
    assert loaded_by(HELP.format(arguments=["train", "--help"])) & {*FRAMEWORKS, "grain"} == set()


def test_the_core_loads_no_framework_when_it_trains():
    code = "import marginface.training.trainer, marginface.training.trackers"
    loaded = loaded_by(code)
    assert "grain" in loaded
    assert loaded & set(FRAMEWORKS) == set()


def test_the_check_finds_a_framework_that_is_loaded(tmp_path):
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "grain.py").write_text("import keras")
    (tmp_path / "keras.py").write_text("")
    assert loaded_by("import marginface, grain, torch", tmp_path) == {"torch", "grain", "keras"}


def test_the_check_of_help_fails_where_help_fails():
    with pytest.raises(AssertionError, match="2"):
        loaded_by(HELP.format(arguments=["no-such-command"]))


WORK = """
from marginface import load_backend
import marginface.training.trainer
backend = load_backend({name!r})
assert backend.version()
backbone = backend.create_backbone("mobilefacenet", embedding_size=16, seed=0)
try:
    backend.export_onnx(backbone, "x.onnx")
except ImportError as error:
    print(error)
"""


LOAD = """
made = backend.create_backbone("mobilefacenet", {size}, input_size=({height}, {width}))
backend.load_weights(made, {path!r})
"""


def loading_pytorchs_files(folder: Path) -> str:
    """Return code that loads weights as PyTorch saves them."""
    torch = pytest.importorskip("torch")
    weights = backbones.initial_weights(backbones.describe("mobilefacenet", 16, (32, 32)), 0)
    state = {name: torch.tensor(array) for name, array in weights.items()}
    torch.save({"state_dict_backbone": state, "epoch": 1}, folder / "model.pt")
    code = LOAD.format(size=16, height=32, width=32, path=str(folder / "model.pt"))
    if FACES.is_dir():
        public = str(FACES / "weights" / "mobilefacenet_casia_112x96.ckpt")
        code += LOAD.format(size=128, height=112, width=96, path=public)
    return code


@pytest.mark.parametrize(
    ("name", "framework", "others"),
    [("torch", "torch", ("tensorflow", "keras")), ("tf", "tensorflow", ("torch",))],
)
def test_each_backend_works_where_the_other_framework_is_missing(name, framework, others, tmp_path):
    """Without ONNX Runtime, too, but for the function that needs it, which says so."""
    pytest.importorskip(framework)
    loading = loading_pytorchs_files(tmp_path)
    done = python(blocking(*others, "onnxruntime") + WORK.format(name=name) + loading)
    assert done.returncode == 0, done.stderr
    missing = "this needs onnxruntime, which is not installed; run: pip install 'marginface[onnx]'"
    assert done.stdout.startswith(missing)


@pytest.mark.parametrize(("name", "missing"), [("torch", "torch"), ("tf", "tensorflow")])
def test_a_missing_framework_is_reported_with_the_command_that_installs_it(name, missing):
    done = python(blocking(missing) + WORK.format(name=name))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert f"backend '{name}' needs {missing}, which is not installed" in last
    assert f"pip install 'marginface[{name}]'" in last


DOOR = """
import sys
import {frameworks}
before = set(sys.modules)
from marginface_{name} import MarginHead
assert isinstance(MarginHead, type)
added = [each for each in set(sys.modules) - before if hasattr(sys.modules[each], "__file__")]
packages = {{each.partition(".")[0] for each in added}}
own = {{"marginface", "marginface_{name}", "safetensors"}}
print(sorted(packages - own - {{each.partition(".")[0] for each in before}}
      - sys.stdlib_module_names))
"""


@pytest.mark.parametrize(("name", "frameworks"), [("torch", "torch"), ("tf", "tensorflow, keras")])
def test_a_head_loads_its_framework_and_safetensors_alone(name, frameworks):
    pytest.importorskip(frameworks.partition(",")[0])
    done = python(DOOR.format(name=name, frameworks=frameworks))
    assert done.stdout == "[]\n", done.stderr


def test_blocking_is_what_makes_an_import_fail():
    done = python(blocking("json") + "import json")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
