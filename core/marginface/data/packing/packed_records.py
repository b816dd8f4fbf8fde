"""Writing .rec files chunk by chunk; see `ChunkWriter`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

from marginface.atomic import replacing
from marginface.data.formats import recordio
from marginface.data.formats.compact import encoded_name
from marginface.data.formats.recordio import LARGEST_LABEL, pack_labelled
from marginface.data.images import decoded_size
from marginface.data.names import escaped, split_name
from marginface.data.packing.packed import Packed
from marginface.data.packing.streams import Streams
from marginface.errors import MarginfaceError

PROPERTY = "property"


class RecordChunks(Streams):
    """Writes a .rec in InsightFace's layout with .idx, property, and an .lst that keeps the names.

    Images have keys 1 to N; then, without images, come a record for each identity with the range of
    its keys, and record 0 with the range of those. Ranges are float32: where that does not tell the
    keys apart, the layout is im2rec's, images alone at keys 0 to N - 1: the same readers take it.

    Args:
        partial: the folder in which the file grows.
        target: the file.
        records: how many images and identities there may be at most.
    """

    def __init__(self, partial: Path, target: Path, records: int) -> None:
        super().__init__(partial, ["idx", "lst", "rec"])
        self._target = target
        self._first_key = int(records < LARGEST_LABEL)  # 1 in the layout with ranges, else 0

    def add(self, image: Packed) -> None:
        """Write an image's record."""
        split_name(image.name)  # raises for other names
        key = image.number + self._first_key
        if image.label > LARGEST_LABEL:
            raise MarginfaceError(
                f"a .rec takes at most {LARGEST_LABEL + 1:,} identities; write a .tfrecord instead"
            )
        line = encoded_name(f"{key}\t{image.label}\t{escaped(image.name)}\n")
        self._append(key, pack_labelled(image.encoded, key, image.label), line)

    def finish(self, sizes: Sequence[int]) -> None:
        """Write the records of identities; the .rec is the last to get its name."""
        if self._first_key:
            self._append_ranges(sizes)
        self.end()
        idx, lst, rec = self.paths
        self._target.unlink(missing_ok=True)  # an old one has another index
        for path, target in zip((idx, lst), sidecars(self._target), strict=True):
            path.replace(target)
        self._write_property(len(sizes), rec)
        rec.replace(self._target)

    def _append_ranges(self, sizes: Sequence[int]) -> None:
        """Write the records that tell which keys belong to an identity."""
        begins = list(accumulate(sizes, initial=1))
        first = begins[-1]
        for number, (begin, end) in enumerate(pairwise(begins)):
            self._append(first + number, pack_labelled(b"", first + number, (begin, end)))
        self._append(0, pack_labelled(b"", 0, (first, first + len(sizes))))

    def _write_property(self, classes: int, rec: Path) -> None:
        """Write the file that tells number of identities and size, for the folder's only .rec."""
        if is_alone(self._target):
            first = recordio.RecordFile(rec).image(0)
            height, width = decoded_size(first, self._target)
            with replacing(self._target.with_name(PROPERTY)) as temporary:
                temporary.write_text(f"{classes},{height},{width}\n")

    def _append(self, key: int, payload: bytes, line: bytes = b"") -> None:
        index = f"{key}\t{self.lengths[-1]}\n"
        self.append(index.encode(), line, recordio.frame(payload))


def sidecars(target: Path) -> list[Path]:
    """Return the index and the list that lie next to a .rec."""
    return [target.with_suffix(".idx"), target.with_suffix(".lst")]


def beside(target: Path) -> list[Path]:
    """Return all files that are written next to a .rec."""
    return [*sidecars(target), *([target.with_name(PROPERTY)] if is_alone(target) else [])]


def is_alone(target: Path) -> bool:
    """Return whether a .rec is the only one in its folder, of which the property then tells."""
    return not any(other != target for other in target.parent.glob("*.rec"))
