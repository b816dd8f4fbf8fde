"""QMagFace's score: by hand, its fit against a literal one, and `evaluate --score qmagface`."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import roc_curve

from marginface import MarginfaceError
from marginface.evaluation.qmagface import FARS, QMagFace, fit_qmagface

POOLED = """<ir_version: 8, opset_import: ["": 17]>
tiny (float[N, 3, 112, 112] x) => (float[N, 12] y) {
    p = AveragePool<kernel_shape = [56, 56], strides = [56, 56]>(x) f = Flatten(p) %s }"""
GIVEN = ("--score", "qmagface", "--score-parameters", "alpha=0.4,beta=4e-1")


def drawn(seed: int, count: int = 1500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cosines that are higher for clear images of one person, flags and norms."""
    rng = np.random.default_rng(seed)
    same = np.arange(2 * count) % 2 == 0
    quality = rng.uniform(10, 40, 2 * count)
    cosines = np.where(same, 0.15 + 0.012 * quality, 0) + rng.normal(0, 0.13, 2 * count)
    return cosines.clip(-1, 1), same, quality


def literal(
    cosines: np.ndarray, same: np.ndarray, quality: np.ndarray, low: float, *, sigmoid: bool
) -> tuple[float, float]:
    """Return alpha and beta by scikit-learn's ROC curves, a rate and a weight after the other."""
    points = []
    end = 0.5 / quality.max()
    curves = {}
    for weight in np.linspace(-end, end, 20):
        curves[weight] = roc_curve(same, cosines + weight * quality, drop_intermediate=False)
    rates = [low * (1e-2 / low) ** (step / 49) for step in range(49)] + [1e-2]
    for rate in rates:
        best = (2.0, 0.0, 0.0)
        for weight, (far, tar, threshold) in curves.items():
            highest = tar[far < rate].max()
            at = threshold[(far < rate) & (tar == highest)][0]
            if 1 - highest < best[0]:
                best = (1 - highest, at, weight)
        points.append(best[1:])
    at, weights = np.array(points).T
    at = 1 / (1 + np.exp(-at)) if sigmoid else at
    beta, shift = np.polyfit(at, weights, 1)
    return -shift, beta


def test_by_hand() -> None:
    score = QMagFace(alpha=0.25, beta=0.5)
    # Weights: 0.5 * 0.25 - 0.25 = -0.125; 0 from a cosine of 0.5 up; -0.5 at -0.5.
    found = score.scores([0.25, 0.5, 0.75, -0.5], [8.0, 8.0, 8.0, 2.0])
    assert found.tolist() == [0.25 - 1, 0.5, 0.75, -0.5 - 1]
    assert score.to_json() == {"name": "qmagface", "alpha": 0.25, "beta": 0.5}


@pytest.mark.parametrize("fit_on", ["score", "sigmoid"])
@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_a_literal_one(seed: int, fit_on: str) -> None:
    cosines, same, quality = drawn(seed)
    found = fit_qmagface(cosines, same, quality, fit_on=fit_on, fitted_on="drawn")
    low = 1 / 1500  # which is what so many different pairs can show
    assert found.fars == (pytest.approx(low), FARS[1])
    wanted = literal(cosines, same, quality, low, sigmoid=fit_on == "sigmoid")
    assert (found.alpha, found.beta) == pytest.approx(wanted, rel=1e-9)
    assert (found.fit_on, found.fitted_on) == (fit_on, "drawn")


def test_the_fit_helps_on_other_pairs() -> None:
    score = fit_qmagface(*drawn(0, 20_000), fit_on="score")
    cosines, same, quality = drawn(1, 20_000)
    accepted = []
    for values in (cosines, score.scores(cosines, quality)):
        accepted.append(np.mean(values[same] > np.quantile(values[~same], 0.99)))
    assert accepted[1] > accepted[0] + 0.01


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c, s, q: (c[:1000], s[:1000], q[:1000]), "500 different pairs are too few"),
        (lambda c, s, q: (c, s, q * 0 + 1), "all embeddings have one norm"),
        (lambda c, s, q: (c, s, q[:-1]), "quality must be"),
        (lambda c, s, q: (c, s, q * 0), "quality must be norms, above 0"),
        (lambda c, s, q: (np.where(s, -1, 1) * (1 + 0 * c), s, q), "no same pair scores above"),
        (lambda c, s, q: (np.where(s, 1, -1) * (1 + 0 * c), s, q), "there is no line to fit"),
        (lambda c, s, q: (c * np.nan, s, q), "scores are NaN"),
    ],
)
def test_the_fit_refuses(change, said: str) -> None:
    with pytest.raises(MarginfaceError, match=said) as error:
        fit_qmagface(*change(*drawn(0)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"alpha": "a", "beta": 1.0}, "alpha must be a number, got 'a'"),
        ({"alpha": 1.0, "beta": float("inf")}, "beta must be finite, got inf"),
    ],
)
def test_its_numbers_are_checked(values: dict, said: str) -> None:
    with pytest.raises(MarginfaceError, match=said):
        QMagFace(**values)


def test_the_fit_refuses_rates_and_choices() -> None:
    with pytest.raises(MarginfaceError, match="fars must be two rates"):
        fit_qmagface(*drawn(0), fars=(1e-5, 1e-4))
    with pytest.raises(MarginfaceError, match="unknown fit_on 'cosine'"):
        fit_qmagface(*drawn(0), fit_on="cosine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return pictures of some people, lists of pairs, and models that keep norms or do not."""
    folder = tmp_path_factory.mktemp("qmagface")
    for name, end in (("m", "y = Identity(f)"), ("unit", "y = LpNormalization <axis = 1> (f)")):
        onnx.save(onnx.parser.parse_model(POOLED % end), folder / f"{name}.onnx")
    rng = np.random.default_rng(1)
    (folder / "images").mkdir()
    for person in range(36):
        own = rng.integers(0, 256, (4, 4, 3))
        for picture in (1, 2):
            noise = rng.integers(-1, 2, (4, 4, 3)) * int(rng.integers(5, 90))
            noisy = (own + noise).clip(0, 255).astype(np.uint8)
            path = folder / "images" / f"{person}_{picture}.png"
            Image.fromarray(noisy.repeat(28, 0).repeat(28, 1)).save(path)
    for name, people in (("fit", range(24)), ("test", range(24, 36)), ("few", range(6))):
        pictures = [f"{person}_{picture}.png" for person in people for picture in (1, 2)]
        lines = [
            f"{a} {b} {int(a.split('_')[0] == b.split('_')[0])}\n"
            for a, b in itertools.combinations(pictures, 2)
        ]
        (folder / f"{name}.txt").write_text("".join(lines))
    return folder


def asked(folder: Path, *options: object, model: str = "m", pairs: str = "test") -> tuple:
    data = ("--pairs", folder / f"{pairs}.txt", "--images", folder / "images")
    return ("evaluate", "--model", folder / f"{model}.onnx", *data, *options)


def test_given_numbers(printed, folder: Path, tmp_path: Path) -> None:
    printed(*asked(folder, "--output", tmp_path / "plain"))
    text = printed(*asked(folder, *GIVEN, "--output", tmp_path / "q"))
    assert "Score: QMagFace, alpha 0.4, beta 0.4." in " ".join(text.split())
    plain, found = (pq.read_table(tmp_path / name / "scores.parquet") for name in ("plain", "q"))
    cosines = plain["score"].to_numpy()
    quality = np.minimum(plain["first_norm"].to_numpy(), plain["second_norm"].to_numpy())
    wanted = cosines + np.minimum(0, 0.4 * cosines - 0.4) * quality
    np.testing.assert_allclose(found["score"].to_numpy(), wanted, rtol=1e-12)
    assert (wanted != cosines).any()
    plain, found = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("plain", "q")
    )
    assert "score" not in plain["measured_with"]
    assert found["measured_with"]["score"] == {"name": "qmagface", "alpha": 0.4, "beta": 0.4}
    assert found["threshold"] != plain["threshold"]


def test_fitted_numbers(printed, folder: Path, tmp_path: Path) -> None:
    fit = ("--score", "qmagface", "--score-fit", folder / "fit.txt")
    text = printed(*asked(folder, *fit, "--output", tmp_path / "out"), columns=200)
    assert "fitted on fit at FAR" in " ".join(text.split())
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    score = found["measured_with"]["score"]
    assert (score["fit_on"], score["fitted_on"]) == ("sigmoid", "fit")
    # 48 pictures have 1,128 pairs, 24 of one person.
    assert score["fars"] == [pytest.approx(1 / 1104), 1e-2]
    assert found["measured_with"]["set"] == "test"
    assert found["pairs"] == 24 * 23 / 2
    # Another way of use: the numbers that were found, given.
    numbers = f"alpha={score['alpha']!r},beta={score['beta']!r}"
    again = ("--score", "qmagface", "--score-parameters", numbers, "--output", tmp_path / "again")
    printed(*asked(folder, *again))
    repeated = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert repeated["auc"] == found["auc"]
    assert repeated["threshold"] == found["threshold"]


def test_refusals(refusal, folder: Path, tmp_path: Path) -> None:
    q, fit = ("--score", "qmagface"), "--score-fit"
    copied = tmp_path / "other.txt"  # some of the measured pairs, turned and under another name
    lines = (folder / "test.txt").read_text().splitlines()[:20]
    turned = [" ".join((b, a, flag)) for a, b, flag in map(str.split, lines)]
    copied.write_text("\n".join([*(folder / "fit.txt").read_text().splitlines(), *turned]))
    numbers = ("--score-parameters", "alpha=1,beta=2")
    for options, said in [
        (("--score", "qmagfase"), "unknown score 'qmagfase'; did you mean 'qmagface'"),
        (q, "--score qmagface needs alpha and beta: fit them on other pairs"),
        ((*q, "--score-parameters", "alpha=1"), "--score qmagface needs alpha and beta"),
        ((*q, "--score-parameters", "alpha=1,gamma=2"), "unknown qmagface parameter 'gamma'"),
        ((*q, "--score-parameters", "alpha=1,beta=x"), "beta must be a number, got 'x'"),
        ((*q, *numbers, fit, folder / "fit.txt"), "--score-fit finds alpha and beta"),
        (numbers, "--score-parameters and --score-fit go with --score qmagface"),
        ((fit, folder / "fit.txt"), "--score-parameters and --score-fit go with"),
        ((*q, fit, folder / "test.txt"), "is measured, too: alpha and beta would be fitted to"),
        ((*q, fit, copied), "20 of 276 pairs of test are in --score-fit"),
        ((*q, fit, folder / "few.txt"), "few.txt: 60 different pairs are too few to fit"),
        (
            (*q, fit, folder / "fit.txt", "--score-parameters", "fit_on=cosine"),
            "unknown fit_on 'cosine'",
        ),
    ]:
        assert said in refusal(*asked(folder, *options)), options
    assert "unit: all embeddings have one norm" in refusal(*asked(folder, *GIVEN, model="unit"))
    beside = asked(folder, *q, fit, folder / "fit.txt", model="unit")
    assert "unit: all embeddings have one norm" in refusal(*beside)
