"""Nearest neighbours in a gallery of a million: marginface with faiss and with NumPy, and rivals.

python benchmarks/search.py compare --rounds 3

`one product` is the least that an exact search computes: the cosines, in blocks, by NumPy's matrix
product alone, from which nothing is chosen. `one by one` is what a loop over probes does. Each runs
in a process of its own, from a gallery of normal numbers that a file holds; rounds take turns.
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import typer
from harness import run, show, spread, write

from marginface.serving.search import Engine, NearestSearch

SIZE, TOP = 512, 10
ONE_BY_ONE = 8  # probes that the loop is timed with

app = typer.Typer()


@app.command()
def compare(
    entries: int = 1_000_000,
    probes: int = 512,
    threads: int = 2,
    rounds: int = 3,
    output: Path | None = None,
) -> None:
    """Time all ways; print milliseconds a probe, ratios, spread and peak memory."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    results_of: dict[str, list[dict]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make(folder, entries, probes)
        for _ in range(rounds):
            for name, results in results_of.items():
                results.append(run(__file__, "one", name, folder, threads))
    times = {name: [each["ms"] for each in results] for name, results in results_of.items()}
    rows = [
        (
            name,
            f"{np.median(times[name]):.1f}",
            *spread(times, "one product", name),
            f"{np.median([each['cpu_ms'] for each in results]):.1f}",
            f"{max(each['peak_gb'] for each in results):.1f}",
        )
        for name, results in results_of.items()
    ]
    show(
        f"{probes} probes, {entries:,} x {SIZE}, the nearest {TOP}, {threads} threads",
        ("way",),
        ("ms a probe", "ratio", "smallest", "largest", "CPU ms", "GB"),
        rows,
    )
    found = [results_of[name][0]["found"] for name in ("faiss", "numpy")]
    print(f"faiss and NumPy give the same answers: {found[0] == found[1]}")
    write(output, found=results_of)


@app.command()
def one(name: str, folder: Path, threads: int) -> None:
    """Run one way and print what it takes as JSON."""
    gallery, probes = (np.load(folder / f"{each}.npy") for each in ("gallery", "probes"))
    result = WAYS[name](gallery, probes, threads)
    result["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps(result))


def make(folder: Path, entries: int, probes: int) -> None:
    """Write a gallery, and probes of which each is near to an entry."""
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((entries, SIZE), np.float32)
    near = gallery[rng.integers(0, entries, probes)]
    np.save(folder / "gallery.npy", gallery)
    np.save(folder / "probes.npy", near + rng.standard_normal(near.shape, np.float32))


def timed(probes: int, search: Callable[[], Any]) -> dict:
    """Return what a search finds, and how long it takes a probe."""
    start, cpu = time.perf_counter(), time.process_time()
    found = search()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    return {"ms": 1000 * seconds / probes, "cpu_ms": 1000 * cpu_seconds / probes, "found": found}


def with_engine(engine: Engine) -> Callable[[np.ndarray, np.ndarray, int], dict]:
    def search(gallery: np.ndarray, probes: np.ndarray, threads: int) -> dict:
        searched = NearestSearch(gallery, threads=threads, engine=engine)
        searched.nearest(probes[:1])
        result = timed(len(probes), lambda: searched.nearest(probes, TOP))
        found = result["found"]
        return result | {"found": [found.index.tolist(), found.score.tolist()]}

    return search


def one_product(gallery: np.ndarray, probes: np.ndarray, _: int) -> dict:
    def search() -> None:
        for at in range(0, len(gallery), 8192):
            probes @ gallery[at : at + 8192].T

    return timed(len(probes), search)


def one_by_one(gallery: np.ndarray, probes: np.ndarray, _: int) -> dict:
    def search() -> None:
        for probe in probes[:ONE_BY_ONE]:
            np.argsort(-(gallery @ probe))[:TOP]

    return timed(ONE_BY_ONE, search)


WAYS: dict[str, Callable[[np.ndarray, np.ndarray, int], dict]] = {
    "one product": one_product,
    "one by one": one_by_one,
    "faiss": with_engine("faiss"),
    "numpy": with_engine("numpy"),
}

if __name__ == "__main__":
    app()
