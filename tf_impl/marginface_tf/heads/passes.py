"""The pass over the blocks of classes, forward and backward, with its own gradients.

The order of events in a step, for embeddings x [batch, embedding_size] and class weights W; what a
process does between two bars it does for one block of classes after the other:

    head.call
      shards: embeddings_of_all          gather x and labels: every process sees the whole batch
      target cosines, no gradient        from these the loss prepares state, margins, draws
      if the loss looks ahead            all between here and `combine` once, without gradient: it
                                         finishes its state by that, and prepares again
      class_terms, forward               _forward
        | w = W[block]                   source.block: a slice, or rows of a variable
        |                                memories: mixed into it; `memory` draws that
        | products = x w^T / |w|         matrix product 1, [batch, block]           forward_block
        | logits = scale nu(products)    nu: the loss's `negatives`, of filtered cosines; bias,
        |                                limit of logits
        | top, total, tally              running logsumexp, without each sample's own class; and
        |                                what the loss counts of the others beside it
        | keep products?                 those of the first blocks, as many as have room
        target cosines and bias          each sample's own class: where the margin goes, later
      -> Terms(cosines, bias, others, tally)    [batch] each, others = top + log(total)
      shards: combine                    sums of cosines and bias, logsumexp of others, over shards
      loss = mean(reduce(scale psi(cosines) + bias, others) + penalty)      psi: the margin
      state                              else the loss finishes it now, for the next step
      update: with_gradient_check

    tape.gradient(loss), the same upwards
      update: with_gradient_check        parameters that have moved since: refused; d_loss above
                                         100, too, unless head.loss_scale says so; counts the step
      psi, reduce, penalty               the tape, on [batch] values -> d_cosines, d_bias, d_others
      shards: combine                    gather these; d_others times the shard's part of the sum
      class_terms, backward              _backward
        d_cosines -> d_w of own classes  a tape through unit vectors of [batch] weights; and d_x
        source.begin                     update: is all finite, and the step not refused? may_step
        | w = W[block]                   source.block; not stepped yet
        | products                       where they were kept, else matrix product 1 again
        | d_logits                       exp(logits - others) d_others: softmax without own class
        | d_bias[block]                  column sums; own classes' from the loss
        | d_products                     scale nu' d_logits, 0 where filtered   backward_block
        | d_w = d_products^T x / |w|     matrix product 2
        |       - w (sum of d_products products) / |w|^2      as only the direction of w counts
        |       + d_w of own classes     from the target cosines
        | d_x of the block               matrix product 3
        | source.add                     write d_w to its place in d_W; or
        |                                update: momentum or moments by d_w / loss_scale, then w,
        |                                        before the next block is read; row_step
        | d_x += d_x of the block
        source.finish                    d_W, d_bias; or
                                         update: step the one bias, added up over shards
      -> d_x, d_norms; d_W and d_bias without an update
      shards: embeddings_of_all          add up d_x over processes; each keeps its own samples'
      shards: added_gradient             add up d_bias where all classes share one bias

A shard's d_W needs no all-reduce: it is that of the whole batch already. Where logits are the scale
times products and nothing else, x takes the scale beforehand (`scale_folded`).

The bars are a tf.while_loop, or two: over the blocks whose products are kept, then over the others.
Two things can run them:

    GradientSource, several blocks       the whole pass is one XLA program, which updates d_W in
                                         place; TensorFlow would copy it in every round
    UpdateSource                         the loop is TensorFlow's, as XLA cannot write variables;
                                         forward_block and backward_block are XLA programs each
    one block                            no loop, no XLA
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Protocol

import tensorflow as tf
from tensorflow import Tensor
from tensorflow.compiler.tf2xla.python import xla

from marginface.heads import HeadPlan
from marginface.losses import MarginLoss, Memory
from marginface_tf.heads.blocks import (
    Block,
    BlockGradients,
    BlockInputs,
    Parameters,
    Sums,
    TargetClasses,
    Terms,
    backward_block,
    forward_block,
)
from marginface_tf.heads.memory import mix
from marginface_tf.losses.base import LossOps

LoopVars = tuple[Tensor, ...]  # what goes from block to block
Writes = list[tf.Operation]
Forward = Callable[..., tuple[Terms, Any]]
Backward = Callable[..., dict[str, Tensor]]


class ParameterSource(Protocol):
    """Where a pass reads parameters, and where it leaves their gradients.

    `Writes` must have run before anybody gets a gradient: from the graph of a gradient, TensorFlow
    leaves out what no result depends on, assignments too.
    """

    def block(self, k: Tensor) -> Parameters:
        """Return the parameters of block `k`."""

    def target(self, target: TargetClasses) -> Parameters:
        """Return the parameters of the samples' own classes."""

    def begin(self, embeddings: Tensor, d_terms: Terms) -> LoopVars:
        """Begin a backward pass; return its loop variables."""

    def add(
        self, k: Tensor, parameters: Parameters, gradients: BlockGradients, loop_vars: LoopVars
    ) -> tuple[LoopVars, Writes]:
        """Take the gradients of block `k`; return the loop variables after it."""

    def finish(self, loop_vars: LoopVars) -> tuple[dict[str, Tensor], Writes]:
        """Return the gradients of parameters, by name, that somebody else needs."""


def passes(
    ops: LossOps[MarginLoss], plan: HeadPlan, source: ParameterSource
) -> tuple[Forward, Backward]:
    """Build both passes over parameters that stay where they are.

    The loop is not compiled: it reads a block's rows from the source at a time. The arithmetic of
    several blocks is.
    """
    on_block: Callable[..., Any] = partial(forward_block, ops, plan)
    back_on_block: Callable[..., Any] = partial(backward_block, ops, plan)
    if plan.blocks > 1:
        # A class is hashable; mypy looks at how its instances are.
        on_block, back_on_block = _compiled_blocks(type(ops), ops.spec, plan)  # type: ignore[arg-type]
    forward = partial(_forward, ops, plan, source, on_block)
    backward = partial(_backward, ops, plan, source, back_on_block)
    return _stacked(forward, backward) if plan.blocks == 1 else (forward, backward)


def gradient_passes(
    ops: LossOps[MarginLoss], plan: HeadPlan, parameters: Parameters
) -> tuple[Forward, Backward]:
    """Build both passes over parameters that get gradients.

    Several blocks are a loop that XLA compiles: without it TensorFlow copies the loop variables,
    gradient and all, in every round.
    """
    if plan.blocks == 1:
        return passes(ops, plan, GradientSource(ops.spec, plan, parameters))
    # A class is hashable; mypy looks at how its instances are.
    forward, backward = _compiled_passes(type(ops), ops.spec, plan)  # type: ignore[arg-type]
    return partial(forward, parameters), partial(backward, parameters)


class GradientSource:
    """The source of a pass over parameters that get gradients: the loop variables."""

    def __init__(self, spec: MarginLoss, plan: HeadPlan, parameters: Parameters) -> None:
        self.centers, self.plan = spec.num_centers, plan
        self.weight, self.bias, self.memory = parameters
        self.by_class = self.bias is not None and self.bias.shape[0] > 1

    def block(self, k: Tensor) -> Parameters:
        """Return slices."""
        block = Block(k, self.plan)
        bias = block.cut(self.bias) if self.by_class else self.bias
        memory = self.memory and Memory(*map(block.cut, self.memory))
        return Parameters(block.cut(self.weight, self.centers), bias, memory)

    def target(self, target: TargetClasses) -> Parameters:
        """Return the samples' rows."""
        bias = tf.gather(self.bias, target.places) if self.by_class else self.bias
        memory = self.memory and Memory(*(tf.gather(each, target.places) for each in self.memory))
        return Parameters(tf.gather(self.weight, target.rows), bias, memory)

    def begin(
        self,
        embeddings: Tensor,
        d_terms: Terms,  # noqa: ARG002 - an update looks whether they are finite
    ) -> LoopVars:
        """Return the gradients, all zero."""
        shape = [0] if self.bias is None else self.bias.shape
        weight_shape = [0] if self.plan.constant else tf.shape(self.weight)
        return tf.zeros(weight_shape, self.weight.dtype), tf.zeros(shape, embeddings.dtype)

    def add(
        self,
        k: Tensor,
        parameters: Parameters,  # noqa: ARG002 - an update needs their values
        gradients: BlockGradients,
        loop_vars: LoopVars,
    ) -> tuple[LoopVars, Writes]:
        """Write the block's gradients to their place, over those of classes it repeats."""
        (d_weight, d_bias), start = loop_vars, Block(k, self.plan).start
        if not self.plan.constant:
            d_block_weight = tf.cast(gradients.weight, d_weight.dtype)
            d_weight = _replace_rows(d_weight, d_block_weight, start * self.centers)
        if self.by_class:
            d_bias = _replace_rows(d_bias, gradients.bias, start)
        else:
            d_bias += gradients.bias
        return (d_weight, d_bias), []

    def finish(self, loop_vars: LoopVars) -> tuple[dict[str, Tensor], Writes]:
        """Return the gradients."""
        d_weight, d_bias = loop_vars
        if self.bias is not None:
            d_bias = tf.cast(d_bias, self.bias.dtype)
        return {"weight": d_weight, "bias": d_bias}, []


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
        source = GradientSource(spec, plan, parameters)
        on_block = partial(forward_block, ops, plan)
        back_on_block = partial(backward_block, ops, plan)
        return _stacked(
            partial(_forward, ops, plan, source, on_block),
            partial(_backward, ops, plan, source, back_on_block),
        )

    @partial(tf.function, jit_compile=True, autograph=False)
    def forward(parameters: Parameters, *rest: Any) -> tuple[Terms, Tensor]:
        return both(parameters)[0](*rest)

    @partial(tf.function, jit_compile=True, autograph=False)
    def backward(parameters: Parameters, *rest: Any) -> dict[str, Tensor]:
        return both(parameters)[1](*rest)

    return forward, backward


def _stacked(forward: Forward, backward: Backward) -> tuple[Forward, Backward]:
    """Wrap both passes so that kept products go between them as one tensor.

    A TensorArray cannot leave an XLA program.
    """

    def stacking(inputs: BlockInputs) -> tuple[Terms, Tensor]:
        terms, kept_products = forward(inputs)
        return terms, kept_products.stack()

    def unstacking(inputs: BlockInputs, kept: Tensor, *rest: Any) -> dict[str, Tensor]:
        kept_products = tf.TensorArray(kept.dtype, kept.shape[0]).unstack(kept)
        return backward(inputs, kept_products, *rest)

    return stacking, unstacking


def _forward(
    ops: LossOps[MarginLoss],
    plan: HeadPlan,
    source: ParameterSource,
    on_block: Callable[..., tuple[Sums, Tensor]],
    inputs: BlockInputs,
) -> tuple[Terms, tf.TensorArray]:
    """Go over all blocks; return the terms, and the products of the first blocks."""
    batch, dtype = tf.shape(inputs.embeddings)[0], inputs.embeddings.dtype
    size = min(plan.block, plan.classes) * ops.spec.num_centers

    def body(k: Tensor, *loop_vars: Any, keep: bool) -> LoopVars:
        *sums, kept_products = loop_vars
        after, products = on_block(k, inputs, source.block(k), Sums(*sums))
        return *after, kept_products.write(k, products) if keep else kept_products

    # All blocks: the running sums over the other classes.
    top, total, tally, kept_products = loop_over_blocks(
        plan,
        body,
        tf.fill([batch], dtype.min),
        tf.zeros([batch], dtype),
        tf.zeros([len(ops.spec.tallies), batch], dtype),
        tf.TensorArray(
            dtype,
            plan.kept_blocks,
            clear_after_read=False,  # there may be a second backward pass
            element_shape=[inputs.embeddings.shape[0], size],
        ),
    )
    # Each sample's own class.
    target = TargetClasses(ops.spec, plan, inputs.labels)
    parameters = source.target(target)
    cosines = target.cosines(inputs.embeddings, parameters.vectors(dtype))
    bias = tf.zeros_like(cosines)
    if parameters.bias is not None:
        bias = target.zero_elsewhere(tf.cast(parameters.bias, dtype))
    others = top + tf.math.log(total) if ops.spec.adds == "logsumexp" else total
    return Terms(cosines, bias, others, tally), kept_products


def _backward(
    ops: LossOps[MarginLoss],
    plan: HeadPlan,
    source: ParameterSource,
    back_on_block: Callable[..., BlockGradients],
    inputs: BlockInputs,
    kept_products: tf.TensorArray,
    others: Tensor,
    d_terms: Terms,
) -> dict[str, Tensor]:
    """Go back over all blocks; return the gradients by name."""
    # From the target cosines: to the samples' own class weights, and to the embeddings.
    embeddings, dtype = inputs.embeddings, inputs.embeddings.dtype
    target = TargetClasses(ops.spec, plan, inputs.labels)
    with tf.GradientTape() as tape:
        of_target = source.target(target)
        target_weight = tf.cast(of_target.weight, dtype)
        tape.watch([embeddings, target_weight])
        cosines = target.cosines(embeddings, mix(target_weight, of_target.memory))
    d_embeddings, d_target_weight = tape.gradient(
        cosines, [embeddings, target_weight], d_terms.cosines
    )

    def body(
        k: Tensor, d_embeddings: Tensor, d_norms: Tensor, *loop_vars: Tensor, keep: bool
    ) -> LoopVars:
        # The block's parameters as they are before its step; its products, if they were kept.
        parameters = source.block(k)
        products = kept_products.read(k) if keep else None
        gradients = back_on_block(k, inputs, parameters, d_terms, others, d_target_weight, products)
        # Its gradients to their place, or its step; the next block waits for that.
        loop_vars, writes = source.add(k, parameters, gradients, loop_vars)
        d_embeddings = after(writes, d_embeddings + gradients.embeddings)
        return d_embeddings, d_norms + gradients.norms, *loop_vars

    # All blocks, after it is known whether a step may be taken.
    loop_vars = source.begin(embeddings, d_terms)
    d_embeddings, d_norms, *last = loop_over_blocks(
        plan, body, d_embeddings, tf.zeros_like(others), *loop_vars
    )
    # The gradients of parameters, or the step of a bias that all classes share.
    gradients, writes = source.finish(tuple(last))
    return {"embeddings": after(writes, d_embeddings), "norms": d_norms, **gradients}


def after(writes: Writes | list[Tensor], value: Tensor) -> Tensor:
    """Return a value that nobody gets before something else has run."""
    with tf.control_dependencies(writes):
        return tf.identity(value)


def loop_over_blocks(plan: HeadPlan, body: Callable[..., LoopVars], *loop_vars: Tensor) -> LoopVars:
    """Run `body` on each block; return the loop variables after the last.

    First come the blocks whose products are kept: `body` gets `keep=True` for these.
    """
    if plan.blocks == 1:
        return body(tf.constant(0), *loop_vars, keep=plan.kept_blocks > 0)
    for first, last, keep in (
        (0, plan.kept_blocks, True),
        (plan.kept_blocks, plan.blocks, False),
    ):

        def on_round(k: Tensor, *values: Tensor, keep: bool = keep) -> LoopVars:
            return k + 1, *body(k, *values, keep=keep)

        def more(k: Tensor, *_: Tensor, last: int = last) -> Tensor:
            return k < last

        if first < last:
            _, *loop_vars = tf.while_loop(more, on_round, [tf.constant(first), *loop_vars])
    return tuple(loop_vars)


def _replace_rows(buffer: Tensor, rows: Tensor, start: Tensor) -> Tensor:
    """Return the buffer with the rows from `start` on replaced; by XLA, in place."""
    if buffer.shape == rows.shape:
        return rows
    at = tf.stack([start, *[tf.zeros_like(start)] * (rows.shape.rank - 1)])
    return xla.dynamic_update_slice(buffer, rows, at)
