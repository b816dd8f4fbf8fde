"""The base of every loss, and its NumPy float64 reference.

    loss_i = logaddexp(t_i, n_i) - t_i
    t_i = scale * psi(cos theta_y) + bias                 the target logit: the margin lives here
    n_i = logsumexp over j != y of scale * nu(cos theta_j) + bias    the negatives: no margin

A loss of the family says what `psi` (`target`) and `nu` (`negative`) are, each with its slope, so
that a gradient is what the loss says it is, finite everywhere, in every framework. SphereFace2,
UniFace and SFace replace the first line (`reduce`) and add up the others in another way (`adds`);
MagFace adds a penalty on the norm (`penalty`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marginface.checks import check_labels, check_number
from marginface.errors import MarginfaceError
from marginface.losses.hyperparameters import declared, in_radians, parameter

Float = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
Numbers = Mapping[str, float]
Gradient = Literal["exact", "straight_through"]
PastPi = Literal["monotone", "mirror", "clip", "none"]
Sum = Literal["logsumexp", "softplus", "plain"]  # of logits, softplus(logit), logits as they are

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


class Sample(NamedTuple):
    """What a training step knows of one sample, for its class to keep; heads have arrays [batch].

    Args:
        embedding: of length 1, [embedding_size].
        norm: of the embedding.
        cosine: to the sample's own class.
    """

    embedding: Any
    norm: Any
    cosine: Any


class Memory(NamedTuple):
    """What a loss makes of the rows of one class; heads have arrays [classes].

    Args:
        share: of `vector` in the class's direction, in [0, 1); with a `companion`, whether the
            class has a vector, 0 or 1.
        vector: of length 1, [embedding_size].
    """

    share: Any
    vector: Any


class Logit(NamedTuple):
    """A value, and its derivatives with respect to the cosine, the norm and a learned margin."""

    value: float
    slope: float
    norm_slope: float = 0.0
    margin_slope: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MarginLoss:
    """Base of every loss: hyperparameters, validated once, and the literal float64 reference.

    A loss is stateless. What it carries from step to step (`initial_state`), what it draws at
    random (`draw`) and what it derives from a batch (`prepare`) are explicit arrays.
    """

    name: ClassVar[str]
    normalized: ClassVar[bool] = True  # `target` and `negative` take cosines; False: w . x
    norm_scaled: ClassVar[bool] = False  # logits are multiplied by the embedding's norm
    adds: ClassVar[Sum] = "logsumexp"  # how the other classes' logits add up, for `reduce`
    draws: ClassVar[tuple[str, ...]] = ()  # names of the arrays [batch] that `draw` returns
    tallies: ClassVar[tuple[str, ...]] = ()  # names of what `tally` counts
    min_classes: ClassVar[int] = 1  # that a head must have
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
    def looks_ahead(self) -> bool:
        """Whether a step in training uses the state that `finish` makes of it; else the next does.

        It takes a pass over the classes more, with the state as it was.
        """
        return False

    @property
    def logit_limit(self) -> float | None:
        """The largest magnitude of a logit, to which others are clamped; None for no limit."""
        return None

    @property
    def companion(self) -> MarginLoss | None:
        """A second loss of each sample, against what `recall` returns; None for most.

        The vectors are then no part of class weights, and the bias, [1], is the companion's. It is
        a binary loss of cosines and of nothing else: without state, draws or `prepare`.
        """
        return None

    @property
    def margin_pull(self) -> float | None:
        """Lambda of a loss that learns a margin for each class; None for most.

        The bias, [num_classes], is then these margins. They are put back into [0, 1] before each
        use, `target` gets a sample's as `prepared["margin"]`, negatives have no part in them, and
        the loss is larger by lambda (1 - mean margin).
        """
        return None

    def initial_bias(self, num_classes: int) -> Float | None:
        """Return the initial bias, [num_classes] or [1]; None for losses without one.

        With a `margin_pull` it is the margins.
        """
        return None

    def initial_state(self, num_classes: int) -> dict[str, NDArray[Any]]:
        """Return the initial state, which is carried from step to step. Empty for most."""
        return {}

    def class_state(self, num_classes: int, embedding_size: int) -> dict[str, NDArray[Any]]:
        """Return what is kept for each class at first: arrays with a row a class. Empty for most.

        A head shares them among processes, samples and saves them as it does class weights, those
        with a point in float32, or float64 where the weights are.
        """
        return {}

    def remember(self, rows: Arrays, sample: Sample, state: Arrays) -> dict[str, Any]:
        """Return the rows of `class_state` that a sample leaves to its class in training.

        Of several samples of a class the last in the batch counts; of several processes' batch,
        sample i of process r is number r + i size. The next step is the first to see the rows.

        Args:
            rows: of the sample's class, before the step.
            sample: what the step knows of it.
            state: after the step.
        """
        return dict(rows)

    def recall(self, rows: Arrays, state: Arrays) -> Memory | None:
        """Return how much of which vector is in a class's direction; None for losses without.

        The head then takes the cosine to (1 - share) w / |w| + share vector, whose gradient goes to
        w alone.

        Args:
            rows: of the class, from `class_state`.
            state: before the step.
        """
        return None

    def radius(self, state: Arrays) -> float:
        """Return what logits are multiplied by; `scale` for most. A constant to the gradient."""
        return self.scale

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

    def check_filter(self, interclass_filter: float | None) -> None:
        """Raise unless a head of this loss can leave out cosines above the limit."""
        if interclass_filter is None:
            return
        check_number("interclass_filter", interclass_filter)
        if not 0 < interclass_filter < 1:
            raise MarginfaceError(
                "interclass_filter must be a cosine above 0 and below 1, such as 0.4, got "
                f"{interclass_filter!r}; leave it out for no filter"
            )
        why = "" if self.normalized else "whose logits are no cosines"
        if self.adds != "logsumexp":
            why = "which takes no logsumexp of the other classes"
        if why:
            raise MarginfaceError(
                f"interclass_filter does not go with {self.name}, {why}; leave it out, or take "
                "another loss, such as arcface"
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
            state: as from `initial_state` or the last step; and of what `class_state` keeps as one
                number a class, those of the samples' own classes, [batch].
            draw: as from `draw`.
        """
        return {}, dict(state)

    def tally(self, cosine: float, prepared: Numbers) -> dict[str, float]:
        """Return what one negative adds to each of `tallies`; none for most.

        The sums over all negatives, constants to the gradient, are among the values that `target`
        gets as `prepared`. `negative` does not: they are not known before its last call.
        """
        return {}

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
        missing = sigmoid(ahead)  # 1 - the softmax probability of the target
        slopes = [
            -missing if j == label else missing * math.exp(z - top) / total
            for j, z in enumerate(logits)
        ]
        return float(np.logaddexp(0.0, ahead)), slopes

    def finish(self, cosines: Float, others: Float, state: Arrays) -> dict[str, NDArray[Any]]:
        """Return the state after a pass over the classes; as it was for most.

        Args:
            cosines: cos theta_y, [batch]; of all processes together, where there are several.
            others: n, the logsumexp of all other classes' logits, [batch].
            state: of the pass, after `prepare`.
        """
        return dict(state)

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
        interclass_filter: float | None = None,
    ) -> Evaluation:
        """Return the mean loss, its gradients and the next state: the oracle, in loops.

        Args:
            embeddings: [batch, embedding_size], not normalised.
            weight: class weights [classes * num_centers, embedding_size], not normalised; a class's
                centres follow each other.
            labels: [batch], in 0 .. classes - 1.
            bias: as from `initial_bias` (the default).
            state: from `initial_state` and `class_state` (the default) or the last step.
            draw: from `draw`, for losses that need it.
            interclass_filter: cosines with other classes above it count as 0, a constant; None for
                no filter. They are those with mixed class vectors; a companion has no filter.

        Raises:
            MarginfaceError: a label out of range, a draw that is not what the loss draws, or a
                filter that the loss cannot take.
        """
        x, w = np.asarray(embeddings, np.float64), np.asarray(weight, np.float64)
        batch, centers = len(x), self.num_centers
        classes = len(w) // centers
        check_labels(int(labels.min()), int(labels.max()), classes)
        self.check_draw({key: np.shape(value) for key, value in (draw or {}).items()}, batch)
        self.check_filter(interclass_filter)
        start = self.initial_bias(classes) if bias is None else np.asarray(bias, np.float64)
        companion = self.companion
        b = np.zeros(classes)
        pull, margins = self.margin_pull, np.zeros(classes)
        if start is not None and pull is not None:
            margins = start.clip(0, 1)
        elif start is not None and companion is None:
            b = np.broadcast_to(start, classes)
        kept = self.class_state(classes, x.shape[1])
        given = self.initial_state(classes) | kept | dict(state or {})
        before = {name: np.asarray(given.pop(name)) for name in kept}
        rows = [{name: value[j] for name, value in before.items()} for j in range(classes)]
        memories = [self.recall(each, given) for each in rows]
        lengths = np.array([math.sqrt(_dot(row, row)) for row in x])
        norms = np.where(lengths > MIN_NORM, lengths, 0.0)
        directions = np.array([_unit(row) for row in x])
        mixed_in = memories if companion is None else [None] * classes
        vectors = [_mixed(row, mixed_in[j // centers]) for j, row in enumerate(w)]
        left, right = (
            (directions, np.array([_unit(row) for row in vectors])) if self.normalized else (x, w)
        )
        center_cosines = np.array([[_dot(row, center) for center in right] for row in left])
        if self.normalized:
            center_cosines = center_cosines.clip(-1.0, 1.0)
        cosines = center_cosines.reshape(batch, classes, centers).max(2)
        passed = np.full(cosines.shape, True)  # by the filter
        if interclass_filter is not None:
            passed = (cosines <= interclass_filter) | (np.arange(classes) == labels[:, None])
            cosines = np.where(passed, cosines, 0.0)
        own_numbers = {name: value[labels] for name, value in before.items() if value.ndim == 1}
        fixed = self.fix(cosines, labels, norms, b, given | own_numbers, draw or {})
        after, kept = {n: fixed.state[n] for n in given}, {n: v.copy() for n, v in before.items()}
        for i, label in enumerate(labels):
            sample = Sample(directions[i], norms[i], cosines[i, label])
            for name, value in self.remember(rows[label], sample, after).items():
                kept[name][label] = value
        losses, d_centers = np.zeros(batch), np.zeros_like(center_cosines)
        d_norms, d_bias = np.zeros(batch), np.zeros(classes)
        for i in range(batch):
            prepared = _of_sample(fixed.prepared, i)
            if pull is not None:
                prepared["margin"] = float(margins[labels[i]])
            radius = fixed.radius * (norms[i] if self.norm_scaled else 1.0)
            logits = [
                self.target(float(cosines[i, j]), float(norms[i]), prepared)
                if j == labels[i]
                else self.negative(float(cosines[i, j]), prepared)
                for j in range(classes)
            ]
            loss, d_logits = self.reduce(
                [radius * logit.value + b[j] for j, logit in enumerate(logits)], int(labels[i])
            )
            extra, d_norms[i] = self.penalty(float(norms[i]))
            losses[i] = loss + extra
            for j, (logit, d_logit) in enumerate(zip(logits, d_logits, strict=True)):
                learned = 1.0 if pull is None else radius * logit.margin_slope
                d_bias[j] += d_logit * learned / batch
                d_norms[i] += d_logit * radius * logit.norm_slope
                if self.norm_scaled:
                    d_norms[i] += d_logit * fixed.radius * logit.value
                own_centers = center_cosines[i, j * centers : (j + 1) * centers]
                winners = own_centers == own_centers.max()  # equal ones share the gradient
                d_cosine = d_logit * radius * logit.slope * passed[i, j]
                d_centers[i, j * centers : (j + 1) * centers] = (
                    d_cosine / batch * winners / winners.sum()
                )
        d_left, d_right = d_centers @ right, d_centers.T @ left
        if self.normalized:
            d_left = np.array([_through_unit(g, v) for g, v in zip(d_left, x, strict=True)])
            d_right = np.array([_through_unit(g, v) for g, v in zip(d_right, vectors, strict=True)])
            d_right = np.array(
                [_through_mixed(g, w[j], mixed_in[j // centers]) for j, g in enumerate(d_right)]
            )
        d_left = d_left + d_norms[:, None] / batch * directions
        if companion is not None and start is not None:
            pairs, d_pairs, d_bias = _pairs(companion, x, labels, memories, float(start[0]))
            losses, d_left = losses + pairs, d_left + d_pairs
        if pull is not None:
            losses, d_bias = losses + pull * (1 - margins.mean()), d_bias - pull / classes
        gradients = {"embeddings": d_left, "weight": d_right}
        if start is not None:
            gradients["bias"] = d_bias if len(start) == classes else d_bias.sum(keepdims=True)
        return Evaluation(float(losses.mean()), gradients, after | kept)

    def fix(
        self,
        cosines: Float,
        labels: NDArray[np.integer[Any]],
        norms: Float,
        bias: Float,
        state: Arrays,
        draw: Arrays,
    ) -> Fixed:
        """Work out what `evaluate` takes for constants of its gradients.

        Args:
            cosines: filtered, [batch, classes].
            labels: [batch].
            norms: of the embeddings, [batch].
            bias: [classes].
            state: before the step.
            draw: as from `draw`.
        """
        own = np.arange(cosines.shape[1]) == labels[:, None]
        finishes = type(self).finish is not MarginLoss.finish
        factors = norms if self.norm_scaled else np.ones(len(norms))

        def others(prepared: Mapping[str, Float], radius: float) -> Float:
            """Return n of each sample."""
            n = np.full(len(labels), -np.inf)
            for i, j in np.argwhere(~own):
                nu = self.negative(float(cosines[i, j]), _of_sample(prepared, i)).value
                n[i] = np.logaddexp(n[i], radius * factors[i] * nu + bias[j])
            return n

        prepared, after = self.prepare(cosines[own], norms, state, draw)
        radius = self.radius(state)
        if finishes and self.looks_ahead:
            state = self.finish(cosines[own], others(prepared, radius), state)
            prepared, after = self.prepare(cosines[own], norms, state, draw)
            radius = self.radius(state)
        elif finishes:
            after = self.finish(cosines[own], others(prepared, radius), after)
        tally = {name: np.zeros(len(labels)) for name in self.tallies}
        for i, j in np.argwhere(~own) if tally else ():
            for name, counted in self.tally(cosines[i, j], _of_sample(prepared, i)).items():
                tally[name][i] += counted
        return Fixed({**prepared, **tally}, radius, after)


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
        slopes.append(weight * sign * sigmoid(sign * z))
    return loss, slopes


def sigmoid(z: float) -> float:
    """Return 1 / (1 + e^-z), without overflow."""
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def _of_sample(prepared: Mapping[str, Float], i: int) -> dict[str, float]:
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
