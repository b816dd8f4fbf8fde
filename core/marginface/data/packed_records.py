"""Writing .rec and .tfrecord files block by block; see `Writer`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from marginface.atomic import replacing
from marginface.data import recordio, tfrecord
from marginface.data.example import ImageExample, pack_example
from marginface.data.images import decoded_size
from marginface.data.names import inner_path
from marginface.data.packed import Packed
from marginface.data.recordio import LARGEST_LABEL, pack_labelled
from marginface.data.streams import Streams
from marginface.errors import MarginfaceError


class RecordWriter:
    """Writes a .rec in InsightFace's layout with .idx, property, and an .lst that keeps the names.

    Images have keys 1 to N; then, without images, come a record for each identity with the range of
    its keys, and record 0 with the range of those.
    """

    def __init__(self, partial: Path, target: Path) -> None:
        self._streams = Streams(partial, ["idx", "lst", "rec"])
        self._targets = [*sidecars(target), target]

    def rewind(self, marks: Sequence[Any]) -> int:
        """Compare the blocks with their checksums."""
        return self._streams.rewind(marks)

    def add(self, image: Packed) -> None:
        """Write an image's record."""
        inner_path(Path(), image.name)  # what reads it, refuses other names
        if image.label > LARGEST_LABEL:
            raise MarginfaceError(
                f"a .rec takes at most {LARGEST_LABEL + 1:,} identities; write a .tfrecord instead"
            )
        key = image.number + 1
        line = os.fsencode(f"{key}\t{image.label}\t{image.name}\n")
        self._append(key, pack_labelled(image.encoded, key, image.label), line)

    def mark(self) -> Any:
        """Return lengths and checksums."""
        return self._streams.mark()

    def finish(self, sizes: Sequence[int]) -> None:
        """Write the records of identities; the .rec is the last to get its name."""
        begins = list(accumulate(sizes, initial=1))
        first = begins[-1]
        for number, (begin, end) in enumerate(pairwise(begins)):
            self._append(first + number, pack_labelled(b"", first + number, (begin, end)))
        self._append(0, pack_labelled(b"", 0, (first, first + len(sizes))))
        self._streams.mark()
        self._write_property(len(sizes))
        self._streams.publish(self._targets)

    def close(self) -> None:
        """Close the files."""
        self._streams.close()

    def _write_property(self, classes: int) -> None:
        """Write the file that tells number of identities and size, for the folder's only .rec."""
        target = self._targets[-1]
        if not any(other != target for other in target.parent.glob("*.rec")):
            first = recordio.RecordFile(self._streams.paths[-1]).image(0)
            height, width = decoded_size(first, target)
            with replacing(target.with_name("property")) as temporary:
                temporary.write_text(f"{classes},{height},{width}\n")

    def _append(self, key: int, payload: bytes, line: bytes = b"") -> None:
        index = f"{key}\t{self._streams.lengths[-1]}\n"
        self._streams.append(index.encode(), line, recordio.frame(payload))


class TFRecordWriter:
    """Writes a .tfrecord of `tf.train.Example`s."""

    def __init__(self, partial: Path, target: Path) -> None:
        self._streams = Streams(partial, ["tfrecord"])
        self._target = target

    def rewind(self, marks: Sequence[Any]) -> int:
        """Compare the blocks with their checksums."""
        return self._streams.rewind(marks)

    def add(self, image: Packed) -> None:
        """Write an image's record."""
        inner_path(Path(), image.name)
        identity = image.name.partition("/")[0]
        example = ImageExample(image.encoded, image.label, identity, image.name)
        self._streams.append(tfrecord.frame(pack_example(example)))

    def mark(self) -> Any:
        """Return length and checksum."""
        return self._streams.mark()

    def finish(self, sizes: Sequence[int]) -> None:
        """Give the file its name."""
        del sizes
        self._streams.publish([self._target])

    def close(self) -> None:
        """Close the file."""
        self._streams.close()


def sidecars(target: Path) -> list[Path]:
    """Return the files that lie next to a .rec."""
    return [target.with_suffix(".idx"), target.with_suffix(".lst")]
