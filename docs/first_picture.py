"""Draw README's picture: what the demo's model says of people it was not trained on.

marginface demo && python docs/first_picture.py demo-torch docs/first.jpg
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from marginface import backbones
from marginface.backend import load_backend
from marginface.data.images import read_image
from marginface.data.verification.pairs import Pairs, read_pairs
from marginface.embeddings.embedder import open_embedder
from marginface.evaluation.curves import DIFFERENT, SAME
from marginface.evaluation.evaluate import embed_pairs, score_pairs
from marginface.runs.folder import load_run

SHOWN = 4  # pairs of a kind: the first of the list whose people are not shown yet
COLOURS = {True: SAME, False: DIFFERENT}
NAMES = {True: "one person", False: "two people"}
BINS = np.linspace(-0.8, 1, 73).tolist()


def draw(demo: Path, output: Path) -> None:
    """Write the picture of a finished demo."""
    faces = demo / "faces"
    pairs = read_pairs(faces / "pairs.txt", faces / "test")
    scores = score_pairs(pairs, embed_pairs(open_embedder(demo / "model.onnx"), pairs)).scores
    before = score_pairs(pairs, embed_pairs(_untrained(demo), pairs)).scores

    matplotlib.rcParams["font.size"] = 13
    figure = Figure(figsize=(13, 3.7), dpi=110, facecolor="white")
    left = figure.add_gridspec(
        2, SHOWN, left=0.005, right=0.655, top=0.82, bottom=0.01, wspace=0.06, hspace=0.5
    )
    right = figure.add_gridspec(2, 1, left=0.69, right=0.99, top=0.92, bottom=0.14, hspace=0.45)
    for row, same in enumerate((True, False)):
        for place, index in enumerate(_first_pairs(pairs, same)):
            shown = [
                read_image(faces / "test" / name[index]) for name in (pairs.first, pairs.second)
            ]
            axes = figure.add_subplot(left[row, place])
            axes.imshow(np.hstack(shown))
            axes.set_axis_off()
            axes.set_title(f"{scores[index]:.2f}", pad=3, color=COLOURS[same])
        figure.text(0.005, 0.94 - 0.5 * row, f"{NAMES[same]}: cosine after training")
    for row, (title, values) in enumerate((("before training", before), ("after", scores))):
        _histogram(figure.add_subplot(right[row]), title, values, pairs.same)
    figure.savefig(output, pil_kwargs={"quality": 90})


def _histogram(
    axes: Axes, title: str, scores: NDArray[np.float64], same: NDArray[np.bool_]
) -> None:
    for kind in (True, False):
        axes.hist(scores[same == kind], BINS, color=COLOURS[kind], alpha=0.75, label=NAMES[kind])
    axes.set_title(title, loc="left", pad=4)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    if title == "after":
        axes.set_xlabel(f"cosines of {len(scores):,} pairs")
    else:
        axes.legend(frameon=False, loc="upper left")


def _first_pairs(pairs: Pairs, same: bool) -> list[int]:
    """Return the first pairs of a kind in which nobody is shown twice."""
    chosen: list[int] = []
    seen: set[str] = set()
    for index in np.flatnonzero(pairs.same == same):
        people = {name.split("/")[0] for name in (pairs.first[index], pairs.second[index])}
        if not people & seen:
            chosen.append(int(index))
            seen |= people
    return chosen[:SHOWN]


def _untrained(demo: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return the embedder of the weights that the demo's run began with."""
    run = load_run(demo / "run")
    graph = run.spec.graph()
    weights = backbones.initial_weights(graph, run.config["seed"])
    embed = load_backend(run.config["backend"]).create_embedder(run.spec, weights)
    return lambda pixels: np.asarray(embed(run.spec.preprocessing(pixels)), np.float32)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
