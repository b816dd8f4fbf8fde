"""What sits on a face: folds, freckles, moles, beard, blush, glasses; and the neck below it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from marginface.demo.drawing.features import blend, paint, stroke
from marginface.demo.drawing.geometry import SCALE, SIZE, Points, Pose, mirrored, smooth
from marginface.demo.drawing.people import Person, Shot
from marginface.demo.drawing.shading import HALF, Map, frame_grid, grow, spot


def draw_lines(draw: ImageDraw.ImageDraw, pose: Pose, person: Person, shot: Shot) -> None:
    """Draw folds beside the mouth and on the forehead, freckles and moles."""
    crease = blend(person.skin, (90, 36, 24), 0.5)
    strength = 0.08 + 0.42 * person.age + 0.3 * max(0.0, shot.smile)
    for side in (-1.0, 1.0):
        start = (side * person.nose_width * 1.25, person.nose_length - 1)
        mid = (
            side * (person.mouth_width + 2.2),
            0.5 * (person.nose_length + person.mouth_height) + 0.5,
        )
        end = (side * (person.mouth_width + 3.6), person.mouth_height + 1.5)
        fold = smooth(np.array([start, mid, end]), closed=False)
        stroke(draw, pose, fold, paint(crease, alpha=min(0.6, 0.55 * strength)), 0.7)
    if person.age > 0.45:
        for level in (0.42, 0.52, 0.61):
            x = np.linspace(-0.45, 0.45, 9)
            wrinkle = np.stack([x * person.width, -person.forehead * level + 8 * x**2], 1)
            stroke(draw, pose, wrinkle, paint(crease, alpha=0.55 * (person.age - 0.3)), 0.6)
    size = np.array([person.width, person.height])
    if person.freckles:
        spots = np.random.default_rng(person.marks).normal(0, 1, (person.freckles, 3))
        points = spots[:, :2] * (0.33, 0.12) * size + (0, 0.28 * person.height)
        colour = blend(person.skin, (120, 60, 30), 0.5)
        radii = (0.25 + 0.15 * np.abs(spots[:, 2])) * SCALE
        for (left, top), r in zip(pose.canvas(points), radii.tolist(), strict=True):
            draw.ellipse((left - r, top - r, left + r, top + r), paint(colour, alpha=0.6))
    if person.moles:
        dark = paint(blend(person.skin, (50, 24, 16), 0.75))
        for left, top in pose.canvas(np.array(person.moles) * size):
            draw.ellipse((left - 1.8, top - 1.8, left + 1.8, top + 1.8), dark)


def draw_glasses(draw: ImageDraw.ImageDraw, pose: Pose, person: Person) -> None:
    """Draw the frame, a faint reflection in the lenses, and the arms to the ears."""
    if person.glasses == "none":
        return
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    power = {"round": 1.0, "rectangle": 0.5, "cat": 0.75}[person.glasses]
    cos, sin = np.cos(angle), np.sin(angle)
    ring = np.stack([np.sign(cos) * np.abs(cos) ** power, np.sign(sin) * np.abs(sin) ** power], 1)
    ring *= {"round": (9.4, 9.0), "rectangle": (10.4, 6.8), "cat": (10.4, 7.6)}[person.glasses]
    if person.glasses == "cat":
        ring[:, 1] -= np.maximum(ring[:, 0], 0) * 0.28
    ring *= person.frame_size
    width = round(SCALE * (1.0 if person.glasses == "round" else 1.4))
    colour = paint(person.frame)
    gap = person.eye_gap + 0.5
    for side in (-1.0, 1.0):
        lens = ring * (side, 1) + (side * gap, 1.0)
        lift = 26.0 - 0.012 * lens[:, 0] ** 2
        path = pose.canvas(lens, lift)
        draw.polygon(path, (235, 245, 255, 26))
        draw.line([*path, path[0], path[1]], colour, width, joint="curve")
        if side * pose.sin_yaw > 0.12:
            continue  # the head hides this arm
        edge = side * (gap + abs(ring[:, 0]).max() - 0.5)
        arm = np.array([(edge, -1.0), (side * person.width * 1.02, 1.0)])
        draw.line(pose.canvas(arm, np.array([17.0, -6.0])), colour, width)
    inner = gap - abs(ring[:, 0]).max()
    bridge = smooth(np.array([(-inner, 0.0), (0, -1.8), (inner, 0.0)]), closed=False)
    draw.line(pose.canvas(bridge, 27.0), colour, width)


def neck_outline(person: Person) -> Points:
    """Return the outline of neck and shoulders' base."""
    w, h = person.width, person.height
    right = np.array(
        [(0, h * 0.6), (w * 0.62, h * 0.6), (w * 0.62, h * 1.1), (w * 0.8, h * 1.36), (0, h * 2)]
    )
    return mirrored(right)


def beard_cover(person: Person, pose: Pose) -> Map | None:
    """Return the mask of the beard: the share of skin that it covers, 0..1."""
    if person.beard == "none":
        return None
    w, h, m, n = person.width, person.height, person.mouth_height, person.nose_length
    mask = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(mask)

    def fill(points: list[tuple[float, float]], value: int) -> None:
        curve = pose.image(smooth(np.array(points)))
        draw.polygon(list(map(tuple, curve.tolist())), value)

    wide = person.mouth_width
    lip_top, lip_bottom = m - person.upper_lip - 0.6, m + person.lower_lip + 0.8
    moustache = [
        (0, n + 2.6),
        (wide * 0.6, n + 3.4),
        (wide + 2.4, m + 1),
        (wide * 0.5, lip_top + 0.6),
    ]
    moustache += [(0, lip_top + 0.3)] + [(-x, y) for x, y in reversed(moustache[1:])]
    if person.beard in ("full", "stubble", "long"):
        cheek = [
            (0, n + 2.4),
            (wide * 0.9, n + 4.4),
            (w * 0.72, m - 7),
            (w * 0.99, 2),
            (w * 1.1, m),
        ]
        cheek += [(w * 0.8, h * 0.95), (0, h * 1.2)] + [(-x, y) for x, y in reversed(cheek[1:5])]
        cheek.insert(7, (-w * 0.8, h * 0.95))
        fill(cheek, 255)
    elif person.beard == "goatee":
        chin = [
            (0, m + 5),
            (wide * 0.75, m + 4),
            (wide + 2.2, m),
            (wide + 1.5, h * 0.93),
            (0, h * 1.08),
        ]
        chin += [(-x, y) for x, y in reversed(chin[1:4])]
        fill(chin, 255)
    fill(moustache, 255)
    lips = [(wide * 1.02, m), (wide * 0.5, lip_top), (-wide * 0.5, lip_top), (-wide * 1.02, m)]
    lips += [(-wide * 0.5, lip_bottom), (wide * 0.5, lip_bottom)]
    fill(lips, 0)
    soft = mask.filter(ImageFilter.GaussianBlur(1.3 if person.beard != "stubble" else 2.6))
    return np.asarray(soft, np.float32) / np.float32(255)


def skin_tints(person: Person, pose: Pose, skin: Map) -> list[tuple[Map, tuple[float, ...]]]:
    """Return soft colour changes of the skin: (amount [112, 112], multiplier of RGB)."""
    grid = frame_grid(pose, HALF)

    def around(x: float, y: float, wide: float, high: float) -> NDArray[np.float32]:
        return spot(grid, pose.flat(np.array([[x, y]]))[0], wide, high)

    g, n = person.eye_gap, person.nose_length
    rosy = sum(around(s * g * 1.25, n * 0.85, 7.5, 5.5) for s in (-1, 1)) * (0.35 + person.blush)
    rosy = rosy + 0.5 * around(0, n - 1, 4, 4)
    dark = sum(around(s * g, 0.5, person.eye_width + 1, 4.0) for s in (-1, 1))
    shape = (HALF, HALF)
    return [
        (grow(np.reshape(rosy, shape)) * skin, (1.02, 0.86, 0.86)),
        (grow(np.reshape(dark, shape)) * skin, (0.90, 0.84, 0.82)),
    ]
