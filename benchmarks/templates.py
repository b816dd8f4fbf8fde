"""Template pairs at IJB-C's size: scores and TAR at FAR against plain loops and scikit-learn.

python benchmarks/templates.py --rounds 3

Everything is synthetic: 469,375 images of 3,531 people, 23,124 templates, 15,658,489 pairs. Each
rival runs in a process of its own, which tells its processors' time and its peak memory; rounds
take turns. All read the pairs with marginface's reader. `command` is `marginface templates` whole,
from a gigabyte of embeddings.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import typer
from harness import run, show, spread, write
from sklearn.metrics import roc_curve

from marginface.embeddings.files import embeddings_table
from marginface.evaluation.template_files import read_template_pairs
from marginface.evaluation.template_verification import (
    FAR_TARGETS,
    score_pairs,
    verify_templates,
)
from marginface.evaluation.templates import Templates

IMAGES, SUBJECTS, SIZE = 469_375, 3_531, 512
TEMPLATES, PAIRS, SAME_PAIRS = 23_124, 15_658_489, 19_557
Tars = dict[str, float]

app = typer.Typer()


@app.command()
def compare(rounds: int = 3, folder: Path | None = None, output: Path | None = None) -> None:
    """Time all rivals; print ratios, spread and peak memory."""
    with tempfile.TemporaryDirectory() as temporary:
        where = folder or Path(temporary)
        where.mkdir(exist_ok=True)
        if not (where / "pairs.txt").exists():
            make(where)
        results_of: dict[str, list[dict]] = {name: [] for name in RIVALS}
        for _ in range(rounds):
            for name, results in results_of.items():
                results.append(run(__file__, "one", name, where))
                print(name, results[-1], file=sys.stderr)
        exact = run(__file__, "one", "check", where)
    seconds = {name: [each["seconds"] for each in results] for name, results in results_of.items()}
    rows = [
        (
            name,
            f"{np.median(seconds[name]):.1f}",
            *spread(seconds, "loop", name),
            f"{np.median([each['processor_seconds'] for each in results]):.1f}",
            f"{max(each['peak_gb'] for each in results):.2f}",
            f"{results[0]['tar']['1e-6']:.4%}",
        )
        for name, results in results_of.items()
    ]
    show(
        f"{PAIRS:,} pairs of {TEMPLATES:,} templates, {SIZE} numbers each",
        ("way",),
        ("seconds", "ratio", "smallest", "largest", "CPU s", "GB", "TAR at 1e-6"),
        rows,
    )
    print(f"TAR at FAR: {exact['tar']}")
    print(f"equal to scikit-learn's on the same scores: {exact['equal']}")
    print(f"largest change of a TAR if scores are float32: {exact['float32']:.2e}")
    write(output, found=results_of, exact=exact)


@app.command()
def one(name: str, folder: Path) -> None:
    """Run one rival and print what it takes as JSON."""
    start = time.perf_counter()
    result = {"tar": RIVALS[name](folder)} if name in RIVALS else check(folder)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result["processor_seconds"] = usage.ru_utime + usage.ru_stime
    result["seconds"] = time.perf_counter() - start
    result["peak_gb"] = usage.ru_maxrss / 1e6
    print(json.dumps(result))


def make(folder: Path) -> None:
    """Write embeddings, media, detector scores, pooled templates and pairs."""
    rng = np.random.default_rng(0)
    people = rng.normal(size=(SUBJECTS, SIZE)).astype(np.float32)
    subject = rng.integers(0, SUBJECTS, TEMPLATES)
    template = np.sort(
        np.append(np.arange(TEMPLATES), rng.integers(0, TEMPLATES, IMAGES - TEMPLATES))
    )
    medium = template * 100 + rng.integers(0, 8, IMAGES)
    with pq.ParquetWriter(
        folder / "embeddings.parquet", embeddings_table(["a"], people[:1]).schema
    ) as file:
        for at in range(0, IMAGES, 16_384):
            of = template[at : at + 16_384]
            noise = rng.normal(size=(len(of), SIZE)).astype(np.float32) * 8
            names = [f"{at + row + 1}.jpg" for row in range(len(of))]
            file.write_table(embeddings_table(names, people[subject[of]] + noise))
    lines = (f"{row + 1}.jpg {template[row] + 1} {medium[row]}\n" for row in range(IMAGES))
    (folder / "media.txt").write_text("".join(lines))
    points = "9.5 " * 10
    weights = rng.uniform(0.7, 1, IMAGES)
    lines = (f"{row + 1}.jpg {points}{weights[row]:.6f}\n" for row in range(IMAGES))
    (folder / "scores.txt").write_text("".join(lines))
    unit = people[subject] + rng.normal(size=(TEMPLATES, SIZE)) * 1.8
    np.save(folder / "unit.npy", unit / np.linalg.norm(unit, axis=1, keepdims=True))
    first = np.sort(rng.integers(0, SUBJECTS, PAIRS))
    second = rng.integers(SUBJECTS, TEMPLATES, PAIRS)
    members = [np.flatnonzero(subject == each) for each in range(SUBJECTS)]
    for at in rng.choice(PAIRS, SAME_PAIRS, replace=False):
        second[at] = rng.choice(members[subject[first[at]]])
    same = (subject[first] == subject[second]).astype(np.int8)
    table = pa.table({"first": first + 1, "second": second + 1, "same": same})
    plain = pa.csv.WriteOptions(include_header=False, delimiter=" ")
    pa.csv.write_csv(table, folder / "pairs.txt", plain)


def marginface(folder: Path) -> Tars:
    templates = _templates(folder)
    pair_scores = score_pairs(templates, read_template_pairs(folder / "pairs.txt"), "pairs")
    rates = verify_templates(templates, pair_scores).tar_at_far
    return {target: at.rate for target, at in rates.items()}


def loop(folder: Path) -> Tars:
    """Score pair by pair, then roc_curve."""
    unit, first, second, same = _plain(folder)
    scores = np.empty(len(same))
    for at in range(len(same)):
        scores[at] = unit[first[at]] @ unit[second[at]]
    return _scikit_learn(scores, same)


def blocks(folder: Path) -> Tars:
    """Score in blocks of 100,000 pairs, multiplied and summed, as public IJB code does."""
    unit, first, second, same = _plain(folder)
    scores = np.empty(len(same))
    for at in range(0, len(same), 100_000):
        here = slice(at, at + 100_000)
        scores[here] = np.sum(unit[first[here]] * unit[second[here]], -1)
    return _scikit_learn(scores, same)


def command(folder: Path) -> Tars:
    """The whole of `marginface templates`, from the files to metrics.json."""
    from marginface.cli.app import app

    files = {
        "--embeddings": "embeddings.parquet",
        "--media": "media.txt",
        "--scores": "scores.txt",
        "--pairs": "pairs.txt",
        "--output": "out",
    }
    options = [word for option, name in files.items() for word in (option, str(folder / name))]
    app(["templates", *options], standalone_mode=False)
    tars: Tars = json.loads((folder / "out" / "metrics.json").read_text())["tar_at_far"]
    return tars


def check(folder: Path) -> dict:
    """Compare with scikit-learn on the very same scores, and with scores rounded to float32."""
    templates = _templates(folder)
    pair_scores = score_pairs(templates, read_template_pairs(folder / "pairs.txt"), "pairs")
    rates = verify_templates(templates, pair_scores).tar_at_far
    ours = {target: at.rate for target, at in rates.items()}
    theirs = _scikit_learn(pair_scores.score, pair_scores.same)
    rounded = _scikit_learn(pair_scores.score.astype(np.float32), pair_scores.same)
    change = max(abs(rounded[target] - tar) for target, tar in ours.items())
    return {
        "tar": {t: str(at) for t, at in rates.items()},
        "equal": ours == theirs,
        "float32": change,
    }


def _templates(folder: Path) -> Templates:
    unit = np.load(folder / "unit.npy")
    quality = np.random.default_rng(1).random(TEMPLATES).astype(np.float32)
    return Templates(np.arange(1, TEMPLATES + 1), unit, quality)


def _plain(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    parts = list(read_template_pairs(folder / "pairs.txt"))
    first, second = (np.concatenate([getattr(p, n) for p in parts]) for n in ("first", "second"))
    same = np.concatenate([part.same for part in parts])
    return np.load(folder / "unit.npy"), first - 1, second - 1, same


def _scikit_learn(scores: np.ndarray, same: np.ndarray) -> Tars:
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    return {target: float(tar[far <= float(target)].max()) for target in FAR_TARGETS}


RIVALS: dict[str, Callable[[Path], Tars]] = {
    "loop": loop,
    "blocks": blocks,
    "marginface": marginface,
    "command": command,
}

if __name__ == "__main__":
    app()
