"""Haircuts: a handful of styles, each a set of lengths that people vary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]  # red, green, blue on the 0..255 scale

HAIR: dict[str, Colour] = {
    "black": (34, 29, 30),
    "dark brown": (60, 42, 34),
    "brown": (92, 62, 42),
    "light brown": (136, 98, 64),
    "blond": (206, 168, 106),
    "platinum": (228, 208, 168),
    "red": (166, 78, 38),
    "auburn": (112, 50, 34),
    "grey": (146, 144, 146),
    "white": (212, 210, 208),
}


@dataclass(frozen=True)
class Hair:
    """A haircut as lengths in pixels of the 112 x 112 image."""

    top: float = 4.0  # thickness above the skull
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
    crown: float = 1.0  # 0: bald on top, hair at the sides only


STYLES: dict[str, Hair | None] = {
    "bald": None,
    "horseshoe": Hair(crown=0.0, side=2.5),
    "buzz": Hair(top=1.2, side=0.6, line=24, peak=2),
    "short": Hair(top=4, side=2, line=23, peak=1),
    "receding": Hair(top=3, side=2, line=26, peak=8),
    "side part": Hair(top=6, side=2.5, line=25, part=12, sweep=8),
    "quiff": Hair(top=10, side=1.5, line=26, peak=2, part=16, sweep=-3, wave=0.8),
    "spiky": Hair(top=4, side=2, line=22, spike=6, curl=13),
    "curly": Hair(top=7, side=5, line=21, wave=2.0, curl=13, side_end=4),
    "afro": Hair(top=13, side=12, line=23, wave=1.4, curl=19, side_end=9),
    "mop": Hair(top=6, side=5, line=12, wave=1.0, curl=9, side_end=9, sweep=4, part=14),
    "bob": Hair(
        top=5, side=4, line=24, curtain=6, side_end=30, length=36, flare=2, sweep=5, part=8
    ),
    "fringe bob": Hair(top=5, side=4, line=10, curtain=5, side_end=28, length=34, flare=3),
    "long": Hair(top=4, side=3, line=25, curtain=5, side_end=34, length=70, flare=2),
    "long wavy": Hair(top=6, side=6, line=24, curtain=5, side_end=34, length=70, flare=6, wave=1.7),
    "long fringe": Hair(top=5, side=3, line=11, curtain=4, side_end=30, length=70, flare=1),
    "side swept": Hair(
        top=6, side=4, line=25, curtain=4, side_end=26, length=64, part=14, sweep=13
    ),
    "bun": Hair(top=2.5, side=1.5, line=24, side_end=3, bun=11),
    "pulled back": Hair(top=2.5, side=1, line=25, peak=1, side_end=3),
}


def jitter(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    """Return `colour` with up to `amount` (a share) more or less of it, slightly tinted."""
    tint = rng.uniform(1 - amount / 4, 1 + amount / 4, 3)
    values = np.clip(np.asarray(colour) * rng.uniform(1 - amount, 1 + amount) * tint, 0, 255)
    return (float(values[0]), float(values[1]), float(values[2]))


def cut(rng: np.random.Generator, style: str) -> Hair | None:
    """Draw a haircut of one style, parted to either side."""
    hair = STYLES[style]
    if hair is None:
        return None
    side = rng.choice([-1, 1])
    return Hair(
        top=hair.top * rng.uniform(0.75, 1.3),
        side=hair.side * rng.uniform(0.75, 1.3),
        line=hair.line + rng.uniform(-2, 2),
        peak=hair.peak + rng.uniform(0, 2),
        part=side * (hair.part + rng.uniform(-3, 3)),
        sweep=side * hair.sweep * rng.uniform(0.7, 1.3),
        side_end=hair.side_end + rng.uniform(-2, 3),
        curtain=hair.curtain * rng.uniform(0.5, 1.3),
        length=hair.length * rng.uniform(0.85, 1.15),
        flare=hair.flare + rng.uniform(-1, 2),
        wave=hair.wave * rng.uniform(0.7, 1.4),
        curl=float(round(hair.curl * rng.uniform(0.85, 1.2))),
        spike=hair.spike * rng.uniform(0.7, 1.3),
        bun=hair.bun * rng.uniform(0.8, 1.2),
        crown=hair.crown,
    )
