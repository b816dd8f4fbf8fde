"""From a folder of photos to a folder of aligned crops, with a table of what became of each."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from marginface.atomic import replacing
from marginface.data.image_files import folder_files
from marginface.data.images import (
    MAX_PIXELS,
    file_stamp,
    pixel_count,
    read_image,
    read_photo,
    without_ending,
)
from marginface.data.lookup import ImageNames
from marginface.data.names import image_path
from marginface.data.ordered import in_order
from marginface.data.photos.cropping import ALIGNED, CropOptions, Outcome, Photo, crop_face
from marginface.data.photos.detection import Faces
from marginface.data.photos.face_sources import FaceSource
from marginface.data.photos.landmarks import POINT_COLUMNS
from marginface.data.sources import OnProgress, silent
from marginface.errors import MarginfaceError
from marginface.locking import sole_writer
from marginface.outputs import check_folder, put_folder
from marginface.regular import real_path, require_regular
from marginface.text import ESCAPED, printable

TABLE_NAME = "alignment.csv"
MANIFEST_NAME = "manifest.json"
VERSION = 2  # of an interrupted run; in the first, a detector was known by its file alone
LARGEST_SCALE = 0.5  # of a crop of a reduced photo; else the whole one shows more of the face
PIXELS_AT_ONCE = 2**26  # of a batch; the next one is held as well
COLUMNS = ("path", "status", "detail", "score", "faces", "turn", *POINT_COLUMNS)
UNREADABLE, NO_PHOTO, NO_IMAGE = "unreadable", "no photo", "no image"


def check_output(
    photos: Path, output: Path, *, overwrite: bool = False, inputs: Iterable[Path | None] = ()
) -> None:
    """Raise where crops cannot be written to a folder; cheap, so call it before the work."""
    check_folder(output, overwrite=overwrite, inputs=[photos, *inputs], whole=True)
    if real_path(output).is_relative_to(real_path(photos)):
        raise MarginfaceError(f"{output} lies in {photos}, among the photos; choose another place")


def partial_path(output: Path) -> Path:
    """Return the folder in which crops wait until all are done."""
    return output.with_name(f"{output.name}.partial")


def align_photos(
    photos: Path,
    output: Path,
    source: FaceSource,
    options: CropOptions,
    *,
    batch_size: int = 8,
    max_pixels: int = MAX_PIXELS,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
) -> Counter[str]:
    """Write an aligned crop of each photo's face, and `alignment.csv`; return counts by status.

    The crops keep the photos' folders and names. Until all is done they are in `<output>.partial`;
    the same call after an interruption goes on there.

    Args:
        photos: the folder of photos; nothing is written to it.
        output: a new folder.
        source: gives the faces of a batch of photos.
        options: which crops are made.
        batch_size: photos for one call of `source.find`, fewer of large ones; the next ones are
            decoded meanwhile.
        max_pixels: a photo that has more is reported as unreadable.
        overwrite: replace a folder that marginface wrote.
        on_progress: called with (photos done, photos in all).

    Raises:
        MarginfaceError: `output` exists, there are no photos, two would become one crop, the
            interrupted run was another, or no photo can be aligned.
        BusyError: another process is at it.
    """
    check_output(photos, output, overwrite=overwrite)
    with sole_writer(output):
        check_output(
            photos, output, overwrite=overwrite
        )  # another process may have written it just now
        files = folder_files(photos)
        names = files.images
        crops = crop_names(names, options.format)
        entries, absent = _entries(source.names, names)

        def find(batch: Sequence[str], images: Sequence[Photo]) -> Sequence[Faces]:
            return source.find([entries.get(name, name) for name in batch], images)

        partial = partial_path(output)
        inputs = {
            "faces": source.origin,
            "photos": _fingerprint(photos, names),
            "max_pixels": max_pixels,
        }
        _claim(partial, {"version": VERSION, **inputs, **asdict(options)})
        table = partial / TABLE_NAME
        done = _take_up(table, names)
        with table.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")

            def crop(name: str, photo: Photo, factor: int, faces: Faces) -> Outcome:
                if not len(faces):
                    return Outcome(name, source.missing)
                whole = faces if source.whole else faces.magnified(factor)
                target = image_path(partial, crops[name])
                outcome = _cropped(name, photo, factor, whole, options, target)
                if factor > 1 and outcome.scale > LARGEST_SCALE:
                    photo = read_image(image_path(photos, name), None, max_pixels=max_pixels)
                    outcome = _cropped(name, photo, 1, whole, options, target)
                return outcome

            batches = _batches(photos, names[done:], batch_size)
            for outcomes in _outcomes(photos, batches, find, crop, max_pixels):
                writer.writerows(map(_row, outcomes))
                file.flush()
                done += len(outcomes)
                on_progress(done, len(names))
            writer.writerows(_row(Outcome(name, NO_PHOTO)) for name in absent)
            writer.writerows(_row(Outcome(name, NO_IMAGE, why)) for name, why in files.others)
            file.flush()
            os.fsync(file.fileno())
        counts = Counter(row[1] for row in islice(_rows(table), 1, None))
        if not counts[ALIGNED]:
            shutil.rmtree(partial)
            statuses = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
            foreign = next(filter(ESCAPED.search, absent), None)
            raise MarginfaceError(
                f"none of the {len(names):,} photos in {photos} is aligned: {statuses}; lower the "
                "least score or size of a face, or give landmarks of these photos"
                + (f" (in UTF-8, {foreign} is not)" if foreign else "")
            )
        (partial / MANIFEST_NAME).unlink()
        put_folder(partial, output)
        return counts


def _batches(root: Path, names: Sequence[str], batch_size: int) -> Iterator[list[str]]:
    """Yield names by batches of so many photos, or of `PIXELS_AT_ONCE`: memory is bounded."""
    batch: list[str] = []
    pixels = 0
    for name in names:
        further = pixel_count(image_path(root, name))
        if batch and (len(batch) == batch_size or pixels + further > PIXELS_AT_ONCE):
            yield batch
            batch, pixels = [], 0
        batch.append(name)
        pixels += further
    if batch:
        yield batch


def _outcomes(
    root: Path,
    batches: Iterator[list[str]],
    find: Callable[[Sequence[str], Sequence[Photo]], Sequence[Faces]],
    crop: Callable[[str, Photo, int, Faces], Outcome],
    max_pixels: int,
) -> Iterator[list[Outcome]]:
    """Yield the outcomes of each batch; the next one is decoded meanwhile."""

    def decode(name: str) -> tuple[Photo, int] | MarginfaceError:
        try:
            return read_photo(image_path(root, name), max_pixels=max_pixels)
        except MarginfaceError as error:
            return error

    def decode_batch(batch: list[str]) -> dict[str, tuple[Photo, int] | MarginfaceError]:
        return dict(zip(batch, in_order(decode, batch), strict=True))

    with closing(in_order(decode_batch, batches, threads=1, ahead=1)) as decoded:
        for batch in decoded:
            photos = {name: each for name, each in batch.items() if isinstance(each, tuple)}
            images, factors = zip(*photos.values(), strict=True) if photos else ((), ())
            faces = find(list(photos), images)
            detected = zip(photos, images, factors, faces, strict=True)
            outcomes = dict(zip(photos, in_order(lambda each: crop(*each), detected), strict=True))
            for name, reason in batch.items():
                if name not in photos:
                    detail = str(reason).removeprefix(f"{image_path(root, name)}: ")
                    outcomes[name] = Outcome(name, UNREADABLE, detail)
            yield [outcomes[name] for name in batch]


def _cropped(
    name: str, photo: Photo, factor: int, faces: Faces, options: CropOptions, target: Path
) -> Outcome:
    """Crop a face of a photo whose sides were divided by `factor`; the faces are of the whole."""
    fewer = replace(options, min_face=options.min_face / factor)
    outcome = crop_face(name, photo, faces.magnified(1 / factor), fewer, target)
    if factor == 1 or outcome.points is None:
        return outcome
    return replace(outcome, points=(outcome.points + 0.5) * factor - 0.5)


def _entries(listed: Collection[str], photos: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the name in the landmarks of each photo that they name, and names without a photo."""
    photo_of = {printable(photo): photo for photo in photos}  # as tables write names
    images = ImageNames(photo_of)
    entry_of: dict[str, str] = {}
    absent = []
    for name in sorted(listed):
        listed_name = images.find(name, "landmarks: ")
        photo = None if listed_name is None else photo_of[listed_name]
        if photo is None:
            absent.append(name)
        elif photo in entry_of:
            raise MarginfaceError(
                f"landmarks: {entry_of[photo]!a} and {name!a} both mean the photo "
                f"{photo}; remove one of them"
            )
        else:
            entry_of[photo] = name
    return entry_of, absent


def crop_names(names: Sequence[str], suffix: str) -> dict[str, str]:
    """Return the path of each photo's crop.

    Raises:
        MarginfaceError: two photos would have the same crop.
    """
    crops = {name: f"{without_ending(name)}.{suffix}" for name in names}
    photo_of: dict[str, str] = {}
    for name, crop in crops.items():
        called = printable(crop)  # as in the table, which tells them apart
        first = photo_of.setdefault(called, name)
        if first != name:
            raise MarginfaceError(
                f"the crops of {first} and {name} would both be {called}; rename one of them"
            )
    return crops


def _fingerprint(root: Path, names: Sequence[str]) -> str:
    """Return a digest that changes with any of the photos."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name!r} {file_stamp(image_path(root, name))}\n".encode())
    return digest.hexdigest()


def _claim(folder: Path, manifest: dict[str, Any]) -> None:
    """Make `folder` hold the work that `manifest` describes, and no other."""
    path = folder / MANIFEST_NAME
    for each in (path, folder / TABLE_NAME):
        require_regular(each)
    manifest = json.loads(json.dumps(manifest))  # tuples as lists, to compare
    if folder.exists():
        try:
            recorded = json.loads(path.read_text())
            changed = [name for name, value in manifest.items() if recorded.get(name) != value]
        except (OSError, ValueError, AttributeError, RecursionError):
            changed = [MANIFEST_NAME]
        if "version" in changed:
            raise MarginfaceError(
                f"{folder} holds an interrupted run of another version of marginface; remove it to "
                "start again"
            )
        if changed:
            raise MarginfaceError(
                f"{folder} holds an interrupted run that differs in its {changed[0]}; repeat that "
                f"run to finish it, or remove {folder}"
            )
        return
    folder.mkdir(parents=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n")


def _take_up(table: Path, names: Sequence[str]) -> int:
    """Rewrite a table with its whole rows for the first of `names`; return their number."""
    rows_kept = 0
    with (
        replacing(table) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        rows = islice(_rows(table), 1, None) if table.exists() else ()
        for name, row in zip(names, rows, strict=False):
            if row[0] != printable(name) or len(row) != len(COLUMNS):
                break
            writer.writerow(row)
            rows_kept += 1
    return rows_kept


def _rows(table: Path) -> Iterator[list[str]]:
    # A torn last line may end in half a character.
    with table.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        yield from csv.reader(line for line in file if line.endswith("\n"))  # a torn one is none


def _row(outcome: Outcome) -> list[object]:
    score = "" if math.isnan(outcome.score) else f"{outcome.score:.4f}"
    points = [""] * 10 if outcome.points is None else [f"{v:.3f}" for v in outcome.points.flat]
    texts = [printable(text) for text in (outcome.path, outcome.status, outcome.detail)]
    turn = "" if outcome.turn is None else outcome.turn
    return [*texts, score, outcome.faces, turn, *points]
