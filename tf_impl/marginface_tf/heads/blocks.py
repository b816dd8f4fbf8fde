"""The arithmetic of one block of classes, forward and backward."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import HeadPlan, Precision
from marginface.losses import MIN_NORM, MarginLoss
from marginface_tf.losses.base import LossOps, Tensors


class Terms(NamedTuple):
    """What a sample's loss is made of, [batch] each.

    Args:
        cosines: of the sample's own class (w . x where nothing is normalised); 0 elsewhere.
        bias: of the sample's own class; 0 without one, or elsewhere.
        others: logsumexp, or the sum of softplus, of all other classes' logits.
    """

    cosines: Tensor
    bias: Tensor
    others: Tensor


class Given(NamedTuple):
    """What every block sees.

    Args:
        left: [batch, embedding_size].
        radius: [batch] or None.
        prepared: what `LossOps.prepare` made, [batch] each.
        labels: [batch].
        log_weights: [classes] or None.
        used: how many of the classes count, the first of them; None for all.
    """

    left: Tensor
    radius: Tensor | None
    prepared: Tensors
    labels: Tensor
    log_weights: Tensor | None
    used: Tensor | None


class Parameters(NamedTuple):
    """Weights [classes * centers, embedding_size], and bias [classes] or [1], of some classes."""

    weight: Tensor
    bias: Tensor | None


class Slopes(NamedTuple):
    """What a block adds to the gradients of all, and the gradients of its own parameters."""

    left: Tensor
    radius: Tensor
    weight: Tensor
    bias: Tensor


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of length 1 and their former norms; a zero row stays zero, with zero gradient."""
    squares = tf.reduce_sum(vectors * vectors, -1)
    short = tf.sqrt(squares) <= MIN_NORM
    # The root's slope at 0 is infinite, and times 0 it is no number: short rows never reach it.
    norms = tf.sqrt(tf.where(short, tf.ones_like(squares), squares))
    inverse = tf.where(short, tf.zeros_like(norms), 1 / norms)
    return vectors * inverse[..., None], tf.where(short, tf.zeros_like(norms), norms)


class Own:
    """The samples whose class is here, and that class's weights."""

    def __init__(self, spec: MarginLoss, plan: HeadPlan, labels: Tensor) -> None:
        self.spec = spec
        self.here = (labels >= 0) & (labels < plan.classes)
        self.labels = tf.where(self.here, labels, tf.zeros_like(labels))
        self.rows = rows_of(self.labels, spec.num_centers)

    def products(self, left: Tensor, own: Tensor) -> Tensor:
        """Return cosines, or w . x, [batch]; 0 for those elsewhere.

        Args:
            left: [batch, embedding_size].
            own: the weights of `rows`, [batch * centers, embedding_size].
        """
        own = tf.reshape(own, [-1, self.spec.num_centers, own.shape[1]])
        right = unit(own)[0] if self.spec.normalized else own
        best = tf.reduce_max(tf.reduce_sum(right * left[:, None], 2), 1)
        return self.only(best)

    def only(self, values: Tensor) -> Tensor:
        """Return values [batch]; 0 for those elsewhere."""
        return tf.where(self.here, values, tf.zeros_like(values))


def rows_of(classes: Tensor, centers: int) -> Tensor:
    """Return the rows of the weights of classes: [classes * centers]."""
    return tf.reshape(classes[:, None] * centers + tf.range(centers, dtype=classes.dtype), [-1])


class Block:
    """Round `k` over the classes: those from `start`, `size` of them.

    All blocks have one size, as XLA wants: the last, computed first, begins early enough. The
    classes that it shares with the one before it count for nothing.
    """

    def __init__(self, k: Tensor, plan: HeadPlan) -> None:
        self.size = min(plan.block, plan.classes)
        self.start = tf.where(k == 0, plan.classes - self.size, (k - 1) * plan.block)
        self.repeated = tf.where(k == 0, self.size * plan.blocks - plan.classes, 0)

    def cut(self, values: Tensor, each: int = 1) -> Tensor:
        """Return the block's part of what has `each` rows for each class."""
        first = [self.start * each, *([0] * (values.shape.rank - 1))]
        return tf.slice(values, first, [self.size * each, *values.shape[1:]])


class _Masks:
    """Which logits [batch, block] are a sample's own, and which count for nothing."""

    def __init__(self, block: Block, given: Given) -> None:
        columns = tf.range(block.size, dtype=given.labels.dtype)
        position = columns + tf.cast(block.start, columns.dtype)
        repeated = columns < tf.cast(block.repeated, columns.dtype)
        self.own = (position == given.labels[:, None]) & ~repeated
        self.hidden = self.own | repeated
        if given.used is not None:
            self.hidden |= position >= tf.cast(given.used, position.dtype)


class _Logits:
    """Logits of one block, and the way back to the products that they are made of."""

    def __init__(
        self,
        ops: LossOps[MarginLoss],
        products: Tensor,
        given: Given,
        part: Parameters,
        block: Block,
    ) -> None:
        self.spec = spec = ops.spec
        self.products, self.radius = products, given.radius
        self.plain = _scale_folded(ops, given)
        if self.plain:
            self.values = logits = products
        else:
            with tf.GradientTape() as self.tape:
                self.tape.watch(products)
                best = products
                if spec.num_centers > 1:
                    centers = [-1, block.size, spec.num_centers]
                    best = tf.reduce_max(tf.reshape(best, centers), 2)
                self.values = ops.negatives(best, given.prepared)
            logits = self.values * self._scale()
        if part.bias is not None:
            logits += tf.cast(part.bias, logits.dtype)
        limit = spec.logit_limit
        self.free = None if limit is None else tf.abs(logits) <= limit
        self.logits = logits if limit is None else tf.clip_by_value(logits, -limit, limit)
        self.log_weights = None
        if given.log_weights is not None:
            self.log_weights = tf.cast(block.cut(given.log_weights), logits.dtype)

    def _scale(self) -> Tensor:
        return self.spec.scale if self.radius is None else self.spec.scale * self.radius[:, None]

    def slopes(self, others: Tensor) -> Tensor:
        """Return the slopes of `Terms.others` to the logits, as they were before any clamping."""
        if self.spec.binary:
            slopes = tf.sigmoid(self.logits)
            if self.log_weights is not None:
                slopes *= tf.exp(self.log_weights)
        else:
            shift = others[:, None]
            if self.log_weights is not None:
                shift -= self.log_weights
            slopes = tf.exp(self.logits - shift)
        return slopes if self.free is None else tf.where(self.free, slopes, tf.zeros_like(slopes))

    def back(self, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the slopes to products [batch, block * centers] and to the radius [batch]."""
        if self.plain:
            return slopes, tf.zeros_like(slopes[:, 0])
        to_radius = tf.zeros_like(slopes[:, 0])
        if self.radius is not None:
            to_radius = tf.reduce_sum(slopes * self.values, 1) * self.spec.scale
        return self.tape.gradient(self.values, self.products, slopes * self._scale()), to_radius


def forward_block(
    ops: LossOps[MarginLoss],
    plan: HeadPlan,
    k: Tensor,
    given: Given,
    part: Parameters,
    top: Tensor,
    total: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return highest logit and sum, [batch] each, with a block added; and the block's products."""
    spec, block = ops.spec, Block(k, plan)
    masks = _Masks(block, given)
    w = tf.cast(part.weight, given.left.dtype)
    products = _products(_wide(ops, given), w, _inverse(spec, w), plan.precision)
    found = _Logits(ops, products, given, part, block)
    logits = found.logits
    if spec.binary:
        terms = tf.where(masks.hidden, tf.zeros_like(logits), tf.nn.softplus(logits))
        if found.log_weights is not None:
            terms *= tf.exp(found.log_weights)
        return top, total + tf.reduce_sum(terms, 1), products
    if found.log_weights is not None:
        logits += found.log_weights
    logits = tf.where(masks.hidden, logits.dtype.min, logits)
    highest = tf.maximum(top, tf.reduce_max(logits, 1))
    parts = tf.reduce_sum(tf.exp(logits - highest[:, None]), 1)
    return highest, total * tf.exp(top - highest) + parts, products


def backward_block(
    ops: LossOps[MarginLoss],
    plan: HeadPlan,
    k: Tensor,
    given: Given,
    part: Parameters,
    upstream: Terms,
    others: Tensor,
    d_own: Tensor,
    products: Tensor | None,
) -> Slopes:
    """Return what a block brings to the gradients.

    Args:
        ops: the loss.
        plan: the blocks.
        k: which block.
        given: what every block sees.
        part: the block's parameters.
        upstream: the slopes of the loss to the terms.
        others: `Terms.others`.
        d_own: the gradient of the samples' own weights, [batch * centers, embedding_size].
        products: what the forward pass found; None to compute them again.
    """
    spec, block = ops.spec, Block(k, plan)
    masks, wide = _Masks(block, given), _wide(ops, given)
    w = tf.cast(part.weight, given.left.dtype)
    inverse = _inverse(spec, w)
    if products is None:
        products = _products(wide, w, inverse, plan.precision)
    found = _Logits(ops, products, given, part, block)
    slopes = found.slopes(others)
    # Samples' shares meet before they are rounded: what is small beside others may be all there is.
    slopes *= upstream.others[:, None]
    slopes = tf.where(masks.hidden, tf.zeros_like(slopes), slopes)
    d_bias = tf.zeros([0], slopes.dtype)
    if part.bias is not None:
        d_bias = tf.reduce_sum(tf.where(masks.own, upstream.bias[:, None], slopes), 0)
        if part.bias.shape[0] == 1:
            d_bias = tf.reduce_sum(d_bias, keepdims=True)
    to_products, d_radius = found.back(slopes)
    along = None
    if inverse is not None:
        # What would only change a weight's length is taken away again.
        along = tf.reduce_sum(to_products * products, 0) * inverse**2
        to_products *= inverse
    by_class, by_sample = (_rounded(to_products, plan.precision, axis) for axis in (0, 1))
    d_weight = tf.matmul(by_class, _rounded(wide, plan.precision), transpose_a=True)
    if along is not None:
        d_weight -= w * along[:, None]
    d_weight = _with_own(d_weight, d_own, block, Own(spec, plan, given.labels))
    d_left = tf.matmul(by_sample, _rounded(w, plan.precision))
    if _scale_folded(ops, given):
        d_left *= spec.scale
    return Slopes(d_left, d_radius, d_weight, d_bias)


def _with_own(d_weight: Tensor, d_own: Tensor, block: Block, own: Own) -> Tensor:
    """Return a block's gradient with that of the samples' own weights, as far as they are in it."""
    centers = own.spec.num_centers
    at = own.rows - tf.cast(block.start * centers, own.rows.dtype)
    inside = tf.repeat(own.here, centers) & (at >= 0) & (at < block.size * centers)
    at = tf.where(inside, at, tf.zeros_like(at))
    d_own = tf.where(inside[:, None], d_own, tf.zeros_like(d_own))
    return tf.tensor_scatter_nd_add(d_weight, at[:, None], d_own)


def _wide(ops: LossOps[MarginLoss], given: Given) -> Tensor:
    """Return the embeddings, times the scale where that makes logits of products."""
    return given.left * ops.spec.scale if _scale_folded(ops, given) else given.left


def _scale_folded(ops: LossOps[MarginLoss], given: Given) -> bool:
    """Return whether logits are products times the scale: then it goes to the embeddings first."""
    plain = type(ops).negatives is LossOps.negatives and ops.spec.num_centers == 1
    return plain and given.radius is None


def _products(left: Tensor, w: Tensor, inverse: Tensor | None, precision: Precision) -> Tensor:
    """Return what embeddings make with a block's weights, [batch, block * centers]."""
    found = tf.matmul(_rounded(left, precision), _rounded(w, precision, 1), transpose_b=True)
    return found if inverse is None else found * inverse


def _rounded(values: Tensor, precision: Precision, axis: int | None = None) -> Tensor:
    """Return values rounded to a type of half precision, to be summed as they came.

    The exponents of float16 do not reach far: the highest value, of all or along an axis, becomes
    1 to 2, from which it has 24 binary places down. Powers of two are exact.
    """
    if precision == "full":
        return values
    if precision == "bfloat16":
        return tf.cast(tf.cast(values, tf.bfloat16), values.dtype)
    highest = tf.reduce_max(tf.abs(values), axis, keepdims=True)
    highest = tf.where(highest > 0, highest, tf.ones_like(highest))
    by = 2 ** tf.math.floor(tf.math.log(highest) / math.log(2))
    return tf.cast(tf.cast(values / by, tf.float16), values.dtype) * by


def _inverse(spec: MarginLoss, w: Tensor) -> Tensor | None:
    """Return 1 / |w| [block * centers], 0 for what has no direction; None if nothing needs it."""
    if not spec.normalized:
        return None
    norms = tf.norm(w, axis=1)
    short = norms <= MIN_NORM
    return tf.where(short, tf.zeros_like(norms), 1 / norms)
