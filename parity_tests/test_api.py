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
from marginface.losses.families import FAMILIES

# TensorFlow is loud when imported; its compiler is always there. Only Keras has a `fit`.
FILES_OF_ONE = {"quiet.py", "compiling.py", "fitting.py"}
HELPERS_OF_ONE = {
    "backbones.backbone": {"channels_last"},
    "processes": {"in_replica", "mean_of_all"},  # DistributedDataParallel takes the means
    "heads.sharding": {"own_part"},
    "export": set(),
    "learner": set(),
    "optimizers": {"write_slots"},
    "backbones.weights": {"to_float32", "to_numpy"},
}
MODULES = ["losses", *(f"losses.{name}" for name in ("base", "angular", *FAMILIES))]


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
    assert set(torch.backend.__all__) == set(tf.backend.__all__)
    for framework in (torch, tf):
        assert framework.backend.name == framework.name
        assert load_backend(framework.name) is framework.backend
        assert all(hasattr(framework.backend, name) for name in framework.backend.__all__)
        assert framework.backend.version().split()[0] in ("torch", "tensorflow")


def test_same_signatures(torch: Framework, tf: Framework) -> None:
    shared = set(torch.backend.__all__) - {"name", "MarginHead"}
    assert len(shared) > 5
    for name in shared:
        assert_same_signature(getattr(tf.backend, name), getattr(torch.backend, name))


def test_same_head(torch: Framework, tf: Framework) -> None:
    """What every Keras layer takes is the one argument that PyTorch's modules have not."""
    found = list(inspect.signature(tf.backend.MarginHead).parameters.values())
    expected = list(inspect.signature(torch.backend.MarginHead).parameters.values())
    assert found.pop().kind is inspect.Parameter.VAR_KEYWORD
    assert [(p.name, p.kind, p.default) for p in found] == [
        (p.name, p.kind, p.default) for p in expected
    ]


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


@pytest.mark.parametrize("name", list(HELPERS_OF_ONE))
def test_same_functions(torch: Framework, tf: Framework, name: str) -> None:
    """Each module's functions, but for helpers that one of them alone needs."""
    found, expected = (
        {
            key: value
            for key, value in public(each.module(name)).items()
            if inspect.isfunction(value)
        }
        for each in (tf, torch)
    )
    assert set(found) ^ set(expected) == HELPERS_OF_ONE[name]
    for key in set(found) & set(expected):
        assert_same_signature(found[key], expected[key])


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
PIXELS = np.zeros((2, 3, 32, 32), np.float32)
MISTAKES: dict[str, Callable[[Framework, Path], Any]] = {
    "unknown loss": lambda f, _: f.head("arcfase", 4, 3),
    "no classes": lambda f, _: f.head("arcface", 4, None),
    "negative classes": lambda f, _: f.head("arcface", 4, -1),
    "classes in words": lambda f, _: f.head("arcface", 4, "3"),
    "half a class": lambda f, _: f.head("arcface", 4, 2.5),
    "yes for classes": lambda f, _: f.head("arcface", 4, True),
    "no embedding": lambda f, _: f.head("arcface", 0, 3),
    "half an embedding": lambda f, _: f.head("arcface", 4.5, 3),
    "no loss": lambda f, _: f.head(None, 4, 3),
    "a loss's class": lambda f, _: f.head(losses.ArcFace, 4, 3),
    "nothing": lambda f, _: f.call(head(f), X[:0], Y[:0]),
    "rank": lambda f, _: f.call(head(f), X[0], Y),
    "embedding size": lambda f, _: f.call(head(f), X[:, :3], Y),
    "labels' rank": lambda f, _: f.call(head(f), X, Y[:, None]),
    "labels' count": lambda f, _: f.call(head(f), X, Y[:1]),
    "labels' type": lambda f, _: f.call(head(f), X, Y.astype(np.float32)),
    "boolean labels": lambda f, _: f.call(head(f), X, Y > 0),
    "label too large": lambda f, _: f.call(head(f), X, Y + 1),
    "label negative": lambda f, _: f.call(head(f), X, Y - 5),
    "no name of a backbone": lambda f, _: f.backend.create_backbone(5),
    "unknown backbone": lambda f, _: f.backend.create_backbone("iresnet5"),
    "half an embedding size": lambda f, _: f.backend.create_backbone("mbf", 16.5),
    "one side": lambda f, _: f.backend.create_backbone("mbf", input_size=112),
    "half a pixel": lambda f, _: f.backend.create_backbone("mbf", input_size=(112, 8.5)),
    "no pixels": lambda f, _: f.backend.create_backbone("mobilefacenet", input_size=(0, 8)),
    "dropout": lambda f, _: f.backend.create_backbone("mbf", dropout=1.0),
    "dropout in words": lambda f, _: f.backend.create_backbone("mbf", dropout="0.5"),
    "image size": lambda f, _: f.embed(small(f), PIXELS[:, :, 1:], training=False),
    "whole numbers": lambda f, _: f.embed(small(f), PIXELS.astype(np.uint8), training=False),
    "one image": lambda f, _: f.embed(small(f), PIXELS[0], training=False),
    "load into another thing": lambda f, _: f.backend.load_weights(Path(), {}),
    "save another thing": lambda f, path: f.backend.save_weights(Path(), path / "w.safetensors"),
    "export another thing": lambda f, path: f.backend.export_onnx(Path(), path / "model.onnx"),
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


def test_numpys_numbers_are_numbers(framework: Framework) -> None:
    made = framework.backend.create_backbone(
        "mobilefacenet", np.int64(4), input_size=np.array([32, 32]), dropout=np.float32(0)
    )
    embeddings = framework.embed(made, PIXELS, training=False)
    assert np.isfinite(framework.call(framework.head("arcface", np.int64(4), np.int32(3)), X, Y))
    assert embeddings.shape == (2, 4)


def test_torch_asks_for_tensors(torch: Framework) -> None:
    tensor = torch.torch.tensor
    for call in (
        lambda: head(torch)(tensor(X), Y),
        lambda: head(torch)(X, tensor(Y)),
        lambda: small(torch)(PIXELS),
    ):
        with pytest.raises(MarginfaceError, match=r"must be a Tensor, got a ndarray; torch\.as"):
            call()


def test_a_run_without_backends_stops() -> None:
    require_some(["tf"])
    with pytest.raises(pytest.UsageError, match="no backend"):
        require_some([])
