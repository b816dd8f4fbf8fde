"""The seam inside every loss, and its NumPy float64 reference.

    loss_i = logaddexp(t_i, n_i) - t_i
    t_i = scale * psi(cos theta_y)                        the target logit: the margin lives here
    n_i = logsumexp over j != y of scale * nu(cos theta_j)    the negatives: no margin

A loss of the family says what `psi` (`target`) and `nu` (`negative`) are, each with its slope, so
that a gradient is what the loss says it is, finite everywhere, in every framework.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError

Float = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
Gradient = Literal["exact", "straight_through"]
PastPi = Literal["monotone", "clip", "none"]

MIN_NORM = 1e-12  # a shorter vector has no direction: its cosines and their gradients are 0
# d cos(theta + m) / d cos(theta) = sin(theta + m) / sin(theta) has a pole at theta = 0. Below this
# sine (0.06 degrees) the slope stays constant; the embedding's gradient carries another sin(theta).
MIN_SINE = 1e-3


class Logit(NamedTuple):
    """A value and its derivative with respect to the cosine."""

    value: float
    slope: float


@dataclass(frozen=True, kw_only=True)
class MarginLoss:
    """Base of every loss: hyperparameters, validated once, and the literal float64 reference.

    A loss is stateless. What it carries from step to step (`initial_state`), what it draws at
    random (`draw`) and what it derives from a batch (`prepare`) are explicit arrays.
    """

    name: ClassVar[str]
    normalized: ClassVar[bool] = True  # logits are cosines; False: W x + b

    scale: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # Python's number instead, for messages and JSON
                object.__setattr__(self, field.name, value.item())
        self._require("scale", 0 < self.scale < math.inf, "greater than 0")

    def _require(self, parameter: str, ok: bool, allowed: str) -> None:
        if not ok:
            value = getattr(self, parameter)
            raise MarginfaceError(f"{self.name}: {parameter} must be {allowed}, got {value!r}")

    def initial_state(self) -> dict[str, NDArray[Any]]:
        """Return what the loss carries from step to step; nothing for most."""
        return {}

    def draw(self, rng: np.random.Generator, batch: int) -> dict[str, NDArray[Any]]:
        """Draw what the loss needs at random for a batch; nothing for most."""
        del rng, batch
        return {}

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return what `target` and `negative` take for each sample, and the next state.

        What it returns is constant to the gradient, here and in every framework, whose heads
        detach `cosines` and `norms` first: AdaFace asks for that, and a loss need not remember.

        Args:
            cosines: cos theta_y, [batch].
            norms: Euclidean norms of the embeddings, [batch].
            state: as from `initial_state` or the last step.
            draw: as from `draw`.
        """
        del cosines, norms, draw
        return {}, dict(state)

    def target(self, cosine: float, **prepared: float) -> Logit:
        """Return psi at the target cosine, before the scale."""
        raise NotImplementedError

    def negative(self, cosine: float, **prepared: float) -> Logit:
        """Return nu at another class's cosine, before the scale; the cosine itself for most."""
        del prepared
        return Logit(cosine, 1.0)

    def evaluate(
        self,
        embeddings: Float,
        weight: Float,
        labels: NDArray[np.integer[Any]],
        *,
        bias: Float | None = None,
        state: Arrays | None = None,
        draw: Arrays | None = None,
    ) -> Evaluation:
        """Return the mean loss, its gradients and the next state: the oracle, in loops.

        Args:
            embeddings: [batch, embedding_size], not normalised.
            weight: class weights [classes, embedding_size], not normalised.
            labels: [batch], in 0 .. classes - 1.
            bias: [classes], for losses that are not normalised.
            state: from `initial_state` (the default) or the last step.
            draw: from `draw`, for losses that need it.
        """
        x, w = np.asarray(embeddings, np.float64), np.asarray(weight, np.float64)
        b = np.zeros(len(w)) if bias is None else np.asarray(bias, np.float64)
        batch, classes = len(x), len(w)
        norms = np.array([math.sqrt(sum(v * v for v in row)) for row in x])
        units_x, units_w = (np.array([_unit(row) for row in m]) for m in (x, w))
        left, right = (units_x, units_w) if self.normalized else (x, w)
        raw = np.array(
            [[_dot(left[i], right[j]) + b[j] for j in range(classes)] for i in range(batch)]
        )
        if self.normalized:
            raw = raw.clip(-1.0, 1.0)
        on_target = np.array([raw[i, labels[i]] for i in range(batch)])
        prepared, after = self.prepare(
            on_target, norms, self.initial_state() if state is None else state, draw or {}
        )
        losses, d_raw = np.zeros(batch), np.zeros((batch, classes))
        for i in range(batch):
            own = {name: float(values[i]) for name, values in prepared.items()}
            logits = [
                (self.target if j == labels[i] else self.negative)(float(raw[i, j]), **own)
                for j in range(classes)
            ]
            losses[i], d_logits = self.reduce(
                [self.scale * z.value for z in logits], int(labels[i])
            )
            for j in range(classes):
                d_raw[i, j] = d_logits[j] * self.scale * logits[j].slope / batch
        d_left, d_right = d_raw @ right, d_raw.T @ left
        if self.normalized:
            d_left = np.array([_through_unit(g, v) for g, v in zip(d_left, x, strict=True)])
            d_right = np.array([_through_unit(g, v) for g, v in zip(d_right, w, strict=True)])
        gradients = {"embeddings": d_left, "weight": d_right, "bias": d_raw.sum(0)}
        return Evaluation(float(losses.mean()), gradients, after)

    def reduce(self, logits: list[float], label: int) -> tuple[float, list[float]]:
        """Return one sample's loss, logaddexp(t, n) - t, and its derivative to every logit."""
        top = max(logits)
        total = sum(math.exp(z - top) for z in logits)
        loss = top + math.log(total) - logits[label]
        shares = [math.exp(z - top) / total for z in logits]
        return loss, [share - (j == label) for j, share in enumerate(shares)]


class Evaluation(NamedTuple):
    """What the reference returns: mean loss, gradients by argument name, the next state."""

    loss: float
    gradients: dict[str, Float]
    state: dict[str, NDArray[Any]]


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
