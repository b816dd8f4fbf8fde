"""The losses once more, from their papers, in 50 digits: an oracle that shares no line with ours.

Each function below is a formula as printed. A gradient is a central difference whose step is so
small, and whose digits are so many, that 30 digits of it are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpmath import acos, cos, exp, floor, log, mp, mpf, pi, sin, sqrt

from marginface.losses import MarginLoss

DIGITS, STEP = 60, "1e-18"

Vector = Sequence[Any]


def clip(value: Any, low: Any, high: Any) -> Any:
    """Return the value, or the end of the range that it is beyond."""
    return min(max(value, mpf(low)), mpf(high))


def norm(vector: Vector) -> Any:
    """Return the Euclidean length."""
    return sqrt(sum(v * v for v in vector))


def cosine(a: Vector, b: Vector) -> Any:
    """Return the cosine of the angle between two vectors."""
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    return dot / (norm(a) * norm(b))


def margin_angle(c: Any, m: Any, past_pi: str, *, easy: bool = False) -> Any:
    """Return cos(theta + m), with what a policy does past pi."""
    theta = acos(c)
    if easy and c <= 0:
        return c
    if theta + m > pi and past_pi == "monotone":
        return c - m * sin(m)
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


def softmax_loss(target: Any, others: Vector) -> Any:
    """Return -ln(e^t / (e^t + sum e^n))."""
    return log(1 + sum(exp(n - target) for n in others))


def softplus(z: Any) -> Any:
    """Return ln(1 + e^z)."""
    return log(1 + exp(z))


class Oracle:
    """Mean loss of one problem, with what is constant to the gradient worked out once."""

    def __init__(self, loss: MarginLoss, problem: Any) -> None:
        mp.dps = DIGITS
        self.loss, self.labels = loss, [int(y) for y in problem.labels]
        self.arrays = {"embeddings": _exact(problem.embeddings), "weight": _exact(problem.weight)}
        self.bias = [] if problem.bias is None else _exact([problem.bias])[0]
        if self.bias:
            self.arrays["bias"] = [self.bias]
        self.state = {name: mpf(float(value)) for name, value in problem.state.items()}
        self.draw = {name: [mpf(float(v)) for v in each] for name, each in problem.draw.items()}
        rows = [self._cosines(i, self.arrays) for i in range(len(self.labels))]
        self.own = [row[y] for row, y in zip(rows, self.labels, strict=True)]
        self.norms = [norm(x) for x in self.arrays["embeddings"]]
        self.constants, self.next_state = self._constants()

    def value(self) -> Any:
        """Return the mean loss."""
        return self._mean(self.arrays)

    def gradient(self, name: str) -> list[list[Any]]:
        """Return the gradient with respect to one argument."""
        step = mpf(STEP)
        rows = self.arrays[name]
        found = []
        for i, row in enumerate(rows):
            found.append([])
            for j in range(len(row)):
                ends = []
                for sign in (1, -1):
                    moved = [list(each) for each in rows]
                    moved[i][j] += sign * step
                    ends.append(self._mean(self.arrays | {name: moved}))
                found[i].append((ends[0] - ends[1]) / (2 * step))
        return found

    def _cosines(self, i: int, arrays: dict[str, Any]) -> list[Any]:
        x, w, k = arrays["embeddings"][i], arrays["weight"], self.loss.num_centers
        if not self.loss.normalized:
            return [sum(p * q for p, q in zip(x, row, strict=True)) for row in w]
        each = [cosine(x, row) for row in w]
        return [max(each[j : j + k]) for j in range(0, len(each), k)]

    def _mean(self, arrays: dict[str, Any]) -> Any:
        bias = arrays["bias"][0] if "bias" in arrays else []
        total = mpf(0)
        for i, y in enumerate(self.labels):
            row = self._cosines(i, arrays)
            length = norm(arrays["embeddings"][i])
            total += self._sample(row, y, length, self.constants[i], bias)
        return total / len(self.labels)

    def _constants(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return what each sample takes from batch, state and draw, and the next state."""
        loss, count = self.loss, len(self.labels)
        name = loss.name
        if name == "sphereface":
            step = self.state["step"] + 1
            value = max(mpf(loss.lambda_min), loss.lambda_base / (1 + mpf(loss.gamma) * step))
            return [{"annealing": value}] * count, {"step": step}
        if name == "curricularface":
            alpha = mpf(loss.alpha)
            t = alpha * sum(self.own) / count + (1 - alpha) * self.state["t"]
            return [{"t": t}] * count, {"t": t}
        if name == "adaface":
            rate = mpf(loss.t_alpha)
            safe = [clip(n, mpf(1e-3), 100) for n in self.norms]
            mean = sum(safe) / count
            spread = sqrt(sum((n - mean) ** 2 for n in safe) / (count - 1))
            mu = rate * mean + (1 - rate) * self.state["mean"]
            sigma = rate * spread + (1 - rate) * self.state["std"]
            scaled = [loss.h * (n - mu) / (sigma + mpf(1e-3)) for n in safe]
            return [{"k": clip(z, -1, 1)} for z in scaled], {"mean": mu, "std": sigma}
        if name.startswith("elasticface"):
            margins = self.draw["margin"]
            if name.endswith("plus"):
                order = sorted(range(count), key=lambda i: -self.own[i])
                rank = {sample: place for place, sample in enumerate(order)}
                rising = sorted(margins)
                places = order if loss.assignment == "released" else [rank[i] for i in range(count)]
                margins = [rising[place] for place in places]
            return [{"margin": m} for m in margins], {}
        return [{}] * count, {}

    def _sample(self, row: Vector, y: int, length: Any, own: dict[str, Any], bias: Vector) -> Any:
        loss, s = self.loss, mpf(self.loss.scale)
        name, c = loss.name, row[y]
        others = [each for j, each in enumerate(row) if j != y]
        if name == "softmax":
            logits = [s * z + b for z, b in zip(row, bias, strict=True)]
            return softmax_loss(logits[y], [z for j, z in enumerate(logits) if j != y])
        if name == "sphereface":
            psi = multiplied_angle(c, mpf(loss.margin), loss.past_pi)
            target = (own["annealing"] * c + psi) / (1 + own["annealing"])
            return softmax_loss(s * length * target, [s * length * n for n in others])
        if name == "sphereface2":
            m, t, alpha = mpf(loss.margin), mpf(loss.t), mpf(loss.alpha)
            spread = [2 * ((each + 1) / 2) ** t - 1 for each in row]
            wrong = sum(softplus(s * (g + m) + bias[0]) for j, g in enumerate(spread) if j != y)
            right = softplus(-(s * (spread[y] - m) + bias[0]))
            return loss.lw / s * (alpha * right + (1 - alpha) * wrong)
        if name == "uniface":
            m, z = mpf(loss.margin), [s * n + bias[0] for n in others]
            target = s * (c - m) + bias[0]
            if loss.clamp:
                target, z = clip(target, -s, s), [clip(each, -s, s) for each in z]
            return softplus(-target) + loss.negative_weight * sum(softplus(each) for each in z)
        extra = mpf(0)
        if name == "normface":
            target = c
        elif name == "cosface":
            target = c - mpf(loss.margin)
        elif name in ("arcface", "subcenter_arcface"):
            target = margin_angle(c, mpf(loss.margin), loss.past_pi, easy=loss.easy_margin)
        elif name == "combined_margin":
            m1, m2, m3 = mpf(loss.m1), mpf(loss.m2), mpf(loss.m3)
            if m1 == 1:
                target = margin_angle(c, m2, loss.past_pi) - m3
            else:
                target = multiplied_angle(c, m1, loss.past_pi, m2) - m3
        elif name == "sphereface_r_v1":
            target = multiplied_angle(c, mpf(loss.margin), loss.past_pi)
        elif name == "sphereface_r_v2":
            target, others = c, [cos(acos(n) / mpf(loss.margin)) for n in others]
        elif name == "li_arcface":
            target = (pi - 2 * (acos(c) + mpf(loss.margin))) / pi
            others = [(pi - 2 * acos(n)) / pi for n in others]
        elif name == "magface":
            low, high = mpf(loss.l_a), mpf(loss.u_a)
            a = clip(length, low, high)
            rise = (mpf(loss.u_margin) - mpf(loss.l_margin)) / (high - low)
            m = rise * (a - low) + mpf(loss.l_margin)
            target = margin_angle(c, m, loss.past_pi, easy=loss.easy_margin)
            extra = loss.lambda_g * (1 / a + a / high**2)
        elif name == "adaface":
            eps, m, k = mpf(loss.eps), mpf(loss.margin), own["k"]
            others = [clip(n, -1 + eps, 1 - eps) for n in others]
            angle = acos(clip(c, -1 + eps, 1 - eps)) - m * k
            if loss.past_pi == "clip":
                angle = clip(angle, eps, pi - eps)
            target = cos(angle) - (m * k + m)
        elif name == "curricularface":
            m = mpf(loss.margin)
            limit = cos(acos(c) + m)
            target = margin_angle(c, m, loss.past_pi)
            others = [n if n <= limit else n * (own["t"] + n) for n in others]
        elif name.startswith("elasticface_arc"):
            target = margin_angle(c, own["margin"], loss.past_pi)
        elif name.startswith("elasticface_cos"):
            target = c - own["margin"]
        elif name == "circle":
            m = mpf(loss.margin)
            target = max(1 + m - c, 0) * (c - (1 - m))
            others = [max(n + m, 0) * (n - m) for n in others]
        else:
            raise NotImplementedError(f"{name} has no formula here yet")
        return softmax_loss(s * target, [s * n for n in others]) + extra


def _exact(array: Any) -> list[list[Any]]:
    return [[mpf(float(value)) for value in row] for row in array]
