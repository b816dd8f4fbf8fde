"""A model apart from its weights: backbone, embedding size, preprocessing of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from operator import index
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from marginface.backbones import Graph, describe
from marginface.errors import MarginfaceError, unknown_name
from marginface.text import brief

METADATA_KEY = "marginface"  # of an ONNX file: the ModelSpec as JSON
PREPROCESSING_KEY = "marginface.preprocessing"  # of one of another program, or that has another
THRESHOLDS_KEY = "marginface.thresholds"  # those that `marginface calibrate` measured
FLIP_KEY = "marginface.flip"  # "true": the graph adds the mirror image's embedding itself
LARGEST = 2**31  # no size is as large, in pixels or in numbers
ALIGNED_SIZE = (112, 112)  # the field's aligned face, height and width

# How an image of another size is brought to the network's: filling it, what juts out cut off at
# both ends; whole, with black borders; or whole, stretched to its shape.
Resizing = Literal["fit", "letterbox", "squeeze"]
RESIZINGS: tuple[Resizing, ...] = get_args(Resizing)
Resize = bool | Resizing  # True squeezes, as all did once; False refuses such images

CROP = ("top", "left", "height", "width")
Triple = tuple[float, float, float]


def for_each_channel(name: str, value: Any) -> Triple:
    """Return `value` (a mean or std) for three channels: one number, three, or such as text.

    >>> for_each_channel("mean", "127.5"), for_each_channel("std", [1, 2, 3])
    ((127.5, 127.5, 127.5), (1.0, 2.0, 3.0))
    """
    try:
        parts = value.split(",") if isinstance(value, str) else np.atleast_1d(value)
        values = [float(part) for part in parts]
    except (TypeError, ValueError):
        values = []
    if len(values) not in (1, 3):
        raise MarginfaceError(f"{name} must be one number or three, got {value!r}")
    first, second, third = values * (3 // len(values))
    return first, second, third


def whole_numbers(name: str, value: Any, meanings: Sequence[str]) -> tuple[int, ...]:
    """Return whole numbers, as many as have a meaning, from a list or from text with commas.

    >>> whole_numbers("input_size", "112, 96", ("height", "width"))
    (112, 96)
    """
    try:
        parts = map(int, value.split(",")) if isinstance(value, str) else map(index, value)
        values = tuple(parts)
    except (TypeError, ValueError):
        values = ()
    if len(values) != len(meanings):
        raise MarginfaceError(
            f"{name} must be {','.join(meanings)} in whole numbers, got {value!r}"
        )
    return values


def resize_choice(value: Any) -> Resize:
    """Return how images of another size are scaled, from a choice or a text of the command line.

    >>> resize_choice("yes"), resize_choice(False), resize_choice("fit")
    (True, False, 'fit')
    """
    plain = {"yes": True, "no": False}.get(value, value) if isinstance(value, str) else value
    if isinstance(plain, bool):
        return plain
    for name in RESIZINGS:
        if plain == name:
            return name
    if isinstance(plain, str):
        raise unknown_name("resize", plain, RESIZINGS)
    raise MarginfaceError(f"resize must be {', '.join(RESIZINGS)}, or true or false, got {value!r}")


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of an RGB uint8 image: crop, channel order, (x - mean) / std.

    Args:
        mean: subtracted from each of the network's channels, on the 0..255 scale.
        std: divides each channel, on the 0..255 scale.
        channels: the order in which the network expects them; images are read as RGB.
        crop: (top, left, height, width) in pixels of the aligned image, or None for all of it.
        resize: how images of another size were scaled in training, None if none were.

    >>> Preprocessing()(np.full((1, 2, 2, 3), 255, np.uint8))[0, 0]
    array([[1., 1.],
           [1., 1.]], dtype=float32)
    """

    mean: Triple = (127.5, 127.5, 127.5)
    std: Triple = (127.5, 127.5, 127.5)
    channels: Literal["rgb", "bgr"] = "rgb"
    crop: tuple[int, int, int, int] | None = None
    resize: Resizing | None = None

    def __post_init__(self) -> None:
        if not all(np.isfinite(self.mean)):
            raise MarginfaceError(f"mean must be finite, got {self.mean}")
        if not all(value > 0 and np.isfinite(value) for value in self.std):
            raise MarginfaceError(f"std must be positive, got {self.std}")
        if self.channels not in ("rgb", "bgr"):
            raise unknown_name("channels", self.channels, ("rgb", "bgr"))
        if self.resize is not None and self.resize not in RESIZINGS:
            raise unknown_name("resize", self.resize, RESIZINGS)
        crop = self.crop
        if crop is not None and (len(crop) != 4 or min(crop[:2]) < 0 or min(crop[2:]) < 1):
            raise MarginfaceError(
                f"crop must be top,left,height,width in pixels, none negative, got {list(crop)}"
            )

    def check_images(self, height: int, width: int) -> None:
        """Raise if the crop reaches beyond images of `height` x `width` pixels."""
        crop = self.crop
        if crop is not None and (crop[0] + crop[2] > height or crop[1] + crop[3] > width):
            raise MarginfaceError(
                f"crop {','.join(map(str, crop))} (top,left,height,width) does not fit into images "
                f"of {height}x{width} (height x width); choose a part inside them, or scale them "
                f"to {ALIGNED_SIZE[0]}x{ALIGNED_SIZE[1]} first (--resize)"
            )

    def image_size(
        self, input_size: tuple[int, int], *, resize: Resize = False
    ) -> tuple[int, int] | None:
        """Return the (height, width) of images before the crop; None where any that it fits do.

        Images that are scaled, now or in training, are brought to 112 x 112 before a crop.

        >>> whole, cropped = Preprocessing(), Preprocessing(crop=(0, 8, 112, 96))
        >>> whole.image_size((96, 96)), cropped.image_size((112, 96))
        ((96, 96), None)
        >>> cropped.image_size((112, 96), resize="fit")
        (112, 112)
        """
        if self.crop is None:
            return input_size
        if not resize and self.resize is None:
            return None
        self.check_images(*ALIGNED_SIZE)
        return ALIGNED_SIZE

    def check_input(self, height: int, width: int) -> None:
        """Raise if the crop cuts out another size than the `height` x `width` of a network."""
        crop = self.crop
        if crop is not None and crop[2:] != (height, width):
            raise MarginfaceError(
                f"crop {','.join(map(str, crop))} (top,left,height,width) cuts out "
                f"{crop[2]}x{crop[3]}, the model takes {height}x{width}; "
                "make the last two numbers that"
            )

    def cut(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Crop images [..., H, W, 3]."""
        self.check_images(*images.shape[-3:-1])
        if self.crop is None:
            return images
        top, left, height, width = self.crop
        return images[..., top : top + height, left : left + width, :]

    def pixels(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Crop and order the channels of RGB images [N, H, W, 3]; still uint8."""
        images = self.cut(images)
        return images[..., ::-1] if self.channels == "bgr" else images

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the network's input [N, 3, H, W] for RGB images [N, H, W, 3]."""
        return self.scale(self.pixels(images))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file or ONNX metadata."""
        values = asdict(self)
        if self.resize is None:  # earlier versions do not know it
            del values["resize"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild from `to_json`'s values; raises as `ModelSpec.from_json` does."""
        _check_keys(values, Preprocessing)
        crop = values["crop"]
        _check_sizes(crop or [])
        for each in (values["mean"], values["std"]):
            if len(each) != 3 or any(type(number) not in (int, float) for number in each):
                raise TypeError("not one number for each channel")
        return cls(
            mean=tuple(values["mean"]),
            std=tuple(values["std"]),
            channels=values["channels"],
            crop=None if crop is None else tuple(crop),
            resize=values.get("resize"),
        )

    def scale(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (x - mean) / std as [N, 3, H, W] for what `pixels` gives, [N, H, W, 3]."""
        mean, std = (np.array(each, np.float32)[:, None, None] for each in (self.mean, self.std))
        # Moving bytes, and computing in place along whole planes, takes a tenth of the time.
        values = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32)
        values -= mean
        values /= std
        return values


@dataclass(frozen=True)
class ModelSpec:
    """A backbone by name with everything needed to rebuild it and to feed it."""

    backbone: str = "iresnet50"
    embedding_size: int = 512
    input_size: tuple[int, int] = ALIGNED_SIZE  # height, width, after the crop
    dropout: float = 0.0
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    batch_norm_epsilon: float | None = None  # of the weights; the network's own for None

    def __post_init__(self) -> None:
        self.preprocessing.check_input(*self.input_size)

    @classmethod
    def of(cls, graph: Graph, preprocessing: Preprocessing | None = None) -> Self:
        """Return the model whose network a graph describes; the default preprocessing for None."""
        return cls(
            graph.name,
            graph.embedding_size,
            graph.input_size,
            preprocessing=preprocessing or Preprocessing(),
            batch_norm_epsilon=graph.batch_norm_epsilon,
        )

    def graph(self) -> Graph:
        """Return the network's neutral description.

        Raises:
            MarginfaceError: no such backbone, or a size that it cannot take.
        """
        return describe(
            self.backbone,
            self.embedding_size,
            self.input_size,
            self.dropout,
            self.batch_norm_epsilon,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file or ONNX metadata."""
        values = asdict(self) | {"preprocessing": self.preprocessing.to_json()}
        if self.batch_norm_epsilon is None:  # earlier versions do not know it
            del values["batch_norm_epsilon"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild from `to_json`'s values (JSON turns tuples into lists).

        Raises:
            KeyError: a value is missing.
            TypeError: one is of another kind.
            MarginfaceError: one is out of range.
        """
        sizes = [values["embedding_size"], *values["input_size"]]
        _check_keys(values, ModelSpec)
        if not isinstance(values["backbone"], str) or type(values["dropout"]) not in (int, float):
            raise TypeError("a name or a probability is none")
        epsilon = values.get("batch_norm_epsilon")
        if epsilon is not None and type(epsilon) is not float:
            raise TypeError("an epsilon is no number")
        _check_sizes(sizes)
        if len(sizes) != 3 or min(sizes) < 1:
            raise TypeError("sizes are not above 0")
        return cls(
            backbone=values["backbone"],
            embedding_size=values["embedding_size"],
            input_size=tuple(values["input_size"]),
            dropout=values["dropout"],
            preprocessing=Preprocessing.from_json(values["preprocessing"]),
            batch_norm_epsilon=epsilon,
        )


def _check_keys(values: Any, kind: type[ModelSpec | Preprocessing]) -> None:
    if not isinstance(values, dict):
        raise TypeError("no table")
    if unknown := sorted(values.keys() - {each.name for each in fields(kind)}):
        raise MarginfaceError(
            f"{brief(unknown[0])} is no key of a model specification; is it one of a later "
            "version of marginface?"
        )


def _check_sizes(sizes: Sequence[Any]) -> None:
    if any(type(size) is not int or not abs(size) < LARGEST for size in sizes):
        raise TypeError("sizes are no whole numbers")
