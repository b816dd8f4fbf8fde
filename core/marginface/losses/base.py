"""The base of every loss.

    loss_i = logaddexp(t_i, n_i) - t_i
    t_i = scale * psi(cos theta_y) + bias                 the target logit: the margin lives here
    n_i = logsumexp over j != y of scale * nu(cos theta_j) + bias    the negatives: no margin

A loss of the family says what `psi` (`target`) and `nu` (`negative`) are, each with its slope, so
that a gradient is what the loss says it is, finite everywhere, in every framework. SphereFace2,
UniFace and SFace replace the first line (`reduce`) and add up the others in another way (`adds`);
MagFace adds a penalty on the norm (`penalty`). `reference` computes loss and gradients from that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marginface.checks import check_number
from marginface.errors import MarginfaceError
from marginface.losses import reference
from marginface.losses.hyperparameters import declared, in_radians, parameter
from marginface.losses.values import Arrays, Float, Logit, Memory, Numbers, Sample, Sum, sigmoid


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
    def finishes(self) -> bool:
        """Whether it has a `finish` of its own."""
        return type(self).finish is not MarginLoss.finish

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

    @property
    def bias_apart(self) -> bool:
        """Whether the bias is no part of the classes' logits: a companion's, or learned margins."""
        return self.companion is not None or self.margin_pull is not None

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
    ) -> reference.Evaluation:
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
        return reference.evaluate(
            self,
            np.asarray(embeddings, np.float64),
            np.asarray(weight, np.float64),
            labels,
            bias=bias,
            state=state or {},
            draw=draw or {},
            interclass_filter=interclass_filter,
        )
