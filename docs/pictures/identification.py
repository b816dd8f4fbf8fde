"""The pictures of identification.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from marginface.evaluation.curves import DIFFERENT, FAINT, INK, SAME
from marginface.evaluation.identification import measure, search
from marginface.evaluation.rates import SortedScores
from marginface.vectors import unit_embeddings
from pictures.panel import WIDTH, Floats, Numbers, one_panel
from pictures.people import face, read_people

ENROLLED, OF_TEMPLATE = 20, 3  # people in the gallery, and pictures of each there


def draw_templates() -> tuple[Figure, Numbers]:
    """Draw TAR at a FAR of 1 % for templates of one, two and three pictures."""
    embeddings, people = read_people()
    each = embeddings.reshape(people.max() + 1, -1, embeddings.shape[1])  # [people, pictures, size]
    probes, whose = each[:, OF_TEMPLATE:].reshape(-1, each.shape[2]), np.arange(len(each))
    whose_probe = np.repeat(whose, each.shape[1] - OF_TEMPLATE)
    figure, axis = one_panel(height=2.6)
    numbers: Numbers = {}
    for count in range(1, OF_TEMPLATE + 1):
        templates = unit_embeddings(each[:, :count].sum(1))
        scores = unit_embeddings(probes) @ templates.T
        same = whose_probe[:, None] == whose
        found = SortedScores(scores[same], scores[~same]).at(1e-2)
        numbers[f"tar_of_{count}"] = f"{found.rate:.0%}"
        axis.barh([count], [found.rate], color=SAME, height=0.6)
        axis.plot([found.low, found.high], [count, count], color=INK, linewidth=1.5)
        axis.text(0.02, count, f"{found.rate:.0%}", va="center", color="white", weight="bold")
    axis.set_yticks([1, 2, 3], ["1 picture", "2 pictures", "3 pictures"])
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xlabel("TAR at a FAR of 1%, with its 95% interval")
    return figure, numbers


@dataclass(frozen=True)
class OpenSet:
    """A gallery of templates, and probes of which some show nobody in it."""

    gallery: Floats
    subjects: list[str]
    probes: Floats
    probe_subjects: list[str]
    rows: list[int]  # of the probes, as `face` counts


def open_set() -> OpenSet:
    """Enrol the first people with three pictures; all other pictures are probes."""
    embeddings, people = read_people()
    shots = np.arange(len(people)) - np.searchsorted(people, people)
    enrolled = (people < ENROLLED) & (shots < OF_TEMPLATE)
    gallery = np.stack([embeddings[enrolled & (people == who)].sum(0) for who in range(ENROLLED)])
    rows = np.flatnonzero(~enrolled)
    return OpenSet(
        gallery,
        [f"{who:02d}" for who in range(ENROLLED)],
        embeddings[rows],
        [f"{people[row]:02d}" for row in rows],
        [int(row) for row in rows],
    )


def draw_search() -> tuple[Figure, Numbers]:
    """Draw three probes with the best of the gallery, and what becomes of each."""
    people = open_set()
    found = search(people.gallery, people.subjects, people.probes, people.probe_subjects, top=3)
    threshold = measure(found).threshold["1e-1"]
    best = found.best_score[:, 0]
    right = found.mated & (found.rank == 1)
    chosen = (
        ("found", np.flatnonzero(right & (best >= threshold))[4]),
        ("missed", np.flatnonzero(right & (best < threshold))[0]),
        ("rejected", np.flatnonzero(~found.mated & (best < threshold))[1]),
        ("accepted", np.flatnonzero(~found.mated & (best >= threshold))[0]),
    )
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    axes = figure.subplots(len(chosen), 4)
    for line, (what, at) in zip(axes, chosen, strict=True):
        line[0].imshow(face(people.rows[at]))
        line[0].set_title(f"{what}", color=INK, weight="bold")
        for axis, who, score in zip(line[1:], found.best[at], found.best_score[at], strict=True):
            axis.imshow(face(6 * int(who)))
            over = score >= threshold
            axis.set_title(f"{score:.2f}", color=SAME if over else FAINT)
        for axis in line:
            axis.set_axis_off()
    return figure, {"search_threshold": f"{threshold:.2f}"}


def draw_open_set() -> tuple[Figure, Numbers]:
    """Draw TPIR over FPIR."""
    people = open_set()
    result = measure(search(people.gallery, people.subjects, people.probes, people.probe_subjects))
    figure, axis = one_panel()
    fpir, tpir = result.curve
    axis.step(fpir, tpir, where="post", color=SAME, linewidth=2)
    at = result.tpir["1e-1"]
    axis.plot([0.1, 0.1, 0], [0, at.rate, at.rate], color=FAINT, linewidth=1, linestyle=":")
    axis.plot([0.1], [at.rate], "s", color=DIFFERENT, zorder=3)
    axis.text(0.13, at.rate - 0.07, f"TPIR {at.rate:.0%} at FPIR 10%", color=INK)
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("FPIR: strangers who are named")
    axis.set_ylabel("TPIR: enrolled who are found")
    return figure, {
        "rank_1": f"{result.at_rank(1):.1%}",
        "rank_5": f"{result.at_rank(5):.1%}",
        "mated": str(result.mated),
        "non_mated": str(result.non_mated),
        "tpir": f"{at.rate:.0%}",
        "tpir_interval": f"{at.low:.0%} to {at.high:.0%}",
    }
