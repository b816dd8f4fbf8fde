"""A family once more, from its paper: formulas in 50 digits, lines by hand, and mutants.

Each file is called as its family and shares no line with the product. It holds

    FORMULAS   by a loss's name: the loss of one sample, as printed
    CONSTANTS  by a loss's name, where it takes something from the batch, its state or a draw: that,
               for each sample, and the next state
    VECTORS    by a loss's name, where it is not the weights that classes are compared by: the
               classes' vectors
    REMEMBERED by a loss's name, where classes have another vector beside theirs: that, or None
    BY_HAND    what the reference must give for some input, worked out on paper
    MUTANTS    changes of the family's tensor code that the suite must notice
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from mpmath import acos, cos, exp, floor, log, mpf, pi, sin, sqrt

from marginface import losses
from marginface.losses import MarginLoss
from marginface.losses.families import FAMILIES

Vector = Sequence[Any]
BACKENDS = ("torch", "tf")


class Sample(NamedTuple):
    """What a formula takes; numbers are mpmath's.

    Args:
        cosine: to the sample's own class; w . x where a loss does not normalise.
        others: to every other class.
        length: norm of the embedding.
        bias: of the own class.
        biases: of every other class.
        own: what CONSTANTS gave this sample, by name.
        remembered: cosines to what REMEMBERED gives for the own class, and for every other; None
            for a class without.
    """

    cosine: Any
    others: Vector
    length: Any
    bias: Any
    biases: Vector
    own: dict[str, Any]
    remembered: tuple[Any, Vector] = (None, ())


class Batch(NamedTuple):
    """What CONSTANTS takes: target cosines and norms [batch], state and draw by name, and the rest.

    `others` are each sample's cosines with every other class. The state has the rows of all
    classes, too.
    """

    cosines: Vector
    lengths: Vector
    state: dict[str, Any]
    draw: dict[str, Vector]
    others: Sequence[Vector]
    embeddings: Sequence[Vector]
    labels: Sequence[int]


class Mutant(NamedTuple):
    """One change: in which file, what for what, and the loss whose tests come first.

    All but `loss` are one text for both backends, or a pair, torch's and tf's; one for the core.
    """

    file: str | tuple[str, str]
    loss: str
    old: str | tuple[str, str]
    new: str | tuple[str, str]

    def of(self, backend: str) -> tuple[str, str, str]:
        """Return a backend's file, or the core's, and what to replace by what."""
        file, old, new = (
            text if isinstance(text, str) else text[BACKENDS.index(backend)]
            for text in (self.file, self.old, self.new)
        )
        return file, old, new


def paper(family: str) -> ModuleType:
    """Return a family's file."""
    return importlib.import_module(f"papers.{family}")


def paper_of(loss: MarginLoss) -> ModuleType:
    """Return the file that has a loss's formula."""
    papers = [paper(family) for family in FAMILIES]
    return next(each for each in papers if loss.name in each.FORMULAS)


def norm(vector: Vector) -> Any:
    """Return the Euclidean length."""
    return sqrt(sum(v * v for v in vector))


def softmax_loss(target: Any, others: Vector) -> Any:
    """Return -ln(e^t / (e^t + sum e^n))."""
    return log(1 + sum(exp(n - target) for n in others))


def scaled_softmax(loss: Any, target: Any, others: Vector) -> Any:
    """Return the softmax loss of s t against s n."""
    s = mpf(loss.scale)
    return softmax_loss(s * target, [s * n for n in others])


def softplus(z: Any) -> Any:
    """Return ln(1 + e^z)."""
    return log(1 + exp(z))


def clip(value: Any, low: Any, high: Any) -> Any:
    """Return the value, or the end of the range that it is beyond."""
    return min(max(value, mpf(low)), mpf(high))


def margin_angle(c: Any, m: Any, past_pi: str, *, easy: bool = False) -> Any:
    """Return cos(theta + m), with what a policy does past pi."""
    theta = acos(c)
    if easy and c <= 0:
        return c
    if theta + m > pi and past_pi == "monotone":
        return c - m * sin(m)
    if theta + m > pi and past_pi == "mirror":
        return -2 - cos(theta + m)
    if theta + m > pi and past_pi == "clip":
        return mpf(-1)
    return cos(theta + m)


def multiplied_angle(c: Any, m: Any, past_pi: str, add: Any = 0) -> Any:
    """Return SphereFace's psi, or cos(m theta) where the policy is another."""
    angle = m * acos(c) + add
    k = floor(angle / pi)
    if k == 0 or past_pi == "none":
        return cos(angle)
    return mpf(-1) if past_pi == "clip" else (-1) ** int(k) * cos(angle) - 2 * k


def target(
    name: str, cosine: float, norm: float = 1.0, prepared: Any = None, **values: Any
) -> float:
    """Return the reference's target logit before the scale, for a line by hand."""
    return losses.get(name, **values).target(cosine, norm, prepared or {}).value


def negative(name: str, cosine: float, prepared: Any = None, **values: Any) -> float:
    """Return the reference's logit of another class before the scale, for a line by hand."""
    return losses.get(name, **values).negative(cosine, prepared or {}).value
