"""The pass over the blocks of classes, forward and backward, with its own gradients.

The order of events in a step, for embeddings x [batch, embedding_size] and class weights W; what a
process does between two bars it does for one block of classes after the other:

    head.forward
      shards: embeddings_of_all          gather x and labels: every process sees the whole batch
      target cosines, no gradient        from these the loss prepares state, margins, draws
      if the loss looks ahead            all between here and `combine` once, without gradient: it
                                         finishes its state by that, and prepares again
      ClassTerms.forward
        | w = W[block]                   a view; a copy of sampled classes or of another type
        |                                memories: mixed into it; `memory` draws that
        | 1/|w|                          where the loss is of cosines; kept for all classes
        | products = x w^T / |w|         matrix product 1, [batch, block]
        | logits = scale nu(products)    nu: the loss's `negatives`, of filtered cosines; bias,
        |                                limit of logits
        | top, total, tally              running logsumexp, without each sample's own class; and
        |                                what the loss counts of the others beside it
        | keep products?                 in the memory of d_W; in memory of their own; or drop them
        target cosines and bias          each sample's own class: where the margin goes, later
      -> Terms(cosines, bias, others, tally)    [batch] each, others = top + log(total)
      shards: combine                    sums of cosines and bias, logsumexp of others, over shards
      loss = mean(reduce(scale psi(cosines) + bias, others) + penalty)      psi: the margin
      state                              else the loss finishes it now, for the next step
      update: with_gradient_check

    loss.backward(), the same upwards
      update: with_gradient_check        parameters that have moved since: refused; d_loss above
                                         100, too, unless head.loss_scale says so
      psi, reduce, penalty               autograd, on [batch] values -> d_cosines, d_bias, d_others
      shards: combine                    gather these; d_others times the shard's part of the sum
      ClassTerms.backward
        d_cosines -> d_w of own classes  autograd through unit vectors of [batch] weights; and d_x
        update: is all finite?           if not (overflow of a scaled loss) no step is taken below
        | w = W[block]                   not stepped yet
        | products                       where they were kept, else matrix product 1 again
        | d_logits                       exp(logits - others) d_others: softmax without own class
        | d_bias[block]                  column sums; own classes' from the loss
        | d_products                     scale nu' d_logits, 0 where filtered
        | d_w = d_products^T x / |w|     matrix product 2, over the products if those lie in d_W
        |       - w (sum of d_products products) / |w|^2      as only the direction of w counts
        |       + d_w of own classes     from the target cosines
        | d_x += d_products w / |w|      matrix product 3
        | update: step W[block]          momentum or moments by d_w / loss_scale, then w; row_step
        update: step bias                one bias of all classes: added up over shards
      -> d_x, d_norms; d_W and d_bias without an update
      shards: embeddings_of_all          add up d_x over processes; each keeps its own samples'
      shards: added_gradient             add up d_bias where all classes share one bias

A shard's d_W needs no all-reduce: it is that of the whole batch already. Where logits are the scale
times products and nothing else, x takes the scale beforehand (`scale_folded`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from marginface_torch.compiling import compiled
from marginface_torch.heads.blocks import (
    Block,
    BlockInputs,
    PassInputs,
    Sums,
    TargetClasses,
    Terms,
    backward_logits,
    block_products,
    forward_block,
    gather_block_inputs,
    iterate_blocks,
    logits_buffer,
    safe_inverse,
    scale_folded,
)
from marginface_torch.heads.memory import mix, unmix
from marginface_torch.heads.rounding import rounded_matmul
from marginface_torch.heads.stepping import may_step

F = TypeVar("F", bound=Callable[..., Any])
FUSING_DEVICES = {"cuda"}  # where each way over a block's logits costs about as much as a product


class Saved(NamedTuple):
    """Tensors that the forward pass leaves to the backward pass.

    Args:
        embeddings: [batch, embedding_size].
        norms: [batch] or None.
        weight: [classes * centers, embedding_size].
        bias: [classes], [1] or None.
        inverse_norms: of the weights of the pass's classes, [classes * centers]; None for w . x.
        others: `Terms.others`.
    """

    embeddings: Tensor
    norms: Tensor | None
    weight: Tensor
    bias: Tensor | None
    inverse_norms: Tensor | None
    others: Tensor


class ClassTerms(torch.autograd.Function):
    """`Terms` of embeddings and parameters; everything else of a pass stands in `PassInputs`."""

    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        norms: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        anchor: Tensor | None,  # noqa: ARG004 - asks for a backward pass where nothing else does
        inputs: PassInputs,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the terms; keep products where the plan has room for them."""
        spec, plan = inputs.ops.spec, inputs.plan
        scaled = _scaled(embeddings, norms, inputs)
        inverse_norms = None
        if spec.normalized:
            inverse_norms = embeddings.new_empty(plan.classes * spec.num_centers)
        add = _fused(forward_block, inputs, embeddings)
        batch = len(embeddings)
        top = embeddings.new_full((batch, 1), torch.finfo(embeddings.dtype).min)
        tally = embeddings.new_zeros((len(spec.tallies), batch))
        sums = Sums(top, torch.zeros_like(top), tally)
        # The gradient of class weights, allocated now: until the backward pass writes a block's
        # rows there, they hold the block's products.
        d_weight = None
        if plan.in_gradient and ctx.needs_input_grad[2]:
            d_weight = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
        keep = any(ctx.needs_input_grad) and d_weight is None
        kept_products: list[Tensor] = []
        for block in iterate_blocks(inputs):
            # The block's weights and the inverse of their norms.
            rows = _pass_rows(block, inputs)
            weight_rows = inputs.rows(block.start, block.stop)
            w = weight[weight_rows].to(embeddings.dtype)
            w = mix(w, inputs.recall(weight_rows))
            block_inverse_norms = None
            if inverse_norms is not None:
                inverse_norms[rows] = safe_inverse(torch.linalg.vector_norm(w, dim=1))
                block_inverse_norms = inverse_norms[rows]
            # Matrix product 1.
            out = None if d_weight is None else logits_buffer(d_weight[rows], batch)
            products = block_products(scaled, w, block_inverse_norms, inputs.half, out)
            # Logits, added to the running sums over the other classes.
            block_inputs = gather_block_inputs(block, products, norms, bias, inputs)
            sums = add(inputs.ops, inputs.prepared, block_inputs, sums)
            if keep and block.stop <= plan.kept:
                kept_products.append(products)
        # Each sample's own class.
        target = TargetClasses(inputs, embeddings.dtype)
        cosines = target.cosines(embeddings, target.take(weight))
        target_bias = torch.zeros_like(cosines)
        if bias is not None:
            class_bias = bias if inputs.one_bias else bias[inputs.class_numbers(target.places)]
            target_bias = torch.where(target.here, class_bias.to(embeddings.dtype), 0)
        others = sums.total if spec.adds != "logsumexp" else sums.top + sums.total.log()
        others = others.squeeze(1)
        saved = Saved(embeddings, norms, weight, bias, inverse_norms, others)
        ctx.save_for_backward(*saved, *kept_products)
        ctx.inputs, ctx.d_weight = inputs, d_weight
        ctx.mark_non_differentiable(sums.tally)
        return cosines, target_bias, others, sums.tally

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_terms: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` took; step the parameters if that is wanted."""
        inputs: PassInputs = ctx.inputs
        tensors = ctx.saved_tensors
        saved, kept_products = Saved(*tensors[:6]), tensors[6:]
        d_weight, ctx.d_weight = ctx.d_weight, None  # its products are there for one pass only
        with torch.autocast(saved.embeddings.device.type, enabled=False):
            gradients = _backward(
                saved,
                kept_products,
                d_weight,
                inputs,
                Terms(*d_terms),
                embeddings_learn=ctx.needs_input_grad[0],
            )
        return *gradients, None, None


def _backward(
    saved: Saved,
    kept_products: tuple[Tensor, ...],
    products_in_gradient: Tensor | None,
    inputs: PassInputs,
    d_terms: Terms,
    *,
    embeddings_learn: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Go back through all blocks; step the parameters if there is an update.

    Args:
        saved: by the forward pass.
        kept_products: of the first blocks.
        products_in_gradient: the memory for the gradient of class weights, if it holds products.
        inputs: of the pass.
        d_terms: the gradients of the terms.
        embeddings_learn: whether the embeddings need a gradient.

    Returns:
        the gradients of embeddings, norms, weight and bias; None for what needs none.
    """
    spec, half, update = inputs.ops.spec, inputs.half, inputs.update
    embeddings, norms, weight, bias, inverse_norms, others = saved
    scaled = _scaled(embeddings, norms, inputs)
    d_scaled = torch.zeros_like(embeddings) if embeddings_learn else None
    d_norms = None if norms is None else torch.zeros_like(norms)
    d_bias = None if bias is None else embeddings.new_zeros(inputs.plan.classes)
    d_weight = products_in_gradient
    if d_weight is None and update is None and weight.requires_grad:
        d_weight = torch.empty_like(weight)
    # Where blocks of the gradient can be written as they are computed; else they are converted.
    direct = d_weight if d_weight is not None and d_weight.dtype is embeddings.dtype else None
    to_logits = _fused(backward_logits, inputs, embeddings)
    d_target_weight, d_target_embeddings = _target_gradients(
        saved, inputs, d_terms.cosines, embeddings_learn=embeddings_learn
    )
    finite = update is not None and may_step(update.settings, embeddings, *d_terms)
    for k, block in enumerate(iterate_blocks(inputs)):
        # The block's weights, not stepped yet, and its products.
        rows, weight_rows = _pass_rows(block, inputs), inputs.rows(block.start, block.stop)
        class_weight = weight[weight_rows].to(embeddings.dtype)
        memory = inputs.recall(weight_rows)
        w = mix(class_weight, memory)
        block_inverse_norms = None if inverse_norms is None else inverse_norms[rows]
        if products_in_gradient is not None:
            products = logits_buffer(products_in_gradient[rows], len(embeddings)).T
        elif k < len(kept_products):
            products = kept_products[k]
        else:
            products = block_products(scaled, w, block_inverse_norms, half)
        # From the terms to logits and products.
        block_inputs = gather_block_inputs(block, products, norms, bias, inputs)
        d_logits, d_products, d_block_norms = to_logits(
            inputs.ops, inputs.prepared, block_inputs, others, d_terms.others
        )
        if d_bias is not None:
            d_block_bias = d_bias[block.start : block.stop]
            torch.sum(d_logits, 0, out=d_block_bias)
            d_block_bias.index_add_(0, block.columns, d_terms.bias[block.samples])
        if d_norms is not None and d_block_norms is not None:
            d_norms += d_block_norms
        # d products / d w = x / |w| - products w / |w|^2: the second part lies along w.
        along = None
        if block_inverse_norms is not None:
            along = (d_products * products).sum(0).mul_(block_inverse_norms**2)
            d_products = d_products.mul_(block_inverse_norms)
        # Matrix product 2: to the class weights; products that lay in d_weight are overwritten.
        d_w = torch.empty_like(w) if direct is None else direct[rows]
        if not inputs.plan.constant:
            rounded_matmul(d_products.T, scaled, half, d_w)
            if along is not None:
                d_w.addcmul_(w, along[:, None], value=-1)
            d_w = unmix(d_w, class_weight, memory)
        # Matrix product 3: to the embeddings.
        if d_scaled is None:
            pass
        elif half is None:
            d_scaled.addmm_(d_products, w)
        else:
            d_scaled += rounded_matmul(d_products, w, half)
        if inputs.plan.constant:
            continue
        # The samples' own classes, which came by the target cosines.
        d_classes = d_w.view(-1, spec.num_centers, d_w.shape[1])
        d_classes.index_add_(0, block.columns, d_target_weight[block.samples])
        # The gradient is whole: step the block's weights, or leave it in d_weight.
        if update is not None:
            update.step("weight", weight_rows, d_w, finite=finite)
        elif d_weight is not None and direct is None:
            d_weight[rows] = d_w.to(weight.dtype)
    d_embeddings = d_scaled
    if d_embeddings is not None and d_target_embeddings is not None:
        if scale_folded(inputs.ops, norms):
            d_embeddings.mul_(inputs.radius)
        d_embeddings += d_target_embeddings
    if bias is not None and d_bias is not None:
        d_bias = d_bias.sum(0, keepdim=True) if inputs.one_bias else d_bias
        if update is not None:
            sampled = None if inputs.one_bias else inputs.sampled
            update.step("bias", slice(None) if sampled is None else sampled, d_bias, finite=finite)
            d_bias = None
        else:
            d_bias = d_bias.to(bias.dtype)
    return d_embeddings, d_norms, d_weight, d_bias


def _target_gradients(
    saved: Saved, inputs: PassInputs, d_cosines: Tensor, *, embeddings_learn: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients that the target cosines bring.

    They are those of the samples' own class weights, [batch, centers, embedding_size], and of the
    embeddings; None for the latter unless they learn.
    """
    target = TargetClasses(inputs, saved.embeddings.dtype)
    with torch.enable_grad():
        embeddings = saved.embeddings.detach().requires_grad_(embeddings_learn)
        target_weight = target.take(saved.weight).requires_grad_()
        cosines = target.cosines(embeddings, target_weight)
    sources = (target_weight, embeddings) if embeddings_learn else (target_weight,)
    d_target_weight, *d_embeddings = torch.autograd.grad(cosines, sources, d_cosines)
    return d_target_weight, d_embeddings[0] if embeddings_learn else None


def _scaled(embeddings: Tensor, norms: Tensor | None, inputs: PassInputs) -> Tensor:
    """Return the embeddings, times the scale where their products then are the logits."""
    return embeddings * inputs.radius if scale_folded(inputs.ops, norms) else embeddings


def _pass_rows(block: Block, inputs: PassInputs) -> slice:
    """Return a block's rows among the weights of all classes of the pass."""
    centers = inputs.ops.spec.num_centers
    return slice(block.start * centers, block.stop * centers)


def _fused(function: F, inputs: PassInputs, like: Tensor) -> F:
    """Return a function, compiled where products are in half precision on a GPU."""
    if inputs.half is None or like.device.type not in FUSING_DEVICES:
        return function
    fused: F = _compiled(function)
    return fused


@cache
def _compiled(function: Callable[..., Any]) -> Any:
    fused = compiled(function, dynamic=True)

    def call(ops: Any, prepared: Any, inputs: BlockInputs, *rest: Any) -> Any:
        # A block's number of own classes varies, and each number would be compiled anew; to compare
        # all labels costs nothing in a fused kernel.
        return fused(ops, prepared, inputs._replace(samples=None, columns=None), *rest)

    return call
