"""Augmentations by name: functions of an RGB uint8 image [height, width, 3] and a generator.

None changes its input; all randomness comes from the generator, so a seed fixes the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from marginface.data.augmentation.covering import erase, mask, sunglasses
from marginface.data.augmentation.geometry import affine, crop, flip
from marginface.data.augmentation.kinds import Augmentation, Pixels
from marginface.data.augmentation.light import color_jitter, grayscale, photometric
from marginface.data.augmentation.quality import blur, jpeg, low_resolution
from marginface.errors import unknown_name

__all__ = ["AUGMENTATIONS", "PRESETS", "Augmentation", "Pixels", "augmentation", "expand_presets"]

AUGMENTATIONS: dict[str, Augmentation] = {
    function.__name__: function
    for function in (
        *(flip, affine, crop),
        *(photometric, color_jitter, grayscale),
        *(low_resolution, blur, jpeg),
        *(erase, mask, sunglasses),
    )
}

PRESETS: dict[str, tuple[str, ...]] = {
    # arcface_torch/dataset.py. Its reader for GPUs (DALI) knows more, which is off by default.
    "insightface": ("flip",),
    # AdaFace, arXiv 2204.00964, section 4.1; this order is its code's.
    "adaface": ("crop", "low_resolution", "color_jitter", "flip"),
    # In the order of things: what is worn, where the camera looks, light, lens, sensor, file.
    "strong": (
        *("mask", "sunglasses", "flip", "affine", "crop", "color_jitter", "grayscale"),
        *("blur", "low_resolution", "jpeg", "erase"),
    ),
}


def expand_presets(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of augmentations, each preset replaced by what it stands for.

    >>> expand_presets(["affine", "adaface"])
    ('affine', 'crop', 'low_resolution', 'color_jitter', 'flip')

    Raises:
        MarginfaceError: a name is neither among `AUGMENTATIONS` nor among `PRESETS`.
    """
    for name in names:
        if name not in AUGMENTATIONS and name not in PRESETS:
            known = [*AUGMENTATIONS, *PRESETS]
            raise unknown_name("augmentation", name, known, listed_by="docs/data.md")
    return tuple(each for name in names for each in PRESETS.get(name, (name,)))


def augmentation(names: Sequence[str]) -> Augmentation:
    """Return one function that applies the named augmentations and presets in the given order.

    >>> image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    >>> augmentation(["flip"])(image, np.random.default_rng(2))[0]
    array([[3, 4, 5],
           [0, 1, 2]], dtype=uint8)

    Raises:
        MarginfaceError: as `expand_presets`.
    """
    functions = [AUGMENTATIONS[name] for name in expand_presets(names)]

    def apply(image: Pixels, rng: np.random.Generator) -> Pixels:
        for function in functions:
            image = function(image, rng)
        return image

    return apply
