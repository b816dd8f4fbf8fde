"""Hair: a part behind the head, a part in front of it, and strands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marginface.demo.drawing.geometry import Points, Pose, smooth
from marginface.demo.drawing.haircuts import Hair
from marginface.demo.drawing.people import Person


def _skull(person: Person, hair: Hair, angle: NDArray[np.float64]) -> Points:
    """Return the hair's outer edge over the skull; angle 0 is right, pi left, pi / 2 the crown."""
    sin, cos = np.sin(angle), np.cos(angle)
    swell = hair.wave * np.sin(hair.curl * angle) + hair.spike * (
        np.abs((hair.curl * angle / np.pi) % 1 - 0.5) * 2
    ) * np.clip(sin, 0, 1)
    lean = 1 + 0.25 * np.sign(hair.part) * cos * (abs(hair.part) > 6)
    x = (person.width + hair.side + swell) * np.sign(cos) * np.abs(cos) ** 0.75
    y = -(person.forehead + hair.top * lean + swell) * np.abs(sin) ** 0.75
    return np.stack([x, y], 1)


def back_outline(person: Person, hair: Hair) -> Points | None:
    """Return the hair that falls behind the face, or None."""
    if hair.length <= 0:
        return None
    crown = _skull(person, hair, np.linspace(0, np.pi, 40))
    w = person.width + hair.side + 1.5
    t = np.linspace(0, 1, 14)
    x = w + hair.flare * np.sin(np.pi * 0.6 * t) + 1.4 * hair.wave * np.sin(5 * np.pi * t)
    right = np.stack([x, t * hair.length], 1)
    left = (right * (-1, 1))[1:]
    bottom = np.array([(x[-1] * 0.8, hair.length + 3), (-x[-1] * 0.8, hair.length + 3)])
    return np.concatenate([crown, left, bottom[::-1], right[::-1][:-1]])


def front_parts(person: Person, hair: Hair, pose: Pose) -> list[tuple[Points, NDArray[np.float64]]]:
    """Return the outlines [N, 2] of the hair before the head, each with its points' depths."""
    if hair.crown == 0:
        return [_side(person, hair, side) for side in (-1.0, 1.0)]
    w = person.width
    outer = _skull(person, hair, np.linspace(-0.02, np.pi + 0.02, 60))
    inner = w * 0.93 - hair.curtain
    t = np.linspace(-1, 1, 15)
    line = hair.line - hair.peak * (1 - np.exp(-((t / 0.42) ** 2)) * 1.2)
    fall = hair.sweep * np.clip((hair.part / w - t) / 1.2, -0.35, 1.2) * np.sign(hair.part or 1)
    y = -line + np.abs(fall) * np.sign(hair.sweep or 1) * np.sign(hair.part or 1)
    y += hair.wave * 0.6 * np.sin(hair.curl * 1.7 * t)
    y += hair.spike * 0.4 * np.where(np.arange(15) % 2, 1, -1)
    edge = np.abs(t) ** 5  # the line bends down to the temples at the sides
    middle = np.stack([inner * 0.96 * t, y * (1 - edge) - 9.0 * edge], 1)
    if hair.side_end > 10:
        drop = np.linspace(2, hair.side_end, 7)
        swing = inner + 2.5 * (drop / hair.side_end) ** 2 + 0.6 * hair.wave * np.sin(drop * 0.45)
        right = np.stack([swing, drop], 1)
        width = w + hair.side + hair.flare * 0.4
        tail = np.array([(0.5 * (swing[-1] + width), hair.side_end + 2.5), (width, hair.side_end)])
    else:
        right = np.array([(inner + 0.6, -3.0), (inner + 1.2, hair.side_end)])
        tail = np.array([(w + 0.2, hair.side_end - 0.5)])
    left = (right * (-1, 1))[::-1]
    inside = smooth(np.concatenate([left, middle, right]), 4, closed=False)
    points = np.concatenate([tail, outer, (tail * (-1, 1))[::-1], inside])
    lift = np.concatenate([np.zeros(len(outer) + 2 * len(tail)), pose.surface(inside, 1.0) * 0.92])
    return [(points, lift)]


def _side(person: Person, hair: Hair, side: float) -> tuple[Points, NDArray[np.float64]]:
    w = person.width
    patch = np.array(
        [
            (w * 0.93, 5.0),
            (w * 0.87, -8),
            (w * 0.84, -17),
            (w * 0.90, -24),
            (w + hair.side - 1.5, -18),
            (w + hair.side, -6),
            (w + hair.side * 0.5, 4),
        ]
    )
    points = smooth(patch) * (side, 1)
    return points, np.full(len(points), 4.0)


def bun(person: Person, hair: Hair) -> Points | None:
    """Return the bun on top of the head, or None."""
    if hair.bun <= 0:
        return None
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    ring = np.stack([np.cos(angle) * hair.bun * 1.1, np.sin(angle) * hair.bun * 0.8], 1)
    ring[:, 1] -= person.forehead + hair.top + hair.bun * 0.4
    return ring


def strands(person: Person, hair: Hair, grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the brightness of hair at `grid` [N, 2] in the face's frame: about 1."""
    rng = np.random.default_rng(person.strands)
    table = rng.normal(0, 1, 256).astype(np.float32)
    table = table + 0.7 * np.roll(table, 1) + 0.7 * np.roll(table, -1)
    x, y = grid[:, 0], grid[:, 1]
    curl = min(3.0, hair.wave)
    root_y = -person.forehead * 0.92
    down = np.hypot(x - hair.part, (y - root_y) * 0.7)
    angle = np.arctan2(x - hair.part, np.maximum(y - root_y + 14, 1.0))
    wavy = angle * 26 + curl * 1.3 * np.sin(down * 0.55)
    if hair.wave > 1.2 and hair.length == 0:  # curls, no direction
        wavy = 3 * np.sin(x * 1.1 + 2 * np.sin(y * 0.7)) + 3 * np.cos(y * 1.2 + 2 * np.sin(x * 0.8))
    position = wavy * 2 + 128
    index = np.floor(position).astype(np.int64)
    part = (position - index).astype(np.float32)
    value = table[index % 256] * (1 - part) + table[(index + 1) % 256] * part
    halo = np.exp(-(((down - 21) / 9) ** 2)).astype(np.float32)
    result: NDArray[np.float32] = 1 + 0.085 * value + 0.26 * halo
    return result
