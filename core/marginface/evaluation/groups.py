"""Figures by groups of people: pairs within each group, and pairs across groups."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.data.verification.pairs import Pairs, people_of
from marginface.errors import MarginfaceError
from marginface.evaluation.calibration import (
    Rate,
    Threshold,
    needed,
    rate_of,
    thresholds,
)
from marginface.evaluation.verification import FAR_TARGETS, verify
from marginface.text import in_quotes

ACROSS = "across groups"
KEYS = ("person", "image")
LONGEST = 200  # characters of a group's name


@dataclass(frozen=True)
class Groups:
    """The group of people or of images.

    Args:
        source: the table, for messages.
        key: "person" or "image".
        group_of: group by name.
    """

    source: Path
    key: str
    group_of: Mapping[str, str]

    def of_pairs(self, pairs: Pairs) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """Return the group of the first and of the second image of each pair, "" for none.

        Raises:
            MarginfaceError: the table knows none of them.
        """
        named = people_of(pairs) if self.key == "person" else (pairs.first, pairs.second)
        first, second = (np.array([self._group(name) for name in side]) for side in named)
        if not (first != "").any() and not (second != "").any():
            raise MarginfaceError(
                f"{self.source} has no {self.key} of {pairs.name}: it names "
                f"{in_quotes(next(iter(self.group_of)))}, the pairs {in_quotes(named[0][0])}"
            )
        return first, second

    def _group(self, name: str) -> str:
        short = name.rpartition("/")[2]
        return self.group_of.get(name) or self.group_of.get(short, "")


@dataclass(frozen=True)
class RatesOfGroup:
    """A group's errors at the threshold that gives all pairs a false accept rate.

    Attributes:
        far: of all pairs.
        threshold: of all pairs.
        false_accepts, true_accepts: of the group, with intervals; None without such pairs.
        own: the threshold that the group itself would have; None without pairs of both kinds.
    """

    far: float
    threshold: float
    false_accepts: Rate | None
    true_accepts: Rate | None
    own: Threshold | None


@dataclass(frozen=True)
class GroupResult:
    """Figures of the pairs of a group.

    Attributes:
        name: of the group; "across groups" for pairs of two groups.
        same_pairs, different_pairs: how many.
        auc, eer: None without pairs of both kinds.
        rates: at the thresholds of all pairs, the highest false accept rate first.
    """

    name: str
    same_pairs: int
    different_pairs: int
    auc: float | None
    eer: float | None
    rates: tuple[RatesOfGroup, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for metrics.json."""
        return asdict(self)


def read_groups(path: Path) -> Groups:
    """Read a CSV file with a column `person` or `image` and a column `group`.

    Raises:
        MarginfaceError: it cannot be read, lacks a column, or names somebody twice differently.
    """
    group_of: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, restval="")
            columns = rows.fieldnames or []
            keys = [key for key in KEYS if key in columns]
            if len(keys) != 1 or "group" not in columns:
                raise MarginfaceError(
                    f"{path} has columns {', '.join(columns) or 'none'}; expected person,group or "
                    "image,group"
                )
            for row in rows:
                name, group = (row[column].strip() for column in (keys[0], "group"))
                if not name or not group or len(group) > LONGEST or group == ACROSS:
                    raise MarginfaceError(
                        f"{path}:{rows.line_num}: expected a {keys[0]} and the name of a group, "
                        f"got {in_quotes(name)} and {in_quotes(group)}"
                    )
                if group_of.setdefault(name, group) != group:
                    raise MarginfaceError(
                        f"{path}:{rows.line_num}: {in_quotes(name)} is in "
                        f"{in_quotes(group_of[name])} and in {in_quotes(group)}; keep one of them"
                    )
    except FileNotFoundError as error:
        raise MarginfaceError(f"no such file: {path}") from error
    except IsADirectoryError as error:
        raise MarginfaceError(f"{path} is a folder, expected a table of person,group") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise MarginfaceError(
            f"{path} is no table in UTF-8 with commas: {error}; expected person,group"
        ) from error
    if not group_of:
        raise MarginfaceError(f"{path} names nobody; expected lines of {keys[0]},group")
    return Groups(path, keys[0], group_of)


def group_results(
    scores: NDArray[np.float64], pairs: Pairs, groups: Groups
) -> tuple[GroupResult, ...]:
    """Return the figures of each group by name, then of pairs across groups.

    Args:
        scores: cosines [pairs].
        pairs: the set.
        groups: of its people.

    Raises:
        MarginfaceError: as `Groups.of_pairs`.
    """
    first, second = groups.of_pairs(pairs)
    people = tuple(np.array(side) for side in people_of(pairs))
    targets = [float(far) for far in FAR_TARGETS if needed(float(far)) <= np.sum(~pairs.same)]
    common = thresholds(scores, pairs.same, targets) if targets else ()
    known = (first != "") & (second != "")
    chosen = {name: known & (first == name) & (second == name) for name in np.unique(first[known])}
    chosen |= {ACROSS: known & (first != second)}
    return tuple(
        _result(str(name), here, scores, pairs.same, (people[0], people[1]), common)
        for name, here in chosen.items()
        if here.any()
    )


def _result(
    name: str,
    here: NDArray[np.bool_],
    scores: NDArray[np.float64],
    same: NDArray[np.bool_],
    people: tuple[NDArray[np.str_], NDArray[np.str_]],
    common: tuple[Threshold, ...],
) -> GroupResult:
    score, truth, who = scores[here], same[here], (people[0][here], people[1][here])
    both = truth.any() and not truth.all()
    enough = min(np.sum(truth), np.sum(~truth)) > 1  # of each kind one for each of two folds
    result = verify(score, truth, 2) if enough else None
    own = thresholds(score, truth, [each.far for each in common], who) if both and common else ()

    def rate(value: float, kind: NDArray[np.bool_]) -> Rate | None:
        return rate_of(score >= value, kind, who)[0] if kind.any() else None

    rates = [
        RatesOfGroup(
            far=each.far,
            threshold=each.value,
            false_accepts=rate(each.value, ~truth),
            true_accepts=rate(each.value, truth),
            own=own[at] if own else None,
        )
        for at, each in enumerate(common)
    ]
    return GroupResult(
        name,
        int(np.sum(truth)),
        int(np.sum(~truth)),
        None if result is None else result.auc,
        None if result is None else result.eer,
        tuple(rates),
    )
