"""One model in training: backbone, head, optimizer; what the core's trainer drives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from marginface import backbones
from marginface.backend import StepResult
from marginface.heads import Precision, Sampling, Shard
from marginface.heads.initial import initial_head
from marginface.losses import MarginLoss
from marginface.model import ModelSpec
from marginface.optimizers import SGD, Optimizer
from marginface.runs.checkpoints import check_fits, head_name
from marginface_tf.backbones.backbone import create_backbone, synchronize
from marginface_tf.backbones.weights import load_weights
from marginface_tf.heads.head import MarginHead
from marginface_tf.losses.base import Tensors
from marginface_tf.optimizers import clip_scale, create_optimizer, read_slots
from marginface_tf.processes import Group, mean_of_all, set_threads


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
        group: Group | None = None,
        sample_rate: float = 1.0,
        sampling: Sampling = "partial_fc",
        precision: Precision = "full",
    ) -> None:
        set_threads(threads)
        self.group = group if group is not None and group.size > 1 else None
        # This pass rewrites the same step in one way or another from start to start, with other
        # rounding: a resumed run would no longer be the uninterrupted one, bit for bit.
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
        self.model, self.optimizer_spec, self.dtype = model, optimizer, dtype
        self.backbone = create_backbone(
            model.backbone,
            model.embedding_size,
            input_size=model.input_size,
            dropout=model.dropout,
            seed=seed,
            dtype=dtype,
        )
        self.head = MarginHead(
            loss,
            model.embedding_size,
            num_classes,
            dtype=dtype,
            update=optimizer if isinstance(optimizer, SGD) else None,
            sample_rate=sample_rate,
            sampling=sampling,
            precision=precision,
            shard=Shard(self.group.rank, self.group.size) if self.group else None,
        )
        if self.group:
            # As for the whole batch: then any number of processes gives the same run.
            synchronize(self.backbone)
        named = {f"backbone.{name}": v for name, v in self.backbone.arrays.items()}
        self.parameters = {name: v for name, v in named.items() if v.trainable}
        if self.head.update is None:
            self.parameters |= {f"head.{v.name}": v for v in self.head.trainable_variables}
        undecayed = {f"backbone.{name}" for name in self.backbone.graph.undecayed()}
        self.optimizer = create_optimizer(optimizer, self.parameters, undecayed | {"head.bias"})
        self.steps = 0
        rows = num_classes * loss.num_centers
        self.head.load_weight(initial_head((rows, model.embedding_size), seed))
        # A sample's length must be known: it changes only where a batch has more labels than slots.
        self._step = tf.function(self._together, reduce_retracing=sample_rate == 1)
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
        """Return everything that training goes on from, under canonical names.

        That of all classes, whatever the number of processes, which call it together.
        """
        found = self._alike_arrays()
        for name, array in self._head_arrays().items():
            found[head_name(name)] = array
        return found | {"optimizer.step": np.array(self.steps, np.int64)}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array that `state` returns."""
        found = {name: array.shape for name, array in self._alike_arrays().items()}
        for name, shape in self.head.shapes(self._head_slots()).items():
            found[head_name(name)] = shape
        return found | {"optimizer.step": ()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Set everything that `state` returns; names and shapes must be the same."""
        check_fits(state, self.shapes(), "the given state")
        layouts = self._layouts()
        self.steps = int(state["optimizer.step"])
        for name, variable in self._alike().items():
            layout = layouts.get(_without_slot(name))
            variable.assign(layout.to_framework(state[name]) if layout else state[name])
        given = {name: state[head_name(name)] for name in self.head.shapes(self._head_slots())}
        self.head.load_arrays(given, self._head_slots())

    def _alike(self) -> dict[str, Any]:
        """Every variable that all processes have alike, by canonical name."""
        found = {f"backbone.{name}": v for name, v in self.backbone.arrays.items()}
        slots = read_slots(self.optimizer, self.parameters, self.optimizer_spec)
        return found | {
            f"optimizer.{name}": slot for name, slot in slots.items() if ".head." not in name
        }

    def _alike_arrays(self) -> dict[str, NDArray[Any]]:
        """Their values, as they lie in every framework."""
        layouts = self._layouts()
        found = {}
        for name, variable in self._alike().items():
            array = variable.numpy()
            layout = layouts.get(_without_slot(name))
            found[name] = layout.to_canonical(array) if layout else array
        return found

    def _head_slots(self) -> dict[str, Any]:
        """The optimizer's slots of the head, as `<slot>.weight`; none where it steps itself."""
        slots = read_slots(self.optimizer, self.parameters, self.optimizer_spec)
        return {k.replace(".head.", "."): v for k, v in slots.items() if ".head." in k}

    def _head_arrays(self) -> dict[str, NDArray[Any]]:
        with self.group.strategy.scope() if self.group else nullcontext():
            return self.head.arrays(self._head_slots())

    def _layouts(self) -> dict[str, backbones.Layout]:
        return {f"backbone.{name}": layout for name, layout in self.backbone.layouts.items()}

    def _together(self, *given: Any) -> tuple[Tensor, Tensor]:
        """Take the step in all processes."""
        if self.group is None:
            return self._train(*given)
        found: tuple[Tensor, Tensor] = self.group.strategy.run(self._train, given)
        return found

    def _train(
        self, pixels: Tensor, labels: Tensor, rate: Tensor, step: Tensor, draw: Tensors
    ) -> tuple[Tensor, Tensor]:
        names = list(self.parameters)
        noise, draws = backbones.split_draw(draw)
        self.head.rate = rate
        with tf.GradientTape() as tape:
            embeddings = self.backbone(self._input(pixels), noise, training=True)
            loss = self.head(embeddings, labels, draws, training=True)
        found = tape.gradient(loss, [self.parameters[name].value for name in names])
        gradients = dict(zip(names, found, strict=True))
        backbone = [name for name in names if name.startswith("backbone.")]
        if self.group:
            means = mean_of_all([gradients[name] for name in backbone] + [loss])
            gradients |= zip(backbone, means[:-1], strict=True)
            loss = means[-1]
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
    group: Group | None = None,
    sample_rate: float = 1.0,
    sampling: Sampling = "partial_fc",
    precision: Precision = "full",
) -> Learner:
    """Return a learner whose initial weights come from the core's generator and `seed`."""
    return Learner(
        model,
        loss,
        num_classes,
        optimizer,
        seed=seed,
        threads=threads,
        dtype=dtype,
        group=group,
        sample_rate=sample_rate,
        sampling=sampling,
        precision=precision,
    )


def create_embedder(
    model: ModelSpec, weights: Mapping[str, NDArray[Any]], *, threads: int | None = None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function from images [N, 3, H, W], preprocessed, to embeddings [N, D]."""
    set_threads(threads)
    backbone = create_backbone(
        model.backbone, model.embedding_size, input_size=model.input_size, seed=0
    )
    load_weights(backbone, weights)
    images = tf.TensorSpec([None, 3, *model.input_size], tf.float32)
    network = tf.function(lambda x: backbone(x, training=False), input_signature=[images])

    def embed(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(network(tf.constant(images)))

    return embed


def _without_slot(name: str) -> str:
    """Return the parameter's name of a slot's: a slot lies as its parameter does."""
    return name.split(".", 2)[2] if name.startswith("optimizer.") else name
