"""The arithmetic of one block of classes, forward and backward.

A gradient is called `d_` and the name of what it is of: `d_logits` is d loss / d logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import HeadPlan, Precision, check_logits
from marginface.losses import MIN_NORM, MarginLoss, Memory
from marginface_tf.heads.memory import Memories, mix, unmix
from marginface_tf.heads.rounding import rounded
from marginface_tf.losses.base import LossOps, Tensors


@dataclass(frozen=True)
class PassInputs:
    """What a pass over the classes takes, beside embeddings and parameters.

    Args:
        ops: the loss.
        prepared: from `ops.prepare`, [batch] each.
        radius: from `ops.radius`.
        plan: the blocks of classes, and which products are kept.
        labels: with the three that follow, as in `LocalClasses`.
        interclass_filter: as in `MarginHead`.
        memories: what the loss mixes into the class weights; None for nothing.
    """

    ops: LossOps[MarginLoss]
    prepared: Tensors
    radius: Tensor | float
    plan: HeadPlan
    labels: Tensor
    sampled: Tensor | None = None
    log_weights: Tensor | None = None
    used: Tensor | None = None
    interclass_filter: float | None = None
    memories: Memories | None = None


class Terms(NamedTuple):
    """What a sample's loss is made of, [batch] each.

    Args:
        cosines: with the sample's own class (w . x where nothing is normalised); 0 where that class
            is elsewhere.
        bias: of the sample's own class; 0 without one, or elsewhere.
        others: all other classes' logits, added up as `MarginLoss.adds` says.
        tally: [tallies, batch], the sums of `LossOps.tally` over all other classes; no gradient.
    """

    cosines: Tensor
    bias: Tensor
    others: Tensor
    tally: Tensor


class Sums(NamedTuple):
    """Running sums over all other classes than a sample's own.

    Args:
        top: [batch], the highest logit so far.
        total: [batch], the sum so far, of exp(logit - top), or of what `MarginLoss.adds` says.
        tally: [tallies, batch], as in `Terms`.
    """

    top: Tensor
    total: Tensor
    tally: Tensor


class BlockInputs(NamedTuple):
    """What the logits of every block are made of, beside its parameters.

    Args:
        embeddings: [batch, embedding_size].
        radius: what logits are multiplied by, from `ops.radius`.
        norms: [batch], which logits are multiplied by besides the radius; None for nothing.
        prepared: from `LossOps.prepare`, [batch] each.
        labels: [batch], places of the samples' own classes.
        log_weights: [classes], added to the logits in the sum over a sample of classes; None for 0.
        used: number of classes that count, the first of them; None for all.
        interclass_filter: as in `MarginHead`.
    """

    embeddings: Tensor
    radius: Tensor | float
    norms: Tensor | None
    prepared: Tensors
    labels: Tensor
    log_weights: Tensor | None
    used: Tensor | None
    interclass_filter: float | None = None


class Parameters(NamedTuple):
    """Weights [classes * centers, embedding_size], and bias [classes] or [1], of some classes.

    With them comes what the loss mixes into the weights.
    """

    weight: Tensor
    bias: Tensor | None
    memory: Memory | None = None

    def vectors(self, dtype: tf.DType) -> Tensor:
        """Return the class vectors: the weights in a type, with what is mixed into them."""
        return mix(tf.cast(self.weight, dtype), self.memory)


class BlockGradients(NamedTuple):
    """What a block adds to the gradients of all, and the gradients of its own parameters."""

    embeddings: Tensor
    norms: Tensor
    weight: Tensor
    bias: Tensor


def unit_vectors(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of length 1, and the norms; a zero row stays zero, with zero gradient."""
    squares = tf.reduce_sum(vectors * vectors, -1)
    short = tf.sqrt(squares) <= MIN_NORM
    # The root's slope at 0 is infinite, and times 0 it is no number: short rows never reach it.
    norms = tf.sqrt(tf.where(short, tf.ones_like(squares), squares))
    inverse = tf.where(short, tf.zeros_like(norms), 1 / norms)
    return vectors * inverse[..., None], tf.where(short, tf.zeros_like(norms), norms)


def safe_inverse(norms: Tensor) -> Tensor:
    """Return 1 / norms; 0 for a vector too short to have a direction."""
    return tf.where(norms <= MIN_NORM, tf.zeros_like(norms), 1 / norms)


def weight_rows(classes: Tensor, centers: int) -> Tensor:
    """Return the rows [classes * centers] of class weights."""
    return tf.reshape(classes[:, None] * centers + tf.range(centers, dtype=classes.dtype), [-1])


class TargetClasses:
    """Each sample's own class, and which of these are in this process's pass.

    Attributes:
        here: [batch], whether the sample's class is in the pass.
        places: [batch], its place there; 0 for those elsewhere.
        rows: [batch * centers], of its weights.
    """

    def __init__(self, spec: MarginLoss, plan: HeadPlan, labels: Tensor) -> None:
        self.spec = spec
        self.here = (labels >= 0) & (labels < plan.classes)
        self.places = tf.where(self.here, labels, tf.zeros_like(labels))
        self.rows = weight_rows(self.places, spec.num_centers)

    def cosines(self, embeddings: Tensor, target_weight: Tensor) -> Tensor:
        """Return the target cosines [batch], or w . x; 0 for samples whose class is elsewhere.

        Args:
            embeddings: [batch, embedding_size].
            target_weight: the class vectors of `rows`, [batch * centers, embedding_size].
        """
        right = tf.reshape(target_weight, [-1, self.spec.num_centers, target_weight.shape[1]])
        right = unit_vectors(right)[0] if self.spec.normalized else right
        return self.zero_elsewhere(tf.reduce_max(tf.reduce_sum(right * embeddings[:, None], 2), 1))

    def zero_elsewhere(self, values: Tensor) -> Tensor:
        """Return values [batch]; 0 for samples whose class is elsewhere."""
        return tf.where(self.here, values, tf.zeros_like(values))


class Block:
    """The block that is computed in round `k`: the classes at places from `start`, `size` of them.

    XLA wants all blocks of one size, so the block of the last classes begins early enough to be
    full. It is computed first. Its first classes, the `repeated`, are those of another block, too:
    they count for nothing here, and that block overwrites what this one writes for them.
    16 classes in blocks of 6:

        k = 0              ==....       =: repeated
        k = 1    ......
        k = 2          ......
    """

    def __init__(self, k: Tensor, plan: HeadPlan) -> None:
        self.size = min(plan.block, plan.classes)
        self.start = tf.where(k == 0, plan.classes - self.size, (k - 1) * plan.block)
        self.repeated = tf.where(k == 0, self.size * plan.blocks - plan.classes, 0)

    def cut(self, values: Tensor, rows_per_class: int = 1) -> Tensor:
        """Cut the block's rows out of values that have `rows_per_class` for each class."""
        first = [self.start * rows_per_class, *([0] * (values.shape.rank - 1))]
        return tf.slice(values, first, [self.size * rows_per_class, *values.shape[1:]])


class Masks:
    """Masks of logits [batch, block]: a sample's own class, and all that the sum leaves out."""

    def __init__(self, block: Block, inputs: BlockInputs) -> None:
        columns = tf.range(block.size, dtype=inputs.labels.dtype)
        places = columns + tf.cast(block.start, columns.dtype)
        repeated = columns < tf.cast(block.repeated, columns.dtype)
        self.target = (places == inputs.labels[:, None]) & ~repeated
        self.left_out = self.target | repeated
        if inputs.used is not None:
            self.left_out |= places >= tf.cast(inputs.used, places.dtype)


def filter_cosines(cosines: Tensor, limit: Tensor | float | None) -> Tensor:
    """Return cosines, 0 in place of those above the limit; None for no limit."""
    return cosines if limit is None else tf.where(cosines > limit, tf.zeros_like(cosines), cosines)


class BlockLogits:
    """Logits of one block, and the way back to the products that they are made of.

    Attributes:
        logits: [batch, block].
        cosines: [batch, block], filtered; not where the scale is folded into the products.
        unclamped: [batch, block], where no limit cut a logit off; None without a limit.
        log_weights: [block] or None.
    """

    def __init__(
        self,
        ops: LossOps[MarginLoss],
        products: Tensor,
        inputs: BlockInputs,
        parameters: Parameters,
        block: Block,
    ) -> None:
        self.spec = spec = ops.spec
        self.products, self.radius, self.norms = products, inputs.radius, inputs.norms
        self.folded = scale_folded(ops, inputs.norms)
        self.limit = inputs.interclass_filter
        if self.folded:
            # Products have the scale in them. Those that were kept stay as they are.
            self.limit = None if self.limit is None else self.limit * inputs.radius
            self.negatives = logits = filter_cosines(products, self.limit)
        else:
            with tf.GradientTape() as self.tape:  # the loss's own code: the tape goes back
                self.tape.watch(products)
                best = products
                if spec.num_centers > 1:
                    centers = [-1, block.size, spec.num_centers]
                    best = tf.reduce_max(tf.reshape(best, centers), 2)
                best = filter_cosines(best, self.limit)
                self.negatives = ops.negatives(best, inputs.prepared)
            check_logits(spec.name, "negatives", self.negatives, best)
            self.cosines = best
            logits = self.negatives * self._scale()
        if parameters.bias is not None:
            logits += tf.cast(parameters.bias, logits.dtype)
        limit = spec.logit_limit
        self.unclamped = None if limit is None else tf.abs(logits) <= limit
        self.logits = logits if limit is None else tf.clip_by_value(logits, -limit, limit)
        self.log_weights = None
        if inputs.log_weights is not None:
            self.log_weights = tf.cast(block.cut(inputs.log_weights), logits.dtype)

    def _scale(self) -> Tensor:
        return self.radius if self.norms is None else self.radius * self.norms[:, None]

    def shares(self, others: Tensor) -> Tensor:
        """Return d others / d logits [batch, block]: each class's share of the sum."""
        if self.spec.adds == "logsumexp":
            shift = others[:, None]
            if self.log_weights is not None:
                shift -= self.log_weights
            shares = tf.exp(self.logits - shift)
        else:
            by_softplus = self.spec.adds == "softplus"
            shares = tf.sigmoid(self.logits) if by_softplus else tf.ones_like(self.logits)
            if self.log_weights is not None:
                shares *= tf.exp(self.log_weights)
        if self.unclamped is None:
            return shares
        return tf.where(self.unclamped, shares, tf.zeros_like(shares))

    def backward(self, d_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return `d_products` [batch, block * centers] and `d_norms` [batch]."""
        if self.folded:
            d_products = d_logits
            if self.limit is not None:
                d_products = tf.where(self.products > self.limit, tf.zeros_like(d_logits), d_logits)
            return d_products, tf.zeros_like(d_logits[:, 0])
        d_norms = tf.zeros_like(d_logits[:, 0])
        if self.norms is not None:
            d_norms = tf.reduce_sum(d_logits * self.negatives, 1) * self.radius
        return self.tape.gradient(self.negatives, self.products, d_logits * self._scale()), d_norms


def forward_block(
    ops: LossOps[MarginLoss],
    plan: HeadPlan,
    k: Tensor,
    inputs: BlockInputs,
    parameters: Parameters,
    sums: Sums,
) -> tuple[Sums, Tensor]:
    """Add a block to the running sums over all other classes than a sample's own.

    Args:
        ops: the loss.
        plan: the blocks.
        k: which block.
        inputs: of every block.
        parameters: the block's.
        sums: over the blocks before it.

    Returns:
        the sums with the block, and the block's products.
    """
    spec, block = ops.spec, Block(k, plan)
    left_out = Masks(block, inputs).left_out
    w = parameters.vectors(inputs.embeddings.dtype)
    products = block_products(_scaled(ops, inputs), w, inverse_norms(spec, w), plan.precision)
    block_logits = BlockLogits(ops, products, inputs, parameters, block)
    logits, log_weights = block_logits.logits, block_logits.log_weights
    top, total, tally = sums
    if spec.tallies:
        tally += _tally_block(ops, inputs, block_logits, left_out)
    if spec.adds != "logsumexp":
        terms = tf.nn.softplus(logits) if spec.adds == "softplus" else logits
        terms = tf.where(left_out, tf.zeros_like(logits), terms)
        if log_weights is not None:
            terms *= tf.exp(log_weights)
        return Sums(top, total + tf.reduce_sum(terms, 1), tally), products
    if log_weights is not None:
        logits += log_weights
    logits = tf.where(left_out, logits.dtype.min, logits)
    highest = tf.maximum(top, tf.reduce_max(logits, 1))
    parts = tf.reduce_sum(tf.exp(logits - highest[:, None]), 1)
    return Sums(highest, total * tf.exp(top - highest) + parts, tally), products


def _tally_block(
    ops: LossOps[MarginLoss], inputs: BlockInputs, block: BlockLogits, left_out: Tensor
) -> Tensor:
    """Return what a block's cosines add to the tallies, [tallies, batch]."""
    each = ops.tally(tf.stop_gradient(block.cosines), inputs.prepared)
    counted = tf.stack([tf.cast(each[name], block.logits.dtype) for name in ops.spec.tallies])
    counted = tf.where(left_out, tf.zeros_like(counted), counted)  # [tallies, batch, block]
    if block.log_weights is not None:
        counted *= tf.exp(block.log_weights)
    return tf.reduce_sum(counted, 2)


def backward_block(
    ops: LossOps[MarginLoss],
    plan: HeadPlan,
    k: Tensor,
    inputs: BlockInputs,
    parameters: Parameters,
    d_terms: Terms,
    others: Tensor,
    d_target_weight: Tensor,
    products: Tensor | None,
) -> BlockGradients:
    """Return the gradients that a block brings.

    Args:
        ops: the loss.
        plan: the blocks.
        k: which block.
        inputs: of every block.
        parameters: the block's.
        d_terms: the gradients of the terms.
        others: `Terms.others`, of all blocks.
        d_target_weight: from the target cosines, [batch * centers, embedding_size].
        products: kept by the forward pass; None to compute them again.
    """
    # The block's weights and products.
    spec, block = ops.spec, Block(k, plan)
    masks, scaled = Masks(block, inputs), _scaled(ops, inputs)
    w = parameters.vectors(inputs.embeddings.dtype)
    class_inverse_norms = inverse_norms(spec, w)
    if products is None:
        products = block_products(scaled, w, class_inverse_norms, plan.precision)
    # From the terms to logits. Each sample's weight in the loss comes in before products are
    # rounded: rounding must know it.
    block_logits = BlockLogits(ops, products, inputs, parameters, block)
    d_logits = block_logits.shares(others) * d_terms.others[:, None]
    d_logits = tf.where(masks.left_out, tf.zeros_like(d_logits), d_logits)
    d_bias = tf.zeros([0], d_logits.dtype)
    if parameters.bias is not None:
        d_bias = tf.reduce_sum(tf.where(masks.target, d_terms.bias[:, None], d_logits), 0)
        if parameters.bias.shape[0] == 1:
            d_bias = tf.reduce_sum(d_bias, keepdims=True)
    # From logits to products.
    d_products, d_norms = block_logits.backward(d_logits)
    # d products / d w = x / |w| - products w / |w|^2: the second part lies along w.
    along = None
    if class_inverse_norms is not None:
        along = tf.reduce_sum(d_products * products, 0) * class_inverse_norms**2
        d_products *= class_inverse_norms
    # Matrix product 2: to the class weights.
    by_class, by_sample = (rounded(d_products, plan.precision, axis) for axis in (0, 1))
    d_weight = tf.zeros([0], w.dtype)
    if not plan.constant:
        d_weight = tf.matmul(by_class, rounded(scaled, plan.precision), transpose_a=True)
        if along is not None:
            d_weight -= w * along[:, None]
        d_weight = unmix(d_weight, tf.cast(parameters.weight, w.dtype), parameters.memory)
        # The samples' own classes, which came by the target cosines.
        target = TargetClasses(spec, plan, inputs.labels)
        d_weight = _add_target(d_weight, d_target_weight, block, target)
    # Matrix product 3: to the embeddings.
    d_embeddings = tf.matmul(by_sample, rounded(w, plan.precision))
    if scale_folded(ops, inputs.norms):
        d_embeddings *= inputs.radius
    return BlockGradients(d_embeddings, d_norms, d_weight, d_bias)


def _add_target(
    d_weight: Tensor, d_target_weight: Tensor, block: Block, target: TargetClasses
) -> Tensor:
    """Add the gradients of the samples' own weights, as far as they are in the block."""
    centers = target.spec.num_centers
    rows = target.rows - tf.cast(block.start * centers, target.rows.dtype)
    inside = tf.repeat(target.here, centers) & (rows >= 0) & (rows < block.size * centers)
    rows = tf.where(inside, rows, tf.zeros_like(rows))
    inside_only = tf.where(inside[:, None], d_target_weight, tf.zeros_like(d_target_weight))
    return tf.tensor_scatter_nd_add(d_weight, rows[:, None], inside_only)


def scale_folded(ops: LossOps[MarginLoss], norms: Tensor | None) -> bool:
    """Say if logits are scale * products: then the embeddings take the scale beforehand."""
    plain = type(ops).negatives is LossOps.negatives and ops.spec.num_centers == 1
    return plain and norms is None and not ops.spec.tallies


def _scaled(ops: LossOps[MarginLoss], inputs: BlockInputs) -> Tensor:
    """Return the embeddings, times the scale where their products then are the logits."""
    folded = scale_folded(ops, inputs.norms)
    return inputs.embeddings * inputs.radius if folded else inputs.embeddings


def inverse_norms(spec: MarginLoss, w: Tensor) -> Tensor | None:
    """Return 1 / |w| of a block's weights, [block * centers]; None where the loss is of w . x."""
    return safe_inverse(tf.norm(w, axis=1)) if spec.normalized else None


def block_products(
    embeddings: Tensor, weight: Tensor, inverse_norms: Tensor | None, precision: Precision
) -> Tensor:
    """Return the products of embeddings with a block's weights, [batch, block * centers].

    Args:
        embeddings: [batch, embedding_size], with the scale where `scale_folded`.
        weight: the block's, [block * centers, embedding_size].
        inverse_norms: of these weights, to make cosines; None for w . x.
        precision: of both factors.
    """
    embeddings, weight = rounded(embeddings, precision), rounded(weight, precision, 1)
    products = tf.matmul(embeddings, weight, transpose_b=True)
    return products if inverse_norms is None else products * inverse_norms
