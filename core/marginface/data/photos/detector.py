"""SCRFD or YuNet in ONNX Runtime: photos of any sizes in, faces out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.data.photos.detection import (
    STRIDES,
    Faces,
    Floats,
    decode,
    decode_yunet,
    suppress,
)
from marginface.errors import MarginfaceError
from marginface.onnx.session import RUN_ERRORS, one_line, open_session

LONGEST_SIDE = 640  # pixels of a photo as the network sees it, where the model leaves it open
MULTIPLE = max(STRIDES)  # pixels: of the input's sides
MEAN, STD = np.float32(127.5), np.float32(128)

Photo = NDArray[np.uint8]


@dataclass(frozen=True)
class Kind:
    """A kind of network that finds faces.

    Attributes:
        name: its name.
        outputs: numbers for each anchor: its scores, box, five points.
        anchors: how many a cell may have.
        prepare: RGB uint8 [N, height, width, 3] to the network's input [N, 3, height, width].
        decode: for each stride the outputs, the input's size and the least score to faces.
    """

    name: str
    outputs: tuple[int, ...]
    anchors: tuple[int, ...]
    prepare: Callable[[Photo], Floats]
    decode: Callable[[Sequence[Any], tuple[int, int], float], Faces]


def _scaled_rgb(photos: Photo) -> Floats:
    values = np.ascontiguousarray(photos.transpose(0, 3, 1, 2)).astype(np.float32)
    values -= MEAN
    values /= STD
    return values


def _plain_bgr(photos: Photo) -> Floats:
    return np.ascontiguousarray(photos[..., ::-1].transpose(0, 3, 1, 2), np.float32)


KINDS = (
    Kind("SCRFD", (1, 4, 10), (2, 1), _scaled_rgb, decode),
    Kind("YuNet", (1, 1, 4, 10), (1,), _plain_bgr, decode_yunet),
)


class FaceDetector:
    """Finds faces with YuNet, or an SCRFD that gives five points (`bnkps` or `kps` in its name).

    A photo is scaled down to the model's input, or 640 pixels where the model leaves it open; small
    ones keep their size. It goes into SCRFD as RGB, (x - 127.5) / 128, into YuNet as BGR, as it is;
    black to the right and below. Where nothing is found it is looked at again, at half that size,
    then at a quarter with a margin: SCRFD is blind to a face that fills its input or passes its
    edges. A model for one photo at a time is given one photo at a time.

    Args:
        model: the ONNX file.
        min_score: what scores less is no face, in 0..1.
        threads, provider: as of `open_session`.

    Raises:
        MarginfaceError: no such file, not an ONNX model, or not such a detector.
    """

    def __init__(
        self,
        model: Path,
        *,
        min_score: float = 0.5,
        threads: int | None = None,
        provider: str = "auto",
    ) -> None:
        if not 0 < min_score < 1:
            raise MarginfaceError(f"min_score must be between 0 and 1, got {min_score}")
        self.name = str(model)
        self.min_score = min_score
        self._session = open_session(model, threads=threads, provider=provider)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or shape[1] != 3 or inputs[0].type != "tensor(float)":
            shapes = ", ".join(f"{entry.type} {entry.shape}" for entry in inputs)
            raise self._refusal(f"it takes {shapes}, expected tensor(float) [N, 3, height, width]")
        self._input_name = inputs[0].name
        batch, _, *sides = (size if isinstance(size, int) and size > 0 else None for size in shape)
        if batch not in (None, 1):
            raise self._refusal(f"it takes {batch} photos at once, expected 1 or any number")
        self._height, self._width = sides
        rows = self._height or MULTIPLE, self._width or MULTIPLE
        outputs = self._run(np.zeros((1, 3, *rows), np.float32))
        self.kind, self._levels = self._levels_of([output.shape for output in outputs], *rows)
        self.one_by_one = batch == 1 or outputs[0].ndim == 2

    def __call__(self, photos: Sequence[Photo]) -> list[Faces]:
        """Return the faces of RGB photos, uint8 [height, width, 3] each."""
        detections = self._look(photos, 1)
        for shrink, margin in ((2, False), (4, True)):
            again = [index for index, faces in enumerate(detections) if not len(faces)]
            looked = self._look([photos[index] for index in again], shrink, margin=margin)
            for index, faces in zip(again, looked, strict=True):
                detections[index] = faces
        return detections

    def _look(self, photos: Sequence[Photo], shrink: int, *, margin: bool = False) -> list[Faces]:
        """Return the faces of photos at 1 / shrink of their size in the network."""
        boxed = [self._letterboxed(photo, shrink, margin=margin) for photo in photos]
        order = sorted(range(len(photos)), key=lambda index: boxed[index][0].shape)
        # One by one, every index makes a group of its own.
        same_shape = groupby(
            order, key=lambda index: (boxed[index][0].shape, self.one_by_one and index)
        )
        detections: dict[int, Faces] = {}
        for _, members in same_shape:
            batch = list(members)
            pixels = np.stack([boxed[index][0] for index in batch])
            outputs = self._run(self.kind.prepare(pixels))
            for place, index in enumerate(batch):
                of_photo = [output if output.ndim == 2 else output[place] for output in outputs]
                levels = [tuple(of_photo[at] for at in level) for level in self._levels]
                size = pixels.shape[1], pixels.shape[2]
                faces = suppress(self.kind.decode(levels, size, self.min_score))
                _, scale, corner = boxed[index]
                boxes = (faces.boxes.reshape(-1, 2, 2) - corner) / scale
                points = (faces.points - corner) / scale
                detections[index] = Faces(faces.scores, boxes.reshape(-1, 4), points)
        return [detections[index] for index in range(len(photos))]

    def _letterboxed(
        self, photo: Photo, shrink: int, *, margin: bool
    ) -> tuple[Photo, Floats, Floats]:
        """Return a photo as the network sees it, by how much it is scaled, and its corner there.

        Scale and corner are (x, y). A margin is half of the photo's size on each side.
        """
        height, width = photo.shape[:2]
        most = self._height or LONGEST_SIDE, self._width or LONGEST_SIDE
        scale = min(1, most[0] / height, most[1] / width) / shrink
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (rows // 2, columns // 2) if margin else (0, 0)
        canvas = np.zeros(
            (
                self._height or _whole_blocks(rows + 2 * top),
                self._width or _whole_blocks(columns + 2 * left),
                3,
            ),
            np.uint8,
        )
        small = Image.fromarray(photo).resize((columns, rows), Image.Resampling.BILINEAR)
        canvas[top : top + rows, left : left + columns] = np.asarray(small)
        scaled = np.array([columns / width, rows / height], np.float32)
        return canvas, scaled, np.array([left, top], np.float32)

    def _levels_of(
        self, shapes: Sequence[tuple[int, ...]], height: int, width: int
    ) -> tuple[Kind, list[tuple[int, ...]]]:
        """Return the kind of network, and for each stride which outputs are its `Kind.outputs`."""
        rows = [shape[1:] if len(shape) == 3 and shape[0] == 1 else shape for shape in shapes]
        cells = [(height // stride) * (width // stride) for stride in STRIDES]
        for kind, anchors in ((each, anchors) for each in KINDS for anchors in each.anchors):
            levels = [[(count * anchors, size) for size in kind.outputs] for count in cells]
            if sorted(rows) == sorted(chain(*levels)):
                return kind, [_places(rows, level) for level in levels]
        shown = ", ".join(str(list(shape)) for shape in shapes)
        raise self._refusal(
            f"for an input of {height}x{width} it gives outputs of {shown}, expected scores "
            "[rows, 1], boxes [rows, 4] and five points [rows, 10] at strides 8, 16 and 32"
        )

    def _run(self, images: Floats) -> list[Floats]:
        try:
            outputs: list[Any] = self._session.run(None, {self._input_name: images})
        except RUN_ERRORS as error:
            raise MarginfaceError(
                f"{self.name} fails on an input of shape {images.shape}: {one_line(error)}"
            ) from error
        return outputs

    def _refusal(self, reason: str) -> MarginfaceError:
        return MarginfaceError(
            f"{self.name} is no face detector with five points, SCRFD or YuNet: {reason}; use one "
            "such as scrfd_2.5g_bnkps.onnx or face_detection_yunet_2023mar.onnx"
        )


def _places(
    shapes: Sequence[tuple[int, ...]], wanted: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
    """Return where each wanted shape is; of equal ones, which are two scores, in order."""
    free = list(enumerate(shapes))
    places = []
    for shape in wanted:
        at = next(each for each in free if each[1] == shape)
        free.remove(at)
        places.append(at[0])
    return tuple(places)


def _whole_blocks(pixels: int) -> int:
    return -(-pixels // MULTIPLE) * MULTIPLE
