"""The two frameworks behind one face of NumPy arrays, so that a case is written once."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import pytest

from marginface import load_backend
from marginface.backbones import Graph
from marginface.losses import Evaluation
from marginface.optimizers import Optimizer

Arrays = Mapping[str, Any]
# What every case computes on, as `use` has it.
DEVICE = os.environ.get("PARITY_DEVICE", "cpu")
MODULES = {"torch": "torch", "tf": "tensorflow"}


def use(device: str) -> None:
    """Let frameworks that are not imported yet, and what is started, see this device alone.

    A learner, whose device is "auto", then takes it, too.
    """
    global DEVICE
    DEVICE, _, number = device.partition(":")
    os.environ["PARITY_DEVICE"] = DEVICE
    if DEVICE == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    if number:  # which is then the first
        os.environ["CUDA_VISIBLE_DEVICES"] = number
    # Read at the first product, which may come before the first learner that is deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def installed() -> list[str]:
    """Return the names of the frameworks that can be imported."""
    return [name for name, module in MODULES.items() if importlib.util.find_spec(module)]


def require_some(names: Iterable[str]) -> None:
    """Stop the run unless there is a framework to test."""
    if not list(names):
        raise pytest.UsageError("no backend is installed, so no parity can be tested")


class Framework(Protocol):
    """What the cases ask of a framework; everything goes in and out as NumPy arrays."""

    name: str
    backend: Any

    def module(self, name: str) -> Any:
        """Return the backend's module of that name."""

    def seed(self, seed: int) -> None:
        """Seed the framework's own generator."""

    def array(self, tensor: Any) -> Any:
        """Return a tensor as a NumPy array, wherever it is."""

    def head(self, loss: Any, size: int, classes: int | None, dtype: str = "float32") -> Any:
        """Return a MarginHead."""

    def carry(self, head: Any, state: Arrays) -> None:
        """Set what a head's loss carries, by name, as `MarginLoss.evaluate` takes it."""

    def call(self, head: Any, x: Any, labels: Any, draw: Arrays | None = None) -> float:
        """Return the head's loss."""

    def evaluate(self, head: Any, x: Any, w: Any, labels: Any, **more: Any) -> Evaluation:
        """Return loss, gradients and next state of a head with weights `w`, as the spec does.

        `more` is `bias`, `state` and `draw`, as `MarginLoss.evaluate` takes them.
        """

    def backbone(self, graph: Graph, weights: Arrays, dtype: str = "float32") -> Any:
        """Return a backbone with these weights."""

    def embed(
        self, backbone: Any, images: Any, draw: Arrays | None = None, *, training: bool
    ) -> Any:
        """Return embeddings of images [N, 3, H, W]; in training the statistics move."""

    def differentiate(
        self, backbone: Any, images: Any, upstream: Any, draw: Arrays | None
    ) -> tuple[Any, dict[str, Any]]:
        """Return embeddings and gradients, by canonical name and of `images`.

        In training where there is `draw`, else in inference.
        """

    def optimize(
        self,
        spec: Optimizer,
        weights: Arrays,
        gradients: list[Arrays],
        rate: float,
        undecayed: set[str],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return weights and slots after one step for each element of `gradients`."""

    def clip(self, gradients: list[Any], clip_norm: float | None) -> tuple[list[Any], float]:
        """Return clipped gradients and the norm before."""


class Torch:
    """PyTorch."""

    name = "torch"

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.backend = load_backend("torch")
        torch.backends.cudnn.allow_tf32 = False  # float32 means that
        if DEVICE != "cpu":
            torch.set_default_device(DEVICE)

    def module(self, name: str) -> Any:
        return importlib.import_module(f"marginface_torch.{name}")

    def seed(self, seed: int) -> None:
        self.torch.manual_seed(seed)

    def array(self, tensor: Any) -> Any:
        return self.module("arrays").to_numpy(tensor)

    def head(self, loss: Any, size: int, classes: int | None, dtype: str = "float32") -> Any:
        return self.backend.MarginHead(loss, size, classes, dtype=getattr(self.torch, dtype))

    def carry(self, head: Any, state: Arrays) -> None:
        carried = head.carried()
        with self.torch.no_grad():
            for name, value in state.items():
                carried[name].copy_(self.torch.tensor(value))

    def call(self, head: Any, x: Any, labels: Any, draw: Arrays | None = None) -> float:
        draws = {name: self.torch.tensor(value) for name, value in (draw or {}).items()}
        return head(self.torch.tensor(x), self.torch.tensor(labels), draws).item()

    def evaluate(
        self,
        head: Any,
        x: Any,
        w: Any,
        labels: Any,
        *,
        bias: Any = None,
        state: Arrays | None = None,
        draw: Arrays | None = None,
    ) -> Evaluation:
        torch = self.torch
        with torch.no_grad():
            head.weight.copy_(torch.tensor(w))
            if head.bias is not None:
                head.bias.copy_(torch.tensor(bias))
        self.carry(head, state or {})
        embeddings = torch.tensor(x, requires_grad=True)
        draws = {name: torch.tensor(value) for name, value in (draw or {}).items()}
        loss = head(embeddings, torch.tensor(labels), draws)
        loss.backward()
        gradients = {
            "embeddings": embeddings.grad.cpu().numpy(),
            "weight": head.weight.grad.cpu().numpy(),
        }
        if head.bias is not None:
            gradients["bias"] = head.bias.grad.cpu().numpy()
        after = {name: value.cpu().numpy().copy() for name, value in head.carried().items()}
        return Evaluation(loss.item(), gradients, after)

    def backbone(self, graph: Graph, weights: Arrays, dtype: str = "float32") -> Any:
        backbone = self.module("backbones.backbone").Backbone(graph).to(getattr(self.torch, dtype))
        self.backend.load_weights(backbone, weights)
        return backbone

    def embed(
        self, backbone: Any, images: Any, draw: Arrays | None = None, *, training: bool
    ) -> Any:
        tensor = self.torch.tensor
        noise = None if draw is None else {name: tensor(value) for name, value in draw.items()}
        with self.torch.no_grad():
            return backbone.train(training)(tensor(images), noise).cpu().numpy()

    def differentiate(
        self, backbone: Any, images: Any, upstream: Any, draw: Arrays | None
    ) -> tuple[Any, dict[str, Any]]:
        tensor = self.torch.tensor
        backbone.train(draw is not None).zero_grad()
        x = tensor(images, requires_grad=True)
        given = None if draw is None else {name: tensor(value) for name, value in draw.items()}
        embeddings = backbone(x, given)
        embeddings.backward(tensor(upstream))
        named = dict(backbone.named_parameters())
        gradients = {name: p.grad.cpu().numpy() for name, p in named.items() if p.grad is not None}
        return embeddings.detach().cpu().numpy(), gradients | {"images": x.grad.cpu().numpy()}

    def optimize(
        self,
        spec: Optimizer,
        weights: Arrays,
        gradients: list[Arrays],
        rate: float,
        undecayed: set[str],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        code = self.module("optimizers")
        parameters = {
            name: self.torch.nn.Parameter(self.torch.tensor(value))
            for name, value in weights.items()
        }
        optimizer = code.create_optimizer(spec, parameters, undecayed)
        for group in optimizer.param_groups:
            group["lr"] = rate
        for step in gradients:
            for name, parameter in parameters.items():
                parameter.grad = self.torch.tensor(step[name])
            optimizer.step()
        slots = code.read_slots(optimizer, parameters, spec)
        return (
            {name: value.detach().cpu().numpy() for name, value in parameters.items()},
            {name: value.cpu().numpy() for name, value in slots.items()},
        )

    def clip(self, gradients: list[Any], clip_norm: float | None) -> tuple[list[Any], float]:
        tensors = [self.torch.tensor(gradient) for gradient in gradients]
        clipped, norm = self.module("optimizers").clip_scale(tensors, clip_norm)
        return [tensor.cpu().numpy() for tensor in clipped], float(norm)


class Tf:
    """TensorFlow."""

    name = "tf"

    def __init__(self) -> None:
        self.backend = load_backend("tf")
        import tensorflow

        self.tf = tensorflow
        tensorflow.config.experimental.enable_tensor_float_32_execution(False)

    def module(self, name: str) -> Any:
        return importlib.import_module(f"marginface_tf.{name}")

    def seed(self, seed: int) -> None:
        self.tf.random.set_seed(seed)

    def array(self, tensor: Any) -> Any:
        return tensor.numpy()

    def head(self, loss: Any, size: int, classes: int | None, dtype: str = "float32") -> Any:
        return self.backend.MarginHead(loss, size, classes, dtype=dtype)

    def carry(self, head: Any, state: Arrays) -> None:
        carried = head.carried()
        for name, value in state.items():
            carried[name].assign(value)

    def call(self, head: Any, x: Any, labels: Any, draw: Arrays | None = None) -> float:
        return float(head(x, labels, draw))

    def evaluate(
        self,
        head: Any,
        x: Any,
        w: Any,
        labels: Any,
        *,
        bias: Any = None,
        state: Arrays | None = None,
        draw: Arrays | None = None,
    ) -> Evaluation:
        head.weight.assign(w)
        sources = {"embeddings": self.tf.Variable(x), "weight": head.weight.value}
        if head.bias is not None:
            head.bias.assign(bias)
            sources["bias"] = head.bias.value
        self.carry(head, state or {})
        with self.tf.GradientTape() as tape:
            loss = head(self.tf.convert_to_tensor(sources["embeddings"]), labels, draw)
        gradients = {name: g.numpy() for name, g in tape.gradient(loss, sources).items()}
        after = {name: variable.numpy() for name, variable in head.carried().items()}
        return Evaluation(float(loss), gradients, after)

    def backbone(self, graph: Graph, weights: Arrays, dtype: str = "float32") -> Any:
        backbone = self.module("backbones.backbone").Backbone(graph, dtype=dtype)
        self.backend.load_weights(backbone, weights)
        return backbone

    def embed(
        self, backbone: Any, images: Any, draw: Arrays | None = None, *, training: bool
    ) -> Any:
        return backbone(images, draw, training=training).numpy()

    def differentiate(
        self, backbone: Any, images: Any, upstream: Any, draw: Arrays | None
    ) -> tuple[Any, dict[str, Any]]:
        x = self.tf.constant(images)
        trained = {name: v.value for name, v in backbone.arrays.items() if v.trainable}
        with self.tf.GradientTape() as tape:
            tape.watch(x)
            embeddings = backbone(x, draw, training=draw is not None)
        gradients = tape.gradient(embeddings, trained | {"images": x}, upstream)
        arrays = {name: g.numpy() for name, g in gradients.items() if g is not None}
        return embeddings.numpy(), {
            name: backbone.layouts[name].to_canonical(array) if name in trained else array
            for name, array in arrays.items()
        }

    def optimize(
        self,
        spec: Optimizer,
        weights: Arrays,
        gradients: list[Arrays],
        rate: float,
        undecayed: set[str],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        import keras

        code = self.module("optimizers")
        parameters = {
            name: keras.Variable(value, dtype=value.dtype.name) for name, value in weights.items()
        }
        optimizer = code.create_optimizer(spec, parameters, undecayed)
        for number, step in enumerate(gradients, 1):
            tensors = {name: self.tf.constant(step[name]) for name in parameters}
            dtype = next(iter(tensors.values())).dtype
            optimizer.apply(
                tensors, self.tf.constant(rate, dtype), self.tf.constant(number, self.tf.int64)
            )
        slots = code.read_slots(optimizer, parameters, spec)
        return (
            {name: value.numpy() for name, value in parameters.items()},
            {name: value.numpy() for name, value in slots.items()},
        )

    def clip(self, gradients: list[Any], clip_norm: float | None) -> tuple[list[Any], float]:
        tensors = [self.tf.constant(gradient) for gradient in gradients]
        clipped, norm = self.module("optimizers").clip_scale(tensors, clip_norm)
        return [tensor.numpy() for tensor in clipped], float(norm)


FRAMEWORKS: dict[str, type[Any]] = {"torch": Torch, "tf": Tf}


def lively_weights(graph: Graph, seed: int) -> dict[str, Any]:
    """Draw weights as a trained network's might be: no statistic, scale or slope at its default.

    Convolutions keep the activations' size, so that deep networks neither vanish nor overflow.
    """
    rng = np.random.default_rng(seed)
    weights: dict[str, Any] = {}
    for name, parameter in graph.parameters().items():
        shape = parameter.shape
        if len(shape) > 1:
            values = rng.normal(0, 1.1 / np.sqrt(np.prod(shape[1:])), shape)
        elif name.endswith("running_var") or parameter.size == 1:
            values = rng.uniform(0.6, 1.4, shape)
        elif parameter.size == 0.25:
            values = rng.uniform(0.05, 0.5, shape)
        else:
            values = rng.normal(0, 0.2, shape)
        weights[name] = values.astype(np.float32)
    return weights
