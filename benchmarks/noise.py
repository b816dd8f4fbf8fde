"""What wrong labels do to losses, and what `marginface clean` finds of them.

    python benchmarks/noise.py lfw112 runs                       # days on two cores; resumable
    python benchmarks/noise.py lfw112 runs --way arcface --way filter --seeds 1
    python benchmarks/noise.py lfw112 runs --report

On View 1 of Labeled Faces in the Wild. A fifth of its training people is held out, with 6,000
pairs of right labels: the best checkpoint of a run is chosen on these. `--report` adds
pairsDevTest.txt, on which nothing is chosen. Of the other people's images a share goes to somebody
else, drawn by seed: to each other person with the same probability. A run that was stopped goes on;
what has been measured is read from the folder. Differences from arcface have intervals of 95 %,
which take both seeds and folds for drawn at random.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from fine_tuning import FIGURES, marginface, score, spread
from harness import show
from scipy import stats

RATE = ["--sample-rate", "0.3"]
FILTER = ["--interclass-filter", "0.4"]
# The filter was published together with a sample of the classes; here each is there alone, too.
WAYS: dict[str, list[str]] = {
    "arcface": ["--loss", "arcface"],
    "sub-centres": ["--loss", "subcenter_arcface", "--margin", "0.3"],  # as the recipe's arcface
    "filter": ["--loss", "arcface", *FILTER],
    "sampled": ["--loss", "arcface", *RATE],
    "filter, sampled": ["--loss", "arcface", *FILTER, *RATE],
    "uss": ["--loss", "uss"],
}
BASE = "arcface"
CLEANED = "sub-centres"  # whose runs `clean` looks at
ANGLES = (60, 70, 75, 80)  # degrees, above which an image is taken for noise


def main(
    faces: Annotated[Path, typer.Argument(help="Folder with train, test, pairsDevTest.txt.")],
    runs: Annotated[Path, typer.Argument(help="Folder to create, or to go on in.")],
    way: Annotated[list[str] | None, typer.Option(help="One of them; repeat for more.")] = None,
    noise: Annotated[list[float] | None, typer.Option(help="Shares; 0 and 0.3 for none.")] = None,
    seeds: int = 3,
    epochs: int = 6,
    backend: str = "torch",
    threads: int = 2,
    option: Annotated[
        list[str] | None, typer.Option(help="Of train, such as lr=0.05; resize= goes to all.")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Score pairsDevTest.txt, too.")] = False,
) -> None:
    """Train each way with each seed and share of wrong labels; show what it scores."""
    shares = [_whole_percent(each) for each in noise or (0.0, 0.3)]
    runs.mkdir(exist_ok=True)
    settings, kept = {"epochs": epochs, "options": sorted(option or ())}, runs / "settings.json"
    if kept.exists() and json.loads(kept.read_text("utf-8")) != settings:
        raise typer.BadParameter(f"{runs} has runs of {kept.read_text('utf-8')}; name a new folder")
    kept.write_text(json.dumps(settings), encoding="utf-8")
    parts = runs / "parts"
    if not parts.exists():
        options = ["--fraction", 0.2, "--pairs", 6000]
        marginface("data", "split", faces / "train", "--output", parts, *options)
    more = [word for each in option or () for word in _as_option(each)]
    resize = [
        word for each in option or () if each.startswith("resize=") for word in _as_option(each)
    ]
    held_out = ["--images", parts / "validation", "--pairs", parts / "pairs.txt"]
    sets = {"held out": [*held_out, *resize]}
    if report:
        of_test = ["--images", faces / "test", "--pairs", faces / "pairsDevTest.txt"]
        sets["View 1"] = [*of_test, *resize]
    rows, gains, found = [], [], []
    for share in shares:
        of_base: dict[str, list[list[float]]] = {}
        for name in sorted(way or WAYS, key=lambda each: each != BASE):  # what is compared with
            models = []
            for seed in range(seeds):
                data = flipped(parts / "train", share, seed, runs)
                run = runs / f"{name}, {share:.0%} wrong, {backend}, {seed}"
                train = ["--backend", backend, "--threads", threads, "--recipe", "small-set"]
                train += ["--data", data, "--output", run, "--seed", seed, "--epochs", epochs]
                if not (run / "finished").exists():
                    if (run / "config.yaml").exists():
                        marginface("train", "--output", run, "--resume")
                    else:
                        best = ["--keep-best", "accuracy"]
                        marginface("train", *train, *WAYS[name], *more, *best, *held_out)
                    (run / "finished").touch()
                models.append(run)
                if name == CLEANED and share:
                    found += [(seed, *each) for each in cleaned(run, data, runs, resize)]
            for called, where in sets.items():
                figures = [score(path, called, where, runs, threads) for path in models]
                said = (spread([each[of] for each in figures]) for of in FIGURES)
                rows.append((name, f"{share:.0%}", called, *said))
                folds = [each["fold_accuracies"] for each in figures]
                if name == BASE:
                    of_base[called] = folds
                elif called in of_base:
                    gains.append(
                        (name, f"{share:.0%}", called, *difference(folds, of_base[called]))
                    )
    words = ("way", "wrong", "pairs")
    show("Wrong labels, mean and standard deviation of the seeds", words, FIGURES, rows)
    if gains:
        show(f"Accuracy less {BASE}'s, in points", words, ("mean", "low", "high"), gains)
    if found:
        numbers = ("degrees", "dropped", "precision", "recall")
        show("What clean finds of the wrong labels", ("seed",), numbers, found)


def flipped(train: Path, share: float, seed: int, runs: Path) -> Path:
    """Link all images into a folder where a share of them lies with somebody else; return it."""
    if not share:
        return train
    folder = runs / f"{share:.0%} wrong, {seed}"
    if folder.exists():
        return folder
    draw, images = (
        random.Random(seed),
        sorted(train.glob("[!.]*/[!.]*")),
    )  # not what marks the folder
    people = sorted({image.parent.name for image in images})
    wrong = set(draw.sample(range(len(images)), round(share * len(images))))
    making = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(making, ignore_errors=True)
    for number, image in enumerate(images):
        person = image.parent.name
        if number in wrong:
            person = draw.choice([each for each in people if each != person])
        place = making / person / f"{image.parent.name}--{image.name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(image)
    making.rename(folder)  # whole, or not there
    return folder


def cleaned(run: Path, data: Path, runs: Path, resize: Sequence[str]) -> list[tuple[object, ...]]:
    """Return what a run's last weights take for wrong, for each largest angle.

    These are how many images are dropped, and precision and recall of the wrong ones.
    """
    table = runs / f"clean of {run.name}.csv"
    if not table.exists():
        marginface("clean", "--model", run, "--data", data, "--output", table, *resize)
    with table.open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    return [(angle, *of_angle(read, angle)) for angle in ANGLES]


def of_angle(rows: Sequence[dict[str, str]], largest: float) -> tuple[int, str, str]:
    """Count what a largest angle drops; return it, its precision and its recall in percent.

    >>> rows = [{"path": f"a/{real}--1.jpg", "identity": "a", "angle": at} for real, at in
    ...         (("a", "30"), ("b", "95"), ("a", "80"), ("c", "40"))]
    >>> of_angle(rows, 75)
    (2, '50.0', '50.0')
    """
    wrong = [not Path(row["path"]).name.startswith(f"{row['identity']}--") for row in rows]
    dropped = [float(row["angle"]) > largest for row in rows]
    hits = sum(w and d for w, d in zip(wrong, dropped, strict=True))
    precision, recall = (100 * hits / max(sum(each), 1) for each in (dropped, wrong))
    return sum(dropped), f"{precision:.1f}", f"{recall:.1f}"


def difference(own: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> tuple[str, ...]:
    """Return the mean of own - base and its interval of 95 %, in points.

    The variance is that of a mean over seeds and of one over folds; Student's t has the degrees of
    freedom that Welch and Satterthwaite give it.

    Args:
        own: accuracies, [seeds, folds].
        base: accuracies with the same seeds on the same folds.

    >>> difference([[0.92, 0.95], [0.94, 0.96]], [[0.90, 0.92], [0.91, 0.93]])
    ('2.75', '1.23', '4.27')
    >>> difference([[0.92, 0.95]], [[0.90, 0.92]])  # one seed says nothing of others
    ('2.50', '-', '-')
    """
    points = 100 * (np.array(own) - np.array(base))
    if len(points) == 1:
        return f"{points.mean():.2f}", "-", "-"
    means = [points.mean(1), points.mean(0)]  # of seeds, of folds
    parts = np.array([np.var(each, ddof=1) / len(each) for each in means])
    freedom = parts.sum() ** 2 / sum(p**2 / (len(m) - 1) for p, m in zip(parts, means, strict=True))
    half = stats.t.ppf(0.975, freedom) * parts.sum() ** 0.5
    return tuple(f"{points.mean() + way * half:.2f}" for way in (0, -1, 1))


def _whole_percent(share: float) -> float:
    """Return a share of wrong labels, which names folders and rows."""
    if not 0 <= share < 1 or f"{share:.0%}" != f"{100 * share:g}%":
        raise typer.BadParameter(f"--noise {share:g}: expected 0 or a whole percent below 1")
    return share


def _as_option(given: str) -> list[str]:
    name, _, value = given.partition("=")
    return [f"--{name.replace('_', '-')}", value]


if __name__ == "__main__":
    typer.run(main)
