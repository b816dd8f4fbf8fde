"""Inspections as tables and lines for people, and as JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from rich.table import Table

from marginface.data.inspection import Indices, Inspection, Shared, shared

BINS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)  # first of each, in images an identity
SHOWN = 5  # examples of what is wrong, and kinds in a cell; the JSON has all

Common = Mapping[tuple[int, int], Shared]  # by the numbers of two sets


def compare(found: Sequence[Inspection]) -> Common:
    """Return what each two of several sets share."""
    return {
        (one, other): shared(found[one], found[other])
        for one, other in combinations(range(len(found)), 2)
    }


def to_json(found: Sequence[Inspection], common: Common) -> dict[str, Any]:
    """Return all that was found, with every name."""
    return {
        "sets": [_set_to_json(each) for each in found],
        "shared": [
            {
                "sets": [str(found[one].listing.root), str(found[other].listing.root)],
                "identities": each.identities,
                "images": each.images,
            }
            for (one, other), each in common.items()
        ],
    }


def _set_to_json(found: Inspection) -> dict[str, Any]:
    listing, counts, pairs = found.listing, found.images_an_identity, found.listing.pairs
    values: dict[str, Any] = {
        "path": str(listing.root),
        "images": listing.count,
        "identities": None if counts is None else len(counts),
        "images_an_identity": None if counts is None else _histogram(counts),
        "formats": dict(found.formats.most_common()),
        "sizes": {_size(size): count for size, count in found.sizes.most_common()},
        "broken": [{"name": name, "reason": reason} for name, reason in found.broken],
        "empty_identities": list(listing.empty),
        "duplicates": [found.names(group) for group in found.duplicates],
        "duplicates_across_identities": [found.names(group) for group in found.mislabelled],
    }
    if pairs is not None:
        same = int(pairs.same.sum())
        values |= {"same_pairs": same, "different_pairs": len(pairs) - same, "folds": pairs.folds}
    return values


def set_table(found: Sequence[Inspection]) -> Table:
    """Return a table with a column for each set."""
    table = _table("Image sets", "", found)
    rows: dict[str, list[str]] = {}
    for number, each in enumerate(found):
        for label, cell in _cells(each).items():
            rows.setdefault(label, [""] * len(found))[number] = cell
    for label, cells in rows.items():
        table.add_row(label, *cells)
    return table


def _cells(found: Inspection) -> dict[str, str]:
    listing, counts, pairs = found.listing, found.images_an_identity, found.listing.pairs
    cells = {"images": f"{listing.count:,}"}
    if counts is not None:
        cells["identities"] = f"{len(counts):,}"
        least, middle, most = counts.min(), np.median(counts), counts.max()
        cells["images an identity, least / median / most"] = f"{least:,} / {middle:g} / {most:,}"
    if pairs is not None:
        same = int(pairs.same.sum())
        cells["pairs, same / different"] = f"{same:,} / {len(pairs) - same:,}"
        cells["folds"] = str(pairs.folds)
    cells["formats"] = _most_common(found.formats)
    cells["sizes, height x width"] = _most_common(
        Counter({_size(size): count for size, count in found.sizes.items()})
    )
    cells["broken images"] = f"{len(found.broken):,}"
    if listing.empty:
        cells["identities without images"] = f"{len(listing.empty):,}"
    cells["images that occur several times"] = f"{len(found.duplicates):,}"
    if counts is not None:
        cells["of these under several identities"] = f"{len(found.mislabelled):,}"
    return cells


def histogram_table(found: Sequence[Inspection]) -> Table:
    """Return how many identities have how many images."""
    table = _table("Identities by number of images", "images", found)
    counts = [each.images_an_identity for each in found]
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


def findings(found: Sequence[Inspection], common: Common) -> Iterator[tuple[str, list[str]]]:
    """Yield what is wrong: a sentence, and the first examples."""
    for each in found:
        root = each.listing.root
        if each.broken:
            yield f"{root}: broken images", [": ".join(row) for row in each.broken[:SHOWN]]
        if each.listing.empty:
            yield f"{root}: identities without images", list(each.listing.empty[:SHOWN])
        if each.duplicates and each.listing.pairs is None:
            examples = [" = ".join(each.names(group)) for group in each.duplicates[:SHOWN]]
            yield f"{root}: images that occur several times", examples
        if each.mislabelled:
            examples = [" = ".join(each.names(group)) for group in each.mislabelled[:SHOWN]]
            yield f"{root}: the same image under several identities", examples
    for (one, other), both in common.items():
        sets = f"{found[one].listing.root} and {found[other].listing.root}"
        if both.identities is None:
            yield f"{sets}: no names of identities to compare, as one of them has none", []
        else:
            identities = both.identities
            yield f"{sets} share {len(identities):,} identities by name", identities[:SHOWN]
        examples = [" = ".join(names) for names in both.images[:SHOWN]]
        yield f"{sets} share {len(both.images):,} images", examples


def _table(title: str, first: str, found: Sequence[Inspection]) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for each in found:
        table.add_column(str(each.listing.root), justify="right", overflow="fold")
    return table


def _histogram(counts: Indices) -> dict[int, int]:
    """Return how many identities have how many images, exactly."""
    values, times = np.unique(counts, return_counts=True)
    return dict(zip(values.tolist(), times.tolist(), strict=True))


def _most_common(counts: Counter[str]) -> str:
    cells = [f"{name}: {count:,}" for name, count in counts.most_common(SHOWN)]
    if len(counts) > SHOWN:
        cells.append(f"{len(counts) - SHOWN:,} others")
    return "\n".join(cells)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
