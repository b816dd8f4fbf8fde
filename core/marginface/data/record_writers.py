"""Write labelled images to a .rec or a .tfrecord file, whole or not at all."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from array import array
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from marginface.atomic import replacing
from marginface.data.compact import Texts
from marginface.data.example import ImageExample, pack_example
from marginface.data.images import decoded_size
from marginface.data.record_index import fit_for_files
from marginface.data.recordio import LARGEST_LABEL, frame, pack_labelled
from marginface.data.tfrecord import frame as frame_tfrecord
from marginface.errors import MarginfaceError


class ImageWriter(ABC):
    """Writes labelled images, one identity after the other, under temporary names until `close`.

    Used in a `with` statement, it closes itself, or leaves nothing if the block raises.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open = ExitStack()
        self._names: set[str] = set()  # of the identity's images
        self._identities: list[str] = []
        self._images = 0

    def add(self, encoded: bytes, label: int, name: str) -> None:
        """Append an image.

        Args:
            encoded: JPEG, PNG or another format's file.
            label: 0 for the first image, then that of the one before or one more.
            name: `identity/file`, another for each image; the identity has one label.

        Raises:
            MarginfaceError: a label out of turn, or a name that does not do.
        """
        identity, _, file = name.partition("/")
        if not fit_for_files(Texts.of([identity, file])):
            raise MarginfaceError(f"cannot pack {name!r}; expected a name IDENTITY/IMAGE")
        if label == len(self._identities) and identity not in self._identities[-1:]:
            self._identities.append(identity)
            self._names = set()
        if label != len(self._identities) - 1 or identity != self._identities[-1]:
            raise MarginfaceError(
                f"image {name} of label {label} is out of turn behind {self._identities[-1:]} of "
                f"label {len(self._identities) - 1}; pack one identity after the other, from 0"
            )
        if name in self._names:
            raise MarginfaceError(f"there are two images {name}; rename one")
        self._names.add(name)
        self._write(encoded, label, name)
        self._images += 1

    def close(self) -> None:
        """Write what ends the file and give it its name.

        Raises:
            MarginfaceError: there are no images.
        """
        with self._open:
            if not self._images:
                raise MarginfaceError(f"no images to write to {self.path}")
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._open.__exit__(kind, error, trace)

    def _create(self, path: Path) -> BinaryIO:
        """Open a file that takes its name when all is written; the first one is the last to."""
        temporary = self._open.enter_context(replacing(path))
        return self._open.enter_context(temporary.open("wb"))

    @abstractmethod
    def _write(self, encoded: bytes, label: int, name: str) -> None: ...

    @abstractmethod
    def _end(self) -> None: ...


class RecordWriter(ImageWriter):
    """Writes NAME.rec, its NAME.idx, NAME.lst with the names, and `property`: classes and size.

    Images have keys from 1, then come a record for each identity and, with key 0, the one that
    tells of these. `property` is for the folder: it is left out where other .rec files lie.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._rec = self._create(path)
        self._idx = self._create(path.with_suffix(".idx"))
        self._lst = self._create(path.with_suffix(".lst"))
        self._firsts = array("q")  # key of the first image of each identity
        self._size = (0, 0)

    def _write(self, encoded: bytes, label: int, name: str) -> None:
        key = self._images + 1
        if label > LARGEST_LABEL:
            raise MarginfaceError(
                f"a .rec takes at most {LARGEST_LABEL + 1} identities; write a .tfrecord instead"
            )
        if label == len(self._firsts):
            self._firsts.append(key)
        if key == 1:
            self._size = decoded_size(encoded, name)
        self._record(encoded, key, label)
        self._lst.write(f"{key}\t{label}\t".encode() + os.fsencode(name) + b"\n")

    def _end(self) -> None:
        begin = self._images + 1
        ends = [*self._firsts[1:], begin]
        for label, (first, end) in enumerate(zip(self._firsts, ends, strict=True)):
            self._record(b"", begin + label, (first, end))
        self._record(b"", 0, (begin, begin + len(ends)))
        if all(other == self.path for other in self.path.parent.glob("*.rec")):
            height, width = self._size
            text = f"{len(ends)},{height},{width}\n"
            self._create(self.path.with_name("property")).write(text.encode())

    def _record(self, image: bytes, key: int, label: float | tuple[int, int]) -> None:
        self._idx.write(f"{key}\t{self._rec.tell()}\n".encode())
        self._rec.write(frame(pack_labelled(image, key, label)))


class TFRecordWriter(ImageWriter):
    """Writes a .tfrecord of `tf.train.Example` messages; names of features as in `example`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = self._create(path)

    def _write(self, encoded: bytes, label: int, name: str) -> None:
        example = ImageExample(encoded, label, name.partition("/")[0], name)
        self._file.write(frame_tfrecord(pack_example(example)))

    def _end(self) -> None:
        pass
