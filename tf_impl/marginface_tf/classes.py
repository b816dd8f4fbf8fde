"""One pass over the classes, a block at a time, forward and backward, with its own gradients.

Logits of [batch, classes] never exist: a block's are made, added up and dropped, and made a second
time for the gradient where they could not be kept. One block with everything kept is the ordinary
dense head. Several blocks are a loop that XLA compiles, for without it TensorFlow copies what the
loop carries, gradient and all, in every round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import tensorflow as tf
from tensorflow import Tensor
from tensorflow.compiler.tf2xla.python import xla

from marginface.heads import HeadPlan
from marginface.losses import MIN_NORM, MarginLoss
from marginface_tf.losses.base import LossOps, Tensors


class Update(Protocol):
    """What a step does to some rows of a parameter, once their gradient is there."""

    def __call__(self, name: str, rows: Tensor | None, gradient: Tensor) -> None:
        """Step rows of `weight` or `bias`; all of them for None."""


@dataclass(frozen=True)
class Classes:
    """What a pass takes beside the tensors that get gradients.

    Args:
        ops: the loss.
        prepared: what `ops.prepare` made, [batch] each.
        labels: [batch]; outside 0 .. classes - 1 where the sample's class is elsewhere.
        plan: blocks, and what is kept.
        sampled: numbers of the classes that count, ascending; None for all. Labels and the plan
            are then places among them.
        log_weights: [sampled], what is added to their logits in the sum over the others.
        count: how many of the sampled, the first of them, are; what follows only fills up to the
            plan's number of classes, which must be known when a graph is made. None for all.
        update: takes rows and their gradient in the backward pass; weight and bias then get none.
    """

    ops: LossOps[MarginLoss]
    prepared: Tensors
    labels: Tensor
    plan: HeadPlan
    sampled: Tensor | None = None
    log_weights: Tensor | None = None
    count: Tensor | None = None
    update: Update | None = None

    def rows(self) -> Tensor | None:
        """Return where the weights of the sampled classes stand; None for all."""
        if self.sampled is None:
            return None
        number = self.ops.spec.num_centers  # AutoGraph lets nobody take a tensor's length
        centers = tf.range(number, dtype=self.sampled.dtype)
        return tf.reshape(self.sampled[:, None] * number + centers, [-1])

    def taken(self, values: Any, *, by_class: bool = True) -> Tensor:
        """Return the sampled rows of weights, or of a bias that has one for each class."""
        rows = self.rows() if by_class else None
        return tf.convert_to_tensor(values) if rows is None else tf.gather(values, rows)


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


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of length 1 and their former norms; a zero row stays zero, with zero gradient."""
    squares = tf.reduce_sum(vectors * vectors, -1)
    short = tf.sqrt(squares) <= MIN_NORM
    # The root's slope at 0 is infinite, and times 0 it is no number: short rows never reach it.
    norms = tf.sqrt(tf.where(short, tf.ones_like(squares), squares))
    inverse = tf.where(short, tf.zeros_like(norms), 1 / norms)
    return vectors * inverse[..., None], tf.where(short, tf.zeros_like(norms), norms)


def own_cosines(left: Tensor, weight: Any, classes: Classes) -> Tensor:
    """Return each sample's product with its own class, [batch]: `Terms.cosines`, no gradient."""
    own = _Own(classes.ops.spec, classes.plan, classes.labels)
    if classes.sampled is None:
        # A gather from the variable itself would have it copied at every later reading.
        weight = tf.convert_to_tensor(weight)
    rows = own.take(weight, left.dtype, classes.rows())
    return own.products(tf.stop_gradient(left), tf.stop_gradient(rows))


def class_terms(
    left: Tensor, radius: Tensor | None, weight: Any, bias: Any, classes: Classes
) -> Terms:
    """Return what the losses of all samples are made of.

    Args:
        left: [batch, embedding_size], of length 1 where the loss is normalised.
        radius: [batch], what logits are multiplied by besides the loss's scale; None for nothing.
        weight: [classes * centers, embedding_size], a variable or its value.
        bias: [classes], [1] or None.
        classes: everything else.
    """
    ops, plan, update = classes.ops, classes.plan, classes.update
    if plan.blocks > 1:
        forward, backward = _compiled(type(ops), ops.spec, plan)  # type: ignore[arg-type]
    else:
        forward, backward = partial(_forward, ops, plan), partial(_backward, ops, plan)
    given = {"left": left, "radius": radius, "weight": classes.taken(weight)}
    if bias is not None:
        given["bias"] = classes.taken(bias, by_class=bias.shape[0] > 1)
    stepped = () if update is None else ("weight", "bias")
    names = [name for name, value in given.items() if value is not None and name not in stepped]
    apart = {name: given[name] for name in stepped if name in given}
    fixed = (classes.prepared, classes.labels, classes.log_weights, classes.count)

    @tf.custom_gradient
    def terms(*values: Tensor) -> tuple[tuple[Tensor, ...], Callable[..., list[Tensor]]]:
        # The gradient is ours: a tape outside must not follow, nor could it, into XLA's loops.
        constant = map(tf.stop_gradient, values)
        tensors = _Tensors(**dict(zip(names, constant, strict=True)), **apart)
        found, saved = forward(tensors, *fixed)

        def gradients(*upstream: Tensor) -> list[Tensor]:
            constant = Terms(*map(tf.stop_gradient, upstream))
            slopes = backward(tensors, constant, found.others, saved, *fixed)
            if update is not None:
                for name in apart:
                    rows = classes.rows() if name == "weight" else classes.sampled
                    gradient = getattr(slopes, name)
                    if name == "bias" and bias.shape[0] == 1:
                        rows = None
                    elif rows is not None and classes.count is not None:
                        centers = ops.spec.num_centers if name == "weight" else 1
                        own = tf.cast(classes.count, tf.int32) * centers
                        rows, gradient = rows[:own], gradient[:own]
                    update(name, rows, gradient)
            return [getattr(slopes, name) for name in names]

        return tuple(found), gradients

    return Terms(*terms(*(given[name] for name in names)))


class _Tensors(NamedTuple):
    """What gets gradients, and the gradients."""

    left: Tensor
    weight: Tensor
    radius: Tensor | None = None
    bias: Tensor | None = None


class _Saved(NamedTuple):
    """What the forward pass leaves to the backward pass."""

    inverse: Tensor  # 1 / |w|, [blocks, block * centers]
    products: Tensor  # of the first blocks, [kept blocks, batch, block * centers]


class _Own:
    """The samples whose class is here, and that class's weights."""

    def __init__(self, spec: MarginLoss, plan: HeadPlan, labels: Tensor) -> None:
        self.spec = spec
        self.here = (labels >= 0) & (labels < plan.classes)
        self.labels = tf.where(self.here, labels, tf.zeros_like(labels))
        centers = tf.range(spec.num_centers, dtype=labels.dtype)
        self.rows = self.labels[:, None] * spec.num_centers + centers

    def take(self, weight: Any, dtype: tf.DType, among: Tensor | None = None) -> Tensor:
        """Return the weights [batch, centers, embedding_size]; some class's for those elsewhere.

        `among` are the rows that the sample's places stand for.
        """
        rows = self.rows if among is None else tf.gather(among, self.rows)
        return tf.cast(tf.gather(weight, rows), dtype)

    def products(self, left: Tensor, own: Tensor) -> Tensor:
        """Return cosines, or w . x, [batch]; 0 for those elsewhere."""
        right = unit(own)[0] if self.spec.normalized else own
        best = tf.reduce_max(tf.reduce_sum(right * left[:, None], 2), 1)
        return tf.where(self.here, best, tf.zeros_like(best))

    def bias(self, bias: Tensor) -> Tensor:
        """Return the bias of each sample's class, [batch]; 0 for those elsewhere."""
        each = tf.gather(bias, self.labels) if bias.shape[0] > 1 else bias
        return tf.where(self.here, each, tf.zeros_like(each))


class _Block:
    """Round `k` over the classes.

    All blocks have one size, as XLA wants: the last, computed first, begins early enough. What it
    shares with the one before it counts for nothing, and its gradient is written over later.
    """

    def __init__(
        self,
        k: Tensor,
        spec: MarginLoss,
        plan: HeadPlan,
        labels: Tensor,
        count: Tensor | None,
    ) -> None:
        last = (plan.blocks - 1) * plan.block
        size = min(plan.block, plan.classes)
        self.k, self.spec, self.size = k, spec, size
        self.start = tf.where(k == 0, plan.classes - size, (k - 1) * plan.block)
        columns = tf.range(size, dtype=labels.dtype)
        position = columns + tf.cast(self.start, labels.dtype)
        own = position == labels[:, None]
        self.hidden = own | ((k == 0) & (position < last))
        if count is not None:
            self.hidden |= position >= tf.cast(count, position.dtype)

    def rows(self, values: Tensor) -> Tensor:
        """Return the block's rows of what has a row for every centre of every class."""
        centers = self.spec.num_centers
        first = [self.start * centers, *([0] * (values.shape.rank - 1))]
        return tf.slice(values, first, [self.size * centers, *values.shape[1:]])

    def add_own(self, d_block: Tensor, own: _Own, d_rows: Tensor) -> Tensor:
        """Return a gradient [block * centers, size] with that of the samples' own weights."""
        at = own.rows - tf.cast(self.start * self.spec.num_centers, own.rows.dtype)
        inside = own.here[:, None] & (at >= 0) & (at < self.size * self.spec.num_centers)
        at = tf.where(inside, at, tf.zeros_like(at))
        d_rows = tf.where(inside[..., None], d_rows, tf.zeros_like(d_rows))
        return tf.tensor_scatter_nd_add(d_block, at[..., None], d_rows)

    def columns(self, bias: Tensor) -> Tensor:
        """Return the block's part of a bias."""
        return tf.slice(bias, [self.start], [self.size]) if bias.shape[0] > 1 else bias


class _Logits:
    """Logits of one block, and the way back to the products that they are made of."""

    def __init__(
        self,
        ops: LossOps[MarginLoss],
        products: Tensor,
        tensors: _Tensors,
        prepared: Tensors,
        log_weights: Tensor | None,
        block: _Block,
    ) -> None:
        self.spec = spec = ops.spec
        self.products, self.radius = products, tensors.radius
        self.plain = _scale_folded(ops, tensors.radius)
        if self.plain:
            self.values = logits = products
        else:
            with tf.GradientTape() as self.tape:
                self.tape.watch(products)
                best = products
                if spec.num_centers > 1:
                    centers = [-1, block.size, spec.num_centers]
                    best = tf.reduce_max(tf.reshape(best, centers), 2)
                self.values = ops.negatives(best, prepared)
            logits = self.values * self._scale()
        if tensors.bias is not None:
            logits += tf.cast(block.columns(tensors.bias), logits.dtype)
        limit = spec.logit_limit
        self.free = None if limit is None else tf.abs(logits) <= limit
        self.logits = logits if limit is None else tf.clip_by_value(logits, -limit, limit)
        self.log_weights = None
        if log_weights is not None:
            self.log_weights = tf.cast(block.columns(log_weights), logits.dtype)

    def _scale(self) -> Tensor:
        return self.spec.scale if self.radius is None else self.spec.scale * self.radius[:, None]

    def back(self, slopes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the slopes to products [batch, block * centers] and to the radius [batch]."""
        if self.plain:
            return slopes, None
        to_radius = None
        if self.radius is not None:
            to_radius = tf.reduce_sum(slopes * self.values, 1) * self.spec.scale
        return self.tape.gradient(self.values, self.products, slopes * self._scale()), to_radius


Forward = Callable[..., tuple[Terms, _Saved]]
Backward = Callable[..., _Tensors]


@lru_cache
def _compiled(
    kind: type[LossOps[MarginLoss]], spec: MarginLoss, plan: HeadPlan
) -> tuple[Forward, Backward]:
    """Return both passes as XLA programs."""
    compiled = partial(tf.function, jit_compile=True, autograph=False)
    return compiled(partial(_forward, kind(spec), plan)), compiled(
        partial(_backward, kind(spec), plan)
    )


def _forward(
    ops: LossOps[MarginLoss],
    plan: HeadPlan,
    tensors: _Tensors,
    prepared: Tensors,
    labels: Tensor,
    log_weights: Tensor | None,
    count: Tensor | None,
) -> tuple[Terms, _Saved]:
    spec, wide = ops.spec, _wide(ops, tensors)
    batch, dtype = tf.shape(wide)[0], wide.dtype
    size = plan.block * spec.num_centers

    def add(
        k: Tensor, top: Tensor, total: Tensor, inverses: Tensor, kept: Tensor, *, keep: bool
    ) -> tuple[Tensor, ...]:
        block = _Block(k, spec, plan, labels, count)
        w = tf.cast(block.rows(tensors.weight), dtype)
        inverse = None
        if spec.normalized:
            inverse = _inverse(tf.norm(w, axis=1))
            inverses = _write(inverses, inverse[None], k)
        products = _products(wide, w, inverse)
        if keep:
            kept = _write(kept, products[None], k)
        found = _Logits(ops, products, tensors, prepared, log_weights, block)
        logits = found.logits
        if spec.binary:
            terms = tf.where(block.hidden, tf.zeros_like(logits), tf.nn.softplus(logits))
            if found.log_weights is not None:
                terms *= tf.exp(found.log_weights)
            return top, total + tf.reduce_sum(terms, 1), inverses, kept
        if found.log_weights is not None:
            logits += found.log_weights
        logits = tf.where(block.hidden, dtype.min, logits)
        highest = tf.maximum(top, tf.reduce_max(logits, 1))
        parts = tf.reduce_sum(tf.exp(logits - highest[:, None]), 1)
        return highest, total * tf.exp(top - highest) + parts, inverses, kept

    top, total, inverses, kept = _over_blocks(
        plan,
        add,
        tf.fill([batch], dtype.min),
        tf.zeros([batch], dtype),
        tf.zeros([plan.blocks, size if spec.normalized else 0], dtype),
        tf.zeros([plan.kept_blocks, batch, size], dtype),
    )
    own = _Own(spec, plan, labels)
    cosines = own.products(tensors.left, own.take(tensors.weight, dtype))
    own_bias = tf.zeros_like(cosines)
    if tensors.bias is not None:
        own_bias = own.bias(tf.cast(tensors.bias, dtype))
    others = total if spec.binary else top + tf.math.log(total)
    return Terms(cosines, own_bias, others), _Saved(inverses, kept)


def _backward(
    ops: LossOps[MarginLoss],
    plan: HeadPlan,
    tensors: _Tensors,
    upstream: Terms,
    others: Tensor,
    saved: _Saved,
    prepared: Tensors,
    labels: Tensor,
    log_weights: Tensor | None,
    count: Tensor | None,
) -> _Tensors:
    spec, wide = ops.spec, _wide(ops, tensors)
    dtype, weight = wide.dtype, tensors.weight
    right = wide * upstream.others[:, None]  # what a row of slopes brings to each class's weight
    own = _Own(spec, plan, labels)
    with tf.GradientTape() as tape:
        rows = own.take(weight, dtype)
        tape.watch([tensors.left, rows])
        cosines = own.products(tensors.left, rows)
    d_own_left, d_rows = tape.gradient(cosines, [tensors.left, rows], upstream.cosines)

    def add(
        k: Tensor, d_wide: Tensor, d_radius: Tensor, d_weight: Tensor, d_bias: Tensor, *, keep: bool
    ) -> tuple[Tensor, ...]:
        block = _Block(k, spec, plan, labels, count)
        w = tf.cast(block.rows(weight), dtype)
        inverse = saved.inverse[k] if spec.normalized else None
        products = saved.products[k] if keep else _products(wide, w, inverse)
        found = _Logits(ops, products, tensors, prepared, log_weights, block)
        if spec.binary:
            slopes = tf.sigmoid(found.logits)
            if found.log_weights is not None:
                slopes *= tf.exp(found.log_weights)
        else:
            shift = (
                others[:, None]
                if found.log_weights is None
                else others[:, None] - found.log_weights
            )
            slopes = tf.exp(found.logits - shift)
        free = ~block.hidden if found.free is None else ~block.hidden & found.free
        slopes = tf.where(free, slopes, tf.zeros_like(slopes))
        if tensors.bias is not None:
            to_bias = tf.linalg.matvec(slopes, upstream.others, transpose_a=True)
            d_bias = _write(d_bias, to_bias, block.start)
        to_products, to_radius = found.back(slopes)
        if to_radius is not None:
            d_radius += to_radius
        along = None
        if inverse is not None:
            # What would only change a weight's length is taken away again.
            along = tf.linalg.matvec(to_products * products, upstream.others, transpose_a=True)
            along *= inverse**2
            to_products *= inverse
        d_block = tf.matmul(to_products, right, transpose_a=True)
        if along is not None:
            d_block -= w * along[:, None]
        d_block = block.add_own(d_block, own, d_rows)  # to the whole, XLA would copy it
        d_block = tf.cast(d_block, weight.dtype)
        d_weight = _write(d_weight, d_block, block.start * spec.num_centers)
        return d_wide + tf.matmul(to_products, w), d_radius, d_weight, d_bias

    d_wide, d_radius, d_weight, d_bias = _over_blocks(
        plan,
        add,
        tf.zeros_like(wide),
        tf.zeros([tf.shape(wide)[0]], dtype),
        tf.zeros_like(weight),
        tf.zeros([plan.classes], dtype),
    )
    d_wide *= upstream.others[:, None]
    if _scale_folded(ops, tensors.radius):
        d_wide *= spec.scale
    if tensors.radius is None:
        d_radius = None
    else:
        d_radius *= upstream.others
    if tensors.bias is None:
        d_bias = None
    else:
        d_own = tf.where(own.here, upstream.bias, tf.zeros_like(upstream.bias))
        d_bias = tf.tensor_scatter_nd_add(d_bias, own.labels[:, None], d_own)
        d_bias = d_bias if tensors.bias.shape[0] > 1 else tf.reduce_sum(d_bias, keepdims=True)
        d_bias = tf.cast(d_bias, tensors.bias.dtype)
    return _Tensors(d_wide + d_own_left, d_weight, d_radius, d_bias)


def _over_blocks(
    plan: HeadPlan, add: Callable[..., tuple[Tensor, ...]], *carried: Tensor
) -> tuple[Tensor, ...]:
    """Return what `add` carries from block to block, first those whose products are kept."""
    if plan.blocks == 1:
        return add(tf.constant(0), *carried, keep=plan.kept_blocks > 0)
    for first, last, keep in (
        (0, plan.kept_blocks, True),
        (plan.kept_blocks, plan.blocks, False),
    ):

        def body(k: Tensor, *values: Tensor, keep: bool = keep) -> tuple[Tensor, ...]:
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


def _wide(ops: LossOps[MarginLoss], tensors: _Tensors) -> Tensor:
    """Return the embeddings, times the scale where that makes logits of products."""
    return tensors.left * ops.spec.scale if _scale_folded(ops, tensors.radius) else tensors.left


def _scale_folded(ops: LossOps[MarginLoss], radius: Tensor | None) -> bool:
    """Return whether logits are products times the scale: then it goes to the embeddings first."""
    plain = type(ops).negatives is LossOps.negatives and ops.spec.num_centers == 1
    return plain and radius is None


def _products(left: Tensor, w: Tensor, inverse: Tensor | None) -> Tensor:
    found = tf.matmul(left, w, transpose_b=True)
    return found if inverse is None else found * inverse


def _inverse(norms: Tensor) -> Tensor:
    short = norms <= MIN_NORM
    return tf.where(short, tf.zeros_like(norms), 1 / norms)
