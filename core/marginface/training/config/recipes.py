"""Recipes: named presets of configuration keys, each with the run that it reproduces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marginface.errors import unknown_name


@dataclass(frozen=True)
class Recipe:
    """Configuration keys that belong together.

    Args:
        source: where the values come from, in one line.
        values: keys of the training configuration.
    """

    source: str
    values: dict[str, Any]


_HEADLINE = {
    "embedding_size": 512,
    "scale": 64.0,
    "optimizer": "sgd",
    "momentum": 0.9,
    "schedule": "polynomial",
    "power": 1.0,
    "warmup_steps": 0,
    "clip_norm": 5.0,
    "augment": ["flip"],
}

RECIPES = {
    "ms1mv3-r50": Recipe(
        source="InsightFace arcface_torch, ms1mv3_r50_onegpu: one device, batch 128",
        values={
            **_HEADLINE,
            "loss": "arcface",
            "margin": 0.5,
            "backbone": "iresnet50",
            "lr": 0.02,
            "batch_size": 128,
            "weight_decay": 5e-4,
            "epochs": 20,
        },
    ),
    "ms1mv3-mbf": Recipe(
        source="InsightFace arcface_torch, ms1mv3_mbf: its 8 devices x 128 as one batch",
        values={
            **_HEADLINE,
            "loss": "arcface",
            "margin": 0.5,
            "backbone": "mbf",
            "lr": 0.1,
            "batch_size": 1024,
            "weight_decay": 1e-4,
            "epochs": 40,
        },
    ),
    "glint360k": Recipe(
        source="InsightFace arcface_torch, glint360k_r100: its 8 devices x 128 as one batch",
        values={
            **_HEADLINE,
            "loss": "cosface",
            "margin": 0.4,
            "backbone": "iresnet100",
            "lr": 0.1,
            "batch_size": 1024,
            "weight_decay": 1e-4,
            "epochs": 20,
        },
    ),
    "small-set": Recipe(
        source="measured on LFW View 1, 6,671 images: 91.6% at one threshold (docs/results.md)",
        values={
            "loss": "arcface",
            "scale": 16.0,
            "margin": 0.3,
            "backbone": "mobilefacenet",
            "embedding_size": 128,
            "optimizer": "sgd",
            "momentum": 0.9,
            "lr": 0.1,
            "batch_size": 32,
            "weight_decay": 5e-4,
            "schedule": "polynomial",
            "power": 1.0,
            "warmup_share": 0.08,  # of the run measured, 200 steps
            "epochs": 12,
            "augment": ["flip", "affine"],
        },
    ),
}


def get_recipe(name: str) -> Recipe:
    """Return the recipe called `name`.

    >>> get_recipe("small-set").values["embedding_size"]
    128
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]
