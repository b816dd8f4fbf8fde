"""Write labelled images to a .rec or a .tfrecord file one by one, whole or not at all."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import ClassVar, Self

from marginface.data.names import split_name
from marginface.data.packing.packed import Packed
from marginface.data.packing.packed_records import RecordBlocks, TFRecordBlocks
from marginface.errors import MarginfaceError


class ImageWriter:
    """Writes labelled images, one identity after the other, to what appears on `close`.

    Used in a `with` statement, it closes itself, or leaves nothing if the block raises.

    Args:
        path: the file.
    """

    blocks: ClassVar[type[RecordBlocks] | type[TFRecordBlocks]]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open = ExitStack()
        folder = TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        partial = Path(self._open.enter_context(folder))
        self._writer = self._open.enter_context(closing(self.blocks(partial, path, 0)))
        self._writer.rewind([])
        self._identity = ""
        self._names: set[str] = set()  # of the identity's images
        self._sizes: list[int] = []  # images of each identity
        self._count = 0

    def add(self, encoded: bytes, label: int, name: str) -> None:
        """Append an image.

        Args:
            encoded: JPEG, PNG or another format's file.
            label: 0 for the first image, then that of the one before or one more.
            name: `identity/file`, another for each image; the identity has one label.

        Raises:
            MarginfaceError: a label out of turn, or a name that does not do.
        """
        identity, _ = split_name(name)
        if label == len(self._sizes) and identity != self._identity:
            self._identity, self._names = identity, set()
            self._sizes.append(0)
        if label != len(self._sizes) - 1 or identity != self._identity:
            raise MarginfaceError(
                f"image {name} of label {label} is out of turn behind {self._identity!r} of label "
                f"{len(self._sizes) - 1}; pack one identity after the other, from 0"
            )
        if name in self._names:
            raise MarginfaceError(f"there are two images {name}; rename one")
        self._names.add(name)
        self._writer.add(Packed(self._count, label, name, encoded))
        self._sizes[-1] += 1
        self._count += 1

    def close(self) -> None:
        """Write what ends the file and give it its name.

        Raises:
            MarginfaceError: there are no images.
        """
        with self._open:
            if not self._sizes:
                raise MarginfaceError(f"no images to write to {self.path}")
            self._writer.finish(self._sizes)

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


class RecordWriter(ImageWriter):
    """Writes NAME.rec with NAME.idx, NAME.lst and `property`; see `RecordBlocks`."""

    blocks = RecordBlocks


class TFRecordWriter(ImageWriter):
    """Writes a .tfrecord; see `TFRecordBlocks`."""

    blocks = TFRecordBlocks
