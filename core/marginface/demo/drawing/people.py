"""Who is drawn and how the picture is taken: what a person keeps, and what pictures vary.

A number's mean and deviation stand beside it: where it is declared, it is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Colour = NDArray[np.float64]  # [3]: red, green, blue on the 0..255 scale

SKIN = np.array(
    [
        *([244, 212, 190], [236, 194, 164], [226, 180, 146], [206, 155, 117]),
        *([178, 124, 86], [146, 97, 66], [112, 73, 51], [84, 55, 41]),
    ],
    float,
)
Palette = tuple[tuple[Sequence[float], float, float], ...]  # with weights for light and dark skin
HAIR: Palette = (
    ([34, 29, 30], 3, 6),
    ([60, 42, 34], 3, 4),
    ([92, 62, 42], 3, 1),
    ([136, 98, 64], 2, 0.1),
    ([206, 168, 106], 2, 0.1),
    ([228, 208, 168], 0.8, 0),
    ([166, 78, 38], 1.3, 0),
    ([112, 50, 34], 1.3, 0.3),
)
IRIS: Palette = (
    ([74, 46, 30], 3, 5),
    ([98, 62, 34], 3, 3),
    ([122, 96, 48], 1.5, 0.7),
    ([92, 122, 74], 1.2, 0.2),
    ([74, 112, 152], 1.8, 0.1),
    ([120, 146, 168], 1, 0.1),
)
FRAMES = np.array(
    [
        *([26, 26, 30], [92, 54, 34], [150, 36, 44]),
        *([40, 64, 120], [176, 148, 96], [150, 154, 160]),
    ],
    float,
)
BEARDS = ("stubble", "full", "goatee", "moustache", "long")
GLASSES = ("round", "rectangle", "cat")


@dataclass(frozen=True)
class Hair:
    """A haircut as lengths in pixels of the 112 x 112 image."""

    top: float = 4.0  # thickness above the skull; 0: bald on top, hair at the sides only
    side: float = 2.0  # thickness beside the skull
    line: float = 24.0  # height of the hairline above the eyes
    peak: float = 0.0  # how far the temples recede above the middle
    part: float = 0.0  # x of the parting
    sweep: float = 0.0  # the hairline falls by this towards the far side of the parting
    side_end: float = 2.0  # how far the front hair reaches down beside the face
    curtain: float = 0.0  # how far it covers the face from the side
    length: float = 0.0  # hair behind the face ends this far below the eyes; 0: none
    flare: float = 0.0  # widening of the hair behind the face
    wave: float = 0.0  # amplitude of curls at the edge
    curl: float = 9.0  # number of curls round the head
    spike: float = 0.0  # length of spikes
    bun: float = 0.0  # radius of a bun on top


STYLES: tuple[Hair | None, ...] = (
    None,
    Hair(top=0, side=2.5),
    Hair(top=1.2, side=0.6, peak=2),
    Hair(line=23, peak=1),
    Hair(top=3, line=26, peak=8),
    Hair(top=6, side=2.5, line=25, part=12, sweep=8),
    Hair(top=10, side=1.5, line=26, peak=2, part=16, sweep=-3, wave=0.8),
    Hair(line=22, spike=6, curl=13),
    Hair(top=7, side=5, line=21, wave=2, curl=13, side_end=4),
    Hair(top=13, side=12, line=23, wave=1.4, curl=19, side_end=9),
    Hair(top=6, side=5, line=12, wave=1, side_end=9, sweep=4, part=14),
    Hair(top=5, side=4, curtain=6, side_end=30, length=36, flare=2, sweep=5, part=8),
    Hair(top=5, side=4, line=10, curtain=5, side_end=28, length=34, flare=3),
    Hair(side=3, line=25, curtain=5, side_end=34, length=70, flare=2),
    Hair(top=6, side=6, curtain=5, side_end=34, length=70, flare=6, wave=1.7),
    Hair(top=5, side=3, line=11, curtain=4, side_end=30, length=70, flare=1),
    Hair(top=6, side=4, line=25, curtain=4, side_end=26, length=64, part=14, sweep=13),
    Hair(top=2.5, side=1.5, side_end=3, bun=11),
    Hair(top=2.5, side=1, line=25, peak=1, side_end=3),
)


def drawn(mean: float, deviation: float, least: float = -np.inf, most: float = np.inf) -> Any:
    """Declare a number of a person, drawn from a normal distribution."""
    return field(metadata={"normal": (mean, deviation, least, most)})


def varied(portrait: Any, deviation: Any) -> Any:
    """Declare numbers of a picture: what they are in a portrait, and how far they stray from it."""
    return field(default=portrait, metadata={"deviation": deviation})


@dataclass(frozen=True, eq=False)
class Person:
    """The traits of a person, alike in every picture; lengths in pixels, angles in radians."""

    skin: Colour
    hair: Hair | None
    hair_colour: Colour
    iris: Colour
    lip: Colour
    frame: Colour  # of the glasses
    beard: str  # one of `BEARDS`, or empty
    glasses: str  # one of `GLASSES`, or empty
    age: float  # 0..1: strength of the lines
    moles: NDArray[np.float64]  # [moles, 2], in units of the face's width and height
    strands: int  # seed of the hair's texture
    width: float = drawn(31, 2.1)  # half the width at the cheekbones
    jaw: float = drawn(0.80, 0.06)  # width of the jaw as a share of `width`
    chin: float = drawn(9.5, 2.2)  # half the width of the chin
    height: float = drawn(45, 2.6)  # from the eyes to the chin
    forehead: float = drawn(39, 2)  # from the eyes to the top of the skull
    eye_gap: float = drawn(14.3, 1.1)  # half the distance of the eyes
    eye_width: float = drawn(6.5, 0.6)  # half
    eye_height: float = drawn(3.1, 0.55)
    eye_tilt: float = drawn(0.06, 0.09)
    iris_size: float = drawn(3.15, 0.22)
    lashes: float = drawn(1, 0.3)
    brow_height: float = drawn(8.6, 1.3)
    brow_width: float = drawn(8, 0.8)  # half
    brow_thickness: float = drawn(1.8, 0.6, 0.8, 3.2)
    brow_arch: float = drawn(1.7, 1)
    brow_tilt: float = drawn(-0.02, 0.07)
    nose_length: float = drawn(0.445, 0.03, 0.38, 0.5)  # drawn as a share of `height`
    nose_width: float = drawn(6.4, 1.1)
    nose_bridge: float = drawn(1, 0.22)
    mouth_height: float = drawn(0.665, 0.028, 0.6, 0.72)  # below the eyes; drawn as a share, too
    mouth_width: float = drawn(11.2, 1.4)  # half
    upper_lip: float = drawn(2.1, 0.7, 0.9, 3.7)
    lower_lip: float = drawn(3, 0.8, 1.4, 4.8)
    ear: float = drawn(8.6, 1)
    blush: float = drawn(0.85, 0.25)


@dataclass(frozen=True)
class Shot:
    """The circumstances of one picture of a person; angles in radians."""

    yaw: float = varied(0.0, 0.20)
    pitch: float = varied(0.0, 0.10)
    roll: float = varied(0.0, 0.09)
    zoom: float = varied(1.0, 0.06)
    shift: Sequence[float] = varied((0.0, 0.0), (3.0, 3.0))
    smile: float = varied(0.4, 0.35)
    lids: float = varied(1.0, 0.12)
    brows: float = varied(0.0, 1.0)
    gaze: Sequence[float] = varied((0.0, 0.0), (0.25, 0.12))
    exposure: float = varied(1.0, 0.2)
    warmth: float = varied(0.0, 0.08)  # lamps and shade move colours between orange and blue
    saturation: float = varied(1.0, 0.2)
    open: float = 0.0  # the mouth
    light: Sequence[float] = (-0.5, -0.5)  # direction: x to the right, y down
    contrast: float = 0.5
    shirt: ArrayLike = (70, 90, 130)
    background: ArrayLike = ((206, 214, 222), (168, 180, 194))  # two colours
    clutter: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    quality: int = 92  # of the JPEG file
    seed: int = 0  # of noise and clutter


def blend(first: ArrayLike, second: ArrayLike, share: float) -> Colour:
    """Return the colour `share` of the way from `first` to `second`."""
    return np.asarray(first, float) * (1 - share) + np.asarray(second, float) * share


def draw_person(rng: np.random.Generator) -> Person:
    """Draw an identity."""
    shape = {}
    for each in fields(Person):
        if each.metadata:
            mean, deviation, least, most = each.metadata["normal"]
            value = mean + deviation * np.clip(rng.standard_normal(), -2.2, 2.2)
            shape[each.name] = float(np.clip(value, least, most))
    for name in ("nose_length", "mouth_height"):
        shape[name] *= shape["height"]
    tone = rng.uniform(0, len(SKIN) - 1.01)
    dark = tone > 3.5
    skin = _jitter(rng, blend(SKIN[int(tone)], SKIN[int(tone) + 1], tone % 1), 0.05)
    age = rng.beta(1.3, 2.2)
    hair = STYLES[rng.choice(len(STYLES))]
    bearded = (hair is None or not (hair.length or hair.bun)) and rng.random() < 0.55
    greying = rng.uniform(0.4, 1) if rng.random() < 0.4 * age else 0.0
    red, most = ([176, 100, 92], 0.4) if bearded else ([188, 82, 84], 0.75)
    return Person(
        skin=skin,
        hair=None if hair is None else _cut(rng, hair),
        hair_colour=blend(_pick(rng, HAIR, dark, 0.14), [206, 204, 204], greying),
        iris=_pick(rng, IRIS, dark, 0.16),
        lip=blend(skin * 0.92, np.multiply(red, 0.5 + skin.mean() / 400), rng.uniform(0.2, most)),
        frame=FRAMES[rng.choice(len(FRAMES))],
        beard=str(rng.choice(BEARDS, p=[0.3, 0.3, 0.15, 0.15, 0.1])) if bearded else "",
        glasses=str(rng.choice(GLASSES)) if rng.random() < 0.3 else "",
        age=age,
        moles=rng.uniform([-0.7, 0.15], [0.7, 0.85], (rng.choice(3, p=[0.76, 0.17, 0.07]), 2)),
        strands=int(rng.integers(1 << 31)),
        **shape,
    )


def draw_shot(rng: np.random.Generator) -> Shot:
    """Draw the circumstances of one picture, an everyday snapshot."""
    strayed = {}
    for each in fields(Shot):
        if each.metadata:
            deviation = np.asarray(each.metadata["deviation"])
            normal = np.clip(rng.standard_normal(deviation.shape), -2, 2)
            strayed[each.name] = each.default + normal * deviation
    colours = rng.uniform(25, 235, (3, 3))  # of the shirt and the background
    grey = colours.mean(1, keepdims=True)
    colours = grey + (colours - grey) * rng.uniform(0.05, 0.5, (3, 1))
    angle, reach = rng.uniform(-np.pi, np.pi), rng.uniform(0.3, 0.95)
    laughs, colourless = rng.random(2) < (0.4, 0.08)
    return replace(
        Shot(**strayed),
        smile=strayed["smile"] + 0.45 * laughs,
        saturation=strayed["saturation"] * (not colourless),
        open=rng.uniform(0.15, 1) * laughs,
        light=(reach * np.sin(angle), -0.35 - 0.5 * reach * np.cos(angle)),
        contrast=rng.uniform(0.35, 0.85),
        shirt=colours[0],
        background=colours[1:],
        clutter=rng.uniform(0, 1),
        blur=max(0.0, rng.normal(0.1, 0.45)),
        noise=max(0.0, rng.normal(1.5, 2.7)),
        quality=int(rng.integers(45, 96)),
        seed=int(rng.integers(1 << 31)),
    )


def _pick(rng: np.random.Generator, palette: Palette, dark: bool, amount: float) -> Colour:
    colours, *weights = zip(*palette, strict=True)
    chances = np.array(weights[dark])
    return _jitter(rng, colours[rng.choice(len(colours), p=chances / chances.sum())], amount)


def _jitter(rng: np.random.Generator, colour: ArrayLike, amount: float) -> Colour:
    """Return a colour with up to `amount` (a share) more or less of it, slightly tinted."""
    tint = rng.uniform(1 - amount / 4, 1 + amount / 4, 3)
    return np.clip(np.multiply(colour, rng.uniform(1 - amount, 1 + amount) * tint), 0, 255)


def _cut(rng: np.random.Generator, hair: Hair) -> Hair:
    """Return a haircut with other lengths, parted to either side."""
    side = rng.choice([-1, 1])
    lengths = {
        each.name: getattr(hair, each.name) * rng.uniform(0.7, 1.35)
        for each in fields(Hair)
        if each.name not in ("line", "curl")
    }
    lengths["peak"] += rng.uniform(0, 2)
    lengths["part"] = side * (lengths["part"] + rng.uniform(0, 3))
    lengths["sweep"] *= side
    return replace(
        hair,
        line=hair.line + rng.uniform(-2, 2),
        curl=round(hair.curl * rng.uniform(0.85, 1.2)),
        **lengths,
    )
