"""One picture of one face: layers drawn with Pillow, lit and photographed with NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from marginface.demo.drawing.face import (
    draw_brows,
    draw_eyes,
    draw_glasses,
    draw_head,
    draw_lines,
    draw_mouth,
    draw_nose,
)
from marginface.demo.drawing.geometry import SIZE, Pose, mirrored
from marginface.demo.drawing.hair import beard_cover, draw_back, draw_front, strands
from marginface.demo.drawing.pen import REST, Pen
from marginface.demo.drawing.people import Person, Shot, blend
from marginface.demo.drawing.shading import HALF, grow, light_maps, spot

Pixels = NDArray[np.float32]  # [112, 112, 3]


def draw_face(person: Person, shot: Shot) -> NDArray[np.uint8]:
    """Draw one picture of `person`: uint8 [112, 112, 3] RGB."""
    rng = np.random.default_rng(shot.seed)
    pose = Pose(person, shot)
    pen = Pen(pose)
    draw_back(pen, person)
    _draw_clothes(pen, person, shot)
    draw_head(pen, person)
    draw_lines(pen, person, shot)
    draw_nose(pen, person)
    draw_mouth(pen, person, shot)
    draw_eyes(pen, person, shot)
    draw_brows(pen, person, shot)
    draw_front(pen, person)
    draw_glasses(pen, person)
    colours, kinds = pen.finish()
    skin, hair, rest = np.moveaxis(kinds, -1, 0)
    colours = _on_skin(person, pose, colours, skin, rng)
    level, gloss = light_maps(person, shot, pose)
    chin = spot(pose.grid(HALF), np.array([0, person.height + 2]), (24, 9))
    shade = skin * level + rest * grow(0.9 - 0.42 * chin)
    if person.hair is not None:
        texture = strands(person, person.hair, pose.grid(SIZE)).reshape(SIZE, SIZE)
        shade = shade + hair * texture * (0.45 + 0.55 * level)
    share = np.minimum(kinds.sum(-1), 1)
    shade = (shade / np.maximum(share, 1e-3))[..., None]
    lit = colours * shade ** np.array((0.9, 1, 1.08), np.float32)  # what is dark is warm
    lit = lit + (skin * gloss * 30 * shot.contrast)[..., None]
    return _photograph(lit + (1 - share)[..., None] * _background(shot, rng), shot, rng)


def _draw_clothes(pen: Pen, person: Person, shot: Shot) -> None:
    """Draw neck and shirt."""
    w, h = person.width, person.height
    neck = mirrored([(0, h * 0.6), (w * 0.62, h * 0.6), (w * 0.62, h * 1.1), (0, h * 2)])
    pen.fill(neck, person.skin * 0.9, lift=-4, kind=REST)
    shirt = mirrored([(0, h * 1.5), (w * 0.72, h * 1.22), (80, h * 1.55), (80, 140), (0, 140)])
    pen.fill(shirt, shot.shirt, lift=-6, kind=REST)


def _on_skin(
    person: Person, pose: Pose, colours: Pixels, skin: Pixels, rng: np.random.Generator
) -> Pixels:
    """Return the colours with rosy cheeks, dark rings round the eyes, and a beard."""
    grid = pose.grid(HALF)
    g, n = person.eye_gap, person.nose_length
    for x, y, wide, amount, multiplier in (
        (g * 1.25, n * 0.85, (7.5, 5.5), person.blush, (1.02, 0.86, 0.86)),
        (g, 0.5, (person.eye_width + 1, 4), 1, (0.90, 0.84, 0.82)),
    ):
        left, right = pose.flat(np.array([(-x, y), (x, y)]))
        tint = grow(amount * (spot(grid, left, wide) + spot(grid, right, wide))) * skin
        colours = colours * (1 + tint[..., None] * (np.array(multiplier, np.float32) - 1))
    if not person.beard:
        return colours
    dense = 0.34 if person.beard == "stubble" else 0.86
    grain = np.clip(rng.normal(dense, 0.1, (SIZE, SIZE)), 0, 1).astype(np.float32)
    cover = (beard_cover(person, pose) * grain * skin)[..., None]
    whiskers = blend(person.hair_colour, (50, 38, 34), 0.3).astype(np.float32)
    return np.asarray(colours * (1 - cover) + cover * whiskers)


def _background(shot: Shot, rng: np.random.Generator) -> Pixels:
    blobs = np.linspace(0, 1, 7)[:, None] + shot.clutter * rng.normal(0, 0.5, (7, 7))
    mix = np.clip(grow(blobs.astype(np.float32)), 0, 1)[..., None]
    first, second = np.asarray(shot.background, np.float32)
    return np.asarray(first * (1 - mix) + second * mix)


def _photograph(picture: Pixels, shot: Shot, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Apply exposure, colour cast, saturation, blur and noise."""
    warm = np.exp(np.multiply(shot.warmth, (1, 0, -1)))
    picture = picture * np.float32(shot.exposure * warm)
    grey = picture.mean(-1, keepdims=True)
    picture = grey + (picture - grey) * np.float32(shot.saturation)
    # A soft shoulder keeps bright skin from clipping.
    picture = np.where(picture > 200, 200 + 55 * np.tanh((picture - 200) / 55), picture)
    picture = picture + rng.normal(0, shot.noise, (SIZE, SIZE, 1)).astype(np.float32)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(shot.blur)))
