"""The way over all blocks of classes, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Protocol

import tensorflow as tf
from tensorflow import Tensor
from tensorflow.compiler.tf2xla.python import xla

from marginface.heads import HeadPlan
from marginface.losses import MarginLoss
from marginface_tf.heads.blocks import (
    Block,
    Given,
    Own,
    Parameters,
    Slopes,
    Terms,
    backward_block,
    forward_block,
)
from marginface_tf.losses.base import LossOps

Carried = tuple[Tensor, ...]
Done = list[tf.Operation]
Forward = Callable[..., tuple[Terms, Any]]
Backward = Callable[..., dict[str, Tensor]]


class Source(Protocol):
    """Where a pass takes parameters from, and where it leaves what it finds for them.

    `Done` is what must have run before anybody gets a gradient: in the graph of a gradient,
    TensorFlow leaves out what no result depends on, assignments too.
    """

    def part(self, k: Tensor) -> Parameters:
        """Return those of block `k`."""

    def own(self, own: Own) -> Parameters:
        """Return those of the samples' classes."""

    def start(self, left: Tensor, upstream: Terms) -> tuple[Carried, Done]:
        """Return what goes from block to block in the backward pass."""

    def put(
        self, k: Tensor, part: Parameters, found: Slopes, carried: Carried
    ) -> tuple[Carried, Done]:
        """Take the gradients of block `k`."""

    def finish(self, carried: Carried) -> tuple[dict[str, Tensor], Done]:
        """Return the gradients of all, by name, in as far as anybody else needs them."""


def passes(ops: LossOps[MarginLoss], plan: HeadPlan, source: Source) -> tuple[Forward, Backward]:
    """Return both passes over parameters that stay where they are.

    The loop is not compiled: it takes a block's rows from the source at a time. The arithmetic of
    several blocks is.
    """
    step: Callable[..., Any] = partial(forward_block, ops, plan)
    back: Callable[..., Any] = partial(backward_block, ops, plan)
    if plan.blocks > 1:
        # A class is hashable; mypy looks at how its instances are.
        step, back = _compiled_blocks(type(ops), ops.spec, plan)  # type: ignore[arg-type]
    forward = partial(_forward, ops, plan, source, step)
    backward = partial(_backward, ops, plan, source, back)
    return _stacked(forward, backward) if plan.blocks == 1 else (forward, backward)


def gradient_passes(
    ops: LossOps[MarginLoss], plan: HeadPlan, parameters: Parameters
) -> tuple[Forward, Backward]:
    """Return both passes over parameters that get gradients.

    Several blocks are a loop that XLA compiles: without it TensorFlow copies what the loop
    carries, gradient and all, in every round.
    """
    if plan.blocks == 1:
        return passes(ops, plan, Whole(ops.spec, plan, parameters))
    # A class is hashable; mypy looks at how its instances are.
    forward, backward = _compiled_passes(type(ops), ops.spec, plan)  # type: ignore[arg-type]
    return partial(forward, parameters), partial(backward, parameters)


class Whole:
    """Parameters of all classes, and their gradients."""

    def __init__(self, spec: MarginLoss, plan: HeadPlan, parameters: Parameters) -> None:
        self.centers, self.plan = spec.num_centers, plan
        self.weight, self.bias = parameters
        self.by_class = self.bias is not None and self.bias.shape[0] > 1

    def part(self, k: Tensor) -> Parameters:
        """Return slices."""
        block = Block(k, self.plan)
        bias = block.cut(self.bias) if self.by_class else self.bias
        return Parameters(block.cut(self.weight, self.centers), bias)

    def own(self, own: Own) -> Parameters:
        """Return the samples' rows."""
        bias = tf.gather(self.bias, own.labels) if self.by_class else self.bias
        return Parameters(tf.gather(self.weight, own.rows), bias)

    def start(
        self,
        left: Tensor,
        upstream: Terms,  # noqa: ARG002 - a source that steps them looks whether it may
    ) -> tuple[Carried, Done]:
        """Return the gradients, all zero."""
        shape = [0] if self.bias is None else self.bias.shape
        return (tf.zeros_like(self.weight), tf.zeros(shape, left.dtype)), []

    def put(
        self,
        k: Tensor,
        part: Parameters,  # noqa: ARG002 - a source that steps them needs their values
        found: Slopes,
        carried: Carried,
    ) -> tuple[Carried, Done]:
        """Write them to their place; of classes in two blocks, the last time for good."""
        (d_weight, d_bias), start = carried, Block(k, self.plan).start
        own = tf.cast(found.weight, d_weight.dtype)
        d_weight = _write(d_weight, own, start * self.centers)
        d_bias = _write(d_bias, found.bias, start) if self.by_class else d_bias + found.bias
        return (d_weight, d_bias), []

    def finish(self, carried: Carried) -> tuple[dict[str, Tensor], Done]:
        """Return them."""
        found = dict(zip(("weight", "bias"), carried, strict=True))
        if self.bias is not None:
            found["bias"] = tf.cast(found["bias"], self.bias.dtype)
        return found, []


@lru_cache
def _compiled_blocks(
    kind: type[LossOps[MarginLoss]], spec: MarginLoss, plan: HeadPlan
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    compiled = partial(tf.function, jit_compile=True, autograph=False)
    return (
        compiled(partial(forward_block, kind(spec), plan)),
        compiled(partial(backward_block, kind(spec), plan)),
    )


@lru_cache
def _compiled_passes(
    kind: type[LossOps[MarginLoss]], spec: MarginLoss, plan: HeadPlan
) -> tuple[Forward, Backward]:
    ops = kind(spec)

    def both(parameters: Parameters) -> tuple[Forward, Backward]:
        source = Whole(spec, plan, parameters)
        step, back = partial(forward_block, ops, plan), partial(backward_block, ops, plan)
        return _stacked(
            partial(_forward, ops, plan, source, step), partial(_backward, ops, plan, source, back)
        )

    @partial(tf.function, jit_compile=True, autograph=False)
    def forward(parameters: Parameters, *rest: Any) -> tuple[Terms, Tensor]:
        return both(parameters)[0](*rest)

    @partial(tf.function, jit_compile=True, autograph=False)
    def backward(parameters: Parameters, *rest: Any) -> dict[str, Tensor]:
        return both(parameters)[1](*rest)

    return forward, backward


def _stacked(forward: Forward, backward: Backward) -> tuple[Forward, Backward]:
    """Return both with kept products as one tensor between them: no list leaves an XLA program."""

    def stacking(given: Given) -> tuple[Terms, Tensor]:
        terms, kept = forward(given)
        return terms, kept.stack()

    def unstacking(given: Given, kept: Tensor, *rest: Any) -> dict[str, Tensor]:
        products = tf.TensorArray(kept.dtype, kept.shape[0]).unstack(kept)
        return backward(given, products, *rest)

    return stacking, unstacking


def _forward(
    ops: LossOps[MarginLoss],
    plan: HeadPlan,
    source: Source,
    step: Callable[..., tuple[Tensor, Tensor, Tensor]],
    given: Given,
) -> tuple[Terms, tf.TensorArray]:
    """Return the terms, and the products of the first blocks."""
    batch, dtype = tf.shape(given.left)[0], given.left.dtype
    size = min(plan.block, plan.classes) * ops.spec.num_centers

    def add(k: Tensor, top: Tensor, total: Tensor, kept: Any, *, keep: bool) -> Carried:
        top, total, products = step(k, given, source.part(k), top, total)
        return top, total, kept.write(k, products) if keep else kept

    top, total, kept = _over_blocks(
        plan,
        add,
        tf.fill([batch], dtype.min),
        tf.zeros([batch], dtype),
        tf.TensorArray(
            dtype,
            plan.kept_blocks,
            clear_after_read=False,  # there may be a second pass back
            element_shape=[given.left.shape[0], size],
        ),
    )
    own = Own(ops.spec, plan, given.labels)
    found = source.own(own)
    cosines = own.products(given.left, tf.cast(found.weight, dtype))
    bias = tf.zeros_like(cosines)
    if found.bias is not None:
        bias = own.only(tf.cast(found.bias, dtype))
    others = total if ops.spec.binary else top + tf.math.log(total)
    return Terms(cosines, bias, others), kept


def _backward(
    ops: LossOps[MarginLoss],
    plan: HeadPlan,
    source: Source,
    back: Callable[..., Slopes],
    given: Given,
    kept: tf.TensorArray,
    others: Tensor,
    upstream: Terms,
) -> dict[str, Tensor]:
    """Return the gradients by name."""
    left, dtype = given.left, given.left.dtype
    own = Own(ops.spec, plan, given.labels)
    with tf.GradientTape() as tape:
        rows = tf.cast(source.own(own).weight, dtype)
        tape.watch([left, rows])
        cosines = own.products(left, rows)
    d_left, d_own = tape.gradient(cosines, [left, rows], upstream.cosines)

    def add(k: Tensor, d_left: Tensor, d_radius: Tensor, *carried: Tensor, keep: bool) -> Carried:
        part = source.part(k)
        products = kept.read(k) if keep else None
        found = back(k, given, part, upstream, others, d_own, products)
        carried, done = source.put(k, part, found, carried)
        return after(done, d_left + found.left), d_radius + found.radius, *carried

    first, done = source.start(left, upstream)
    none = tf.zeros_like(others)
    d_left, d_radius, *last = _over_blocks(plan, add, after(done, d_left), none, *first)
    found, done = source.finish(tuple(last))
    return {"left": after(done, d_left), "radius": d_radius, **found}


def after(done: Done | list[Tensor], value: Tensor) -> Tensor:
    """Return a value that nobody gets before something else is done."""
    with tf.control_dependencies(done):
        return tf.identity(value)


def _over_blocks(plan: HeadPlan, add: Callable[..., Carried], *carried: Tensor) -> Carried:
    """Return what `add` carries from block to block, first those whose products are kept."""
    if plan.blocks == 1:
        return add(tf.constant(0), *carried, keep=plan.kept_blocks > 0)
    for first, last, keep in (
        (0, plan.kept_blocks, True),
        (plan.kept_blocks, plan.blocks, False),
    ):

        def body(k: Tensor, *values: Tensor, keep: bool = keep) -> Carried:
            return k + 1, *add(k, *values, keep=keep)

        def more(k: Tensor, *_: Tensor, last: int = last) -> Tensor:
            return k < last

        if first < last:
            _, *carried = tf.while_loop(more, body, [tf.constant(first), *carried])
    return tuple(carried)


def _write(buffer: Tensor, values: Tensor, start: Tensor) -> Tensor:
    """Return the buffer with rows from `start` on replaced; by XLA, in place."""
    if buffer.shape == values.shape:
        return values
    at = tf.stack([start, *[tf.zeros_like(start)] * (values.shape.rank - 1)])
    return xla.dynamic_update_slice(buffer, values, at)
