"""The losses once more, from their papers, in 50 digits: an oracle that shares no line with ours.

The formulas are those of `papers`, as printed. A gradient is a central difference whose step is so
small, and whose digits are so many, that 30 digits of it are right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mpmath import mp, mpf
from papers import Batch, Sample, Vector, norm, paper_of

from marginface.losses import MarginLoss

DIGITS, STEP = 60, "1e-18"


def cosine(a: Vector, b: Vector) -> Any:
    """Return the cosine of the angle between two vectors."""
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    return dot / (norm(a) * norm(b))


class Oracle:
    """Mean loss of one problem, with what is constant to the gradient worked out once."""

    def __init__(self, loss: MarginLoss, problem: Any) -> None:
        mp.dps = DIGITS
        self.loss, self.labels = loss, [int(y) for y in problem.labels]
        self.paper = paper_of(loss)
        self.arrays = {"embeddings": _exact(problem.embeddings), "weight": _exact(problem.weight)}
        self.bias = [] if problem.bias is None else _exact([problem.bias])[0]
        if self.bias:
            self.arrays["bias"] = [self.bias]
        self.state = {name: _number(value) for name, value in problem.state.items()}
        self.draw = {name: [mpf(float(v)) for v in each] for name, each in problem.draw.items()}
        rows = [self._cosines(i, self.arrays) for i in range(len(self.labels))]
        self.own = [row[y] for row, y in zip(rows, self.labels, strict=True)]
        self.others = [
            [each for j, each in enumerate(row) if j != y]
            for row, y in zip(rows, self.labels, strict=True)
        ]
        self.norms = [norm(x) for x in self.arrays["embeddings"]]
        self.constants, self.next_state = self._constants()

    def value(self) -> Any:
        """Return the mean loss."""
        return self._mean(self.arrays)

    def gradient(self, name: str) -> list[list[Any]]:
        """Return the gradient with respect to one argument."""
        step = mpf(STEP)
        rows = self.arrays[name]
        gradient = []
        for i, row in enumerate(rows):
            gradient.append([])
            for j in range(len(row)):
                ends = []
                for sign in (1, -1):
                    moved = [list(each) for each in rows]
                    moved[i][j] += sign * step
                    ends.append(self._mean(self.arrays | {name: moved}))
                gradient[i].append((ends[0] - ends[1]) / (2 * step))
        return gradient

    def _cosines(self, i: int, arrays: dict[str, Any]) -> list[Any]:
        x, w, k = arrays["embeddings"][i], arrays["weight"], self.loss.num_centers
        vectors = getattr(self.paper, "VECTORS", {}).get(self.loss.name)
        w = vectors(self.loss, w, self.state) if vectors else w
        if not self.loss.normalized:
            return [sum(p * q for p, q in zip(x, row, strict=True)) for row in w]
        each = [cosine(x, row) for row in w]
        return [max(each[j : j + k]) for j in range(0, len(each), k)]

    def _mean(self, arrays: dict[str, Any]) -> Any:
        bias = arrays["bias"][0] if "bias" in arrays else []
        total = mpf(0)
        for i, y in enumerate(self.labels):
            row, x = self._cosines(i, arrays), arrays["embeddings"][i]
            total += self._sample(row, y, x, self.constants[i], bias)
        return total / len(self.labels)

    def _constants(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return each sample's constants, from batch, state and draw, and the next state."""
        x = self.arrays["embeddings"]
        batch = Batch(self.own, self.norms, self.state, self.draw, self.others, x, self.labels)
        constants = getattr(self.paper, "CONSTANTS", {}).get(self.loss.name)
        return constants(self.loss, batch) if constants else ([{}] * len(self.labels), {})

    def _sample(self, row: Vector, y: int, x: Vector, own: dict[str, Any], bias: Vector) -> Any:
        biases = list(bias) * len(row) if len(bias) == 1 else list(bias) or [mpf(0)] * len(row)
        return self.paper.FORMULAS[self.loss.name](
            self.loss,
            Sample(
                cosine=row[y],
                others=[each for j, each in enumerate(row) if j != y],
                length=norm(x),
                bias=biases[y],
                biases=[each for j, each in enumerate(biases) if j != y],
                own=own,
                remembered=self._remembered(x, y),
            ),
        )

    def _remembered(self, x: Vector, y: int) -> tuple[Any, Vector]:
        vectors = getattr(self.paper, "REMEMBERED", {}).get(self.loss.name)
        if not vectors:
            return None, ()
        given = vectors(self.loss, self.state)
        cosines = [None if vector is None else cosine(x, vector) for vector in given]
        return cosines[y], [each for j, each in enumerate(cosines) if j != y]


def _exact(array: Any) -> list[list[Any]]:
    return [_number(row) for row in array]


def _number(value: Any) -> Any:
    """Return a number, or a list of numbers or of such lists."""
    return mpf(float(value)) if np.ndim(value) == 0 else [_number(each) for each in value]
