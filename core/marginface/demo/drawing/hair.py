"""Hair and beard: what is behind the head, what is before it, and strands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from marginface.demo.drawing.geometry import SIZE, Points, Pose, ellipse, mirrored, smooth
from marginface.demo.drawing.pen import HAIR, Pen
from marginface.demo.drawing.people import Hair, Person


def _skull(person: Person, hair: Hair, angle: NDArray[np.float64]) -> Points:
    """Return the hair's outer edge over the skull; angle 0 is right, pi left, pi / 2 the crown."""
    sin, cos = np.sin(angle), np.cos(angle)
    zigzag = np.abs((hair.curl * angle / np.pi) % 1 - 0.5) * 2 * np.clip(sin, 0, 1)
    swell = hair.wave * np.sin(hair.curl * angle) + hair.spike * zigzag
    lean = 1 + 0.25 * np.sign(hair.part) * cos * (abs(hair.part) > 6)
    x = (person.width + hair.side + swell) * np.sign(cos) * np.abs(cos) ** 0.75
    y = -(person.forehead + hair.top * lean + swell) * np.abs(sin) ** 0.75
    return np.stack([x, y], 1)


def draw_back(pen: Pen, person: Person) -> None:
    """Draw the hair that falls behind the face, and the bun on top of the head."""
    hair = person.hair
    if hair is not None and hair.length:
        crown = _skull(person, hair, np.linspace(0, np.pi, 40))
        t = np.linspace(0, 1, 14)
        x = person.width + hair.side + 1.5 + hair.flare * np.sin(0.6 * np.pi * t)
        x += 1.4 * hair.wave * np.sin(5 * np.pi * t)
        right = np.stack([x, t * hair.length], 1)
        right = np.concatenate([right, [(x[-1] * 0.8, hair.length + 3)]])
        outline = np.concatenate([crown, right * (-1, 1), right[::-1]])
        pen.fill(outline, person.hair_colour * 0.72, lift=-8, kind=HAIR)
    if hair is not None and hair.bun:
        at = (0, -(person.forehead + hair.top + hair.bun * 0.4))
        ring = ellipse(hair.bun * 1.1, hair.bun * 0.8) + at
        pen.fill(ring, person.hair_colour * 0.9, lift=-4, kind=HAIR)


def draw_front(pen: Pen, person: Person) -> None:
    """Draw the hair before the head, with its shadow."""
    hair, w = person.hair, person.width
    if hair is None:
        return
    parts = [_fringe(person, hair, pen.pose)]
    if not hair.top:
        patch = [
            *([w * 0.93, 5], [w * 0.87, -8], [w * 0.84, -17], [w * 0.90, -24]),
            *([w + hair.side - 1.5, -18], [w + hair.side, -6], [w + hair.side / 2, 4]),
        ]
        parts = [(smooth(patch) * (side, 1), np.array(4.0)) for side in (-1, 1)]
    for points, lift in parts:
        pen.fill(points + np.array([0, 1.5]), (40, 20, 14), lift=lift, alpha=0.24)
        pen.fill(points, person.hair_colour, lift=lift, kind=HAIR)


def _fringe(person: Person, hair: Hair, pose: Pose) -> tuple[Points, NDArray[np.float64]]:
    """Return the outline [N, 2] of the hair over forehead and temples, and its points' depths."""
    w, end = person.width, hair.side_end
    outer = _skull(person, hair, np.linspace(-0.02, np.pi + 0.02, 60))
    inner = w * 0.93 - hair.curtain
    t = np.linspace(-1, 1, 15)
    fall = hair.sweep * np.clip((hair.part / w - t) / 1.2, -0.35, 1.2) * np.sign(hair.part or 1)
    y = np.abs(fall) * np.sign(hair.sweep or 1) * np.sign(hair.part or 1)
    y += hair.peak * (1 - np.exp(-((t / 0.42) ** 2)) * 1.2) - hair.line
    y += hair.wave * 0.6 * np.sin(hair.curl * 1.7 * t)
    y += hair.spike * 0.4 * np.where(np.arange(15) % 2, 1, -1)
    edge = np.abs(t) ** 5  # the line bends down to the temples at the sides
    middle = np.stack([inner * 0.96 * t, y * (1 - edge) - 9.0 * edge], 1)
    right = np.array([(inner + 0.6, -3.0), (inner + 1.2, end)])
    tail = np.array([(w + 0.2, end - 0.5)])
    if end > 10:  # beside the face
        drop = np.linspace(2, end, 7)
        swing = inner + 2.5 * (drop / end) ** 2 + 0.6 * hair.wave * np.sin(drop * 0.45)
        right = np.stack([swing, drop], 1)
        width = w + hair.side + hair.flare * 0.4
        tail = np.array([((swing[-1] + width) / 2, end + 2.5), (width, end)])
    left = (right * (-1, 1))[::-1]
    inside = smooth(np.concatenate([left, middle, right]), 4, closed=False)
    points = np.concatenate([tail, outer, (tail * (-1, 1))[::-1], inside])
    flat = np.zeros(len(points) - len(inside))
    return points, np.concatenate([flat, (pose.surface(inside) + 1) * 0.92])


def strands(person: Person, hair: Hair, grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the brightness of hair at a `Pose.grid`: about 1."""
    noise = np.random.default_rng(person.strands).normal(0, 1, 256)
    noise += 0.7 * np.roll(noise, 1) + 0.7 * np.roll(noise, -1)
    x, y = grid
    root = -person.forehead * 0.92
    down = np.hypot(x - hair.part, (y - root) * 0.7)
    angle = np.arctan2(x - hair.part, np.maximum(y - root + 14, 1.0))
    along = angle * 52 + min(3.0, hair.wave) * 2.6 * np.sin(down * 0.55)
    if hair.wave > 1.2 and not hair.length:  # curls, no direction
        along = np.sin(x * 1.1 + 2 * np.sin(y * 0.7)) + np.cos(y * 1.2 + 2 * np.sin(x * 0.8))
        along *= 6
    halo = np.exp(-(((down - 21) / 9) ** 2))
    value = np.interp(along, np.arange(256), noise, period=256)
    return np.asarray(1 + 0.085 * value + 0.26 * halo, np.float32)


def beard_cover(person: Person, pose: Pose) -> NDArray[np.float32]:
    """Return the mask of the beard, [112, 112]: the share of skin that it covers, 0..1."""
    w, h, m, n = person.width, person.height, person.mouth_height, person.nose_length
    wide, top = person.mouth_width, m - person.upper_lip - 0.6
    bottom = m + person.lower_lip + 0.8
    mask = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(mask)

    def fill(right: list[tuple[float, float]], value: int) -> None:
        curve = pose.pixels(smooth(mirrored(right)))
        draw.polygon(list(map(tuple, curve.tolist())), value)

    if person.beard == "goatee":
        chin = [(wide * 0.75, m + 4), (wide + 2.2, m), (wide + 1.5, h * 0.93), (0, h * 1.08)]
        fill([(0, m + 5), *chin], 255)
    elif person.beard != "moustache":
        cheek = [(0, n + 2.4), (wide * 0.9, n + 4.4), (w * 0.72, m - 7), (w * 0.99, 2)]
        fill([*cheek, (w * 1.1, m), (w * 0.8, h * 0.95), (0, h * 1.2)], 255)
    lip = [(wide * 0.6, n + 3.4), (wide + 2.4, m + 1), (wide * 0.5, top + 0.6), (0, top + 0.3)]
    fill([(0, n + 2.6), *lip], 255)
    fill([(wide * 0.5, top), (wide * 1.02, m), (wide * 0.5, bottom)], 0)
    soft = mask.filter(ImageFilter.GaussianBlur(2.6 if person.beard == "stubble" else 1.3))
    return np.asarray(soft, np.float32) / np.float32(255)
