"""Writing .tfrecord files chunk by chunk; see `ChunkWriter`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from marginface.data.formats import tfrecord
from marginface.data.formats.example import ImageExample, pack_example
from marginface.data.names import escaped, split_name
from marginface.data.packing.packed import Packed
from marginface.data.packing.streams import Streams


class TFRecordChunks(Streams):
    """Writes a .tfrecord of `tf.train.Example`s."""

    def __init__(self, partial: Path, target: Path, records: int) -> None:
        del records
        super().__init__(partial, ["tfrecord"])
        self._target = target

    def add(self, image: Packed) -> None:
        """Write an image's record."""
        identity, _ = split_name(image.name)
        names = escaped(identity), escaped(image.name)
        example = ImageExample(image.encoded, image.label, *names)
        self.append(tfrecord.frame(pack_example(example)))

    def finish(self, sizes: Sequence[int]) -> None:
        """Give the file its name."""
        del sizes
        self.end()
        self.paths[0].replace(self._target)
