"""Who is drawn and how the picture is taken: identity parameters and per-image nuisance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.demo.drawing.haircuts import HAIR, STYLES, Colour, Hair, cut, jitter

SKIN = np.array(
    [
        (244, 212, 190),
        (236, 194, 164),
        (226, 180, 146),
        (206, 155, 117),
        (178, 124, 86),
        (146, 97, 66),
        (112, 73, 51),
        (84, 55, 41),
    ],
    np.float64,
)
IRIS: tuple[Colour, ...] = (
    (74, 46, 30),
    (98, 62, 34),
    (122, 96, 48),
    (92, 122, 74),
    (74, 112, 152),
    (120, 146, 168),
)
FRAMES: tuple[Colour, ...] = (
    (26, 26, 30),
    (92, 54, 34),
    (150, 36, 44),
    (40, 64, 120),
    (176, 148, 96),
    (150, 154, 160),
)


BEARDS = ("none", "stubble", "full", "goatee", "moustache", "long")
GLASSES = ("none", "round", "rectangle", "cat")


@dataclass(frozen=True)
class Person:
    """What stays the same in every picture of one person; lengths in pixels, angles in radians."""

    skin: Colour
    width: float  # half the width at the cheekbones
    jaw: float  # width of the jaw as a share of `width`
    chin: float  # half the width of the chin
    height: float  # from the eyes to the chin
    forehead: float  # from the eyes to the top of the skull
    style: str
    hair: Hair | None
    hair_colour: Colour
    strands: int  # seed of the hair's texture
    eye_gap: float  # half the distance of the eyes
    eye_width: float  # half
    eye_height: float
    eye_tilt: float
    hood: float  # how low the fold above the eye sits, 0..1
    iris: Colour
    iris_size: float
    lashes: float
    brow_height: float
    brow_width: float  # half
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    nose_length: float
    nose_width: float
    nose_bridge: float
    mouth_height: float  # below the eyes
    mouth_width: float  # half
    upper_lip: float
    lower_lip: float
    bow: float
    lip: Colour
    ear: float
    ear_out: float
    blush: float
    freckles: int
    moles: tuple[tuple[float, float], ...]  # in units of the face's width and height
    marks: int  # seed of the freckles
    age: float  # 0..1: strength of the lines
    beard: str
    glasses: str
    frame: Colour
    frame_size: float


@dataclass(frozen=True)
class Shot:
    """What differs from picture to picture of the same person; angles in radians."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    smile: float = 0.4
    open: float = 0.0
    lids: float = 1.0
    brows: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float] = (-0.5, -0.5)  # direction: x to the right, y down
    contrast: float = 0.5
    exposure: float = 1.0
    cast: Colour = (1.0, 1.0, 1.0)
    saturation: float = 1.0
    shirt: Colour = (70, 90, 130)
    background: tuple[Colour, Colour] = ((206, 214, 222), (168, 180, 194))
    clutter: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    quality: int = 92
    seed: int = 0


def draw_person(rng: np.random.Generator) -> Person:
    """Draw an identity."""

    def around(mean: float, deviation: float) -> float:
        return float(mean + deviation * np.clip(rng.standard_normal(), -2.2, 2.2))

    tone = rng.uniform(0, len(SKIN) - 1.01)
    low = SKIN[int(tone)] * (1 - tone % 1) + SKIN[int(tone) + 1] * (tone % 1)
    skin = jitter(rng, (low[0], low[1], low[2]), 0.05)
    age = float(rng.beta(1.3, 2.2))
    weights = np.array([3, 3, 3, 2, 2, 0.8, 1.3, 1.3, 0.7, 0.4])
    if tone > 3.5:
        weights = np.array([6, 4, 1, 0.1, 0.06, 0.02, 0.03, 0.3, 0.7, 0.4])
    weights[-2:] *= 0.2 + 4 * age
    colour_name = str(rng.choice(list(HAIR), p=weights / weights.sum()))
    hair_colour = jitter(rng, HAIR[colour_name], 0.14)
    style = str(rng.choice(list(STYLES)))
    worn = STYLES[style]
    long_hair = worn is not None and worn.length > 0
    beard = "none"
    if not long_hair and style != "bun" and rng.random() < 0.55:
        beard = str(rng.choice(BEARDS[1:], p=[0.3, 0.3, 0.15, 0.15, 0.1]))
    iris_weights = np.array([3, 3, 1.5, 1.2, 1.8, 1.0])
    if tone > 3.5:
        iris_weights = np.array([5, 3, 0.7, 0.2, 0.1, 0.1])
    iris = IRIS[rng.choice(len(IRIS), p=iris_weights / iris_weights.sum())]
    red = np.array((188, 82, 84)) if beard == "none" else np.array((176, 100, 92))
    mix = rng.uniform(0.3, 0.75) if beard == "none" else rng.uniform(0.15, 0.4)
    lip = np.asarray(skin) * 0.92 * (1 - mix) + red * (0.5 + np.mean(skin) / 400) * mix
    glasses = "none" if rng.random() < 0.7 else str(rng.choice(GLASSES[1:]))
    height = around(45, 2.6)
    mouth = float(np.clip(around(0.665, 0.028), 0.60, 0.72)) * height
    return Person(
        skin=skin,
        width=around(31, 1.9),
        jaw=around(0.80, 0.06),
        chin=around(9.5, 2.2),
        height=height,
        forehead=around(39, 2.0),
        style=style,
        hair=cut(rng, style),
        hair_colour=hair_colour,
        strands=int(rng.integers(1 << 31)),
        eye_gap=around(14.3, 1.0),
        eye_width=around(6.5, 0.55),
        eye_height=around(3.1, 0.55),
        eye_tilt=around(0.06, 0.09),
        hood=float(rng.uniform(0.1, 1)),
        iris=jitter(rng, iris, 0.16),
        iris_size=around(3.15, 0.22),
        lashes=float(rng.uniform(0.5, 1.0) if beard != "none" else rng.uniform(0.6, 1.7)),
        brow_height=around(8.6, 1.2),
        brow_width=around(8.0, 0.8),
        brow_thickness=float(np.clip(around(1.8, 0.5), 0.8, 3.0)),
        brow_arch=around(1.7, 1.0),
        brow_tilt=around(-0.02, 0.07),
        nose_length=float(np.clip(around(0.445, 0.03), 0.38, 0.50)) * height,
        nose_width=around(6.4, 1.0),
        nose_bridge=around(1.0, 0.22),
        mouth_height=mouth,
        mouth_width=around(11.2, 1.3),
        upper_lip=float(np.clip(around(2.1, 0.6), 0.9, 3.5)),
        lower_lip=float(np.clip(around(3.0, 0.7), 1.5, 4.6)),
        bow=float(rng.uniform(0.2, 1.2)),
        lip=(float(lip[0]), float(lip[1]), float(lip[2])),
        ear=around(8.6, 1.0),
        ear_out=around(3.2, 1.1),
        blush=float(rng.uniform(0.0, 1.0)),
        freckles=int(rng.integers(15, 45)) if tone < 3 and rng.random() < 0.2 else 0,
        moles=tuple(
            (float(x), float(y))
            for x, y in zip(
                rng.uniform(-0.7, 0.7, 3)[: rng.choice(4, p=[0.76, 0.16, 0.06, 0.02])],
                rng.uniform(0.15, 0.85, 3),
                strict=False,
            )
        ),
        marks=int(rng.integers(1 << 31)),
        age=age,
        beard=beard,
        glasses=glasses,
        frame=FRAMES[rng.integers(len(FRAMES))],
        frame_size=float(rng.uniform(0.9, 1.2)),
    )


def draw_shot(rng: np.random.Generator, strength: float = 1.0) -> Shot:
    """Draw the circumstances of one picture; `strength` 1 is an everyday snapshot, 0 a portrait."""

    def normal(deviation: float) -> float:
        return float(strength * deviation * np.clip(rng.standard_normal(), -2, 2))

    def colour() -> Colour:
        values = rng.uniform(25, 235, 3)
        grey = values.mean() + (values - values.mean()) * rng.uniform(0.05, 0.5)
        return (float(grey[0]), float(grey[1]), float(grey[2]))

    angle = rng.uniform(-np.pi, np.pi)
    reach = rng.uniform(0.3, 0.95)
    laugh = rng.random() < 0.4
    first, second = colour(), colour()
    warm = normal(0.09)  # lamps and shade move colours between orange and blue
    return Shot(
        yaw=normal(0.20),
        pitch=normal(0.10),
        roll=normal(0.09),
        zoom=1 + normal(0.06),
        shift=(normal(3.0), normal(3.0)),
        smile=0.35 + normal(0.35) + (0.45 if laugh else 0),
        open=float(rng.uniform(0.15, 1.0)) if laugh else 0.0,
        lids=float(np.clip(1 + normal(0.14), 0.55, 1.2)),
        brows=normal(1.0),
        gaze=(normal(0.25), normal(0.12)),
        light=(float(reach * np.sin(angle)), float(-0.35 - 0.5 * reach * np.cos(angle))),
        contrast=float(rng.uniform(0.35, 0.35 + 0.55 * strength)),
        exposure=float(np.exp(normal(0.24) - 0.04)),
        cast=(float(np.exp(warm)), float(np.exp(normal(0.025))), float(np.exp(-warm))),
        saturation=float(0.0 if rng.random() < 0.08 * strength else 1 + normal(0.2)),
        shirt=colour(),
        background=(first, second),
        clutter=float(rng.uniform(0, 1)),
        blur=float(max(0.0, strength * rng.normal(0.1, 0.45))),
        noise=float(max(0.0, strength * rng.normal(1.5, 3.0))),
        quality=int(rng.integers(45, 96)),
        seed=int(rng.integers(1 << 31)),
    )
