"""Photos to faces to embeddings."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.calling import public
from marginface.checks import as_path, check_fraction, check_spread
from marginface.data.images import MAX_PIXELS, read_image, read_photo, upright_pixels
from marginface.data.ordered import in_order
from marginface.data.photos.alignment import warp
from marginface.data.photos.cropping import CropOptions, judge
from marginface.data.photos.detection import Faces
from marginface.data.photos.face_sources import FaceSource, detected, detected_by
from marginface.embeddings.embed import mirrored
from marginface.embeddings.embedder import Embedder, open_embedder
from marginface.embeddings.origin import CROPS
from marginface.errors import MarginfaceError
from marginface.serving.faces import NO_CROP, Face, Quality
from marginface.serving.quality import blur, pose
from marginface.vectors import directionless

PHOTOS_AT_ONCE = 8  # that a thread looks at
MAX_FACES = 256
LEAST_SCORE = 0.5  # of a face
CROPS_AT_ONCE = 64  # that the model embeds
PIXELS_AT_ONCE = 2**24  # of a thread's decoded photos, and one more photo
LARGEST_SCALE = 0.5  # of a crop of a reduced photo; else the whole one shows more of the face
UNKNOWN = Quality(*[math.nan] * 6)
NOTHING = np.empty(0, np.float32)

T = TypeVar("T")
Pixels = NDArray[np.uint8]
Detector = Callable[[Sequence[Pixels]], Sequence[Faces]]
Outcome = list[Face] | MarginfaceError


@runtime_checkable
class HoldsEmbedder(Protocol):
    """What `marginface.load` returns."""

    embedder: Embedder


class Recogniser:
    """Finds faces in photos, aligns them, tells their quality, and embeds them.

    Photos are decoded, looked at and embedded on all cores, each photo by one thread. Crops are
    those of `marginface data align`.

    Args:
        model: a run folder or an ONNX file, or what `load` returned.
        detector: an ONNX file, SCRFD or YuNet with five points, or a function of a list of photos,
            RGB uint8 [height, width, 3], that returns `Faces` for each. Without one, images are
            aligned crops already.
        flip: sum the embeddings of a crop and of its mirror image.
        min_score: what the detector scores less is no face, 0 to 1.
        min_face: the crop's longer side must span so many pixels of the photo.
        turns: look at a photo in its four turns too, where no upright face is sure, as
            `marginface data align` does; False is faster where photos are known to stand upright,
            as a camera's. Of a model's detector only.
        max_faces: of a photo, the surest; the others are told as a `problem`.
        max_pixels: a photo that has more is not decoded.
        batch_size: photos that a thread looks at together.
        provider: what ONNX Runtime computes on, of a model and a detector that are opened here:
            "auto", "cpu", "cuda" or another that it has.
        threads: all cores for None.

    Raises:
        MarginfaceError: the model or the detector cannot be used.
    """

    @public
    def __init__(
        self,
        model: str | Path | HoldsEmbedder | Embedder,
        detector: str | Path | Detector | None = None,
        *,
        flip: bool = False,
        min_score: float = LEAST_SCORE,
        min_face: float = 0,
        turns: bool = True,
        max_faces: int = MAX_FACES,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = PHOTOS_AT_ONCE,
        provider: str = "auto",
        threads: int | None = None,
    ) -> None:
        if provider != "auto" and not any(
            isinstance(e, (str, PathLike)) for e in (model, detector)
        ):
            raise MarginfaceError(
                "--provider is for a model and a detector that are opened from files; give it to "
                "mf.load, which opened the model"
            )
        self.threads = threads or os.cpu_count() or 1
        self.batch_size, self.max_faces, self.max_pixels = batch_size, max_faces, max_pixels
        self.flip, self.min_score = flip, check_fraction("min_score", min_score)
        check_spread("min_face", min_face)
        if detector is None:
            _refuse_unused(
                {
                    "--min-score": min_score != LEAST_SCORE,
                    "--min-face": min_face != 0,
                    "--max-faces": max_faces != MAX_FACES,
                    "turns": not turns,
                }
            )
        self.source = _source(detector, self.min_score, turns, provider)
        self.embedder = _embedder(model, provider)
        self.embedder.check_flip(flip)
        size = self.embedder.image_size(resize=True) or self.embedder.input_size
        self.min_face = min_face
        self._options = CropOptions(size, min_face=min_face)

    @property
    def faces_origin(self) -> str:
        """Return what decides the faces: the detector's digest and least score, or "crops"."""
        return CROPS if self.source is None else self.source.origin

    @public
    def __call__(self, photos: Any) -> Iterator[list[Face]]:
        """Yield the faces of each photo, the surest first.

        Args:
            photos: a path, an array RGB uint8 [height, width, 3] or a PIL image, or any number of
                these. Paths are turned upright as their EXIF says.

        Raises:
            MarginfaceError: a photo cannot be read.
        """
        named = ((_name(at, photo), photo) for at, photo in enumerate(_each(photos)))
        with closing(self.attempts(named)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, MarginfaceError):
                    raise outcome
                yield outcome

    def attempts(self, photos: Iterable[tuple[str, Any]]) -> Generator[Outcome, None, None]:
        """Yield for each (name, photo) its faces, or the error of one that cannot be read."""
        return self.group_attempts(_batched(photos, self.batch_size))

    def group_attempts(
        self, groups: Iterable[Sequence[tuple[str, Any]]]
    ) -> Generator[Outcome, None, None]:
        """Yield what `attempts` does; a thread takes a group. Same group, same bits."""
        done = in_order(self._outcomes, groups, threads=self.threads, ahead=self.threads)
        with closing(done):
            for outcomes in done:
                yield from outcomes

    def _outcomes(self, group: Sequence[tuple[str, Any]]) -> list[Outcome]:
        """Return the outcome of each (name, photo)."""
        outcomes: dict[int, Outcome] = {}
        held: dict[int, tuple[Pixels, int]] = {}
        for at, (_, photo) in enumerate(group):
            try:
                held[at] = self._read(photo)
            except MarginfaceError as error:
                outcomes[at] = error
            if sum(pixels.size for pixels, _ in held.values()) > 3 * PIXELS_AT_ONCE:
                outcomes |= self._faces(group, held)
                held = {}
        outcomes |= self._faces(group, held)
        return self._embedded([outcomes[at] for at in range(len(group))])

    def _read(self, photo: Any) -> tuple[Pixels, int]:
        """Return a photo's pixels, and by what its sides were divided."""
        if isinstance(photo, (str, PathLike)):
            path = as_path("photos", photo)
            if path.is_dir():
                raise MarginfaceError(f"{path} is a folder; give its files")
            if self.source is None:
                crop = read_image(path, None, max_pixels=self.max_pixels)
                return self._sized(crop, f"{path}: the image is"), 1
            return read_photo(path, max_pixels=self.max_pixels)
        if isinstance(photo, Image.Image):
            return self._sized(upright_pixels(photo)), 1
        if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8 or photo.shape[2:] != (3,):
            array = hasattr(photo, "dtype") and hasattr(photo, "shape")
            found = f"{photo.dtype} {tuple(photo.shape)}" if array else type(photo).__name__
            raise MarginfaceError(
                "photos must be paths, PIL images or uint8 RGB arrays [height, width, 3], got "
                f"{found}"
            )
        if not photo.size:
            raise MarginfaceError(f"a photo has no pixels: its shape is {photo.shape}")
        return self._sized(photo), 1

    def _sized(self, pixels: Pixels, what: str = "images are") -> Pixels:
        """Return a photo, or without a detector a crop of the size that the model takes."""
        size = self.embedder.image_size(resize=False)
        if self.source is None and size not in (None, pixels.shape[:2]):
            found, expected = ("x".join(map(str, each or ())) for each in (pixels.shape[:2], size))
            raise MarginfaceError(
                f"{what} {found} (height x width), expected {expected}; "
                "give --detector, without which images are aligned crops"
            )
        return pixels

    def _faces(
        self, group: Sequence[tuple[str, Any]], held: dict[int, tuple[Pixels, int]]
    ) -> dict[int, Outcome]:
        """Return the faces of a group's decoded photos, not embedded yet."""
        if self.source is None:
            return {at: [self._whole(group[at][0], pixels)] for at, (pixels, _) in held.items()}
        names = [group[at][0] for at in held]
        found = self.source.find(names, [pixels for pixels, _ in held.values()]) if held else ()
        return {
            at: self._aligned(*group[at], *held[at], faces[faces.scores >= self.min_score])
            for at, faces in zip(held, found, strict=True)
        }

    def _whole(self, name: str, crop: Pixels) -> Face:
        """Return an image that is a crop already."""
        height, width = crop.shape[:2]
        self.embedder.check_size(height, width)
        quality = replace(UNKNOWN, size=float(max(height, width)), blur=blur(crop))
        box = np.array([0, 0, width, height], np.float32)
        return Face(name, box, np.full((5, 2), np.nan, np.float32), 1.0, quality, crop, NOTHING)

    def _aligned(
        self, name: str, photo: Any, pixels: Pixels, factor: int, faces: Faces
    ) -> list[Face]:
        """Return the faces of a photo whose sides were divided by `factor`, with their crops."""
        options = replace(self._options, min_face=self._options.min_face / factor)
        judged = [judge(np.asarray(points, np.float64), pixels, options) for points in faces.points]
        if factor > 1 and any(each and each.scale > LARGEST_SCALE for _, each in judged):
            whole = read_image(photo, None, max_pixels=self.max_pixels)
            return self._aligned(name, photo, whole, 1, faces.magnified(factor))
        told = faces.magnified(factor)
        aligned = []
        for at, (status, similarity) in enumerate(judged):
            box, points, score = told.boxes[at], told.points[at], float(told.scores[at])
            crop, quality, problem = NO_CROP, UNKNOWN, ""
            if at >= self.max_faces:
                problem = f"more than {self.max_faces:,} faces in the photo"
            elif similarity is None:
                problem = status
            else:
                crop = warp(pixels, similarity, options.size)
                quality = self._quality(crop, points, similarity.scale / factor)
            aligned.append(Face(name, box, points, score, quality, crop, NOTHING, problem))
        return aligned

    def _quality(self, crop: Pixels, points: NDArray[np.float32], scale: float) -> Quality:
        size = max(self._options.size) / scale
        return Quality(size, blur(crop), *pose(points), math.nan)

    def _embedded(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Return the outcomes with each face's embedding."""
        faces = [face for each in outcomes if isinstance(each, list) for face in each]
        usable = [face for face in faces if not face.problem]
        done: dict[int, Face] = {}
        for start in range(0, len(usable), CROPS_AT_ONCE):
            chunk = usable[start : start + CROPS_AT_ONCE]
            crops = np.stack([face.crop for face in chunk])
            own = self.embedder(crops)
            embeddings = own + self.embedder(mirrored(crops)) if self.flip else own
            bad = directionless(embeddings)
            if len(bad):
                raise MarginfaceError(
                    f"the model gives an embedding of length zero, NaN or infinite for "
                    f"{chunk[bad[0]].photo}; its weights or preprocessing are broken"
                )
            norms = np.linalg.norm(own, axis=1).tolist()
            for face, embedding, norm in zip(chunk, embeddings, norms, strict=True):
                quality = replace(face.quality, norm=norm)
                done[id(face)] = replace(face, quality=quality, embedding=embedding)
        return [
            [done.get(id(face), face) for face in each] if isinstance(each, list) else each
            for each in outcomes
        ]


def _refuse_unused(given: dict[str, bool]) -> None:
    """Raise if an option is given that crops have no use for."""
    for option in (name for name, there in given.items() if there):
        raise MarginfaceError(
            f"{option} goes with --detector, without which images are aligned crops; give one, or "
            f"leave out {option}"
        )


def _source(
    detector: str | Path | Detector | None, min_score: float, turns: bool, provider: str
) -> FaceSource | None:
    if detector is None:
        return None
    if isinstance(detector, (str, PathLike)):
        path = as_path("detector", detector)
        return detected(path, min_score=min_score, threads=1, provider=provider, turns=turns)
    if not callable(detector):
        raise MarginfaceError(
            "detector must be the path of an ONNX file or a function of photos, got "
            f"{type(detector).__name__}"
        )
    return detected_by(detector, min_score=min_score)


def _embedder(model: str | Path | HoldsEmbedder | Embedder, provider: str) -> Embedder:
    if isinstance(model, Embedder):
        return model
    if isinstance(model, HoldsEmbedder):
        return model.embedder
    return open_embedder(as_path("model", model), threads=1, provider=provider)


def _each(photos: Any) -> Iterable[Any]:
    if isinstance(photos, (str, PathLike, Image.Image)) or getattr(photos, "ndim", 0) == 3:
        return [photos]
    if not isinstance(photos, Iterable):
        raise MarginfaceError(
            f"photos must be a photo or any number of them, got {type(photos).__name__}"
        )
    return photos


def _name(at: int, photo: Any) -> str:
    return str(photo) if isinstance(photo, (str, PathLike)) else str(at)


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
