"""The interface of the writers of packed sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Packed:
    """An image on its way into a set: its place, label and name there, and its bytes."""

    number: int
    label: int
    name: str
    encoded: bytes


class ChunkWriter(Protocol):
    """A writer of one format of packed sets."""

    def rewind(self, marks: Sequence[Any]) -> int:
        """Count the marked chunks that are whole on disk; drop what comes after them."""

    def add(self, image: Packed) -> None:
        """Write the next image."""

    def mark(self) -> Any:
        """Bring the chunk to disk that began behind the last mark; return its mark, for JSON."""

    def finish(self, sizes: Sequence[int]) -> None:
        """Write what ends the set, given images an identity, and give it its final name."""

    def close(self) -> None:
        """Close the files, of an unfinished set too."""
