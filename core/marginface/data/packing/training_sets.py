"""Packing labelled images into a folder, a .rec or a .tfrecord file, in runs that can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.shards import shard_paths
from marginface.data.images import EXTENSIONS, file_stamp, without_ending
from marginface.data.names import image_path
from marginface.data.ordered import in_order
from marginface.data.packing.encoding import Encoding, with_extension
from marginface.data.packing.packed import ChunkWriter, Packed
from marginface.data.packing.packed_folder import FolderBlocks
from marginface.data.packing.packed_records import RecordChunks, beside
from marginface.data.packing.partial import Partial, partial_output, partial_path
from marginface.data.packing.targets import target_format
from marginface.data.sources import LabelledImages, OnProgress, or_left_out, silent
from marginface.errors import MarginfaceError
from marginface.outputs import check_file, check_folder, refuse_among

CHUNK = 1024  # images between two lines of the journal
STRIDE = 32  # images between two calls of on_progress

# From the partial folder, the target, and how many images and identities there may be.
MakeWriter = Callable[[Path, Path, int], ChunkWriter]


def _tfrecord_writer() -> MakeWriter:
    from marginface.data.packing.packed_tfrecord import TFRecordChunks  # needs packages

    return TFRecordChunks


WRITERS: dict[str, Callable[[], MakeWriter]] = {
    "": lambda: FolderBlocks,
    ".rec": lambda: RecordChunks,
    ".tfrecord": _tfrecord_writer,
}


@dataclass
class Summary:
    """The size of a packed set, and the images left out of it as (name, reason)."""

    images: int = 0
    identities: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.identities:,} identities, {self.images:,} images"


def pack(
    images: LabelledImages,
    target: Path,
    *,
    chosen: NDArray[np.int64] | None = None,
    encoding: Encoding | None = None,
    skip_bad: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
) -> Summary:
    """Write labelled images to a new folder, .rec or .tfrecord, one identity after the other.

    `target` appears when it is whole. A run that was killed goes on where it was: the next one with
    the same arguments checks what is there and continues, to the same bytes.

    Args:
        images: what to pack; identities without images are left out, so labels may change.
        target: its ending decides the format; none is a folder.
        chosen: numbers of the images to take, [count]; all by default.
        encoding: what the images shall be; each is decoded then, which finds the bad ones. None
            copies them unseen.
        skip_bad: leave bad images out instead of refusing them.
        overwrite: replace a file that exists, or a folder that marginface wrote.
        on_progress: called with (images done, all images).

    Raises:
        MarginfaceError: the target exists, an image is bad, or a name does not do for a file.
    """
    make_writer = training_format(target)
    check_target(target, images.root, overwrite=overwrite)
    order = np.arange(len(images)) if chosen is None else np.sort(chosen)
    order = order[np.argsort(images.labels[order], kind="stable")]
    job = _job(images, order, target, encoding)
    _refuse_same_stems(images, order, encoding)
    with (
        partial_output(target, job) as partial,
        closing(make_writer(partial.path, target, len(order) + len(images.identities))) as writer,
    ):
        check_target(target, images.root, overwrite=overwrite)  # another may have written it
        run = _Run(images, order, partial, writer, encoding, skip_bad)
        run.resume()
        run.write(on_progress)
        return run.finish()


def training_format(target: Path) -> MakeWriter:
    """Return the factory of a target's writer, by the target's suffix."""
    written = target_format(target)
    if written not in WRITERS:
        suffixes = ", ".join(filter(None, WRITERS))
        raise MarginfaceError(
            f"cannot write training images to {target}; expected a name that ends in {suffixes}, "
            f"or another for a folder, not {written}"
        )
    return WRITERS[written]()


def check_target(target: Path, *sources: Path | None, overwrite: bool = False) -> None:
    """Raise if the target or one of its files cannot be written, or lies among the images.

    Args:
        target: the folder or file.
        sources: the images and what else is read.
        overwrite: what exists may be replaced.
    """
    if not target_format(target):
        check_folder(target, overwrite=overwrite, inputs=sources, whole=True)
    else:
        paths = [target]
        # A run that was killed at its very end may have left some of its own.
        if target_format(target) == ".rec" and not partial_path(target).exists():
            paths += beside(target)
        for path in paths:
            check_file(path, overwrite=overwrite, inputs=sources)
    refuse_among(target, sources[0])


def _refuse_same_stems(
    images: LabelledImages, order: NDArray[np.int64], encoding: Encoding | None
) -> None:
    """Raise if two names differ in their extensions only, which packing may change."""
    if encoding in (None, Encoding()):
        return
    label, stems = -1, set[str]()
    for index in order.tolist():
        if images.labels[index] != label:
            label, stems = images.labels[index], set()
        name = images.name(index)
        stem = without_ending(name)
        if stem in stems:
            raise MarginfaceError(
                f"{images.root}: {name} differs from another image by its ending alone, which may "
                "change with --size and --format; rename it"
            )
        stems.add(stem)


def _job(
    images: LabelledImages, order: NDArray[np.int64], target: Path, encoding: Encoding | None
) -> str:
    """Return a digest of all that decides a target's bytes, except the images' contents."""
    digest = hashlib.sha256(order.astype("<i8").tobytes())
    described = [str(images.root), images.fingerprint(), target.name, repr(encoding)]
    digest.update(json.dumps(described).encode())
    return digest.hexdigest()


class _Run:
    """One run over the images of a job, in order; a place is an index into that order."""

    def __init__(
        self,
        images: LabelledImages,
        order: NDArray[np.int64],
        partial: Partial,
        writer: ChunkWriter,
        encoding: Encoding | None,
        skip_bad: bool,
    ) -> None:
        self.images = images
        self.order = order
        self.partial = partial
        self.writer = writer
        self.encoding = encoding
        self.skip_bad = skip_bad
        self.done = 0  # images written or skipped
        self.sizes: list[int] = []  # images of each identity written
        self.skipped: list[tuple[str, str]] = []
        self._label = -1  # in the source, of the image written last
        self._begun = 0  # place where the present chunk begins
        self._bad: list[tuple[int, str]] = []  # of the present chunk: place, reason

    def resume(self) -> None:
        """Go on behind the chunks that are whole and whose images have not changed."""
        unchanged = list(takewhile(self._still_so, self.partial.chunks))
        whole_chunks = self.writer.rewind([chunk["mark"] for chunk in unchanged])
        self.partial.keep(whole_chunks)
        for chunk in unchanged[:whole_chunks]:
            bad = dict(chunk["bad"])
            for place in range(chunk["begin"], chunk["end"]):
                if place in bad:
                    self._skip(place, bad[place])
                else:
                    self._count(place)
            self.done = self._begun = chunk["end"]
        self._bad = []

    def write(self, on_progress: OnProgress) -> None:
        """Write what is left."""
        number, total = sum(self.sizes), len(self.order)
        for place, read in zip(
            range(self.done, total), in_order(self._read, range(self.done, total)), strict=True
        ):
            if isinstance(read, MarginfaceError):
                if not self.skip_bad:
                    raise or_left_out(read) from read
                self._skip(place, str(read))
            else:
                self.writer.add(Packed(number, self._count(place), *read))
                number += 1
            self.done = place + 1
            if self.done % CHUNK == 0:
                self._end_block()
            if self.done % STRIDE == 0 or self.done == total:
                on_progress(self.done, total)

    def finish(self) -> Summary:
        """Let the target appear; return what is in it."""
        if not self.sizes:
            raise MarginfaceError(f"no image of {self.images.root} is left to write")
        self.writer.finish(self.sizes)
        return Summary(sum(self.sizes), len(self.sizes), self.skipped)

    def _read(self, place: int) -> tuple[str, bytes] | MarginfaceError:
        """Return an image's name and the bytes to write, or why it cannot be read."""
        index = int(self.order[place])
        name = self.images.name(index)
        try:
            original = encoded = self.images.encoded(index)
            if self.encoding is not None:
                encoded = self.encoding(original, image_path(self.images.root, name))
            if encoded is not original or not name.lower().endswith(EXTENSIONS):
                name = with_extension(name, encoded)
        except MarginfaceError as error:
            return error
        return name, encoded

    def _count(self, place: int) -> int:
        """Count an image; return its label, which has no gaps where identities are left out."""
        label = int(self.images.labels[self.order[place]])
        if label != self._label:
            self._label = label
            self.sizes.append(0)
        self.sizes[-1] += 1
        return len(self.sizes) - 1

    def _skip(self, place: int, reason: str) -> None:
        self._bad.append((place, reason))
        name = self.images.name(int(self.order[place]))
        self.skipped.append((name, reason.removeprefix(f"{image_path(self.images.root, name)}: ")))

    def _end_block(self) -> None:
        places = {"begin": self._begun, "end": self.done}
        mark = self.writer.mark()
        self.partial.append(
            {**places, "source": self._source(**places), "bad": self._bad, "mark": mark}
        )
        self._begun, self._bad = self.done, []

    def _still_so(self, chunk: Any) -> bool:
        """Whether a chunk can be kept: its files are unchanged, with no bad one to report."""
        return chunk["source"] == self._source(chunk["begin"], chunk["end"]) and (
            self.skip_bad or not chunk["bad"]
        )

    def _source(self, begin: int, end: int) -> str:
        """Return a digest of sizes and times of the files that images come from."""
        digest = hashlib.sha256()
        for path in self._files(begin, end):
            digest.update(f"{file_stamp(path)}\n".encode())
        return digest.hexdigest()

    def _files(self, begin: int, end: int) -> Iterator[Path]:
        if self.images.root.is_dir():
            for index in self.order[begin:end].tolist():
                yield image_path(self.images.root, self.images.name(index))
        else:
            yield from shard_paths(self.images.root)
