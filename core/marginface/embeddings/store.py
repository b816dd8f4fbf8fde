"""Embed many images into one file, in parts, so that a long run can be interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from marginface.atomic import replacing
from marginface.data.formats.shards import shard_paths
from marginface.data.image_batches import ImageReader
from marginface.data.names import image_path
from marginface.data.opening import open_by_name
from marginface.data.sources import FolderImages, ImageSource, OnProgress, silent
from marginface.embeddings.embed import Embed, NormRange, embed_images
from marginface.embeddings.embedder import Embedder
from marginface.embeddings.files import embeddings_table, merge_to_npz, merge_to_parquet
from marginface.embeddings.origin import Origin
from marginface.embeddings.parts import (
    can_be_taken_up,
    claim,
    contents,
    digest_of_names,
    rows_in,
    stamp,
    write_part,
)
from marginface.embeddings.shards import Shard, part_of
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.locking import sole_writer
from marginface.model import Resize
from marginface.outputs import check_file
from marginface.vectors import directionless

with needs("data"):
    import pyarrow as pa

PART_SIZE = 1024  # images; what an interruption can cost at most
VERSION = 2  # of the parts; in the first, a model was known by its file alone
MERGERS = {".parquet": merge_to_parquet, ".npz": merge_to_npz}


@dataclass(frozen=True, repr=False)
class EmbedSummary:
    """Summary of `embed_folder`.

    Args:
        output: the file.
        embedded: images in it.
        resumed: of them, those that interrupted work had finished.
        skipped: (path, reason) of each image that is left out.
        embedding_size: length of an embedding.
    """

    output: Path
    embedded: int
    resumed: int
    skipped: tuple[tuple[str, str], ...]
    embedding_size: int

    def __repr__(self) -> str:
        return (
            f"EmbedSummary({str(self.output)!r}: {self.embedded:,} embeddings of "
            f"{self.embedding_size} numbers; {len(self.skipped):,} images skipped)"
        )


def check_output(output: Path, *, overwrite: bool, inputs: Iterable[Path | None] = ()) -> None:
    """Raise if `output` is no file that can be written; cheap, so call it before the work."""
    if output.suffix.lower() not in MERGERS:
        raise MarginfaceError(
            f"output {output} ends in '{output.suffix}', expected .parquet or .npz"
        )
    check_file(output, overwrite=overwrite, inputs=inputs)


def embed_folder(
    embedder: Embedder,
    images_root: Path,
    output: Path,
    *,
    batch_size: int = 64,
    resize: Resize = False,
    skip_bad: bool = False,
    rebuild_index: bool = False,
    flip: bool = False,
    shard: Shard | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
) -> EmbedSummary:
    """Write path, identity, norm and embedding of every image to one file.

    Finished parts wait in `<output>.parts/`; the same call after an interruption takes them up.

    Args:
        images_root: a folder, a .rec or a .tfrecord.
        output: a .parquet or .npz file.
        batch_size: images for one call of `embedder`.
        resize: scale images of another size instead of refusing them: True as in training.
        skip_bad: leave out what is unreadable or of another size instead of stopping at it.
        rebuild_index: write the .idx of a .rec anew where it is missing or stale.
        flip: sum the embeddings of an image and of its mirror image.
        shard: which part of the images; all for None.
        overwrite: replace an existing `output`, and parts that belong to other work.
        on_progress: called with (images done, images in all).

    Raises:
        MarginfaceError: `output` exists, its parts are of other work, or an image is
            unreadable or of another size.
        BusyError: another process is at it.
    """
    check_output(output, overwrite=overwrite)
    embedder.check_flip(flip)
    with sole_writer(output):
        check_output(output, overwrite=overwrite)  # another process may have written it just now
        source, every = open_by_name(images_root, rebuild_index=rebuild_index)
        paths = part_of(every, shard)
        folder, resize = output.with_name(f"{output.name}.parts"), embedder.resizing(resize)
        claim(folder, _manifest(embedder, paths, resize, flip), overwrite=overwrite)
        size = embedder.image_size(resize=resize)
        reader = ImageReader(source, size, resize=resize, skip_bad=skip_bad)
        starts = range(0, len(paths), PART_SIZE)
        parts = [folder / f"part-{start // PART_SIZE:06d}.parquet" for start in starts]
        resumed = 0
        try:
            for start, part in zip(starts, parts, strict=True):
                chunk = paths[start : start + PART_SIZE]
                files = _files(source, chunk)
                if part.exists() and can_be_taken_up(part, files, skip_bad):
                    resumed += len(chunk)
                    on_progress(start + len(chunk), len(paths))
                    continue
                model = NormRange(embedder)
                skipped_before = len(reader.skipped)
                table = _embed_part(
                    partial(embed_images, model, flip=flip),
                    embedder.embedding_size,
                    reader,
                    chunk,
                    batch_size,
                    start,
                    len(paths),
                    on_progress,
                )
                write_part(
                    part,
                    table,
                    files=files,
                    skipped=reader.skipped[skipped_before:],
                    norms=model.norms if len(table) else (),
                )
        finally:
            if not any(part.exists() for part in parts):
                shutil.rmtree(folder)  # nothing to take up
        rows, skipped, norms = contents(parts)
        if rows == 0:
            raise MarginfaceError(
                f"none of the {len(paths)} images in {images_root} can be used; first: "
                f"{skipped[0][1]}"
            )
        origin = Origin.of(embedder, flip=flip, resize=resize, norms=norms)
        # The merged file grows inside the parts folder: whatever happens, no stray file remains.
        merged = folder / f"merged{output.suffix}"
        with replacing(merged) as temporary:
            MERGERS[output.suffix.lower()](
                [part for part in parts if rows_in(part)], temporary, origin
            )
        merged.replace(output)
        shutil.rmtree(folder)
        return EmbedSummary(output, rows, resumed, skipped, embedder.embedding_size)


def _manifest(
    embedder: Embedder, paths: Sequence[str], resize: Resize, flip: bool
) -> dict[str, Any]:
    """Describe the settings that runs sharing parts must have in common."""
    return {
        "version": VERSION,
        "model": embedder.fingerprint,
        "list of images": digest_of_names(paths),
        "choice of --resize": resize,
        "choice of --flip": flip,
    }


def _files(source: ImageSource, paths: Sequence[str]) -> bytes:
    """Return a digest that changes with any of the files."""
    root, in_folder = source.root, isinstance(source, FolderImages)
    return stamp([image_path(root, path) for path in paths] if in_folder else shard_paths(root))


def _embed_part(
    embed: Embed,
    embedding_size: int,
    reader: ImageReader,
    paths: Sequence[str],
    batch_size: int,
    done: int,
    total: int,
    on_progress: OnProgress,
) -> pa.Table:
    names: list[str] = []
    embeddings = [np.empty((0, embedding_size), np.float32)]
    skipped_before = len(reader.skipped)
    for batch, images in reader.batches(paths, batch_size):
        values = embed(images)
        bad = directionless(values)
        if len(bad):
            raise MarginfaceError(
                f"the model gives an embedding of length zero, NaN or infinite for "
                f"{image_path(reader.source.root, batch[bad[0]])}; its weights or preprocessing "
                "are broken"
            )
        names += batch
        embeddings.append(values)
        skipped = len(reader.skipped) - skipped_before
        on_progress(done + len(names) + skipped, total)
    return embeddings_table(names, np.concatenate(embeddings))
