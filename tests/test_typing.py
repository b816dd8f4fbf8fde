"""What a user's type checker sees: real classes with real signatures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from marginface import losses
from marginface.losses.keywords import LossParameters
from marginface.losses.registry import BUILT_IN

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "marginface": ROOT / "core",
    "marginface_torch": ROOT / "torch_impl",
    "marginface_tf": ROOT / "tf_impl",
}
# The frameworks' own types are as if they were not installed: reading them takes a minute.
CONFIG = """
[mypy]
mypy_path = {paths}
[mypy-torch.*,tensorflow.*,keras.*]
follow_imports = skip
ignore_missing_imports = True
[mypy-marginface.*,marginface_torch.*,marginface_tf.*]
ignore_errors = True
"""
BACKENDS = """
import marginface_tf as of_tf
import marginface_torch as of_torch
from marginface_tf.losses import loss_ops as tf_loss_ops
from marginface_torch.losses import loss_ops as torch_loss_ops
from marginface import losses

reveal_type(of_torch.MarginHead("arcface", 4, 10))
reveal_type(of_tf.MarginHead("arcface", 4, 10))
reveal_type(of_torch.create_backbone("mbf"))
reveal_type(torch_loss_ops(losses.ArcFace()))
reveal_type(tf_loss_ops(losses.ArcFace()))
of_torch.MarginHead(7, 4, 10)
of_tf.no_such_name
losses.ArcFace(0.5)
losses.NoSuchLoss
"""
EXPECTED = (
    'Revealed type is "marginface_torch.heads.head.MarginHead"',
    'Revealed type is "marginface_tf.heads.head.MarginHead"',
    'Revealed type is "marginface_torch.backbones.backbone.Backbone"',
    'Revealed type is "marginface_torch.losses.base.LossOps[Any]"',
    'Revealed type is "marginface_tf.losses.base.LossOps[Any]"',
    'Argument 1 to "MarginHead" has incompatible type "int"',
    'Module has no attribute "no_such_name"',
    'Too many positional arguments for "ArcFace"',
    'Module has no attribute "NoSuchLoss"',
)

LOADED = """
import marginface_tf
import marginface_torch
import marginface
from marginface.backend import HeadClass

of_torch: HeadClass = marginface_torch.MarginHead
of_tf: HeadClass = marginface_tf.MarginHead

backend = marginface.load_backend("torch")
head = backend.MarginHead("arcface", embedding_size=8, num_classes=10)
backbone = backend.create_backbone("mbf", embedding_size=8)
head(backbone(0), 0).backward()
head.rate = 0.1
params = [*backbone.parameters(), *head.parameters()]
backend.save_weights(backbone, "mbf.safetensors")

reveal_type(head)
reveal_type(backbone)
backend.MarginHead(7, 8, 10)
backend.MarginHead("arcface", margin=0.3, classes=10)
backend.create_backbone("mbf", embedings=8)
backend.export_onnx(backbone, "mbf.onnx", opset="17")
backend.NoSuchClass
reveal_type(marginface.train(data="faces", output="run").metrics)
reveal_type(marginface.evaluate("run", val="lfw.bin")[0].result.accuracy)
reveal_type(marginface.load("run"))
reveal_type(marginface.embed("run", "faces", "e.npz"))
reveal_type(marginface.MarginHead("arcface", 8, 10))
marginface.evaluate("run", batch_size="64")
marginface.no_such_name
"""
EXPECTED_OF_LOADED = (
    'Revealed type is "marginface.backend.Head"',
    'Revealed type is "marginface.backend.Backbone"',
    'Argument 1 to "__call__" of "HeadClass" has incompatible type "int"',
    'Unexpected keyword argument "classes"',
    'Unexpected keyword argument "embedings"',
    'Argument "opset" to "export_onnx" of "Backend" has incompatible type "str"',
    '"Backend" has no attribute "NoSuchClass"',
    'Revealed type is "list[dict[str, Any]]"',
    'Revealed type is "float"',
    'Revealed type is "marginface.api.models.Model"',
    'Revealed type is "marginface.embeddings.store.EmbedSummary"',
    'Revealed type is "marginface.backend.Head"',
    'Argument "batch_size" to "evaluate" has incompatible type "str"; expected "int"',
    'Module has no attribute "no_such_name"',
)


CALLS = (f"reveal_type(losses.{kind.__name__}())" for kind in BUILT_IN.values())
EVERY_LOSS = "\n".join(["from marginface import losses", *CALLS])
USERS = {"backends": BACKENDS, "loaded": LOADED, "every_loss": EVERY_LOSS}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """Type-check the files of a user at once; return what mypy says of one, line by line."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / "mypy.ini").write_text(CONFIG.format(paths=":".join(map(str, PACKAGES.values()))))
    for name, source in USERS.items():
        (folder / f"{name}.py").write_text(source)
    files = [f"{name}.py" for name in USERS]
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *files]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    def of(name: str) -> list[str]:
        lines = [line for line in done.stdout.splitlines() if line.startswith(f"{name}.py")]
        assert lines, done.stdout + done.stderr
        return lines

    return of


@pytest.mark.parametrize(
    ("name", "expected"), [("backends", EXPECTED), ("loaded", EXPECTED_OF_LOADED)]
)
def test_mypy_sees_what_both_backends_offer(name, expected, said) -> None:
    lines = [line for line in said(name) if " defined in " not in line]
    assert len(lines) == len(expected), lines
    for line, words in zip(lines, expected, strict=True):
        assert words in line


def test_mypy_sees_the_class_of_each_loss(said) -> None:
    lines = said("every_loss")
    unseen = {
        f"from {kind.__module__} import *"
        for kind in BUILT_IN.values()
        if not any(f'"{kind.__module__}.{kind.__name__}"' in line for line in lines)
    }
    assert not unseen, f"at the end of families.py add: {'; '.join(sorted(unseen))}"


def test_type_checkers_know_the_parameters_of_every_loss() -> None:
    declared = {name for loss in BUILT_IN for name in losses.parameters(loss)}
    assert declared == LossParameters.__annotations__.keys()


def test_the_packages_say_that_they_are_typed() -> None:
    for name, folder in PACKAGES.items():
        assert (folder / name / "py.typed").is_file()
