"""One model in training: backbone, head, optimizer; what the core's trainer drives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from marginface import backbones
from marginface.arrays import ArraySource, ArraySpec
from marginface.backbones.folding import inference_graph
from marginface.backbones.naming import fit_weights
from marginface.backbones.parts import arrays_of
from marginface.checks import check_labels
from marginface.heads import HeadMetrics, Shard, whole_shape
from marginface.heads.initial import InitialHead
from marginface.learner import (
    STEP,
    LearnerArray,
    LearnerSpec,
    LoadSummary,
    StepResult,
    check_files,
    check_fits,
    check_names,
    head_name,
    micro_batches,
    name_in_head,
)
from marginface.loss_scaling import SCALE, LossScale
from marginface.model import ModelSpec
from marginface_tf.backbones.backbone import Backbone, rest, still_statistics, synchronize
from marginface_tf.devices import described, find_device, half_precision, on_device, set_up
from marginface_tf.heads.head import MarginHead
from marginface_tf.losses.base import Tensors
from marginface_tf.optimizers import clip_scale, create_optimizer, read_slots
from marginface_tf.processes import Group, mean_of_all, set_threads


class Rates(NamedTuple):
    """What a step multiplies by, as scalars of TensorFlow.

    Args:
        rate: the learning rate.
        step: the number of the step, from 1.
        scale: of the loss, 1 for none.
    """

    rate: Tensor
    step: Tensor
    scale: Tensor


class Learner:
    """Backbone, head and optimizer in TensorFlow; NumPy arrays in and out.

    The whole step is one graph, never compiled by XLA, whose depthwise convolutions are five times
    slower on a CPU.
    """

    def __init__(self, spec: LearnerSpec) -> None:
        group = cast("Group | None", spec.group)  # which `join` made
        set_threads(spec.threads)
        self.group = group if group is not None and group.size > 1 else None
        # In several processes the strategy places everything.
        self.device = "auto" if self.group else spec.device
        self.precision, self.accumulation = spec.precision, spec.accumulation
        self.scaling = LossScale() if spec.precision == "float16" else None
        device = find_device(spec.device)
        self.device_name = described(device)
        set_up(device, spec.precision, deterministic=spec.deterministic)
        with on_device(self.device):
            self._create(spec)

    def _create(self, spec: LearnerSpec) -> None:
        model, loss, num_classes = spec.model, spec.loss, spec.num_classes
        optimizer = spec.optimizer
        # This pass rewrites the same step in one way or another from start to start, with other
        # rounding: a resumed run would no longer be the uninterrupted one, bit for bit.
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
        self.model, self.optimizer_spec, self.dtype = model, optimizer, spec.dtype
        self.tuning = spec.tuning
        self.backbone = Backbone(model.graph(), seed=spec.seed, dtype=spec.dtype)
        self.backbone.recomputing = spec.recompute
        self.head = MarginHead(
            loss,
            model.embedding_size,
            num_classes,
            dtype=spec.dtype,
            update=spec.head_update,
            sample_rate=spec.sample_rate,
            sampling=spec.sampling,
            precision=spec.head_precision,
            interclass_filter=spec.interclass_filter,
            shard=Shard(self.group.rank, self.group.size) if self.group else None,
        )
        if self.group:
            # As for the whole batch: then any number of processes gives the same run.
            synchronize(self.backbone)
        graph = self.backbone.graph
        never_trained = self.tuning.never_trained(graph)
        named = {f"backbone.{name}": v for name, v in self.backbone.arrays.items()}
        self.parameters = {
            name: v for name, v in named.items() if v.trainable and name not in never_trained
        }
        if self.head.update is None:
            self.parameters |= {f"head.{v.name}": v for v in self.head.trainable_variables}
        undecayed = {f"backbone.{name}" for name in graph.undecayed()}
        undecayed.add("head.bias")
        self.optimizer = create_optimizer(
            optimizer,
            self.parameters,
            undecayed,
            factors=self.tuning.factors(graph),
            first_steps=self.tuning.first_steps(graph),
        )
        self.steps = 0
        rows = num_classes * loss.num_centers
        self.head.load_weight(InitialHead((rows, model.embedding_size), spec.seed))
        self._freeze(frozen=self.tuning.frozen_at(0))
        pixels = tf.TensorSpec([None, *model.input_size, 3], tf.uint8)
        self._embed = tf.function(self._infer, input_signature=[pixels])

    def _freeze(self, *, frozen: bool) -> None:
        """Hold the frozen parts still from now on, or let them learn."""
        self._frozen, graph = frozen, self.backbone.graph
        layers = self.tuning.frozen_layers(graph) if frozen else []
        rest(self.backbone, self.tuning.still_norms(graph, frozen=frozen))
        resting = set(arrays_of(graph, layers))
        self._learning = [name for name in self.parameters if name not in resting]
        # Other graphs. A sample's length must be known: it changes only where a batch has more
        # labels than slots.
        varying = self.head.sample_rate == 1
        if self.accumulation == 1:
            self._step = self._in_all(self._train, reduce_retracing=varying)
        else:
            self._step = self._accumulate
            self._first = self._in_all(self._embeddings)
            self._head_step = self._in_all(self._go_through_head, reduce_retracing=varying)
            self._second = self._in_all(self._go_back)
            self._last = self._in_all(self._move)

    def step(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        learning_rate: float,
        draw: Mapping[str, NDArray[Any]],
        *,
        measure: bool = False,
    ) -> StepResult:
        """Take one optimizer step on RGB images [batch, height, width, 3]."""
        if self.tuning.frozen_at(self.steps) != self._frozen:
            self._freeze(frozen=not self._frozen)
        check_labels(labels.min(), labels.max(), self.head.num_classes)
        pixels = self.model.preprocessing.pixels(images)
        noise, draws = backbones.split_noise(draw)
        with on_device(self.device):
            rates = Rates(
                tf.constant(learning_rate, self.dtype),
                tf.constant(self.steps + 1, tf.int64),
                tf.constant(self.scaling.factor if self.scaling else 1, self.dtype),
            )
            loss, norm, measured = self._step(
                pixels,
                noise,
                tf.constant(labels),
                {name: tf.constant(value) for name, value in draws.items()},
                tf.constant(measure),
                rates,
            )
        self.steps += 1
        if self.scaling:
            self.scaling = self.scaling.after(finite=bool(np.isfinite(norm)))
        metrics = HeadMetrics(*map(float, measured)) if measure else None
        return StepResult(float(loss), float(norm), metrics, self.scaling)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings [batch, embedding_size] in inference mode, not normalised."""
        pixels = self.model.preprocessing.pixels(images)
        with on_device(self.device):
            return np.asarray(self._embed(tf.constant(pixels)), np.float32)

    def array_specs(self) -> dict[str, LearnerArray]:
        """Describe every array that training goes on from."""
        specs = {}
        for name, variable in self._variables().items():
            rows, layout = self._rows(name), self._canonical(name)
            shape = layout.canonical if layout else whole_shape(variable.shape, rows)
            dtype = np.dtype(tf.as_dtype(variable.dtype).as_numpy_dtype)
            specs[name] = LearnerArray(ArraySpec(dtype, shape), rows)
        return specs

    def arrays(
        self, names: Iterable[str] | None = None, *, gather: bool = True
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Give the arrays one at a time, each good until the next step: copy what is kept longer.

        Args:
            names: which, in which order; None for all.
            gather: give the rows of all processes, which then call it together and take every
                array; else this process's.

        Raises:
            MarginfaceError: there is no array of such a name.
        """
        variables = self._variables()
        for name in check_names(names, variables):
            yield name, self._array(name, variables[name], gather=gather)

    def first_not_finite(self) -> str | None:
        """Name an array of this process that holds NaN or infinite values; None without one."""
        variables = self._variables()
        names = [n for n, v in variables.items() if tf.as_dtype(v.dtype).is_floating]
        checks = [tf.reduce_all(tf.math.is_finite(variables[name])) for name in names]
        finite = tf.stack(checks).numpy()  # the one time that the device is waited for
        return next((name for name, good in zip(names, finite, strict=True) if not good), None)

    def load_arrays(self, arrays: Mapping[str, ArraySource], *, strict: bool = True) -> LoadSummary:
        """Set arrays from those of all classes; a process takes its own rows.

        Args:
            arrays: by canonical name.
            strict: refuse names that are missing or unexpected.

        Raises:
            MarginfaceError: they do not fit, or are in a file that is damaged; nothing has been
                set then.
        """
        specs, variables = self.array_specs(), self._variables()
        summary = check_fits(arrays, specs, "the given state", strict=strict)
        rank = self.group.rank if self.group else 0
        check_files(arrays, specs, rank)
        self.head.before_loading(filter(None, map(name_in_head, summary.loaded)))
        for name in summary.loaded:
            if name == STEP:
                self.steps = int(np.asarray(arrays[name]))
                continue
            if name == SCALE:
                self.scaling = LossScale.from_array(np.asarray(arrays[name]))
                continue
            layout = self._canonical(name)
            # In one expression: an array that had a name would stay while the next one is read.
            variables[name].assign(
                (layout.to_framework if layout else np.asarray)(
                    specs[name].read_part(arrays[name], rank)
                )
            )
        return summary

    def _variables(self) -> dict[str, Any]:
        """Everything that training goes on from, by canonical name; all but STEP in place."""
        variables = {f"backbone.{name}": v for name, v in self.backbone.arrays.items()}
        variables |= {head_name(name): v for name, v in self.head.saved().items()}
        slots = read_slots(self.optimizer, self.parameters, self.optimizer_spec)
        variables |= {f"optimizer.{name}": slot for name, slot in slots.items()}
        if self.scaling:
            variables[SCALE] = tf.constant(self.scaling.to_array())
        return variables | {STEP: tf.constant(self.steps, tf.int64)}

    def _rows(self, name: str) -> list[range]:
        """Return each process's rows of an array of the head; nothing where all have all."""
        own = name_in_head(name)
        return [] if own is None else self.head.rows(own)

    def _array(self, name: str, variable: Any, *, gather: bool) -> NDArray[Any]:
        value, own = tf.convert_to_tensor(variable), name_in_head(name)
        if gather and self.group is not None and own is not None:
            with self.group.strategy.scope():
                value = self.head.whole(own, value)
        array: NDArray[Any] = np.asarray(value)  # a tensor's own memory; of a variable, a copy
        layout = self._canonical(name)
        return layout.to_canonical(array) if layout else array

    def _canonical(self, name: str) -> backbones.Layout | None:
        """Return the layout of an array of the backbone; a slot has its parameter's."""
        own = (
            name.split(".", 2)[2]
            if name.startswith("optimizer.") and name not in (STEP, SCALE)
            else name
        )
        return self.backbone.layouts.get(own.removeprefix("backbone."))

    def _in_all(self, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        """Return a graph of a function that all processes call together."""
        group = self.group
        if group is None:
            graph: Callable[..., Any] = tf.function(function, **options)
        else:
            graph = tf.function(lambda *given: group.strategy.run(function, given), **options)
        return graph

    def _train(
        self,
        pixels: Tensor,
        noise: Tensors,
        labels: Tensor,
        draws: Tensors,
        measure: Tensor,
        rates: Rates,
    ) -> tuple[Tensor, Tensor, HeadMetrics[Tensor]]:
        """Take a step on a batch in one go."""
        with tf.GradientTape() as tape:
            embeddings = self._embeddings(pixels, noise)
            loss, measured = self._loss(tape, embeddings, labels, draws, measure, rates)
            scaled = loss * rates.scale if self.scaling else loss
        slopes = tape.gradient(scaled, [self.parameters[name].value for name in self._learning])
        return *self._move(slopes, loss, rates), measured

    def _accumulate(
        self,
        pixels: NDArray[Any],
        noise: Mapping[str, NDArray[Any]],
        labels: Tensor,
        draws: Tensors,
        measure: Tensor,
        rates: Rates,
    ) -> tuple[Tensor, Tensor, HeadMetrics[Tensor]]:
        """Take the same step on a batch whose backbone is computed in micro-batches, twice each.

        Their embeddings come first; the head sees all of them at once. Then each micro-batch is
        computed again, with the same noise and without moving statistics, to go back through it.
        """
        parts = micro_batches(pixels, noise, self.accumulation)
        embeddings = tf.concat([self._first(*part) for part in parts], 0)
        loss, measured, d_embeddings, slopes = self._head_step(
            embeddings, labels, draws, measure, rates
        )
        for part, gradient in zip(parts, tf.split(d_embeddings, len(parts)), strict=True):
            slopes = self._second(*part, gradient, slopes)
        return *self._last(slopes, loss, rates), measured

    def _embeddings(self, pixels: Tensor, noise: Tensors) -> Tensor:
        """Return embeddings in training; the head takes them in its own precision."""
        with half_precision(self.backbone, self.precision):
            embeddings = self.backbone(self._input(pixels), noise, training=True)
        return tf.cast(embeddings, self.dtype)

    def _loss(
        self,
        tape: tf.GradientTape,
        embeddings: Tensor,
        labels: Tensor,
        draws: Tensors,
        measure: Tensor,
        rates: Rates,
    ) -> tuple[Tensor, HeadMetrics[Tensor]]:
        self.head.rate = rates.rate * self.tuning.head_factor
        if self.scaling:
            self.head.loss_scale = rates.scale
        with tape.stop_recording():
            # Before the loss's backward pass, which may move the class weights.
            measured = self.head.measure_if(measure, embeddings, labels, draws)
        return self.head(embeddings, labels, draws, training=True), measured

    def _go_through_head(
        self, embeddings: Tensor, labels: Tensor, draws: Tensors, measure: Tensor, rates: Rates
    ) -> tuple[Tensor, HeadMetrics[Tensor], Tensor, list[Tensor]]:
        """Return loss and gradients of embeddings and of all that learns; the backbone's are 0."""
        values = [self.parameters[name].value for name in self._learning]
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            loss, measured = self._loss(tape, embeddings, labels, draws, measure, rates)
            scaled = loss * rates.scale if self.scaling else loss
        zero = tf.UnconnectedGradients.ZERO
        d_embeddings, *slopes = tape.gradient(
            scaled, [embeddings, *values], unconnected_gradients=zero
        )
        return loss, measured, d_embeddings, slopes

    def _go_back(
        self, pixels: Tensor, noise: Tensors, d_embeddings: Tensor, slopes: list[Tensor]
    ) -> list[Tensor]:
        """Add a micro-batch's gradients to those of all that learns."""
        values = [self.parameters[name].value for name in self._learning]
        with still_statistics(self.backbone), tf.GradientTape() as tape:
            embeddings = self._embeddings(pixels, noise)
        zero = tf.UnconnectedGradients.ZERO
        own = tape.gradient(embeddings, values, d_embeddings, unconnected_gradients=zero)
        return [total + each for total, each in zip(slopes, own, strict=True)]

    def _move(self, slopes: list[Tensor], loss: Tensor, rates: Rates) -> tuple[Tensor, Tensor]:
        """Step all that learns; return the loss of all processes and the backbone's gradient norm.

        Args:
            slopes: the gradients of `_learning`, of a scaled loss where that is needed.
            loss: of this process.
            rates: of the step.
        """
        if self.scaling:
            slopes = [slope / rates.scale for slope in slopes]
        gradients = dict(zip(self._learning, slopes, strict=True))
        backbone = [name for name in gradients if name.startswith("backbone.")]
        if self.group:
            means = mean_of_all([gradients[name] for name in backbone] + [loss])
            gradients |= zip(backbone, means[:-1], strict=True)
            loss = means[-1]
        clipped, norm = clip_scale(
            [gradients[name] for name in backbone], self.optimizer_spec.clip_norm
        )
        gradients |= zip(backbone, clipped, strict=True)
        if self.scaling is None or tf.math.is_finite(norm):
            self.optimizer.apply(gradients, rates.rate, rates.step)
        return loss, norm

    def _infer(self, pixels: Tensor) -> Tensor:
        return self.backbone(self._input(pixels), training=False)

    def _input(self, pixels: Tensor) -> Tensor:
        scaling = self.model.preprocessing
        mean, std = (tf.constant(values, self.dtype) for values in (scaling.mean, scaling.std))
        return tf.transpose((tf.cast(pixels, self.dtype) - mean) / std, [0, 3, 1, 2])


def create_learner(spec: LearnerSpec) -> Learner:
    """Create a learner whose initial weights come from the core's generator."""
    return Learner(spec)


def create_embedder(
    model: ModelSpec,
    weights: Mapping[str, NDArray[Any]],
    *,
    threads: int | None = None,
    device: str = "auto",
    folded: bool = True,
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function from images [N, 3, H, W], preprocessed, to embeddings [N, D].

    Folded, BatchNorms are in the weights beside them: the same but for rounding, and faster.
    """
    set_threads(threads)
    set_up(find_device(device), "full", deterministic=False)
    graph = model.graph()
    arrays = fit_weights(graph, weights)
    if folded:
        graph, arrays = inference_graph(graph, arrays)
    with on_device(device):
        backbone = Backbone(graph, seed=0)
        backbone.set_arrays(arrays)
    images = tf.TensorSpec([None, 3, *model.input_size], tf.float32)
    network = tf.function(lambda x: backbone(x, training=False), input_signature=[images])

    def embed(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with on_device(device):
            return np.asarray(network(tf.constant(images)))

    return embed
