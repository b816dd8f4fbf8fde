"""Inspections as tables and lines for people, and as JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from marginface.data.inspection import Indices, Inspection, Shared, shared
from marginface.text import as_utf8, change_texts, from_system, printable

BINS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)  # first of each, in images an identity
SHOWN = 5  # examples of what is wrong, and kinds in a cell; the JSON has all

Common = Mapping[tuple[int, int], Shared]  # by the numbers of two sets


def compare(inspections: Sequence[Inspection]) -> Common:
    """Compare each pair of sets."""
    return {
        (one, other): shared(inspections[one], inspections[other])
        for one, other in combinations(range(len(inspections)), 2)
    }


def to_json(inspections: Sequence[Inspection], common: Common) -> dict[str, Any]:
    """Build the JSON of inspections and overlaps, with every name, as `as_utf8`."""
    values = {
        "sets": [_set_to_json(each) for each in inspections],
        "shared": [
            {
                "sets": [_path(inspections[one]), _path(inspections[other])],
                "identities": each.identities,
                "images": each.images,
            }
            for (one, other), each in common.items()
        ],
    }
    return {name: change_texts(value, as_utf8) for name, value in values.items()}


def _path(inspection: Inspection) -> str:
    return from_system(str(inspection.listing.root))


def _set_to_json(inspection: Inspection) -> dict[str, Any]:
    listing, counts = inspection.listing, inspection.images_an_identity
    pairs = listing.pairs
    values: dict[str, Any] = {
        "path": _path(inspection),
        "images": listing.count,
        "identities": None if counts is None else len(counts),
        "images_an_identity": None if counts is None else _histogram(counts),
        "formats": dict(inspection.formats.most_common()),
        "sizes": {_size(size): count for size, count in inspection.sizes.most_common()},
        "broken": [{"name": name, "reason": reason} for name, reason in inspection.broken],
        "empty_identities": list(listing.empty),
        "identities_in_two_unicode_forms": [list(names) for names in inspection.two_forms],
        "passed_over": [{"name": name, "reason": reason} for name, reason in listing.others],
        "duplicates": [inspection.names(group) for group in inspection.duplicates],
        "duplicates_across_identities": [
            inspection.names(group) for group in inspection.mislabelled
        ],
    }
    if pairs is not None:
        same = int(pairs.same.sum())
        values |= {"same_pairs": same, "different_pairs": len(pairs) - same, "folds": pairs.folds}
    return values


def set_table(names: Sequence[str], inspections: Sequence[Inspection]) -> Table:
    """Build the table with a column for each set, given short names of the sets."""
    table = _table("Image sets", "", names)
    rows: dict[str, list[str | Text]] = {}
    for number, inspection in enumerate(inspections):
        for label, cell in _cells(inspection).items():
            rows.setdefault(label, [""] * len(inspections))[number] = cell
    for label, cells in rows.items():
        table.add_row(label, *cells)
    return table


def _cells(inspection: Inspection) -> dict[str, str | Text]:
    listing, counts = inspection.listing, inspection.images_an_identity
    pairs = listing.pairs
    cells: dict[str, str | Text] = {"images": f"{listing.count:,}"}
    if counts is not None:
        cells["identities"] = f"{len(counts):,}"
        least, middle, most = counts.min(), np.median(counts), counts.max()
        cells["images an identity"] = f"{least:,} to {most:,}, median {middle:g}"
    if pairs is not None:
        same = int(pairs.same.sum())
        cells["same / different pairs"] = f"{same:,} / {len(pairs) - same:,}"
        cells["folds"] = str(pairs.folds)
    cells["formats"] = _most_common(inspection.formats)
    cells["sizes"] = _most_common(
        Counter({_size(size): count for size, count in inspection.sizes.items()})
    )
    cells["broken images"] = f"{len(inspection.broken):,}"
    if listing.empty:
        cells["identities without images"] = f"{len(listing.empty):,}"
    if listing.others:
        cells["files passed over"] = f"{len(listing.others):,}"
    cells["pictures several times"] = f"{len(inspection.duplicates):,}"
    if counts is not None:
        cells["under several identities"] = f"{len(inspection.mislabelled):,}"
    return cells


def histogram_table(names: Sequence[str], inspections: Sequence[Inspection]) -> Table:
    """Build the table of identities by number of images."""
    table = _table("Identities by number of images", "images", names)
    counts = [each.images_an_identity for each in inspections]
    most = max((int(each.max()) for each in counts if each is not None), default=0)
    for begin, after in zip(BINS, [*BINS[1:], None], strict=True):
        if begin <= most:
            last = most if after is None else after - 1
            inside = (
                "" if each is None else f"{((begin <= each) & (each <= last)).sum():,}"
                for each in counts
            )
            label = f"{begin} or more" if after is None else f"{begin} to {last}"
            table.add_row(str(begin) if begin == last else label, *inside)
    return table


def shared_table(names: Sequence[str], common: Common) -> Table:
    """Build the table of what each pair of sets shares."""
    table = Table(title="Shared: leakage between train and test")
    table.add_column("sets")
    table.add_column("identities, by name", justify="right")
    table.add_column("images, by pixels", justify="right")
    for (one, other), both in common.items():
        identities = "no names" if both.identities is None else f"{len(both.identities):,}"
        table.add_row(f"{names[one]}, {names[other]}", identities, f"{len(both.images):,}")
    return table


def findings(
    names: Sequence[str], inspections: Sequence[Inspection], common: Common
) -> Iterator[tuple[str, list[str]]]:
    """Yield each kind of fault, with its first examples."""
    for name, inspection in zip(names, inspections, strict=True):
        yield f"{name}: broken images", [": ".join(row) for row in inspection.broken[:SHOWN]]
        yield f"{name}: identities without images", list(inspection.listing.empty[:SHOWN])
        twice = [f"{one!a} = {other!a}" for one, other in inspection.two_forms[:SHOWN]]
        yield f"{name}: one name in two Unicode forms", twice
        others = [f"{file} ({why})" for file, why in inspection.listing.others[:SHOWN]]
        yield f"{name}: files passed over", others
        groups = [] if inspection.listing.pairs is not None else inspection.duplicates[:SHOWN]
        yield f"{name}: pictures several times", [" = ".join(inspection.names(g)) for g in groups]
        groups = inspection.mislabelled[:SHOWN]
        yield f"{name}: under several identities", [" = ".join(inspection.names(g)) for g in groups]
    for (one, other), both in common.items():
        sets = f"{names[one]}, {names[other]}"
        yield f"{sets}: shared identities", (both.identities or [])[:SHOWN]
        yield f"{sets}: shared images", [" = ".join(twins) for twins in both.images[:SHOWN]]


def _table(title: str, first: str, names: Sequence[str]) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _histogram(counts: Indices) -> dict[int, int]:
    """Count the identities with each number of images."""
    values, times = np.unique(counts, return_counts=True)
    return dict(zip(values.tolist(), times.tolist(), strict=True))


def _most_common(counts: Counter[str]) -> Text:
    cells = [f"{name}: {count:,}" for name, count in counts.most_common(SHOWN)]
    if len(counts) > SHOWN:
        cells.append(f"{len(counts) - SHOWN:,} others")
    return Text("\n".join(map(printable, cells)))


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
