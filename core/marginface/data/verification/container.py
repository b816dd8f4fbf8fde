"""Verification sets in one safe file: a zip of images as they are and a table of pairs.

pairs.csv           first,second,same,fold: names of two images, 1 or 0, number of the fold from 1
images/NAME         an encoded image (JPEG, PNG, ...), stored without compression

Any tool opens it, nothing in it is code, and an image is read where it lies. Parquet would hold
either the images or the pairs well, and both only as two files or with images repeated.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from marginface import zips
from marginface.atomic import replacing
from marginface.data.lookup import ImageNames
from marginface.data.names import is_listed, listed
from marginface.data.verification.folds import contiguous_folds, usual_folds
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError
from marginface.labels import short_name
from marginface.text import from_utf8, in_quotes

TABLE = "pairs.csv"
COLUMNS = ["first", "second", "same", "fold"]
FOLDER = "images/"
DATE = (1980, 1, 1, 0, 0, 0)  # of every entry: the same pairs give the same file


@dataclass(frozen=True, eq=False)
class ContainerImages:
    """An `ImageSource` of the images in a container; names are paths in its images folder."""

    root: Path
    archive: zipfile.ZipFile  # reads from several threads
    entries: Mapping[str, str]  # in the archive, by image

    def encoded(self, name: str) -> bytes:
        """Return an image as it is stored, its checksum tested."""
        try:
            return self.archive.read(self.entries[name])
        except KeyError:
            raise MarginfaceError(f"{self.root} has no image {name}") from None
        except (OSError, *zips.ERRORS) as error:
            raise MarginfaceError(f"{self.root}: image {name} is damaged: {error}") from None


def write_container(path: str | Path, pairs: Pairs) -> None:
    """Write pairs with their images and folds as one file; one image is in memory at a time.

    Raises:
        MarginfaceError: an image cannot be read, or its name leads out of a folder; `path`
            is as it was.
    """
    names = sorted({*pairs.first, *pairs.second})
    for name in names:
        _check_name(pairs.images.root, listed(name))
    table = io.StringIO(newline="")
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(COLUMNS)
    same, folds = pairs.same.astype(int).tolist(), (pairs.fold + 1).tolist()
    named = (map(listed, each) for each in (pairs.first, pairs.second))
    rows.writerows(zip(*named, same, folds, strict=True))
    with (
        replacing(Path(path)) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        archive.writestr(zipfile.ZipInfo(TABLE, DATE), table.getvalue())
        for name in names:
            archive.writestr(
                zipfile.ZipInfo(FOLDER + listed(name), DATE), pairs.images.encoded(name)
            )


def read_container(path: str | Path) -> Pairs:
    """Read a container; images stay in the file until they are asked for.

    Raises:
        MarginfaceError: it is none or damaged; an entry is compressed, so that its size in memory
            is not that in the file; a name leads out of a folder; an image is missing.
    """
    path = Path(path)
    try:
        archive = zipfile.ZipFile(path)
        for name in zips.stored_entries(archive, path.stat().st_size):
            _check_name(path, name)
        text = archive.read(TABLE).decode("utf-8-sig", errors="surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except MarginfaceError:  # a ValueError, too
        raise
    except OSError as error:
        raise MarginfaceError(
            f"cannot read {path}: {error.strerror or error}; expected a verification set"
        ) from None
    except KeyError:
        raise _unfit(path, f"it has no {TABLE}") from None
    except (csv.Error, *zips.ERRORS) as error:
        raise _unfit(path, str(error)) from None
    if not rows or rows[0] != COLUMNS or len(rows) < 2:
        raise _unfit(path, f"{TABLE} must begin with {','.join(COLUMNS)} and have pairs")
    entries = {
        from_utf8(entry.removeprefix(FOLDER)): entry
        for entry in archive.namelist()
        if entry.startswith(FOLDER)
    }
    image_names = ImageNames(entries)
    parsed = [
        _row(f"{path}:{TABLE}:{number}", row, image_names) for number, row in enumerate(rows[1:], 2)
    ]
    first, second, same, fold = zip(*parsed, strict=True)
    truth = np.array(same) == "1"
    folds = _folds(path, np.array(fold, np.int64), truth)
    return Pairs(
        ContainerImages(path, archive, entries), first, second, truth, folds, short_name(path)
    )


def _check_name(where: Path, name: str) -> None:
    """Refuse what `listed` would not make of a name in a folder."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or not is_listed(name):
        raise MarginfaceError(
            f"{where}: {name[:80]!r} is no name in a folder; expected such as identity/image.jpg, "
            "without control characters"
        )


def _row(where: str, row: list[str], known: ImageNames) -> tuple[str, str, str, str]:
    """Return a row with the names of its images as they are in the archive."""
    if len(row) != 4 or row[2] not in ("0", "1") or not (row[3].isdecimal() and len(row[3]) < 10):
        raise MarginfaceError(
            f"{where}: expected {','.join(COLUMNS)} with 0 or 1 and a number, got "
            f"{','.join(row)[:80]!r}"
        )
    images = []
    for name in row[:2]:
        image = known.find(from_utf8(name), f"{where}: ")
        if image is None:
            raise MarginfaceError(f"{where}: no image {in_quotes(name)}; pack the set again")
        images.append(image)
    return images[0], images[1], row[2], row[3]


def _folds(path: Path, fold: NDArray[np.int64], same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the fold of each pair, from 0; each number up to the largest must be there.

    Former versions cut a list into contiguous folds, and wrote those of one kind alone, too.
    """
    numbers, fold_of = np.unique(fold, return_inverse=True)
    if (numbers != np.arange(1, len(numbers) + 1)).any():
        raise _unfit(path, "its folds are not numbered 1, 2, 3 and so on, none without a pair")
    count = len(numbers)
    contiguous = (fold_of == contiguous_folds(len(fold), count)).all()
    one_kind = any(len(np.unique(fold_of[kind])) < count <= kind.sum() for kind in (same, ~same))
    return usual_folds(same) if contiguous and one_kind else fold_of


def _unfit(path: Path, reason: str) -> MarginfaceError:
    return MarginfaceError(
        f"{path} is no verification set: {reason}; expected a zip with {TABLE} and stored images"
    )
