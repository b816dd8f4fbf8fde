"""The base of every loss, and its NumPy float64 reference.

    loss_i = logaddexp(t_i, n_i) - t_i
    t_i = scale * psi(cos theta_y) + bias                 the target logit: the margin lives here
    n_i = logsumexp over j != y of scale * nu(cos theta_j) + bias    the negatives: no margin

A loss of the family says what `psi` (`target`) and `nu` (`negative`) are, each with its slope, so
that a gradient is what the loss says it is, finite everywhere, in every framework. SphereFace2 and
UniFace replace the first line (`reduce`); MagFace adds a penalty on the norm (`penalty`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marginface.checks import check_labels
from marginface.errors import MarginfaceError
from marginface.losses.hyperparameters import declared, in_radians, parameter

Float = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
Numbers = Mapping[str, float]
Gradient = Literal["exact", "straight_through"]
PastPi = Literal["monotone", "mirror", "clip", "none"]

MIN_NORM = 1e-12  # a shorter vector has no direction: its cosines and their gradients are 0
# d cos(theta + m) / d cos(theta) = sin(theta + m) / sin(theta) has a pole at theta = 0. Below this
# sine (0.06 degrees) the slope stays constant; the embedding's gradient carries another sin(theta).
MIN_SINE = 1e-3


class Curve(NamedTuple):
    """A line of the plot over the angle: a loss at a norm, draw and state of interest.

    Args:
        loss: the loss, with parameters that show its character.
        label: appended to the loss's name, such as ", norm 60".
        norm: of the embedding.
        prepared: what `prepare` would return for a sample.
        negative: whether it is another class's logit, not the target's.
    """

    loss: MarginLoss
    label: str = ""
    norm: float = 1.0
    prepared: Numbers = {}  # noqa: RUF012 - a Mapping, which nobody changes
    negative: bool = False

    def at(self, cosine: float) -> Logit:
        """Return the value before the scale, and its slopes."""
        try:
            if self.negative:
                return self.loss.negative(cosine, self.prepared)
            return self.loss.target(cosine, self.norm, self.prepared)
        except KeyError as error:
            raise MarginfaceError(
                f"{self.loss.name}: a plot has no {error}, which prepare returns in training; say "
                "in `curves` which to draw"
            ) from None


class Logit(NamedTuple):
    """A value, and its derivatives with respect to the cosine and to the embedding's norm."""

    value: float
    slope: float
    norm_slope: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MarginLoss:
    """Base of every loss: hyperparameters, validated once, and the literal float64 reference.

    A loss is stateless. What it carries from step to step (`initial_state`), what it draws at
    random (`draw`) and what it derives from a batch (`prepare`) are explicit arrays.
    """

    name: ClassVar[str]
    normalized: ClassVar[bool] = True  # `target` and `negative` take cosines; False: w . x
    norm_scaled: ClassVar[bool] = False  # logits are multiplied by the embedding's norm
    binary: ClassVar[bool] = False  # `reduce` adds up softplus(n_j), no logsumexp
    draws: ClassVar[tuple[str, ...]] = ()  # names of the arrays [batch] that `draw` returns
    panel: ClassVar[str] = "Other margins"  # of the plot; losses read side by side share one
    shows_boundary: ClassVar[bool] = False  # in the plot of decision boundaries

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")

    def __post_init__(self) -> None:
        for name, declaration in declared(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, np.generic):  # Python's number instead, for messages and JSON
                value = value.item()
                object.__setattr__(self, name, value)
            allowed = declaration.problem(value)
            self._require(name, allowed is None, str(allowed), in_radians(value, allowed))
            if type(declaration.default) is int:
                object.__setattr__(self, name, int(value))

    def _require(self, parameter: str, ok: bool, allowed: str, hint: str = "") -> None:
        if not ok:
            value = getattr(self, parameter)
            raise MarginfaceError(
                f"{self.name}: {parameter} must be {allowed}, got {value!r}{hint}"
            )

    @property
    def num_centers(self) -> int:
        """Centres a class; a class's cosine is the largest of its centres'."""
        return 1

    @property
    def exact(self) -> bool:
        """Whether every slope is the derivative of its value; tests check those that are."""
        return getattr(self, "gradient", "exact") == "exact"

    @property
    def logit_limit(self) -> float | None:
        """The largest magnitude of a logit, to which others are clamped; None for no limit."""
        return None

    def initial_bias(self, num_classes: int) -> Float | None:
        """Return the initial bias, [num_classes] or [1]; None for losses without one."""
        return None

    def initial_state(self) -> dict[str, NDArray[Any]]:
        """Return the initial state, which is carried from step to step. Empty for most."""
        return {}

    def draw(self, rng: np.random.Generator, batch: int) -> dict[str, NDArray[Any]]:
        """Draw the loss's random arrays for a batch, [batch] each; none for most."""
        return {}

    def check_draw(self, shapes: Mapping[str, Sequence[int | None]], batch: int | None) -> None:
        """Raise unless `shapes`, by name, are those that the loss draws for a batch."""
        if sorted(shapes) != sorted(self.draws):
            wanted, got = (", ".join(names) or "nothing" for names in (self.draws, sorted(shapes)))
            raise MarginfaceError(
                f"{self.name} draws {wanted} at random, got {got}; "
                + (
                    "pass draw=loss.draw(rng, batch), to a head draw=head.draw(rng, labels)"
                    if self.draws
                    else "leave draw out"
                )
            )
        for name, shape in shapes.items():
            if len(shape) != 1 or (None not in (shape[0], batch) and shape[0] != batch):
                raise MarginfaceError(
                    f"draw[{name!r}] has shape {tuple(shape)}, expected [{batch}], one for each "
                    "embedding"
                )

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Prepare each sample's values for `target` and `negative`; return them and the next state.

        The values are constants to the gradient, here and in every framework: heads detach
        `cosines` and `norms` first.

        Args:
            cosines: cos theta_y, [batch]; of all processes together, where there are several.
            norms: Euclidean norms of the embeddings, [batch].
            state: as from `initial_state` or the last step.
            draw: as from `draw`.
        """
        return {}, dict(state)

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return psi at the target cosine, before the scale."""
        raise NotImplementedError

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return nu at another class's cosine, before the scale; the cosine itself for most."""
        return Logit(cosine, 1.0)

    def reduce(self, logits: list[float], label: int) -> tuple[float, list[float]]:
        """Return one sample's loss, logaddexp(t, n) - t, and its derivative to every logit."""
        others = [z for j, z in enumerate(logits) if j != label]
        if not others:
            return 0.0, [0.0]
        top = max(others)
        total = sum(math.exp(z - top) for z in others)
        ahead = top + math.log(total) - logits[label]  # n - t
        missing = _sigmoid(ahead)  # 1 - the softmax probability of the target
        slopes = [
            -missing if j == label else missing * math.exp(z - top) / total
            for j, z in enumerate(logits)
        ]
        return float(np.logaddexp(0.0, ahead)), slopes

    def penalty(self, norm: float) -> tuple[float, float]:
        """Return the penalty on an embedding's norm, and its slope; 0 for most."""
        return 0.0, 0.0

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return the loss's curves for the plot: its target logits, and negatives that differ."""
        curves = [Curve(cls())]
        changed = cls.negative is not MarginLoss.negative
        return [*curves, Curve(cls(), ", others", negative=True)] if changed else curves

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
            weight: class weights [classes * num_centers, embedding_size], not normalised; a class's
                centres follow each other.
            labels: [batch], in 0 .. classes - 1.
            bias: as from `initial_bias` (the default).
            state: from `initial_state` (the default) or the last step.
            draw: from `draw`, for losses that need it.

        Raises:
            MarginfaceError: a label out of range, or a draw that is not what the loss draws.
        """
        x, w = np.asarray(embeddings, np.float64), np.asarray(weight, np.float64)
        batch, centers = len(x), self.num_centers
        classes = len(w) // centers
        check_labels(int(labels.min()), int(labels.max()), classes)
        self.check_draw({key: np.shape(value) for key, value in (draw or {}).items()}, batch)
        start = self.initial_bias(classes) if bias is None else np.asarray(bias, np.float64)
        b = np.zeros(classes) if start is None else np.broadcast_to(start, classes)
        lengths = np.array([math.sqrt(_dot(row, row)) for row in x])
        norms = np.where(lengths > MIN_NORM, lengths, 0.0)
        directions = np.array([_unit(row) for row in x])
        left, right = (
            (directions, np.array([_unit(row) for row in w])) if self.normalized else (x, w)
        )
        center_cosines = np.array([[_dot(row, center) for center in right] for row in left])
        if self.normalized:
            center_cosines = center_cosines.clip(-1.0, 1.0)
        cosines = center_cosines.reshape(batch, classes, centers).max(2)
        on_target = np.array([cosines[i, labels[i]] for i in range(batch)])
        prepared, after = self.prepare(
            on_target, norms, self.initial_state() if state is None else state, draw or {}
        )
        losses, d_centers = np.zeros(batch), np.zeros_like(center_cosines)
        d_norms, d_bias = np.zeros(batch), np.zeros(classes)
        for i in range(batch):
            prepared_values = {name: float(values[i]) for name, values in prepared.items()}
            radius = self.scale * (norms[i] if self.norm_scaled else 1.0)
            logits = [
                self.target(float(cosines[i, j]), float(norms[i]), prepared_values)
                if j == labels[i]
                else self.negative(float(cosines[i, j]), prepared_values)
                for j in range(classes)
            ]
            loss, d_logits = self.reduce(
                [radius * logit.value + b[j] for j, logit in enumerate(logits)], int(labels[i])
            )
            extra, d_norms[i] = self.penalty(float(norms[i]))
            losses[i] = loss + extra
            for j, (logit, d_logit) in enumerate(zip(logits, d_logits, strict=True)):
                d_bias[j] += d_logit / batch
                d_norms[i] += d_logit * radius * logit.norm_slope
                if self.norm_scaled:
                    d_norms[i] += d_logit * self.scale * logit.value
                own_centers = center_cosines[i, j * centers : (j + 1) * centers]
                winners = own_centers == own_centers.max()  # equal ones share the gradient
                d_centers[i, j * centers : (j + 1) * centers] = (
                    d_logit * radius * logit.slope / batch * winners / winners.sum()
                )
        d_left, d_right = d_centers @ right, d_centers.T @ left
        if self.normalized:
            d_left = np.array([_through_unit(g, v) for g, v in zip(d_left, x, strict=True)])
            d_right = np.array([_through_unit(g, v) for g, v in zip(d_right, w, strict=True)])
        d_left = d_left + d_norms[:, None] / batch * directions
        gradients = {"embeddings": d_left, "weight": d_right}
        if start is not None:
            gradients["bias"] = d_bias if len(start) == classes else d_bias.sum(keepdims=True)
        return Evaluation(float(losses.mean()), gradients, after)


class Evaluation(NamedTuple):
    """Result of the reference: mean loss, gradients by argument name, the next state."""

    loss: float
    gradients: dict[str, Float]
    state: dict[str, NDArray[Any]]


def softplus_sum(
    logits: list[float], label: int, positive: float, negative: float
) -> tuple[float, list[float]]:
    """Return positive * softplus(-t) + negative * sum_j softplus(n_j), and its derivatives.

    The reduction of losses with a binary question for each class: is it the sample's?
    """
    loss, slopes = 0.0, []
    for j, z in enumerate(logits):
        weight, sign = (positive, -1.0) if j == label else (negative, 1.0)
        loss += weight * float(np.logaddexp(0.0, sign * z))
        slopes.append(weight * sign * _sigmoid(sign * z))
    return loss, slopes


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


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
