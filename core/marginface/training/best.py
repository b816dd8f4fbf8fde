"""Which verification of a run is the best, and when to look for a better one no longer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from marginface.errors import MarginfaceError
from marginface.evaluation.verification import FAR_TARGETS
from marginface.runs.best import Best
from marginface.runs.metrics import VERIFICATION

if TYPE_CHECKING:
    from marginface.data.verification.pairs import Pairs

LOWER = ("eer",)  # the better
METRICS = (
    *("accuracy", "accuracy_at_one_threshold", "auc", *LOWER),
    *(f"tar@{target}" for target in FAR_TARGETS),
)


def split_metric(keep_best: str) -> tuple[str, str]:
    """Return the set and the metric of `keep_best`, METRIC or SET:METRIC; "" for the first set.

    Raises:
        MarginfaceError: no verification gives such a metric; all are listed.

    >>> split_metric("lfw:auc"), split_metric("accuracy")
    (('lfw', 'auc'), ('', 'accuracy'))
    """
    name, _, metric = keep_best.rpartition(":")
    if metric not in METRICS:
        raise MarginfaceError(
            f"keep_best is {keep_best!r}, but a verification gives no {metric!r}; expected "
            f"{', '.join(METRICS)}, or one of these of a set: SET:{METRICS[0]}"
        )
    return name, metric


def metric_of(keep_best: str, sets: Sequence[Pairs]) -> str:
    """Return the metric of a run as SET:METRIC.

    Raises:
        MarginfaceError: it is of none of the run's verification sets; these are listed.
    """
    name, metric = split_metric(keep_best)
    names = [each.name for each in sets]
    if name and name not in names:
        raise MarginfaceError(
            f"keep_best is {keep_best!r}, but no verification set is called {name!r}; expected "
            f"{' or '.join(f'{each}:{metric}' for each in names)}"
        )
    return f"{name or names[0]}:{metric}"


def judge(best: Best | None, now: Best) -> Best:
    """Return the best with one more verification; of two alike, the earlier.

    >>> judge(Best("lfw:eer", 0.2, 10), Best("lfw:eer", 0.1, 20)).step
    20
    >>> judge(Best("lfw:auc", 0.9, 10), Best("lfw:auc", 0.9, 20))
    Best(metric='lfw:auc', value=0.9, step=10, since=1)
    """
    if best is None:
        return now
    sign = -1 if split_metric(now.metric)[1] in LOWER else 1
    if sign * now.value > sign * best.value:
        return now
    return Best(best.metric, best.value, best.step, best.since + 1)


def value_of(metric: str, figures: Mapping[str, Any]) -> float:
    """Return the value of SET:METRIC among recorded figures; a set is not named if it is the only.

    >>> value_of("lfw:auc", {"auc": 0.9}), value_of("lfw:auc", {"auc": 0.8, "lfw/auc": 0.7})
    (0.9, 0.7)
    """
    name, _, plain = metric.rpartition(":")
    return float(figures.get(f"{name}/{plain}", figures[plain]))


def first_value(records: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    """Return a metric of the weights that a run started from; None if they were not verified."""
    for record in records:
        if record["kind"] == VERIFICATION:
            return None if record["step"] else value_of(metric, record)
    return None


def stalled(best: Best | None, stop_after: int | None) -> bool:
    """Return whether so many verifications found nothing better that the run ends."""
    return best is not None and stop_after is not None and best.since >= stop_after


def why_stalled(best: Best) -> str:
    """Say why a run ended before its last step.

    >>> why_stalled(Best("lfw:auc", 0.9, 10, since=3))
    'as 3 verifications found none better than lfw:auc 0.9000 at step 10'
    """
    verifications = f"{best.since} verification{'s' * (best.since > 1)}"
    return f"as {verifications} found none better than {best}"
