"""The pictures of verification.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, PercentFormatter
from numpy.typing import NDArray

from marginface.evaluation.curves import DIFFERENT, FAINT, INK, SAME, draw_roc, draw_scores
from marginface.evaluation.verification import VerificationResult, roc, verify
from marginface.vectors import pair_scores
from pictures.panel import WIDTH, Floats, Numbers, one_panel
from pictures.people import face, read_people


@dataclass(frozen=True)
class Pairs:
    """All pairs of the held-out people's pictures."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    scores: Floats
    same: NDArray[np.bool_]

    @property
    def result(self) -> VerificationResult:
        """What is measured of them."""
        return verify(self.scores, self.same)


def all_pairs() -> Pairs:
    """Compare every picture with every other."""
    embeddings, people = read_people()
    first, second = np.triu_indices(len(people), 1)
    scores = pair_scores(embeddings, first, second)
    return Pairs(first, second, scores, people[first] == people[second])


def draw_pairs() -> tuple[Figure, Numbers]:
    """Draw genuine and impostor pairs with their scores, from easy to hard."""
    pairs = all_pairs()
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    parts: Any = figure.subfigures(2, 1, hspace=0.08)
    for part, kind, title, shares in (
        (parts[0], pairs.same, "Genuine: two pictures of one person", (0.9, 0.5, 0.02)),
        (parts[1], ~pairs.same, "Impostor: two people", (0.1, 0.5, 0.9995)),
    ):
        part.suptitle(title, color=INK)
        rows = np.flatnonzero(kind)
        ranked = rows[np.argsort(pairs.scores[rows])]
        for axis, share in zip(part.subplots(1, 3), shares, strict=True):
            at = ranked[round(share * (len(ranked) - 1))]
            axis.imshow(np.concatenate([face(pairs.first[at]), face(pairs.second[at])], axis=1))
            axis.set_axis_off()
            axis.set_title(
                f"{pairs.scores[at]:.2f}", color=SAME if kind is pairs.same else DIFFERENT
            )
    result = pairs.result
    return figure, {
        "genuine": f"{result.same_pairs:,}",
        "impostor": f"{result.different_pairs:,}",
    }


def draw_histograms() -> tuple[Figure, Numbers]:
    """Draw the scores of both kinds of pair."""
    pairs = all_pairs()
    figure, axis = one_panel()
    draw_scores(axis, pairs.result, pairs.scores, pairs.same)
    axis.set_title("", loc="left")
    axis.set_ylabel("share of its kind")
    axis.yaxis.set_major_locator(MultipleLocator(0.05))
    return figure, {"threshold": f"{pairs.result.threshold:.3f}"}


def draw_rates() -> tuple[Figure, Numbers]:
    """Draw FAR and FRR over the threshold."""
    pairs = all_pairs()
    figure, axis = one_panel()
    thresholds = np.linspace(-0.4, 1, 281)
    genuine, impostor = pairs.scores[pairs.same], pairs.scores[~pairs.same]
    far = (impostor[:, None] >= thresholds).mean(0)
    frr = (genuine[:, None] < thresholds).mean(0)
    axis.plot(thresholds, far, color=DIFFERENT, linewidth=2, label="FAR")
    axis.plot(thresholds, frr, color=SAME, linewidth=2, label="FRR = 1 - TAR")
    eer = pairs.result.eer
    crossing = thresholds[np.argmin(np.abs(far - frr))]
    axis.plot([crossing], [eer], "o", color=INK, zorder=3)
    axis.annotate(
        f"EER {eer:.1%}",
        (crossing, eer),
        (crossing - 0.14, eer + 0.34),
        color=INK,
        arrowprops={"arrowstyle": "-", "color": FAINT},
    )
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xlabel("match threshold")
    axis.set_ylabel("share of its kind")
    axis.legend(frameon=False, loc="upper center")
    return figure, {"eer": f"{eer:.1%}", "eer_threshold": f"{crossing:.2f}"}


def draw_curve() -> tuple[Figure, Numbers]:
    """Draw the ROC, with the points at which TAR is read."""
    pairs = all_pairs()
    result = pairs.result
    figure, axis = one_panel(height=3.9)
    draw_roc(axis, result, roc(pairs.scores, pairs.same))
    numbers = {"auc": f"{result.auc:.3f}"}
    for target in ("1e-1", "1e-2", "1e-3"):
        far, tar = float(target), result.tar_at_far[target]
        axis.plot([far, far], [0, tar], color=FAINT, linewidth=1, linestyle=":")
        axis.plot([far], [tar], "s", color=DIFFERENT, zorder=3)
        axis.text(far, tar + 0.05, f"{tar:.1%}", ha="right", color=INK)
        numbers[f"tar_{target}"] = f"{tar:.1%}"
        numbers[f"threshold_{target}"] = f"{result.tar_at_far_threshold[target]:.2f}"
    axis.set_title("", loc="left")
    axis.set_xlabel("FAR")
    axis.set_ylabel("TAR")
    axis.set_ylim(0, 1.1)
    return figure, numbers
