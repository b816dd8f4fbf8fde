"""Eyes, brows, nose, mouth and ears, drawn with Pillow on the enlarged canvas."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from marginface.demo.drawing.geometry import SCALE, Points, Pose, smooth
from marginface.demo.drawing.people import Person, Shot

Fill = tuple[int, ...]


def paint(colour: Iterable[float], factor: float = 1.0, alpha: float = 1.0) -> Fill:
    """Return `colour` (0..255) times `factor` as Pillow takes it, `alpha` of it opaque."""
    values = [min(255, max(0, round(value * factor))) for value in colour]
    return (*values, round(255 * alpha))


def blend(first: Iterable[float], second: Iterable[float], share: float) -> list[float]:
    """Return the colour `share` of the way from `first` to `second`."""
    return [a + (b - a) * share for a, b in zip(first, second, strict=True)]


def stroke(draw: ImageDraw.ImageDraw, pose: Pose, points: Points, fill: Fill, width: float) -> None:
    """Draw a line `width` pixels wide on the face's surface."""
    draw.line(pose.canvas(points), fill, max(1, round(width * SCALE)), joint="curve")


def _brush(curve: Points, thickness: NDArray[np.float64]) -> Points:
    """Return the outline of a brush stroke of varying thickness (vertical) along `curve`."""
    offset = np.stack([np.zeros(len(curve)), thickness / 2], 1)
    return np.concatenate([curve - offset, (curve + offset)[::-1]])


def draw_ears(
    draw: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, pose: Pose, person: Person
) -> None:
    """Draw both ears; the head, drawn later, hides the one that is turned away."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for side in (-1.0, 1.0):
        x = side * (person.width * 0.985 + person.ear_out * 0.35)
        ring = np.stack([np.cos(angle) * person.ear * 0.42, np.sin(angle) * person.ear], 1)
        ring[:, 0] += side * person.ear_out * 0.35 * -np.sin(angle)
        at = np.array([x, 5.0])
        points = ring + at
        draw.polygon(pose.canvas(points, -9.0), paint(person.skin, 0.93))
        mask.polygon(pose.canvas(points, -9.0), (255, 0, 0))
        inner = ring * 0.62 + at
        draw.polygon(pose.canvas(inner, -9.0), paint(blend(person.skin, (150, 50, 40), 0.18), 0.8))
        draw.polygon(pose.canvas(ring * 0.4 + (x, 6.0), -9.0), paint(person.skin, 0.92))


def draw_nose(draw: ImageDraw.ImageDraw, pose: Pose, person: Person) -> None:
    """Draw nostrils and wings; the bridge comes from the shading."""
    y, w = person.nose_length, person.nose_width
    dark = blend(person.skin, (60, 16, 10), 0.62)
    fold = blend(person.skin, (90, 30, 20), 0.45)
    for side in (-1.0, 1.0):
        wing = np.array([(0.82, -3.6), (1.05, -1.2), (0.98, 0.9), (0.66, 1.2)])
        curve = smooth(wing * (side * w, 1) + (0, y), closed=False)
        draw.line(
            pose.canvas(curve, pose.surface(curve, 3.0)),
            paint(fold, alpha=0.55),
            round(0.8 * SCALE),
        )
        hole = np.array([(0.24, 0.6), (0.42, -0.5), (0.70, -0.1), (0.62, 0.9), (0.40, 1.1)])
        curve = smooth(hole * (side * w, 1.1) + (0, y), 4)
        draw.polygon(pose.canvas(curve, pose.surface(curve, 6.0)), paint(dark, alpha=0.8))
    tip = smooth(np.array([(-0.26, 0.9), (0, 1.7), (0.26, 0.9)]) * (w, 1) + (0, y), closed=False)
    draw.line(pose.canvas(tip, pose.surface(tip, 6.0)), paint(fold, alpha=0.4), round(0.8 * SCALE))


def draw_mouth(draw: ImageDraw.ImageDraw, pose: Pose, person: Person, shot: Shot) -> None:
    """Draw lips, and teeth where the mouth is open."""
    smile = float(np.clip(shot.smile, -0.7, 1.1))
    w = person.mouth_width * (1 + 0.14 * smile)
    y = person.mouth_height - 0.6 * smile
    gape = 3.6 * shot.open
    t = np.linspace(-1, 1, 17)
    corner = -4.0 * smile * t**2 * np.abs(t) ** 0.3
    middle = y + corner + 0.35 * np.cos(3 * np.pi * t) * (1 - t**2)
    bow = 1 - np.abs(t) ** 2.4
    peak = person.bow * (np.exp(-(((np.abs(t) - 0.24) / 0.2) ** 2)) - np.exp(-((t / 0.12) ** 2)))
    top = middle - person.upper_lip * bow - 0.6 * peak - gape * 0.25 * bow
    bottom = middle + (person.lower_lip * (1 - 0.2 * shot.open) + gape) * (1 - t**2) ** 0.75
    inner_top = middle - gape * 0.25 * bow
    inner_bottom = middle + gape * (1 - t**2) ** 0.75
    x = w * t

    def band(above: NDArray[np.float64], below: NDArray[np.float64]) -> list[tuple[float, float]]:
        points = np.concatenate([np.stack([x, above], 1), np.stack([x, below], 1)[::-1]])
        return pose.canvas(points, pose.surface(points, 1.5))

    draw.polygon(band(top, middle), paint(person.lip, 0.88))
    draw.polygon(band(middle, bottom), paint(person.lip, 1.02))
    glow = middle + gape * (1 - t**2) ** 0.75
    draw.polygon(
        band(glow + 0.35 * (bottom - glow), glow + 0.68 * (bottom - glow)),
        paint(blend(person.lip, (255, 235, 230), 0.35), alpha=0.45),
    )
    if gape > 0.5:
        draw.polygon(band(inner_top, inner_bottom), (74, 24, 24, 255))
        teeth = inner_top + 0.62 * (inner_bottom - inner_top)
        draw.polygon(band(inner_top + 0.15, teeth), (238, 232, 222, 255))
        tongue = inner_top + 0.8 * (inner_bottom - inner_top)
        draw.polygon(band(tongue, inner_bottom), (170, 84, 80, 255))
    line = np.stack([x * 1.03, inner_top], 1)
    dark = paint(blend(person.lip, (40, 10, 10), 0.62), alpha=0.9)
    draw.line(pose.canvas(line, pose.surface(line, 1.5)), dark, round(0.7 * SCALE))


def _lids(person: Person, side: float, openness: float) -> tuple[Points, Points]:
    t = np.linspace(-1, 1, 15)  # from the inner to the outer corner
    arch = (1 - np.abs(t) ** 2.3) ** 0.9 * (1 - 0.12 * t)
    height = person.eye_height * openness
    tilt = -np.tan(person.eye_tilt) * person.eye_width * t
    x = side * (person.eye_gap + person.eye_width * t)
    upper = np.stack([x, tilt - height * arch], 1)
    lower = np.stack([x, tilt + 0.62 * person.eye_height * (0.55 + 0.45 * openness) * arch], 1)
    return upper, lower


def draw_eyes(canvas: Image.Image, pose: Pose, person: Person, shot: Shot) -> None:
    """Draw both eyes: white, iris, pupil, glint, clipped by the lids; lashes and folds above."""
    draw = ImageDraw.Draw(canvas, "RGBA")
    crease = blend(person.skin, (70, 24, 16), 0.5)
    zoom = SCALE * float(np.linalg.norm(pose.turn[0]))
    for side in (-1.0, 1.0):
        upper, lower = _lids(person, side, shot.lids)
        almond = np.array(pose.canvas(np.concatenate([upper, lower[::-1]])))
        corner = np.floor(almond.min(0)) - 2
        extent = np.ceil(almond.max(0) - corner + 2).astype(int)
        tile = Image.new("RGB", tuple(extent.tolist()), (226, 220, 216))
        clip = Image.new("L", tile.size)
        ImageDraw.Draw(clip).polygon(list(map(tuple, (almond - corner).tolist())), 255)
        pen = ImageDraw.Draw(tile, "RGBA")
        look = np.array(
            [[side * person.eye_gap, -0.35 * person.eye_height * min(shot.lids, 1) + 0.3]]
        )
        look = look + np.asarray(shot.gaze) * (6.0, 4.0) - (0.28 * 6 * pose.sin_yaw, 0)
        middle = np.array(pose.canvas(look))[0] - corner
        radius = person.iris_size * zoom

        def disc(
            share: float,
            fill: Fill,
            at: NDArray[np.float64] = middle,
            pen: ImageDraw.ImageDraw = pen,
            radius: float = radius,
        ) -> None:
            r = radius * share
            pen.ellipse((at[0] - r * 0.96, at[1] - r, at[0] + r * 0.96, at[1] + r), fill)

        disc(1.0, paint(person.iris, 0.5))
        disc(0.86, paint(person.iris, 1.0))
        disc(0.62, paint(blend(person.iris, (255, 225, 170), 0.22), 1.05, 0.8))
        disc(0.44, (14, 11, 12, 255))
        shade = np.array(pose.canvas(upper)) - corner
        pen.line(list(map(tuple, shade.tolist())), (40, 20, 20, 90), round(2.6 * SCALE))
        glint = middle + np.array(shot.light) * radius * 0.42
        disc(0.22, (255, 255, 255, 235), glint)
        canvas.paste(tile, (int(corner[0]), int(corner[1])), clip)
        lift = 1.6 + 1.8 * (1 - person.hood)
        fold = upper * (1, 0.9) - (0, lift * 0.75)
        fold[:, 1] += 0.6 * np.linspace(1, 0, len(fold))
        stroke(draw, pose, fold[1:-1], paint(crease, alpha=0.5), 0.6)
        stroke(draw, pose, lower[2:], paint(crease, alpha=0.55), 0.55)
        if person.age > 0.35:
            bag = lower * (1, 1) + (0, 2.6)
            stroke(draw, pose, bag[3:-3], paint(crease, alpha=0.35 * person.age), 0.6)
        flick = upper.copy()
        flick[-1] += (side * 0.9 * person.lashes, -0.5 * person.lashes)
        lash = _brush(flick, np.linspace(0.5, 1.0, len(flick)) * (0.5 + 0.75 * person.lashes))
        draw.polygon(pose.canvas(lash), (34, 22, 20, 240))


def draw_brows(draw: ImageDraw.ImageDraw, pose: Pose, person: Person, shot: Shot) -> None:
    """Draw the eyebrows as tapered strokes with a few hairs."""
    colour = blend(blend(person.hair_colour, (40, 28, 24), 0.45), person.skin, 0.12)
    t = np.linspace(-1, 1, 13)
    arch = person.brow_arch * (1 - (t - 0.12) ** 2) - person.brow_arch * 0.6
    tilt = np.tan(person.brow_tilt) * person.brow_width * t
    height = person.brow_height + shot.brows
    thickness = (
        person.brow_thickness * (0.75 - 0.1 * t + 0.35 * (1 - t**2)) * (1 - 0.45 * (t > 0.8))
    )
    for side in (-1.0, 1.0):
        x = side * (person.eye_gap + 0.4 + person.brow_width * t)
        curve = np.stack([x, -height - arch - tilt + 1.0 * np.maximum(t, 0) ** 3], 1)
        soft = pose.canvas(_brush(curve, thickness * 1.5))
        draw.polygon(soft, paint(colour, alpha=0.35))
        draw.polygon(pose.canvas(_brush(curve, thickness)), paint(colour, alpha=0.8))
