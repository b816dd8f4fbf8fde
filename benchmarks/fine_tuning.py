"""What fine-tuning public weights gives, on many people and on 20, beside training from scratch.

    python benchmarks/fine_tuning.py lfw112 mobilefacenet_casia_112x96.ckpt runs     # hours
    python benchmarks/fine_tuning.py lfw112 mobilefacenet_casia_112x96.ckpt runs --report

On View 1 of Labeled Faces in the Wild. A fifth of its training people is held out, with 6,000
pairs: ways, rates and the best checkpoint of a run are chosen on these. `--report` adds what the
kept checkpoints score on pairsDevTest.txt, on which nothing is chosen. Each seed draws its own 20
people. A run that was stopped goes on; what has been measured is read from the folder.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated

import typer
from harness import show

from marginface.runs.chosen import find_best

NETWORK = ["--backbone", "mobilefacenet", "--embedding-size", "128", "--std", "128"]
CROP = ["--crop", "0,8,112,96"]
BEST = ["--keep-best", "accuracy"]
TUNED = [*BEST, "--init-head", "centers", "--frozen-statistics", "--lr", "0.003"]
PUBLIC = "the weights as they are"
# Of how many people (None: all), whether from the weights, and the options.
WAYS: dict[str, tuple[int | None, bool, list[str]]] = {
    "all, from scratch": (None, False, [*BEST, "--epochs", "5", "--val-every", "250"]),
    "all, fine-tuned": (None, True, [*TUNED, "--epochs", "3", "--val-every", "153"]),
    "20, from scratch": (20, False, [*BEST, "--epochs", "40", "--val-every", "60"]),
    "20, as from scratch": (20, True, ["--lr", "0.01", "--epochs", "4", "--val-every", "10"]),
    "20, fine-tuned": (20, True, [*TUNED, "--epochs", "20", "--val-every", "40"]),
}
FIGURES = ("accuracy", "best_accuracy", "auc", "eer")  # the second: at one threshold
ENOUGH = 5  # images of somebody who may be one of 20


def main(
    faces: Annotated[Path, typer.Argument(help="Folder with train, test, pairsDevTest.txt.")],
    weights: Annotated[Path, typer.Argument(help="Weights of mobilefacenet for 112 x 96.")],
    runs: Annotated[Path, typer.Argument(help="Folder to create, or to go on in.")],
    way: Annotated[list[str] | None, typer.Option(help="One of them; repeat for more.")] = None,
    seeds: int = 3,
    backend: str = "torch",
    threads: int = 1,
    report: Annotated[bool, typer.Option("--report", help="Score pairsDevTest.txt, too.")] = False,
) -> None:
    """Train each way with each seed, and show what the kept weights score."""
    runs.mkdir(exist_ok=True)
    parts, public = runs / "parts", runs / "public.onnx"
    if not parts.exists():
        options = ["--fraction", 0.2, "--pairs", 6000]
        marginface("data", "split", faces / "train", "--output", parts, *options)
    if not public.exists():
        as_read = ["--weights", weights, "--input-size", "112,96"]
        marginface("export", *as_read, *NETWORK, *CROP, "--output", public)
    held_out = ["--images", parts / "validation", "--pairs", parts / "pairs.txt"]
    sets = {"held out": held_out}
    if report:
        sets["View 1"] = ["--images", faces / "test", "--pairs", faces / "pairsDevTest.txt"]

    models: dict[str, list[Path]] = {PUBLIC: [public]}
    for name in way or WAYS:
        people, tuned, options = WAYS[name]
        for seed in range(seeds):
            data = parts / "train" if people is None else draw(parts / "train", people, seed, runs)
            run = runs / f"{name}, {backend}, {seed}"
            models.setdefault(f"{name}, {backend}", []).append(run)
            if (run / "finished").exists():
                continue
            if (run / "config.yaml").exists():
                marginface("train", "--output", run, "--resume")
            else:
                marginface(
                    *("train", "--backend", backend, "--threads", threads, "--recipe", "small-set"),
                    *("--data", data, "--output", run, "--seed", seed),
                    *(*NETWORK, *CROP, *(["--init", weights] if tuned else []), *options),
                    *held_out,
                )
            (run / "finished").touch()
    rows = []
    for name, paths in models.items():
        for called, where in sets.items():
            figures = [score(path, called, where, runs, threads) for path in paths]
            rows.append((name, called, *(spread([each[of] for each in figures]) for of in FIGURES)))
    show("Fine-tuning, mean and standard deviation of the seeds", ("way", "pairs"), FIGURES, rows)


def marginface(*arguments: object) -> None:
    """Run a command as a user does, saying which."""
    command = ["marginface", *map(str, arguments)]
    print(*command, file=sys.stderr)
    subprocess.run([sys.executable, "-m", *command], check=True)


def draw(train: Path, count: int, seed: int, runs: Path) -> Path:
    """Copy the images of some people, drawn by seed, to a folder; return it."""
    folder = runs / f"{count} people, {seed}"
    if not folder.exists():
        able = [each for each in sorted(train.iterdir()) if len(list(each.glob("*.jpg"))) >= ENOUGH]
        for person in random.Random(seed).sample(able, count):
            shutil.copytree(person, folder / person.name)
    return folder


def score(
    model: Path, called: str, where: Sequence[object], runs: Path, threads: int
) -> dict[str, float]:
    """Return what `evaluate` measures of a model, which is measured once."""
    output = runs / f"scores of {model.stem} on {called}"
    if not output.exists():
        kept = model.is_dir() and find_best(model / "checkpoints") is not None
        best = ["--checkpoint", "best"] if kept else []
        given = [*best, *where, "--threads", threads, "--output", output]
        marginface("evaluate", "--model", model, *given)
    figures: dict[str, float] = json.loads((output / "metrics.json").read_text())
    return figures


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation, in percent.

    >>> spread([0.98, 0.99, 1.0]), spread([0.5])
    ('99.00 ± 1.00', '50.00')
    """
    mean = f"{100 * fmean(values):.2f}"
    return f"{mean} ± {100 * stdev(values):.2f}" if len(values) > 1 else mean


if __name__ == "__main__":
    typer.run(main)
