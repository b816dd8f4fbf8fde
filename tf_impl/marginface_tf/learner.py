"""One model in training: backbone, head, optimizer; what the core's trainer drives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from marginface import backbones
from marginface.backend import StepResult
from marginface.deployment.model import ModelSpec
from marginface.losses import MarginLoss
from marginface.training.checkpoints import check_fits
from marginface.training.initial import initial_head
from marginface.training.optimizers import Optimizer
from marginface_tf.backbone import create_backbone
from marginface_tf.head import MarginHead
from marginface_tf.losses.base import Tensors
from marginface_tf.optimizers import clip_scale, create_optimizer, read_slots
from marginface_tf.weights import load_weights


class Learner:
    """Backbone, head and optimizer in TensorFlow; NumPy arrays in and out.

    The whole step is one graph, never compiled by XLA, whose depthwise convolutions are five times
    slower on a CPU.
    """

    def __init__(
        self,
        model: ModelSpec,
        loss: MarginLoss,
        num_classes: int,
        optimizer: Optimizer,
        *,
        seed: int,
        threads: int | None = None,
        dtype: str = "float32",
    ) -> None:
        _set_threads(threads)
        # This pass rewrites the same step in one way or another from start to start, with other
        # rounding: a resumed run would no longer be the uninterrupted one, bit for bit.
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
        self.model, self.optimizer_spec, self.dtype = model, optimizer, dtype
        self.seed = seed
        self.backbone = create_backbone(
            model.backbone,
            model.embedding_size,
            input_size=model.input_size,
            dropout=model.dropout,
            seed=seed,
            dtype=dtype,
        )
        self.head = MarginHead(loss, model.embedding_size, num_classes, dtype=dtype)
        self.head.weight.assign(initial_head(self.head.weight.shape, seed))
        self.arrays = {f"backbone.{name}": v for name, v in self.backbone.arrays.items()}
        self.arrays |= {f"head.{v.name}": v for v in self.head.trainable_variables}
        self.arrays |= {f"head.state.{name}": v for name, v in self.head.state.items()}
        self.parameters = {name: v for name, v in self.arrays.items() if v.trainable}
        self.optimizer = create_optimizer(optimizer, self.parameters)
        self.steps = 0
        self._step = tf.function(self._train, reduce_retracing=True)
        pixels = tf.TensorSpec([None, *model.input_size, 3], tf.uint8)
        self._embed = tf.function(self._infer, input_signature=[pixels])

    def step(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        learning_rate: float,
        draw: Mapping[str, NDArray[Any]],
    ) -> StepResult:
        """Take one optimizer step on RGB images [batch, height, width, 3]."""
        loss, norm = self._step(
            tf.constant(self.model.preprocessing.pixels(images)),
            tf.constant(labels),
            tf.constant(learning_rate, self.dtype),
            tf.constant(self.steps + 1, tf.int64),
            {name: tf.constant(value) for name, value in draw.items()},
        )
        self.steps += 1
        return StepResult(float(loss), float(norm))

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings [batch, embedding_size] in inference mode, not normalised."""
        pixels = self.model.preprocessing.pixels(images)
        return np.asarray(self._embed(tf.constant(pixels)), np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that training goes on from, under canonical names."""
        layouts = self._layouts()
        found = {}
        for name, variable in self._variables().items():
            array = variable.numpy()
            layout = layouts.get(_without_slot(name))
            found[name] = layout.to_canonical(array) if layout else array
        return found | {"optimizer.step": np.array(self.steps, np.int64)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Set everything that `state` returns; names and shapes must be the same."""
        check_fits(state, self.state(), "the given state")
        layouts = self._layouts()
        self.steps = int(state["optimizer.step"])
        for name, variable in self._variables().items():
            layout = layouts.get(_without_slot(name))
            variable.assign(layout.to_framework(state[name]) if layout else state[name])

    def _variables(self) -> dict[str, Any]:
        """Every variable of the state, by canonical name."""
        slots = read_slots(self.optimizer, self.parameters, self.optimizer_spec)
        return self.arrays | {f"optimizer.{name}": slot for name, slot in slots.items()}

    def _layouts(self) -> dict[str, backbones.Layout]:
        return {f"backbone.{name}": layout for name, layout in self.backbone.layouts.items()}

    def _train(
        self, pixels: Tensor, labels: Tensor, rate: Tensor, step: Tensor, draw: Tensors
    ) -> tuple[Tensor, Tensor]:
        names = list(self.parameters)
        # Masks follow from seed and step, so that a resumed run draws the ones it would have drawn.
        self.backbone.masks.state.assign(tf.cast(tf.stack([self.seed, step]), "uint32"))
        with tf.GradientTape() as tape:
            embeddings = self.backbone(self._input(pixels), training=True)
            loss = self.head(embeddings, labels, draw, training=True)
        found = tape.gradient(loss, [self.parameters[name].value for name in names])
        gradients = dict(zip(names, found, strict=True))
        backbone = [name for name in names if name.startswith("backbone.")]
        clipped, norm = clip_scale(
            [gradients[name] for name in backbone], self.optimizer_spec.clip_norm
        )
        gradients |= zip(backbone, clipped, strict=True)
        self.optimizer.apply(gradients, rate, step)
        return loss, norm

    def _infer(self, pixels: Tensor) -> Tensor:
        return self.backbone(self._input(pixels), training=False)

    def _input(self, pixels: Tensor) -> Tensor:
        scaling = self.model.preprocessing
        mean, std = (tf.constant(values, self.dtype) for values in (scaling.mean, scaling.std))
        return tf.transpose((tf.cast(pixels, self.dtype) - mean) / std, [0, 3, 1, 2])


def create_learner(
    model: ModelSpec,
    loss: MarginLoss,
    num_classes: int,
    optimizer: Optimizer,
    *,
    seed: int,
    threads: int | None = None,
    dtype: str = "float32",
) -> Learner:
    """Return a learner whose initial weights come from the core's generator and `seed`."""
    return Learner(model, loss, num_classes, optimizer, seed=seed, threads=threads, dtype=dtype)


def create_embedder(
    model: ModelSpec, weights: Mapping[str, NDArray[Any]], *, threads: int | None = None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function from images [N, 3, H, W], preprocessed, to embeddings [N, D]."""
    _set_threads(threads)
    backbone = create_backbone(
        model.backbone, model.embedding_size, input_size=model.input_size, seed=0
    )
    load_weights(backbone, weights)
    images = tf.TensorSpec([None, 3, *model.input_size], tf.float32)
    network = tf.function(lambda x: backbone(x, training=False), input_signature=[images])

    def embed(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(network(tf.constant(images)))

    return embed


def _set_threads(threads: int | None) -> None:
    """Use so many CPU threads; TensorFlow can be told only before its first operation."""
    if threads is None or threads == tf.config.threading.get_intra_op_parallelism_threads():
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        warnings.warn(
            f"TensorFlow runs already: it keeps its number of threads, {threads} comes too late",
            stacklevel=4,
        )


def _without_slot(name: str) -> str:
    """Return the parameter's name of a slot's: a slot lies as its parameter does."""
    return name.split(".", 2)[2] if name.startswith("optimizer.") else name
