"""Draw the pictures of docs/concepts and write the numbers that its pages state.

    python docs/pictures.py

The numbers are those of the people whom the demo holds out, by the model that it trains. New ones:

    marginface demo --backend torch --output demo
    marginface embed --model demo/model.onnx --images demo/faces/test \\
        --output docs/concepts/embeddings.npz --overwrite
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, PercentFormatter
from numpy.typing import NDArray

from marginface import losses
from marginface.demo.drawing.people import draw_person, draw_shot
from marginface.demo.drawing.picture import draw_face
from marginface.demo.faces import draw_pictures
from marginface.demo.run import IDENTITIES
from marginface.embeddings.reader import read_embeddings
from marginface.evaluation.curves import DIFFERENT, FAINT, INK, SAME, draw_roc, draw_scores
from marginface.evaluation.identification import measure, search
from marginface.evaluation.rates import SortedScores
from marginface.evaluation.verification import VerificationResult, roc, verify
from marginface.vectors import pair_scores, unit_embeddings

FOLDER = Path(__file__).parent / "concepts"
COLOURS = ("#1f77b4", "#d95f02", "#2e8b57", "#b8860b", "#7b4fa3", "#c0392b")
STYLE = {
    "font.size": 12,
    "axes.edgecolor": FAINT,
    "figure.constrained_layout.h_pad": 0.08,  # inches
    "savefig.dpi": 150,
    "figure.dpi": 150,
}
WIDTH = 5.2  # inches: a phone shows 12 points of it as 12 pixels

Floats = NDArray[np.float64]
Numbers = dict[str, str]  # as the page prints them


# --- margin.md


def draw_plane() -> tuple[Figure, Numbers]:
    """Draw people on a circle, as a small network puts them with and without a margin."""
    people, pictures, scale, margin = 6, 12, 16.0, 0.4
    rng = np.random.default_rng(5)
    persons = [draw_person(rng) for _ in range(people)]
    faces = np.stack([draw_face(each, draw_shot(rng)) for each in persons for _ in range(pictures)])
    labels = np.repeat(np.arange(people), pictures)
    figure, numbers = Figure(figsize=(WIDTH, 3.1), layout="constrained"), {}
    axes = figure.subplots(1, 2)
    for axis, (name, value) in zip(axes, (("without", 0.0), ("with", margin)), strict=True):
        loss = losses.get("arcface", scale=scale, margin=value)
        embeddings, centres = _train_on_plane(loss, faces, labels)
        unit, centre = unit_embeddings(embeddings), unit_embeddings(centres)
        own = np.degrees(np.arccos(np.clip((unit * centre[labels]).sum(1), -1, 1)))
        numbers |= {f"angle_{name}": f"{own.mean():.1f}", f"angle_{name}_most": f"{own.max():.0f}"}
        axis.add_patch(mpl.patches.Circle((0, 0), 1, fill=False, color=FAINT))
        for person in range(people):
            mine = unit[labels == person]
            axis.plot(*mine.T, "o", color=COLOURS[person], markersize=4)
            axis.plot(*np.array([0 * centre[person], centre[person]]).T, color=INK, linewidth=1.5)
            x, y = 1.42 * centre[person]
            axis.imshow(
                faces[person * pictures][8:104, 8:104],
                extent=(x - 0.3, x + 0.3, y - 0.3, y + 0.3),
            )
        axis.set_xlim(-1.75, 1.75)
        axis.set_ylim(-1.65, 1.65)
        axis.set_axis_off()
        axis.set_title(f"{name} a margin")
    return figure, numbers


def _train_on_plane(
    loss: losses.MarginLoss, faces: NDArray[np.uint8], labels: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Train a network whose embeddings have two numbers, with Adam and the losses' reference."""
    people, hidden, steps = int(labels.max()) + 1, 48, 300
    pixels = faces.reshape(len(faces), 14, 8, 14, 8, 3).mean((2, 4)).reshape(len(faces), -1)
    pixels = (pixels - pixels.mean(0)) / pixels.std()
    mixing = np.random.default_rng(0).normal(0, pixels.shape[1] ** -0.5, (pixels.shape[1], hidden))
    features = np.tanh(pixels @ mixing)  # a layer that stays as it was drawn
    around = 2 * np.pi * np.arange(people) / people
    arrays = [
        np.random.default_rng(1).normal(0, 0.1, (hidden, 2)),
        np.stack([np.cos(around), np.sin(around)], 1),
    ]
    means, squares = [0 * each for each in arrays], [0 * each for each in arrays]
    for step in range(1, steps + 1):
        gradients = loss.evaluate(features @ arrays[0], arrays[1], labels).gradients
        rate = 0.05 * (1 - step / (steps + 1))
        for at, gradient in enumerate((features.T @ gradients["embeddings"], gradients["weight"])):
            means[at] = 0.9 * means[at] + 0.1 * gradient
            squares[at] = 0.99 * squares[at] + 0.01 * gradient**2
            mean, square = means[at] / (1 - 0.9**step), squares[at] / (1 - 0.99**step)
            arrays[at] = arrays[at] - rate * mean / (np.sqrt(square) + 1e-9)
    return features @ arrays[0], arrays[1]


def draw_target() -> tuple[Figure, Numbers]:
    """Draw the target logit over the angle, for several margins."""
    figure, axis = _one_panel()
    theta = np.linspace(0, 120, 241)
    at_40 = {}
    for margin, colour in ((0.0, FAINT), (0.2, COLOURS[0]), (0.5, COLOURS[1])):
        loss = losses.get("arcface", margin=margin)
        values = [_target(loss, angle) for angle in theta]
        label = f"margin {margin:g} ({np.degrees(margin):.0f}°)" if margin else "no margin"
        axis.plot(theta, values, color=colour, linewidth=2, label=label)
        at_40[margin] = _target(loss, 40)
        axis.plot([40], [at_40[margin]], "o", color=colour)
    axis.plot([40, 40], [at_40[0.0], at_40[0.5]], color=INK, linewidth=1, linestyle=":")
    axis.set_xlabel("angle to the own class, degrees")
    axis.set_ylabel("target logit / scale")
    axis.legend(frameon=False)
    return figure, {
        "target_40": f"{at_40[0.0]:.2f}",
        "target_40_margin": f"{at_40[0.5]:.2f}",
        "margin_degrees": f"{np.degrees(0.5):.1f}",
    }


def _target(loss: losses.MarginLoss, degrees: float) -> float:
    return loss.target(float(np.cos(np.radians(degrees))), 1.0, {}).value


def draw_scale() -> tuple[Figure, Numbers]:
    """Draw the loss over the angle for several scales, all other classes at a right angle."""
    classes, enough = 10_000, 0.1
    figure, axis = _one_panel()
    theta, numbers = np.linspace(0, 90, 181), {}
    for scale, margin, colour in (
        (4, 0.0, COLOURS[0]),
        (16, 0.0, COLOURS[1]),
        (64, 0.0, COLOURS[2]),
        (64, 0.5, INK),
    ):
        loss = losses.get("arcface", scale=scale, margin=margin)
        # The others' logits, all 0, add up to one of ln(classes - 1).
        others = math.log(classes - 1)
        values = [loss.reduce([scale * _target(loss, at), others], 0)[0] for at in theta]
        label = f"scale {scale}" + (f", margin {margin:g}" if margin else "")
        axis.plot(theta, values, "--" if margin else "-", color=colour, linewidth=2, label=label)
        if small := [angle for angle, value in zip(theta, values, strict=True) if value < enough]:
            numbers[f"enough_at_{scale}_{margin:g}"] = f"{max(small):.0f} degrees"
        else:
            numbers[f"least_at_{scale}"] = f"{values[0]:.1f}"
    axis.set_ylim(-0.4, 12)
    axis.set_xlabel("angle to the own class, degrees")
    axis.set_ylabel(f"loss, {classes:,} classes")
    axis.legend(frameon=False, loc="upper left")
    return figure, numbers


# --- verification.md


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


def read_people() -> tuple[Floats, NDArray[np.int64]]:
    """Return the embeddings [pictures, size] and whom each shows, from 0."""
    batches = list(read_embeddings(FOLDER / "embeddings.npz"))
    names = [Path(name).name for batch, _ in batches for name in batch]
    values = np.concatenate([each for _, each in batches]).astype(np.float64)
    order = np.argsort(names)
    numbers = np.array([int(names[at].split("_")[1]) - 1 - IDENTITIES for at in order])
    return values[order], numbers


def all_pairs() -> Pairs:
    """Compare every picture with every other."""
    embeddings, people = read_people()
    first, second = np.triu_indices(len(people), 1)
    scores = pair_scores(embeddings, first, second)
    return Pairs(first, second, scores, people[first] == people[second])


def face(row: int) -> NDArray[np.uint8]:
    """Draw the picture of a row of `read_people`."""
    _, people = read_people()
    shot = row - int(np.flatnonzero(people == people[row])[0])
    drawn = draw_pictures(0, IDENTITIES + int(people[row]), held_out=True)
    return next(islice(drawn, shot, None))[0]


def draw_pairs() -> tuple[Figure, Numbers]:
    """Draw genuine and impostor pairs with their scores, from easy to hard."""
    pairs = all_pairs()
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    top, bottom = figure.subfigures(2, 1, hspace=0.08)
    for part, kind, title, shares in (
        (top, pairs.same, "Genuine: two pictures of one person", (0.9, 0.5, 0.02)),
        (bottom, ~pairs.same, "Impostor: two people", (0.1, 0.5, 0.9995)),
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
    figure, axis = _one_panel()
    draw_scores(axis, pairs.result, pairs.scores, pairs.same)
    axis.set_title("", loc="left")
    axis.set_ylabel("share of its kind")
    axis.yaxis.set_major_locator(MultipleLocator(0.05))
    return figure, {"threshold": f"{pairs.result.threshold:.3f}"}


def draw_rates() -> tuple[Figure, Numbers]:
    """Draw FAR and FRR over the threshold."""
    pairs = all_pairs()
    figure, axis = _one_panel()
    thresholds = np.linspace(-0.4, 1, 281)
    far, frr = (
        np.array([np.mean(accepted(pairs, at)) for at in thresholds])
        for accepted in (
            lambda pairs, at: pairs.scores[~pairs.same] >= at,
            lambda pairs, at: pairs.scores[pairs.same] < at,
        )
    )
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
    figure, axis = _one_panel(height=3.9)
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


# --- identification.md

ENROLLED, OF_TEMPLATE = 20, 3  # people in the gallery, and pictures of each there


def draw_templates() -> tuple[Figure, Numbers]:
    """Draw TAR at a FAR of 1 % for templates of one, two and three pictures."""
    embeddings, people = read_people()
    each = embeddings.reshape(people.max() + 1, -1, embeddings.shape[1])  # [people, pictures, size]
    probes, whose = each[:, OF_TEMPLATE:].reshape(-1, each.shape[2]), np.arange(len(each))
    whose_probe = np.repeat(whose, each.shape[1] - OF_TEMPLATE)
    figure, axis = _one_panel(height=2.6)
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
    figure, axis = _one_panel()
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


def _one_panel(height: float = 3.3) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK)
    return figure, axis


Draw = Callable[[], tuple[Figure, Numbers]]
PICTURES: dict[str, dict[str, Draw]] = {
    "margin.md": {
        "plane.jpg": draw_plane,
        "target.png": draw_target,
        "scale.png": draw_scale,
    },
    "verification.md": {
        "pairs.jpg": draw_pairs,
        "scores.png": draw_histograms,
        "rates.png": draw_rates,
        "roc.png": draw_curve,
    },
    "identification.md": {
        "search.jpg": draw_search,
        "templates.png": draw_templates,
        "open_set.png": draw_open_set,
    },
}


def main() -> None:
    """Write all pictures, and numbers.json: what each page states."""
    numbers: dict[str, dict[str, Any]] = {}
    with mpl.rc_context(STYLE):
        for page, pictures in PICTURES.items():
            numbers[page] = {}
            for name, draw in pictures.items():
                figure, stated = draw()
                options = {"quality": 85} if name.endswith(".jpg") else {"optimize": True}
                figure.savefig(FOLDER / name, pil_kwargs=options)
                numbers[page] |= stated
    (FOLDER / "numbers.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
