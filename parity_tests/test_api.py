"""One API: the same files, names, signatures and messages in both packages."""

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import assert_same_signature
from frameworks import Framework, require_some

from marginface import MarginfaceError, load_backend, losses

# PyTorch brings its layers along; TensorFlow's have other semantics, so they are written out, and
# it is loud when imported. Only PyTorch reads its own pickles.
FILES_OF_ONE = {"layers.py", "quiet.py"}
NAMES_OF_ONE = {"read_state_dict"}
MODULES = ["losses", "losses.base", "losses.softmax", "losses.cosface", "losses.arcface"]


def files(package: str) -> set[str]:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    return {path.relative_to(root).as_posix() for path in root.rglob("*.py")} | {
        path.name for path in root.glob("py.typed")
    }


def public(module: Any) -> dict[str, Any]:
    """Return functions and classes that a module defines, without leading underscore."""
    return {
        name: value
        for name, value in vars(module).items()
        if (inspect.isfunction(value) or inspect.isclass(value))
        and not name.startswith("_")
        and value.__module__ == module.__name__
    }


def methods(cls: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(cls).items()
        if inspect.isfunction(value) and (not name.startswith("_") or name == "__init__")
    }


def test_same_files() -> None:
    assert files("marginface_torch") ^ files("marginface_tf") == FILES_OF_ONE


def test_same_names(torch: Framework, tf: Framework) -> None:
    names = set(torch.backend.__all__) ^ set(tf.backend.__all__)
    assert names == NAMES_OF_ONE
    for framework in (torch, tf):
        assert framework.backend.name == framework.name
        assert load_backend(framework.name) is framework.backend
        assert all(hasattr(framework.backend, name) for name in framework.backend.__all__)
        assert framework.backend.version().split()[0] in ("torch", "tensorflow")


def test_same_signatures(torch: Framework, tf: Framework) -> None:
    shared = [n for n in torch.backend.__all__ if n not in NAMES_OF_ONE and n != "name"]
    assert len(shared) > 5
    for name in shared:
        assert_same_signature(getattr(tf.backend, name), getattr(torch.backend, name))


def test_same_learner(torch: Framework, tf: Framework) -> None:
    found, expected = (methods(each.module("learner").Learner) for each in (tf, torch))
    assert set(expected) - set(found) == {"compile"}  # XLA would slow TensorFlow down on a CPU
    for name in found:
        assert_same_signature(found[name], expected[name])


@pytest.mark.parametrize("name", MODULES)
def test_same_loss_code(torch: Framework, tf: Framework, name: str) -> None:
    found, expected = (public(each.module(name)) for each in (tf, torch))
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert_same_signature(found[key], value)
        if inspect.isclass(value):
            assert set(methods(found[key])) == set(methods(value))
            for method, code in methods(value).items():
                assert_same_signature(methods(found[key])[method], code)


def test_every_loss_is_in_both(framework: Framework) -> None:
    known = {loss.name for loss in framework.module("losses").OPS}
    assert known >= set(losses.names())


def test_forward_is_call(torch: Framework, tf: Framework) -> None:
    """Keras' `training` is the one argument that PyTorch has as a mode."""
    found = list(inspect.signature(tf.backend.MarginHead.call).parameters.values())
    expected = list(inspect.signature(torch.backend.MarginHead.forward).parameters.values())
    assert found.pop().name == "training"
    assert [(p.name, p.default) for p in found] == [(p.name, p.default) for p in expected]


@pytest.mark.parametrize(
    "mutant",
    [
        lambda a, b=2: (a, b),
        lambda a, *, b=1: (a, b),
        lambda b, a=1: (a, b),
        lambda a, b=1, c=None: (a, b, c),
    ],
)
def test_another_signature_is_caught(mutant: Callable[..., Any]) -> None:
    def original(a: int, b: int = 1) -> Any:
        return a, b

    assert_same_signature(lambda a, b=1: (a, b), original)
    with pytest.raises(AssertionError):
        assert_same_signature(mutant, original)


def head(framework: Framework) -> Any:
    return framework.head("arcface", 4, 3)


X, Y = np.ones((2, 4), np.float32), np.array([0, 2])
MISTAKES: dict[str, Callable[[Framework, Path], Any]] = {
    "unknown loss": lambda f, _: f.head("arcfase", 4, 3),
    "no classes": lambda f, _: f.head("arcface", 4, None),
    "negative classes": lambda f, _: f.head("arcface", 4, -1),
    "no embedding": lambda f, _: f.head("arcface", 0, 3),
    "rank": lambda f, _: f.call(head(f), X[0], Y),
    "embedding size": lambda f, _: f.call(head(f), X[:, :3], Y),
    "labels' rank": lambda f, _: f.call(head(f), X, Y[:, None]),
    "labels' count": lambda f, _: f.call(head(f), X, Y[:1]),
    "labels' type": lambda f, _: f.call(head(f), X, Y.astype(np.float32)),
    "boolean labels": lambda f, _: f.call(head(f), X, Y > 0),
    "label too large": lambda f, _: f.call(head(f), X, Y + 1),
    "label negative": lambda f, _: f.call(head(f), X, Y - 5),
    "unknown backbone": lambda f, _: f.backend.create_backbone("iresnet5"),
    "no pixels": lambda f, _: f.backend.create_backbone("mobilefacenet", input_size=(0, 8)),
    "dropout": lambda f, _: f.backend.create_backbone("mbf", dropout=1.0),
    "missing weights": lambda f, _: f.backend.load_weights(small(f), {}),
    "no file": lambda f, _: f.backend.load_weights(small(f), "nowhere.safetensors"),
    "other suffix": lambda f, path: f.backend.save_weights(small(f), path / "weights.bin"),
    "onnx suffix": lambda f, path: f.backend.export_onnx(small(f), path / "model.bin"),
    "opset": lambda f, path: f.backend.export_onnx(small(f), path / "model.onnx", opset=9),
}


def small(framework: Framework) -> Any:
    return framework.backend.create_backbone("mobilefacenet", 8, input_size=(32, 32), seed=0)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_same_messages(torch: Framework, tf: Framework, mistake: str, tmp_path: Path) -> None:
    messages = []
    for framework in (torch, tf):
        with pytest.raises(MarginfaceError) as caught:
            MISTAKES[mistake](framework, tmp_path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_backends_stops() -> None:
    require_some(["tf"])
    with pytest.raises(pytest.UsageError, match="no backend"):
        require_some([])
