"""One picture of one face: layers drawn with Pillow, lit and photographed with NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from marginface.demo.drawing.details import (
    beard_cover,
    draw_glasses,
    draw_lines,
    neck_outline,
    skin_tints,
)
from marginface.demo.drawing.features import (
    blend,
    draw_brows,
    draw_ears,
    draw_eyes,
    draw_mouth,
    draw_nose,
    paint,
)
from marginface.demo.drawing.geometry import SCALE, SIZE, Pose, head_outline
from marginface.demo.drawing.hair import back_outline, bun, front_parts, strands
from marginface.demo.drawing.people import Person, Shot
from marginface.demo.drawing.shading import HALF, Map, frame_grid, grow, light_maps, spot


def _background(shot: Shot, rng: np.random.Generator) -> NDArray[np.float32]:
    first, second = np.asarray(shot.background, np.float32)
    blobs = np.linspace(0, 1, 7)[:, None] + shot.clutter * rng.normal(0, 0.5, (7, 7))
    mix = np.clip(grow(blobs), 0, 1)[..., None]
    background: NDArray[np.float32] = first * (1 - mix) + second * mix
    return background


def _layers(
    person: Person, shot: Shot, pose: Pose
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return colours [112, 112, 3] on black, and the shares of skin, hair and the rest."""
    canvas = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE))
    masks = Image.new("RGB", canvas.size)
    draw, mask = ImageDraw.Draw(canvas, "RGBA"), ImageDraw.Draw(masks)
    hair = person.hair
    tone = paint(person.hair_colour)
    back = back_outline(person, hair) if hair else None
    if back is not None:
        path = pose.canvas(back, -8.0)
        draw.polygon(path, paint(person.hair_colour, 0.72))
        mask.polygon(path, (0, 255, 0))
    neck = pose.canvas(neck_outline(person), -4.0)
    draw.polygon(neck, paint(person.skin, 0.9))
    mask.polygon(neck, (0, 0, 255))
    h, w = person.height, person.width
    collar = np.array(
        [(-80, h * 1.55), (-w * 0.72, h * 1.22), (0, h * 1.5), (w * 0.72, h * 1.22), (80, h * 1.55)]
    )
    shirt = np.concatenate([collar, [(80, 140), (-80, 140)]])
    draw.polygon(pose.canvas(shirt, -6.0), paint(shot.shirt))
    mask.polygon(pose.canvas(shirt, -6.0), (0, 0, 255))
    top = bun(person, hair) if hair else None
    if top is not None:
        draw.polygon(pose.canvas(top, -4.0), paint(person.hair_colour, 0.9))
        mask.polygon(pose.canvas(top, -4.0), (0, 255, 0))
    draw_ears(draw, mask, pose, person)
    outline, lift = head_outline(person)
    head = pose.canvas(outline, lift)
    draw.polygon(head, paint(person.skin))
    mask.polygon(head, (255, 0, 0))
    draw_lines(draw, pose, person, shot)
    draw_nose(draw, pose, person)
    draw_mouth(draw, pose, person, shot)
    draw_eyes(canvas, pose, person, shot)
    draw_brows(draw, pose, person, shot)
    if hair:
        for points, depth in front_parts(person, hair, pose):
            shadow = pose.canvas(points + np.array([0, 1.5]), depth)
            draw.polygon(shadow, (40, 20, 14, 60))
            path = pose.canvas(points, depth)
            draw.polygon(path, tone)
            mask.polygon(path, (0, 255, 0))
    draw_glasses(draw, pose, person)
    colours = np.asarray(canvas.reduce(SCALE), np.float32)
    return colours, np.asarray(masks.reduce(SCALE), np.float32) / np.float32(255)


def _shade(person: Person, pose: Pose, masks: NDArray[np.float32], level: Map) -> tuple[Map, Map]:
    """Return the brightness of each pixel's foreground, and how much of the pixel it covers."""
    skin, hair, rest = masks[..., 0], masks[..., 1], masks[..., 2]
    shade = skin * level
    if person.hair is not None:
        texture = strands(person, person.hair, frame_grid(pose, SIZE)).reshape(SIZE, SIZE)
        shade = shade + hair * texture * (0.45 + 0.55 * level)
    under_chin = np.array([0.0, person.height + 2])
    chin = spot(frame_grid(pose, HALF), under_chin, 24.0, 9.0).reshape(HALF, HALF)
    shade = shade + rest * grow(0.9 - 0.42 * chin)
    share = np.minimum(masks.sum(-1), 1)
    return shade / np.maximum(share, 1e-3), share


def draw_face(person: Person, shot: Shot) -> NDArray[np.uint8]:
    """Draw one picture of `person`: uint8 [112, 112, 3] RGB."""
    rng = np.random.default_rng(shot.seed)
    pose = Pose(person, shot)
    colours, masks = _layers(person, shot, pose)
    skin = masks[..., 0]
    level, gloss = light_maps(person, shot, pose)
    for amount, multiplier in skin_tints(person, pose, skin):
        colours = colours * (1 + amount[..., None] * (np.asarray(multiplier, np.float32) - 1))
    beard = beard_cover(person, pose)
    if beard is not None:
        dense = {"stubble": 0.34, "moustache": 0.85}.get(person.beard, 0.86)
        grain = rng.normal(0, 0.10, (SIZE, SIZE)).astype(np.float32)
        cover = (beard * np.clip(dense + grain, 0, 1) * skin)[..., None]
        whiskers = np.asarray(blend(person.hair_colour, (50, 38, 34), 0.3), np.float32)
        colours = colours * (1 - cover) + cover * whiskers
    shade, share = _shade(person, pose, masks, level)
    warm = np.stack([shade**0.9, shade, shade**1.08], -1)
    lit = colours * warm + (skin * gloss * (30 * shot.contrast))[..., None]
    picture = lit + (1 - share)[..., None] * _background(shot, rng)
    return _photograph(picture, shot, rng)


def _photograph(
    picture: NDArray[np.float32], shot: Shot, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Apply exposure, colour cast, saturation, blur and noise."""
    picture = picture * np.float32(shot.exposure) * np.asarray(shot.cast, np.float32)
    grey = picture.mean(-1, keepdims=True)
    picture = grey + (picture - grey) * np.float32(shot.saturation)
    # A soft shoulder keeps bright skin from clipping.
    picture = np.where(picture > 200, 200 + 55 * np.tanh((picture - 200) / 55), picture)
    if shot.noise > 0.3:
        picture = picture + rng.normal(0, shot.noise, (SIZE, SIZE, 1)).astype(np.float32)
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    if shot.blur > 0.25:
        blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(shot.blur))
        pixels = np.asarray(blurred)
    return pixels
