"""Parts of a long work, which a later call takes up where they were finished."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from marginface.atomic import replacing
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.regular import require_regular

with needs("data"):
    import pyarrow as pa
    import pyarrow.parquet as pq

MANIFEST_NAME = "manifest.json"
SKIPPED_KEY = b"marginface.skipped"
FILES_KEY = b"marginface.files"
NORMS_KEY = b"marginface.norms"
NOTES_KEY = b"marginface.notes"


def claim(folder: Path, manifest: dict[str, Any], *, overwrite: bool) -> None:
    """Make `folder` hold the parts of the work that `manifest` describes, and of no other."""
    path = folder / MANIFEST_NAME
    require_regular(path)
    if folder.exists():
        try:
            recorded = json.loads(path.read_text())
            changed = [name for name, value in manifest.items() if recorded.get(name) != value]
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise MarginfaceError(
                f"{folder} is in the way and holds no unfinished embeddings (no {MANIFEST_NAME} "
                "that can be read); remove it or give another output"
            ) from error
        if not changed:
            return
        if any(folder.glob("part-*.parquet")) and not overwrite:
            if changed[0] == "version":
                raise MarginfaceError(
                    f"{folder} holds unfinished embeddings of another version of marginface; "
                    "pass --overwrite to start again"
                )
            raise MarginfaceError(
                f"{folder} holds unfinished embeddings, but the {changed[0]} changed since; "
                "restore it to go on, or pass --overwrite to start again"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n")


def write_part(
    part: Path,
    table: pa.Table,
    *,
    files: bytes,
    skipped: Sequence[tuple[str, str]],
    norms: Sequence[float],
    notes: Sequence[Any] = (),
) -> None:
    """Write a part, whole or not at all.

    Args:
        part: the file.
        table: its rows.
        files: a digest of the files that they were made of.
        skipped: (path, reason) of the images that were left out.
        norms: of the shortest and the longest embedding; none of no rows.
        notes: what else is to be known of it, plain values.
    """
    metadata = {
        FILES_KEY: files,
        NORMS_KEY: json.dumps(list(norms)).encode(),
        SKIPPED_KEY: json.dumps(list(skipped)).encode(),
        NOTES_KEY: json.dumps(list(notes)).encode(),
    }
    with replacing(part) as temporary, temporary.open("wb") as file:
        pq.write_table(table.replace_schema_metadata(metadata), file)


def contents(
    parts: Sequence[Path],
) -> tuple[int, tuple[tuple[str, str], ...], tuple[float, float]]:
    """Return the number of embeddings in `parts`, what they left out, and the range of norms."""
    rows, skipped, norms = 0, [], []
    for part in parts:
        metadata = _metadata(part)
        rows += rows_in(part)
        skipped += [(path, reason) for path, reason in json.loads(metadata[SKIPPED_KEY])]
        norms += json.loads(metadata[NORMS_KEY])
    return rows, tuple(skipped), (min(norms, default=0.0), max(norms, default=0.0))


def notes_of(parts: Sequence[Path]) -> Iterator[Any]:
    """Yield the notes of each part, in order."""
    for part in parts:
        yield from json.loads(_metadata(part)[NOTES_KEY])


def stamp(files: Sequence[Path]) -> bytes:
    """Return a digest that changes with any of the files."""
    listed = [(status.st_size, status.st_mtime_ns) for status in map(Path.stat, files)]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest().encode()


def digest_of_names(names: Sequence[str]) -> str:
    """Return a digest of a list of images."""
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()


def can_be_taken_up(part: Path, files: bytes, skip_bad: bool) -> bool:
    """Return whether a part was made of these very files and left out no more than is allowed."""
    metadata = _metadata(part)
    return metadata[FILES_KEY] == files and (skip_bad or metadata[SKIPPED_KEY] == b"[]")


def rows_in(part: Path) -> int:
    """Return the number of a part's rows."""
    with part.open("rb") as file:
        return int(pq.read_metadata(file).num_rows)


def _metadata(part: Path) -> dict[bytes, bytes]:
    try:
        with part.open("rb") as file:
            metadata: dict[bytes, bytes] = pq.read_schema(file).metadata
    except pa.ArrowInvalid as error:
        raise MarginfaceError(f"{part} is damaged; delete it and run again") from error
    return metadata
