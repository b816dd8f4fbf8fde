"""Ears, nose, mouth, eyes, brows, and what sits on a face: folds, moles, glasses."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.demo.drawing.geometry import Points, ellipse, mirrored, smooth
from marginface.demo.drawing.pen import SKIN, Pen
from marginface.demo.drawing.people import Person, Shot, blend

SIDES = (-1.0, 1.0)


def draw_head(pen: Pen, person: Person) -> None:
    """Draw the ears, and before them the head, which hides the one that is turned away."""
    for side in SIDES:
        ring = ellipse(person.ear * 0.42, person.ear)
        at = (side * (person.width * 0.985 + 1), 5.0)
        inside = blend(person.skin, (150, 50, 40), 0.18) * 0.8
        pen.fill(ring + at, person.skin * 0.93, lift=-9, kind=SKIN)
        pen.fill(ring * 0.62 + at, inside, lift=-9)
        pen.fill(ring * 0.4 + at + (0, 1), person.skin * 0.92, lift=-9)
    w, h, top = person.width, person.height, person.forehead
    jaw, chin = w * person.jaw, person.chin
    right = [
        *([0, -top], [w * 0.52, -top * 0.92], [w * 0.86, -top * 0.66], [w * 0.985, -top * 0.3]),
        *([w, 2], [w * 0.96, h * 0.32], [jaw, h * 0.66], [(jaw + chin) / 2, h * 0.87]),
        *([chin, h * 0.985], [0, h * 1.01]),
    ]
    outline = smooth(mirrored(right))
    lift = 17 * np.clip(outline[:, 1] / h, 0, 1) ** 2  # makes the chin turn with the face
    pen.fill(outline, person.skin, lift=lift, kind=SKIN)


def draw_nose(pen: Pen, person: Person) -> None:
    """Draw nostrils and wings; the bridge comes from the shading."""
    place, fold = (0, person.nose_length), blend(person.skin, (90, 30, 20), 0.45)
    dark = blend(person.skin, (60, 16, 10), 0.62)
    for side in SIDES:
        scale = (side * person.nose_width, 1)
        wing = smooth([(0.82, -3.6), (1.05, -1.2), (0.98, 0.9), (0.66, 1.2)], closed=False)
        wing = wing * scale + place
        pen.line(wing, fold, 0.8, lift=pen.pose.surface(wing) + 3, alpha=0.55)
        hole = smooth([(0.24, 0.7), (0.42, -0.6), (0.70, -0.1), (0.62, 1), (0.40, 1.2)])
        hole = hole * scale + place
        pen.fill(hole, dark, lift=pen.pose.surface(hole) + 6, alpha=0.8)
    tip = smooth([(-0.26, 0.9), (0, 1.7), (0.26, 0.9)], closed=False)
    tip = tip * (person.nose_width, 1) + place
    pen.line(tip, fold, 0.8, lift=pen.pose.surface(tip) + 6, alpha=0.4)


def draw_mouth(pen: Pen, person: Person, shot: Shot) -> None:
    """Draw lips, and teeth where the mouth is open."""
    smile, gape = np.clip(shot.smile, -0.7, 1.1), 3.6 * shot.open
    t = np.linspace(-1, 1, 17)
    x = person.mouth_width * (1 + 0.14 * smile) * t
    bow, round_ = 1 - np.abs(t) ** 2.4, (1 - t**2) ** 0.75
    middle = person.mouth_height - 0.6 * smile - 4 * smile * np.abs(t) ** 2.3
    middle = middle + 0.35 * np.cos(3 * np.pi * t) * (1 - t**2)
    above, below = middle - gape * 0.25 * bow, middle + gape * round_  # of the open mouth
    top = above - person.upper_lip * bow * (1 - 0.25 * np.exp(-((t / 0.12) ** 2)))
    bottom = below + person.lower_lip * (1 - 0.2 * shot.open) * round_

    def band(upper: NDArray[np.float64], lower: NDArray[np.float64], colour: ArrayLike) -> None:
        points = np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)[::-1]])
        pen.fill(points, colour, lift=pen.pose.surface(points) + 1.5)

    band(top, middle, person.lip * 0.88)
    band(middle, bottom, person.lip * 1.02)
    gleam = bottom - below
    band(below + 0.35 * gleam, below + 0.68 * gleam, blend(person.lip, (255, 235, 230), 0.16))
    if gape > 0.5:
        band(above, below, (74, 24, 24))
        band(above + 0.15, above + 0.62 * (below - above), (238, 232, 222))
    line = np.stack([x * 1.03, above], 1)
    dark = blend(person.lip, (40, 10, 10), 0.62)
    pen.line(line, dark, 0.7, lift=pen.pose.surface(line) + 1.5, alpha=0.9)


def draw_eyes(pen: Pen, person: Person, shot: Shot) -> None:
    """Draw both eyes: white, iris, pupil, glint, inside the lids; lashes and a fold above."""
    radius, eyes = person.iris_size, Pen(pen.pose)
    lids = [_lids(person, shot, side) for side in SIDES]
    for side, (upper, lower) in zip(SIDES, lids, strict=True):
        eyes.fill(np.concatenate([upper, lower[::-1]]), (226, 220, 216), kind=SKIN)
        up = 0.35 * person.eye_height * min(shot.lids, 1)
        look = np.array([[side * person.eye_gap - 1.68 * pen.pose.sin_yaw, 0.3 - up]])
        look += np.multiply(shot.gaze, (6, 4))
        for share, colour in (
            (1, person.iris * 0.5),
            (0.86, person.iris),
            (0.62, blend(person.iris, (255, 225, 170), 0.22)),
            (0.44, (14, 11, 12)),
        ):
            eyes.disc(look, radius * share, colour)
        eyes.line(upper, (40, 20, 20), 2.6, alpha=0.35)
        glint = look + np.multiply(shot.light, radius * 0.42)
        eyes.disc(glint, radius * 0.22, (255, 255, 255), alpha=0.92)
    pen.paste(eyes)
    crease = blend(person.skin, (70, 24, 16), 0.5)
    for side, (upper, lower) in zip(SIDES, lids, strict=True):
        pen.line(upper[1:-1] * (1, 0.9) - (0, 1.9), crease, 0.6, alpha=0.5)
        pen.line(lower[2:], crease, 0.55, alpha=0.55)
        upper[-1] += (side * 0.9 * person.lashes, -0.5 * person.lashes)
        lash = np.linspace(0.5, 1, len(upper)) * (0.5 + 0.75 * person.lashes)
        pen.fill(_brush(upper, lash), (34, 22, 20), alpha=0.94)


def _lids(person: Person, shot: Shot, side: float) -> tuple[Points, Points]:
    """Return the upper and the lower edge of an eye, from the inner to the outer corner."""
    t = np.linspace(-1, 1, 15)
    arch = (1 - np.abs(t) ** 2.3) ** 0.9 * (1 - 0.12 * t) * person.eye_height
    x = side * (person.eye_gap + person.eye_width * t)
    tilt = -np.tan(person.eye_tilt) * person.eye_width * t
    upper = np.stack([x, tilt - shot.lids * arch], 1)
    return upper, np.stack([x, tilt + 0.62 * (0.55 + 0.45 * shot.lids) * arch], 1)


def draw_brows(pen: Pen, person: Person, shot: Shot) -> None:
    """Draw the eyebrows as tapered strokes with soft edges."""
    colour = blend(blend(person.hair_colour, (40, 28, 24), 0.45), person.skin, 0.12)
    t = np.linspace(-1, 1, 13)
    arch = person.brow_arch * (0.4 - (t - 0.12) ** 2)
    tilt = np.tan(person.brow_tilt) * person.brow_width * t
    y = np.maximum(t, 0) ** 3 - person.brow_height - shot.brows - arch - tilt
    thickness = (0.75 - 0.1 * t + 0.35 * (1 - t**2)) * (1 - 0.45 * (t > 0.8))
    for side in SIDES:
        curve = np.stack([side * (person.eye_gap + 0.4 + person.brow_width * t), y], 1)
        for wide, alpha in ((1.5, 0.35), (1.0, 0.8)):
            pen.fill(_brush(curve, thickness * person.brow_thickness * wide), colour, alpha=alpha)


def draw_lines(pen: Pen, person: Person, shot: Shot) -> None:
    """Draw folds beside the mouth and on the forehead, and moles."""
    crease = blend(person.skin, (90, 36, 24), 0.5)
    strength = 0.044 + 0.23 * person.age + 0.165 * max(0.0, shot.smile)
    n, m, wide = person.nose_length, person.mouth_height, person.mouth_width
    for side in SIDES:
        right = [(person.nose_width * 1.25, n - 1), (wide + 2.2, (n + m + 1) / 2)]
        fold = smooth([*right, (wide + 3.6, m + 1.5)], closed=False) * (side, 1)
        pen.line(fold, crease, 0.7, alpha=min(0.6, strength))
    if person.age > 0.45:
        x = np.linspace(-0.45, 0.45, 9)
        for level in (0.42, 0.52, 0.61):
            wrinkle = np.stack([x * person.width, -person.forehead * level + 8 * x**2], 1)
            pen.line(wrinkle, crease, 0.6, alpha=0.55 * (person.age - 0.3))
    for mole in person.moles * (person.width, person.height):
        pen.disc(mole[None], 0.6, blend(person.skin, (50, 24, 16), 0.75))


def draw_glasses(pen: Pen, person: Person) -> None:
    """Draw the frame, a faint reflection in the lenses, and the arms to the ears."""
    if not person.glasses:
        return
    wide, high, power = {
        "round": (9.4, 9.0, 1.0),
        "rectangle": (10.4, 6.8, 0.5),
        "cat": (10.4, 7.6, 0.75),
    }[person.glasses]
    ring = ellipse(wide, high, power)
    if person.glasses == "cat":
        ring[:, 1] -= np.maximum(ring[:, 0], 0) * 0.28
    stroke = 1.0 if person.glasses == "round" else 1.4
    gap = person.eye_gap + 0.5
    for side in SIDES:
        lens = ring * (side, 1) + (side * gap, 1.0)
        lift = 26 - 0.012 * lens[:, 0] ** 2
        pen.fill(lens, (235, 245, 255), lift=lift, alpha=0.1)
        closed = np.arange(len(lens) + 2) % len(lens)
        pen.line(lens[closed], person.frame, stroke, lift=lift[closed])
        if side * pen.pose.sin_yaw <= 0.12:  # else the head hides this arm
            arm = np.array([(gap + wide - 0.5, -1), (person.width * 1.02, 1)]) * (side, 1)
            pen.line(arm, person.frame, stroke, lift=[17, -6])
    bridge = smooth([(wide - gap, 0), (0, -1.8), (gap - wide, 0)], closed=False)
    pen.line(bridge, person.frame, stroke, lift=27)


def _brush(curve: Points, thickness: NDArray[np.float64]) -> Points:
    """Return the outline of a brush stroke of varying thickness (vertical) along `curve`."""
    offset = np.stack([np.zeros(len(curve)), thickness / 2], 1)
    return np.concatenate([curve - offset, (curve + offset)[::-1]])
