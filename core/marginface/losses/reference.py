"""The NumPy float64 reference of every loss, in loops: what both frameworks are held to.

1. cosines      of embeddings with class vectors, which a memory may lean; then the filter
2. fix          what gradients take for constants: `prepare`, the radius, sums of `tally`
3. terms        logits and losses of each sample, and their slopes to cosines, norms and bias
4. back         through the nearest centre and the lengths, to embeddings and class weights
5. what learns apart: a companion's pairs with remembered embeddings, a margin for each class
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marginface.checks import check_labels
from marginface.losses.values import MIN_NORM, Arrays, Float, Memory, Sample

MarginLoss = Any  # marginface.losses.MarginLoss, whose file imports this one
Labels = NDArray[np.integer[Any]]


class Evaluation(NamedTuple):
    """Result of the reference: mean loss, gradients by argument name, the next state."""

    loss: float
    gradients: dict[str, Float]
    state: dict[str, NDArray[Any]]


class Fixed(NamedTuple):
    """Constants of one evaluation's gradients.

    Args:
        prepared: [batch] by name, from `prepare`, and the sums of `tally`.
        radius: from `radius`.
        state: the next.
    """

    prepared: dict[str, Float]
    radius: float
    state: dict[str, NDArray[Any]]


def evaluate(
    loss: MarginLoss,
    x: Float,
    w: Float,
    labels: Labels,
    *,
    bias: Float | None,
    state: Arrays,
    draw: Arrays,
    interclass_filter: float | None,
) -> Evaluation:
    """Return what `MarginLoss.evaluate` does, whose arguments these are."""
    batch, classes = len(x), len(w) // loss.num_centers
    check_labels(int(labels.min()), int(labels.max()), classes)
    loss.check_draw({key: np.shape(value) for key, value in draw.items()}, batch)
    loss.check_filter(interclass_filter)
    companion, pull = loss.companion, loss.margin_pull
    start = loss.initial_bias(classes) if bias is None else np.asarray(bias, np.float64)
    b, margins = np.zeros(classes), np.zeros(classes)
    if start is not None and pull is not None:
        margins = start.clip(0, 1)
    elif start is not None and not loss.bias_apart:
        b = np.broadcast_to(start, classes)
    rows = loss.class_state(classes, x.shape[1])
    given = loss.initial_state(classes) | rows | dict(state)
    rows = {name: np.asarray(given.pop(name)) for name in rows}
    memories = [loss.recall(_row(rows, j), given) for j in range(classes)]
    lengths = np.array([math.sqrt(_dot(row, row)) for row in x])
    norms = np.where(lengths > MIN_NORM, lengths, 0.0)

    leaning = memories if companion is None else [None] * classes
    directions = _Directions(loss, x, w, leaning)
    cosines, own = directions.cosines(), np.arange(classes) == labels[:, None]
    passed = np.full(cosines.shape, True)  # by the filter
    if interclass_filter is not None:
        passed = (cosines <= interclass_filter) | own
        cosines = np.where(passed, cosines, 0.0)

    own_numbers = {name: value[labels] for name, value in rows.items() if value.ndim == 1}
    fixed = fix(loss, cosines, labels, norms, b, given | own_numbers, draw)
    after = {name: fixed.state[name] for name in given}
    samples = Sample(np.array([_unit(row) for row in x]), norms, cosines[own])

    prepared = fixed.prepared if pull is None else fixed.prepared | {"margin": margins[labels]}
    terms = [
        _terms(loss, cosines[i], norms[i], _of(prepared, i), fixed.radius, b, int(labels[i]))
        for i in range(batch)
    ]
    losses = np.array([each.loss for each in terms])
    d_x, d_w = directions.back(np.array([each.d_cosines for each in terms]) * passed / batch)
    d_x = d_x + np.array([[each.d_norm] for each in terms]) / batch * samples.embedding
    d_bias = np.array([each.d_bias for each in terms]).sum(0) / batch
    if companion is not None and start is not None:
        pairs, d_pairs, d_bias = _pairs(companion, x, labels, memories, float(start[0]))
        losses, d_x = losses + pairs, d_x + d_pairs
    if pull is not None:
        d_margins = np.array([each.d_margin for each in terms]) @ own / batch
        losses, d_bias = losses + pull * (1 - margins.mean()), d_margins - pull / classes
    gradients = {"embeddings": d_x, "weight": d_w}
    if start is not None:
        gradients["bias"] = d_bias if len(start) == classes else d_bias.sum(keepdims=True)
    return Evaluation(
        float(losses.mean()), gradients, after | _remembered(loss, rows, labels, samples, after)
    )


def fix(
    loss: MarginLoss,
    cosines: Float,
    labels: Labels,
    norms: Float,
    bias: Float,
    state: Arrays,
    draw: Arrays,
) -> Fixed:
    """Work out what the reference takes for constants of its gradients.

    Args:
        loss: the loss.
        cosines: filtered, [batch, classes].
        labels: [batch].
        norms: of the embeddings, [batch].
        bias: [classes].
        state: before the step.
        draw: as from `draw`.
    """
    own = np.arange(cosines.shape[1]) == labels[:, None]
    factors = norms if loss.norm_scaled else np.ones(len(norms))

    def others(prepared: Mapping[str, Float], radius: float) -> Float:
        """Return n of each sample."""
        n = np.full(len(labels), -np.inf)
        for i, j in np.argwhere(~own):
            nu = loss.negative(float(cosines[i, j]), _of(prepared, i)).value
            n[i] = np.logaddexp(n[i], radius * factors[i] * nu + bias[j])
        return n

    prepared, after = loss.prepare(cosines[own], norms, state, draw)
    radius = loss.radius(state)
    if loss.finishes and loss.looks_ahead:
        state = loss.finish(cosines[own], others(prepared, radius), state)
        prepared, after = loss.prepare(cosines[own], norms, state, draw)
        radius = loss.radius(state)
    elif loss.finishes:
        after = loss.finish(cosines[own], others(prepared, radius), after)
    tally = {name: np.zeros(len(labels)) for name in loss.tallies}
    for i, j in np.argwhere(~own) if tally else ():
        for name, counted in loss.tally(cosines[i, j], _of(prepared, i)).items():
            tally[name][i] += counted
    return Fixed({**prepared, **tally}, radius, after)


class _Directions:
    """Embeddings and class vectors as they meet, and the way back through them.

    Args:
        loss: whose cosines are meant; products of losses that do not normalise.
        x: embeddings [batch, size].
        w: class weights [classes * centers, size].
        memories: of each class, of which its vectors lean to.
    """

    def __init__(
        self, loss: MarginLoss, x: Float, w: Float, memories: Sequence[Memory | None]
    ) -> None:
        self._normalized, self._centers = loss.normalized, loss.num_centers
        self._x, self._w = x, w
        self._memories = [each for each in memories for _ in range(self._centers)]
        pairs = zip(w, self._memories, strict=True)
        self._vectors = np.array([_mixed(row, memory) for row, memory in pairs])
        self._left, self._right = x, self._vectors
        if self._normalized:
            self._left, self._right = (
                np.array([_unit(row) for row in rows]) for rows in (x, self._vectors)
            )
        products = [[_dot(row, center) for center in self._right] for row in self._left]
        of_centers = np.array(products).reshape(len(x), -1, self._centers)
        self._of_centers = of_centers.clip(-1.0, 1.0) if self._normalized else of_centers

    def cosines(self) -> Float:
        """Return cosines [batch, classes]: of several centres the nearest's."""
        nearest: Float = self._of_centers.max(2)
        return nearest

    def back(self, d_cosines: Float) -> tuple[Float, Float]:
        """Return the gradients of embeddings and class weights."""
        winners = self._of_centers == self._of_centers.max(2, keepdims=True)
        d_centers = (
            d_cosines[..., None] * winners / winners.sum(2, keepdims=True)
        )  # equal ones share
        d_centers = d_centers.reshape(len(self._x), -1)
        d_left, d_right = d_centers @ self._right, d_centers.T @ self._left
        if not self._normalized:
            return d_left, d_right
        d_x = [_through_unit(g, row) for g, row in zip(d_left, self._x, strict=True)]
        d_vectors = [_through_unit(g, v) for g, v in zip(d_right, self._vectors, strict=True)]
        back = zip(d_vectors, self._w, self._memories, strict=True)
        return np.array(d_x), np.array([_through_mixed(*each) for each in back])


@dataclass(frozen=True)
class _Terms:
    """One sample's loss, and its derivatives; those of cosines and bias are [classes]."""

    loss: float
    d_cosines: Float
    d_norm: float
    d_bias: Float
    d_margin: float


def _terms(
    loss: MarginLoss,
    cosines: Float,
    norm: float,
    prepared: Mapping[str, float],
    radius: float,
    bias: Float,
    label: int,
) -> _Terms:
    """Return the terms of one sample."""
    factor = radius * (norm if loss.norm_scaled else 1.0)
    logits = [
        loss.target(float(c), float(norm), prepared) if j == label else loss.negative(c, prepared)
        for j, c in enumerate(map(float, cosines))
    ]
    value, slopes = loss.reduce(
        [factor * z.value + b for z, b in zip(logits, bias, strict=True)], label
    )
    d_logits = np.array(slopes)
    penalty, d_norm = loss.penalty(float(norm))
    d_norm += factor * math.fsum(d_logits * [z.norm_slope for z in logits])
    if loss.norm_scaled:
        d_norm += radius * math.fsum(d_logits * [z.value for z in logits])
    return _Terms(
        value + penalty,
        factor * d_logits * [z.slope for z in logits],
        d_norm,
        d_logits,
        factor * d_logits[label] * logits[label].margin_slope,
    )


def _remembered(
    loss: MarginLoss, rows: Arrays, labels: Labels, samples: Sample, after: Arrays
) -> dict[str, NDArray[Any]]:
    """Return the classes' rows after the step: of several samples of a class the last counts."""
    kept = {name: value.copy() for name, value in rows.items()}
    for i, label in enumerate(labels):
        sample = Sample(*(each[i] for each in samples))
        for name, value in loss.remember(_row(rows, label), sample, after).items():
            kept[name][label] = value
    return kept


def _row(rows: Arrays, j: int) -> dict[str, Any]:
    return {name: value[j] for name, value in rows.items()}


def _of(prepared: Mapping[str, Float], i: int) -> dict[str, float]:
    return {name: float(values[i]) for name, values in prepared.items()}


def _dot(a: Float, b: Float) -> float:
    return math.fsum(float(u) * float(v) for u, v in zip(a, b, strict=True))


def _unit(vector: Float) -> Float:
    norm = math.sqrt(_dot(vector, vector))
    return vector / norm if norm > MIN_NORM else np.zeros_like(vector)


def _through_unit(gradient: Float, vector: Float) -> Float:
    """Carry a gradient from a unit vector back to the vector that was normalised."""
    norm, unit = math.sqrt(_dot(vector, vector)), _unit(vector)
    if norm <= MIN_NORM:
        return np.zeros_like(vector)
    return (gradient - _dot(gradient, unit) * unit) / norm


def _mixed(weight: Float, memory: Memory | None) -> Float:
    """Return a vector in the direction of (1 - share) w / |w| + share vector: that times |w|."""
    if memory is None:
        return weight
    share, vector = float(memory.share), np.asarray(memory.vector, np.float64)
    return (1 - share) * weight + share * math.sqrt(_dot(weight, weight)) * vector


def _through_mixed(gradient: Float, weight: Float, memory: Memory | None) -> Float:
    """Carry a gradient from `_mixed` back to the weight."""
    if memory is None:
        return gradient
    share, vector = float(memory.share), np.asarray(memory.vector, np.float64)
    return (1 - share) * gradient + share * _dot(gradient, vector) * _unit(weight)


def _pairs(
    companion: MarginLoss,
    x: Float,
    labels: NDArray[np.integer[Any]],
    memories: Sequence[Memory | None],
    bias: float,
) -> tuple[Float, Float, Float]:
    """Return each sample's loss against remembered vectors; of the mean, d x and d bias [1].

    A class without a vector is left out, and its samples have no pair with their own.
    """
    here = [j for j, memory in enumerate(memories) if memory is not None and memory.share > 0]
    vectors = [_unit(np.asarray(memory.vector)) for memory in memories if memory is not None]
    losses, d_x, d_bias = np.zeros(len(x)), np.zeros_like(x), np.zeros(1)
    for i, row in enumerate(x):
        direction, label = _unit(row), here.index(labels[i]) if labels[i] in here else -1
        cosines = [min(max(_dot(direction, vectors[j]), -1.0), 1.0) for j in here]
        logits = [
            companion.target(c, 1.0, {}) if k == label else companion.negative(c, {})
            for k, c in enumerate(cosines)
        ]
        losses[i], slopes = companion.reduce(
            [companion.scale * logit.value + bias for logit in logits], label
        )
        d_logits = [slope / len(x) for slope in slopes]
        d_bias += sum(d_logits)
        d_direction = np.zeros_like(row)
        for j, logit, d_logit in zip(here, logits, d_logits, strict=True):
            d_direction += d_logit * companion.scale * logit.slope * vectors[j]
        d_x[i] = _through_unit(d_direction, row)
    return losses, d_x, d_bias
