"""Embed the faces of many photos into one file, in parts, so that a run can be interrupted."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marginface.atomic import replacing
from marginface.data.image_files import list_images
from marginface.data.names import image_path
from marginface.data.sources import OnProgress, or_left_out, silent
from marginface.embeddings.files import embeddings_table, merge_to_parquet
from marginface.embeddings.origin import Origin
from marginface.embeddings.parts import (
    can_be_taken_up,
    claim,
    contents,
    digest_of_names,
    notes_of,
    rows_in,
    stamp,
    write_part,
)
from marginface.embeddings.shards import Shard, part_of
from marginface.embeddings.store import EmbedSummary
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.locking import sole_writer
from marginface.outputs import check_file
from marginface.serving.faces import NO_FACE, UNREADABLE, Face
from marginface.serving.recogniser import Outcome, Recogniser
from marginface.text import printable

with needs("data"):
    import pyarrow as pa

PART_SIZE = 256  # photos; what an interruption can cost at most
VERSION = 1  # of the parts
LEFT_OUT_COLUMNS = ("path", "face", "reason")
QUALITIES = ("size", "blur", "yaw", "pitch", "roll", "norm")


@dataclass(frozen=True, repr=False)
class PhotosSummary(EmbedSummary):
    """Summary of photos whose faces were embedded: `embedded` counts faces, `resumed` photos.

    Args:
        photos: how many there were.
        left_out: the file that lists every photo and face without a row, and why.
        reasons: how many of these there are of each reason.
    """

    photos: int
    left_out: Path
    reasons: Counter[str]

    def __repr__(self) -> str:
        return (
            f"PhotosSummary({str(self.output)!r}: {self.embedded:,} faces of {self.photos:,} "
            f"photos, {self.embedding_size} numbers each; {self.reasons.total():,} left out)"
        )


def left_out_path(output: Path) -> Path:
    """Return where the photos and faces without a row are listed."""
    return output.with_name(f"{output.stem}.left_out.csv")


def check_photo_output(
    output: Path, *, overwrite: bool, inputs: Sequence[Path | None] = ()
) -> None:
    """Raise if the two files cannot be written; cheap, so call it before the work."""
    if output.suffix.lower() != ".parquet":
        raise MarginfaceError(
            f"output {output} ends in '{output.suffix}', expected .parquet: faces of photos have "
            "columns that an .npz would not keep together"
        )
    for each in (output, left_out_path(output)):
        check_file(each, overwrite=overwrite, inputs=inputs)


def embed_photos(
    recogniser: Recogniser,
    root: Path,
    output: Path,
    *,
    skip_bad: bool = False,
    shard: Shard | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
) -> PhotosSummary:
    """Write a row for each face of the photos in a folder to one Parquet file.

    What has no row is listed beside it, in `left_out_path(output)`. Finished parts wait in
    `<output>.parts/`; the same call after an interruption takes them up and writes the same rows.

    Args:
        recogniser: with a detector.
        root: the folder of photos.
        output: a .parquet file.
        skip_bad: leave out photos that cannot be read instead of stopping at them.
        shard: which part of the photos; all for None.
        overwrite: replace existing files, and parts that belong to other work.
        on_progress: called with (photos done, photos in all).

    Raises:
        MarginfaceError: a file exists, the parts are of other work, a photo is unreadable, or no
            face can be embedded.
        BusyError: another process is at it.
    """
    check_photo_output(output, overwrite=overwrite)
    with sole_writer(output):
        check_photo_output(output, overwrite=overwrite)  # another process may have written it
        names = part_of(list_images(root), shard)
        folder = output.with_name(f"{output.name}.parts")
        claim(folder, _manifest(recogniser, names), overwrite=overwrite)
        chunks = [names[start : start + PART_SIZE] for start in range(0, len(names), PART_SIZE)]
        parts = [folder / f"part-{at:06d}.parquet" for at in range(len(chunks))]
        try:
            resumed = _write_parts(
                recogniser, root, list(zip(parts, chunks, strict=True)), skip_bad, on_progress
            )
        finally:
            if not any(part.exists() for part in parts):
                shutil.rmtree(folder)  # nothing to take up
        rows, skipped, norms = contents(parts)
        reasons = Counter(reason for *_, reason, _ in notes_of(parts))
        if not rows:
            shutil.rmtree(folder)
            told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
            raise MarginfaceError(
                f"no face of the {len(names):,} photos in {root} can be embedded: {told}; lower "
                "--min-score or --min-face, or look at the photos"
            )
        origin = Origin.of(
            recogniser.embedder,
            flip=recogniser.flip,
            resize=False,
            norms=norms,
            faces=recogniser.faces_origin,
        )
        merged = folder / "merged.parquet"
        with replacing(merged) as temporary:
            merge_to_parquet([part for part in parts if rows_in(part)], temporary, origin)
        with replacing(left_out_path(output)) as temporary:
            _write_left_out(temporary, parts)
        merged.replace(output)
        shutil.rmtree(folder)
        size = recogniser.embedder.embedding_size
        return PhotosSummary(
            output, rows, resumed, skipped, size, len(names), left_out_path(output), reasons
        )


def _manifest(recogniser: Recogniser, names: Sequence[str]) -> dict[str, Any]:
    """Describe the settings that runs sharing parts must have in common."""
    return {
        "version": VERSION,
        "model": recogniser.embedder.fingerprint,
        "detector or its --min-score": recogniser.faces_origin,
        "list of photos": digest_of_names(names),
        "choice of --flip": recogniser.flip,
        "choice of --min-face": recogniser.min_face,
        "choice of --max-faces": recogniser.max_faces,
        "choice of --max-megapixels": recogniser.max_pixels,
        "choice of --batch-size": recogniser.batch_size,
    }


def _write_parts(
    recogniser: Recogniser,
    root: Path,
    parts: Sequence[tuple[Path, Sequence[str]]],
    skip_bad: bool,
    on_progress: OnProgress,
) -> int:
    """Write the parts that are missing; return how many photos are in the others."""
    total = sum(len(chunk) for _, chunk in parts)
    stamps = {part: stamp([image_path(root, name) for name in chunk]) for part, chunk in parts}
    missing = [
        (part, chunk)
        for part, chunk in parts
        if not (part.exists() and can_be_taken_up(part, stamps[part], skip_bad))
    ]
    resumed = done = total - sum(len(chunk) for _, chunk in missing)
    on_progress(done, total)

    def groups() -> Iterator[list[tuple[str, Path]]]:
        for _, chunk in missing:  # a group lies in one part, whatever was done before
            for start in range(0, len(chunk), recogniser.batch_size):
                group = chunk[start : start + recogniser.batch_size]
                yield [(name, image_path(root, name)) for name in group]

    with closing(recogniser.group_attempts(groups())) as outcomes:
        for part, chunk in missing:
            rows = _Rows(recogniser.embedder.embedding_size)
            for name, outcome in zip(chunk, outcomes, strict=False):
                rows.add(name, outcome, skip_bad=skip_bad)
                done += 1
                on_progress(done, total)
            write_part(
                part,
                rows.table(),
                files=stamps[part],
                skipped=rows.skipped,
                norms=rows.norms(),
                notes=rows.left_out,
            )
    return resumed


class _Rows:
    """The rows of a part, and what has none."""

    def __init__(self, embedding_size: int) -> None:
        self.embedding_size = embedding_size
        self.skipped: list[tuple[str, str]] = []
        self.left_out: list[tuple[str, int | None, str, str]] = []  # path, face, reason, detail
        self._faces: list[tuple[str, int, Face]] = []

    def add(self, name: str, outcome: Outcome, *, skip_bad: bool) -> None:
        """Take the faces of a photo, or what is wrong with it."""
        if isinstance(outcome, MarginfaceError):
            if not skip_bad:
                raise or_left_out(outcome) from outcome
            self.skipped.append((name, str(outcome)))
            self.left_out.append((name, None, UNREADABLE, str(outcome)))
            return
        if not outcome:
            self.left_out.append((name, None, NO_FACE, ""))
        for number, face in enumerate(outcome):
            if face.problem:
                self.left_out.append((name, number, face.problem, ""))
            else:
                self._faces.append((name, number, face.without_crop()))

    def norms(self) -> list[float]:
        """Return the model's shortest and longest embedding; nothing of no rows."""
        norms = [face.quality.norm for _, _, face in self._faces]
        return [min(norms), max(norms)] if norms else []

    def table(self) -> pa.Table:
        """Return the faces as an Arrow table."""
        faces = [face for _, _, face in self._faces]
        size = self.embedding_size
        values = np.array([face.embedding for face in faces], np.float32).reshape(-1, size)
        basic = embeddings_table([name for name, _, _ in self._faces], values)
        columns: dict[str, Any] = {
            "path": basic["path"],
            "identity": basic["identity"],
            "face": pa.array([number for _, number, _ in self._faces], pa.int32()),
            "box": _lists([face.box for face in faces], 4),
            "points": _lists([face.points for face in faces], 10),
            "score": pa.array([face.score for face in faces], pa.float32()),
        }
        for quality in QUALITIES:
            numbers = [getattr(face.quality, quality) for face in faces]
            columns[quality] = pa.array(numbers, pa.float32())
        return pa.table(columns | {"embedding": basic["embedding"]})


def _lists(arrays: Sequence[Any], size: int) -> pa.FixedSizeListArray:
    values = np.array(arrays, np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), size)


def _write_left_out(path: Path, parts: Sequence[Path]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(LEFT_OUT_COLUMNS)
        for name, number, reason, detail in notes_of(parts):
            face = "" if number is None else number
            writer.writerow([printable(name), face, printable(detail or reason)])
