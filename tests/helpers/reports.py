"""A report of two models on sets with names of all kinds: what its tests share."""

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from marginface.data.verification.folds import folds_of_both_kinds
from marginface.data.verification.pairs import Pairs
from marginface.evaluation.evaluate import distinct_images
from marginface.report.collect import Measured, Report, ReportModel, measure

HOSTILE = (
    "</script><script>hacked=1</script>",
    "<!--<script>",
    "<img src=x onerror=hacked=2>",
    "\" onmouseover='hacked=3'",
    "&lt;b&gt; $data ${hacked}",
    "an_identity_with_a_very_long_name_" * 6,
    "undecodable \udcff",
    "\x1b]0;title\x07 \u202egpj.exe\n$x_1$",
    "سلام 王",
)
TRAINING = {
    "step": [10.0, 20.0],
    "loss": [9.0, None],
    "lr": [0.1, 0.05],
    "batch_accuracy": [None, 0.25],
    "target_angle": [None, 1.5],
    "checked": [20.0],
    "accuracy": [0.9],
}


@dataclass(frozen=True)
class Drawn:
    """An `ImageSource` of one plain picture for each name."""

    root: Path = Path("drawn")

    def encoded(self, name: str) -> bytes:
        buffer = BytesIO()
        Image.new("RGB", (112, 112), colour_of(name)).save(buffer, "PNG")
        return buffer.getvalue()


def colour_of(name: str) -> tuple[int, int, int]:
    """Return a colour that tells names apart."""
    code = sum(map(ord, name)) * 7919
    return code % 251, code // 251 % 251, 128


def pairs_of(people: tuple[str, ...], name: str) -> Pairs:
    """Return all pairs of three images of each person, apart from many different ones."""
    images = [(person, f"{person}/{n}.jpg") for person in people for n in range(3)]
    listed = [
        (a, b, p == q)
        for at, (p, a) in enumerate(images)
        for q, b in images[at + 1 :]
        if p == q or (at + len(b)) % 3
    ]
    rng = np.random.default_rng(0)
    first, second, same = zip(*(listed[k] for k in rng.permutation(len(listed))), strict=True)
    truth = np.array(same)
    return Pairs(Drawn(), first, second, truth, folds_of_both_kinds(truth, 5), name)


def flat(pairs: Pairs, name: str) -> Pairs:
    """Return the pairs with names that tell no identity."""
    number = {image: f"{at:05d}" for at, image in enumerate(distinct_images(pairs))}
    first, second = (tuple(number[image] for image in side) for side in (pairs.first, pairs.second))
    return replace(pairs, first=first, second=second, name=name)


def measured(model: str, pairs: Pairs, spread: float) -> Measured:
    """Measure embeddings that lie around a direction of each person."""
    rng = np.random.default_rng(len(model))
    names = distinct_images(pairs)
    people = {name: rng.normal(size=8) for name in sorted({n.rpartition("/")[0] for n in names})}
    noise = rng.normal(size=(len(names), 8))
    directions = np.array([people[name.rpartition("/")[0]] for name in names])
    return measure(model, pairs, (directions + spread * noise).astype(np.float32))


def example() -> Report:
    """Return two models on three sets."""
    hostile = pairs_of(HOSTILE, "</select><b>set & co")
    sets = (pairs_of(("Ada", "Bo", "Cleo", "Dan"), "calm"), hostile, flat(hostile, "flat"))
    models = (ReportModel("good_model"), ReportModel('<i>bad</i> & "model"', TRAINING))
    spreads = (0.5, 1.2)
    return Report(
        models,
        sets,
        tuple(
            tuple(measured(model.name, pairs, spread) for pairs in sets)
            for model, spread in zip(models, spreads, strict=True)
        ),
    )
