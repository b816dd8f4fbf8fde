"""One API: the same files, names, signatures and messages in both packages."""

import importlib.util
import inspect
import types
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from comparison import assert_same_signature
from frameworks import Framework, require_some

from marginface import MarginfaceError, load_backend, losses

# What only one package has. Every other file is in both.
FILES_OF_TORCH = {"compiling.py"}  # TensorFlow's compiler is always there
FILES_OF_TF = {
    "quiet.py",  # TensorFlow is loud when imported
    "fitting.py",  # only Keras has a `fit`
    "backbones/calls.py",  # a layer of PyTorch's holds its parameters
    "backbones/conv.py",  # TensorFlow pads otherwise, and has slow ways to convolve
}


class Difference(NamedTuple):
    """Where two files of one name differ: public names, and `Class.method`.

    Args:
        torch: names that only PyTorch's file has.
        tf: names that only TensorFlow's file has.
        parameters: names of both whose parameters differ.
    """

    torch: Set[str] = frozenset()
    tf: Set[str] = frozenset()
    parameters: Set[str] = frozenset()


# Files that are not listed here have the same names, with the same parameters.
DIFFERENCES = {
    "arrays": Difference({"as_numpy", "held_as", "to_float32", "to_numpy"}),
    # A module has `forward`, a Keras layer `call`, and options of every layer.
    "backbones.backbone": Difference(
        {"channels_last", "Backbone.forward"},
        {
            *("Backbone.build", "Backbone.call", "Backbone.export", "Backbone.from_config"),
            "Backbone.get_config",
        },
        {"Backbone"},
    ),
    # A module that holds parameters, or a function that is given them. What computes the kinds of
    # layer is compared by the tables' keys.
    "backbones.batch_norm": Difference({"BatchNorm"}, {"batch_norm", "normalize"}),
    # Autocast knows its device, a Keras policy its network; TensorFlow places whole blocks of code.
    "devices": Difference(tf={"on_device"}, parameters={"half_precision"}),
    "heads.head": Difference(
        # TensorFlow checks within its graph, where nobody waits.
        {"MarginHead.checking", "MarginHead.extra_repr", "MarginHead.forward"},
        {
            *("MarginHead.call", "MarginHead.from_config", "MarginHead.get_config"),
            # Keras saves without a state_dict.
            *("MarginHead.load_own_variables", "MarginHead.save_own_variables"),
            "MarginHead.measure_if",  # one graph is of the steps that are measured, and of others
        },
        {"MarginHead.logits"},  # Keras tells a call whether it is in training
    ),
    # PyTorch loops over blocks and writes in place. XLA wants blocks of one size, functions without
    # side effects, and a fixed number of classes; variables are read and written outside them.
    "heads.blocks": Difference(
        {
            *("backward_logits", "gather_block_inputs", "iterate_blocks", "logits_buffer"),
            *("BlockInputs.fill_target", "TargetClasses.take"),
            *("PassInputs.by_class", "PassInputs.class_numbers", "PassInputs.half"),
            *("PassInputs.recall", "PassInputs.rows"),
        },
        {
            *("BlockGradients", "Masks", "Parameters", "backward_block", "inverse_norms"),
            *("Block.cut", "BlockLogits.shares", "TargetClasses.zero_elsewhere"),
        },
        {
            *("Block", "BlockInputs", "BlockLogits", "PassInputs", "TargetClasses"),
            *("block_products", "forward_block"),
        },
    ),
    "heads.classes": Difference(
        tf={"parameter_source"}, parameters={"class_terms", "target_cosines"}
    ),
    "heads.margins": Difference(parameters={"class_margins"}),
    # A module that holds buffers, or one beside a layer's variables.
    "heads.memory": Difference(parameters={"ClassState", "ClassState.leave"}),
    "heads.measuring": Difference(parameters={"nearest_classes"}),
    "heads.passes": Difference(
        {"ClassTerms", "Saved"},
        {
            *("GradientSource", "ParameterSource", "after", "gradient_passes"),
            *("loop_over_blocks", "passes"),
        },
    ),
    "heads.rounding": Difference({"rounded_matmul"}, {"rounded"}),
    "heads.sampling": Difference(parameters={"LocalClasses", "local_classes"}),
    "heads.stepping": Difference(
        {"Update.step", "may_step"},
        {
            *("UpdateSource", "Update.begin", "Update.may_step", "Update.read", "Update.stepped"),
            *("Update.bias", "Update.step_margins", "Update.step_one_bias", "Update.write"),
        },
        {"Update"},
    ),
    # XLA would slow TensorFlow down on a CPU. Its step is a graph, which takes rates as tensors.
    "learner": Difference({"Learner.compile"}, {"Rates"}),
    "losses.base": Difference(tf={"angles_to_all"}),  # XLA's arccosine is slow
    "optimizers": Difference({"set_step"}, {"Updater"}),
    # DistributedDataParallel takes the means; a strategy knows rank and size.
    "processes": Difference(tf={"in_replica", "mean_of_all"}, parameters={"Group"}),
}


def files(package: str) -> set[str]:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    return {path.relative_to(root).as_posix() for path in root.rglob("*.py")} | {
        path.name for path in root.glob("py.typed")
    }


MODULES = [
    file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    for file in sorted(files("marginface_torch") & files("marginface_tf"))
    if file.endswith(".py") and file != "__init__.py"
]


def public(module: Any) -> dict[str, Any]:
    """Return functions and classes that a module defines, but for those of a table of layers."""
    in_table = getattr(module, "LAYERS", {}).values()
    return {
        name: value
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and value not in in_table
    }


def methods(cls: type) -> dict[str, Any]:
    """Return public methods and properties that a class defines; of properties, their getters."""
    return {
        name: value.fget if isinstance(value, property) else getattr(cls, name)
        for name, value in vars(cls).items()
        if isinstance(value, property) or inspect.isroutine(value)
        if not name.startswith("_")
    }


def differences(torch: Any, tf: Any) -> Difference:
    """Compare the public names of two modules, their parameters, and those of their methods."""
    of_torch, of_tf = public(torch), public(tf)
    for name in of_torch.keys() & of_tf.keys():
        if inspect.isclass(of_torch[name]) and inspect.isclass(of_tf[name]):
            for names in (of_torch, of_tf):
                names |= {f"{name}.{key}": value for key, value in methods(names[name]).items()}
    common = of_torch.keys() & of_tf.keys()
    differing = {name for name in common if not same_signature(of_torch[name], of_tf[name])}
    return Difference(set(of_torch) - common, set(of_tf) - common, differing)


def same_signature(found: Any, expected: Any) -> bool:
    if inspect.isclass(found) != inspect.isclass(expected):
        return False
    try:
        assert_same_signature(found, expected)
    except AssertionError:
        return False
    return True


def test_same_files() -> None:
    of_torch, of_tf = files("marginface_torch"), files("marginface_tf")
    assert of_torch - of_tf == FILES_OF_TORCH
    assert of_tf - of_torch == FILES_OF_TF


@pytest.mark.parametrize("name", MODULES)
def test_same_code(torch: Framework, tf: Framework, name: str) -> None:
    """The same names and parameters in files of one name, but for the differences listed here."""
    found = differences(torch.module(name), tf.module(name))
    assert found == DIFFERENCES.get(name, Difference())


def test_same_layers(torch: Framework, tf: Framework) -> None:
    of_torch, of_tf = (each.module("backbones.layers").LAYERS for each in (torch, tf))
    assert of_torch.keys() == of_tf.keys()


def test_differences_are_of_files() -> None:
    assert DIFFERENCES.keys() <= set(MODULES)


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
    assert_same_signature(tf.backend.MarginHead, torch.backend.MarginHead)


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


def test_another_name_is_caught() -> None:
    def module(name: str, **values: Any) -> Any:
        made = types.ModuleType(name)
        for key, value in values.items():
            value.__module__ = name
            setattr(made, key, value)
        return made

    class Wide:
        def run(self, x: int) -> int:
            return x

        @property
        def size(self) -> int:
            return 1

    class Narrow:
        def run(self, y: int) -> int:
            return y

    class Same:
        def run(self, x: int) -> int:
            return x

        @property
        def size(self) -> int:
            return 2

    assert differences(module("a", A=Wide), module("b", A=Same)) == Difference()
    found = differences(module("a", A=Wide, f=lambda: 0), module("b", A=Narrow, g=lambda: 0))
    assert found == Difference({"f", "A.size"}, {"g"}, {"A.run"})


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
