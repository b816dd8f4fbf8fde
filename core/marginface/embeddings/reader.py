"""Read the files that `marginface embed` writes, batch by batch: they may be larger than memory."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from marginface.embeddings.npz_file import NpzEmbeddings, is_npz
from marginface.embeddings.origin import CROPS, Origin, common_origin
from marginface.embeddings.reading import BROKEN, Batch, EmbeddingsFile
from marginface.errors import MarginfaceError
from marginface.formats import Formats, begins
from marginface.own_code import in_one_line


def _open_parquet(path: Path) -> EmbeddingsFile:
    from marginface.embeddings.parquet_file import ParquetEmbeddings  # needs Arrow

    return ParquetEmbeddings(path)


EMBEDDINGS: Formats[Callable[[Path], EmbeddingsFile]] = Formats(
    "as `marginface embed` writes them",
    use="embeddings: give them as --embeddings",
    returns=EmbeddingsFile,
)
EMBEDDINGS.register(
    "a .parquet", _open_parquet, ".parquet", recognises=lambda path: begins(path, b"PAR1")
)
EMBEDDINGS.register("an .npz", NpzEmbeddings, ".npz", recognises=is_npz)

T = TypeVar("T")


def read_embeddings(paths: Path | Sequence[Path]) -> Iterator[Batch]:
    """Yield image paths and their embeddings [batch, size], float32, in the order of the files.

    Args:
        paths: one or several files: .parquet with columns path and embedding, .npz with such
            arrays, or another format of `EMBEDDINGS`.

    Raises:
        MarginfaceError: missing, damaged, or without these columns; files of two models.
    """
    paths = _several(paths)
    common_origin(read_origins(paths))
    size, first = 0, Path()
    for path in paths:
        for names, values in _guarded(path, lambda file: file.batches()):
            if size and values.shape[1] != size:
                raise MarginfaceError(
                    f"{first} has embeddings of {size} numbers, {path} of {values.shape[1]}; one "
                    "model must have made both"
                )
            if not size:
                size, first = values.shape[1], path
            yield names, values


def read_names(paths: Path | Sequence[Path]) -> Iterator[str]:
    """Yield the image paths of the files, without their embeddings; raises as `read_embeddings`."""
    paths = _several(paths)
    read_origins(paths)
    for path in paths:
        yield from _guarded(path, lambda file: file.names())


def read_origins(paths: Path | Sequence[Path]) -> dict[Path, Origin | None]:
    """Read the origin of each file's embeddings; None for a file that does not record it.

    Raises:
        MarginfaceError: missing, damaged, or of a later version.
    """
    origins: dict[Path, Origin | None] = {}
    for path in _several(paths):
        text = next(_guarded(path, lambda file: iter([file.origin()])))
        origins[path] = None if text is None else Origin.from_text(text, path)
    return origins


def embeddings_of(paths: Path | Sequence[Path], names: Sequence[str]) -> NDArray[np.float32]:
    """Return the embeddings [names, size] of images by name, from one or several files.

    Raises:
        MarginfaceError: as `read_embeddings`; a name without an embedding, with two, or with one
            that has no direction.
    """
    paths = _several(paths)
    files = " and ".join(map(str, paths))
    where = f"{files} {'have' if len(paths) > 1 else 'has'}"
    place = {name: at for at, name in enumerate(names)}
    embeddings: NDArray[np.float32] | None = None
    missing = set(place)
    for batch, values in read_embeddings(paths):
        if embeddings is None:
            embeddings = np.empty((len(place), values.shape[1]), np.float32)
        for name, value in zip(batch, values, strict=True):
            if name not in place:
                continue
            if name not in missing:
                if any(origin and origin.faces != CROPS for origin in read_origins(paths).values()):
                    raise MarginfaceError(
                        f"{where} several faces of {name}; where one is meant, make crops of it "
                        "with marginface data align and embed those (--images)"
                    )
                mending = (
                    "a folder above both, so that names differ" if len(paths) > 1 else "it again"
                )
                raise MarginfaceError(f"{where} two embeddings of {name}; embed {mending}")
            missing.remove(name)
            if not 0 < np.linalg.norm(value) < np.inf:
                raise MarginfaceError(
                    f"{files}: the embedding of {name} is of length zero, NaN or infinite; embed "
                    "it again, or leave it out of the lists"
                )
            embeddings[place[name]] = value
    if missing or embeddings is None:
        first = min(missing, key=place.__getitem__)
        raise MarginfaceError(
            f"{where} no embedding of {len(missing):,} of {len(place):,} images, first {first}; "
            "name them relative to the folder that was embedded"
        )
    return embeddings


def _several(paths: Path | Sequence[Path]) -> list[Path]:
    """Return the distinct paths; the same file twice is one."""
    return list(dict.fromkeys([paths] if isinstance(paths, Path) else paths))


def _guarded(path: Path, read: Callable[[EmbeddingsFile], Iterator[T]]) -> Iterator[T]:
    """Yield what `read` gives of a file; a damaged file's errors become a MarginfaceError."""
    held = EMBEDDINGS.find(path)
    if held.own:
        with in_one_line(f"{held.name} {path} cannot be read", MarginfaceError):
            yield from read(held.open(path))
        return
    try:
        yield from read(held.open(path))
    except MarginfaceError:
        raise
    except BROKEN as error:
        # The system's, not the content's; a zip's offsets can lead in front of the file.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        reason = (str(error) or repr(error)).partition("\n")[0][:120]
        raise MarginfaceError(
            f"{path} holds no embeddings that can be read ({reason}); it is damaged or of another "
            "kind: embed the images again, or give another file"
        ) from error
