"""`marginface templates` and `marginface identify` as a user types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from embedded_people import IMAGES, PEOPLE, SEARCH, options, write_people
from real_faces import FACES
from sklearn.metrics import roc_curve

MODEL = FACES / "weights" / "mobilefacenet_paper.onnx"


@pytest.fixture
def benchmark(tmp_path) -> Path:
    """Six images of each person: two templates of three images, of which two are of one video."""
    rng = np.random.default_rng(0)
    names = write_people(tmp_path, rng)
    template = [1 + at // 3 for at in range(len(names))]
    lines = zip(names, template, strict=True)
    media = [f"{name} {of} {of * 10 + at % 3 // 2}" for at, (name, of) in enumerate(lines)]
    (tmp_path / "mid.txt").write_text("\n".join(media) + "\n")
    points = " ".join(["9.5"] * 10)
    scores = [f"{name} {points} {rng.uniform(0.5, 1):.6f}" for name in names]
    (tmp_path / "scores.txt").write_text("\n".join(scores) + "\n")
    ids = range(1, 2 * PEOPLE + 1)
    pairs = [f"{a} {b} {int((a - 1) // 2 == (b - 1) // 2)}" for a in ids for b in ids if a < b]
    (tmp_path / "pairs.txt").write_text("\n".join(pairs) + "\n")
    for name, chosen in (("G1", ids[:12:2]), ("G2", ids[12::2]), ("mixed", ids[1::2])):
        rows = [f"{each},{(each - 1) // 2},{each}.jpg" for each in chosen]
        text = "\n".join(["TEMPLATE_ID,SUBJECT_ID,FILENAME", *rows]) + "\n"
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


ONE_TO_ONE = {
    "embeddings": "e.parquet",
    "media": "mid.txt",
    "scores": "scores.txt",
    "pairs": "pairs.txt",
}


def loop_scores(folder: Path) -> tuple[list[float], list[bool]]:
    """Score the pairs as the protocol reads, image by image."""
    rows = pq.read_table(folder / "e.parquet").to_pylist()
    vectors = {row["path"]: np.array(row["embedding"]) for row in rows}
    weights = {}
    for line in (folder / "scores.txt").read_text().splitlines():
        weights[line.split()[0]] = float(line.split()[-1])
    media: dict[str, dict[str, list]] = {}
    for line in (folder / "mid.txt").read_text().splitlines():
        name, template, medium = line.split()
        images = media.setdefault(template, {}).setdefault(medium, [])
        images.append(weights[name] * vectors[name])
    pooled = {t: sum(np.mean(images, 0) for images in of.values()) for t, of in media.items()}
    scores, same = [], []
    for line in (folder / "pairs.txt").read_text().splitlines():
        a, b, label = line.split()
        lengths = np.linalg.norm(pooled[a]) * np.linalg.norm(pooled[b])
        scores.append(float(pooled[a] @ pooled[b] / lengths))
        same.append(label == "1")
    return scores, same


def test_templates_measures_pairs_as_the_loop_does(cli, benchmark):
    out = benchmark / "new" / "out"
    result = cli("templates", *options(benchmark, **ONE_TO_ONE), "--output", out)
    assert result.status == 0, result.stderr
    assert "72 images make 24 templates" in result.stdout
    assert "12 same and 264 different pairs" in result.stdout
    metrics = json.loads((out / "metrics.json").read_text())
    scores, same = loop_scores(benchmark)
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    assert metrics["kind"] == "templates"
    assert set(metrics["tar_at_far"]) == {"1e-6", "1e-5", "1e-4", "1e-3", "1e-2", "1e-1"}
    for target, found in metrics["tar_at_far"].items():
        assert found == tar[far <= float(target)].max()
        low, high = metrics["tar_at_far_interval"][target]
        assert low <= found <= high
    assert 0 < metrics["tar_at_far"]["1e-6"] < metrics["tar_at_far"]["1e-1"]
    points = zip(metrics["roc"]["far"], metrics["roc"]["tar"], strict=True)
    assert set(points) <= set(zip(far.tolist(), tar.tolist(), strict=True))
    assert metrics["reject"]["share"][:3] == [0, 0.01, 0.02]
    assert len(metrics["reject"]["share"]) == len(metrics["reject"]["fnmr"])
    assert metrics["reject"]["fnmr"][0] == pytest.approx(1 - metrics["tar_at_far"]["1e-3"])
    assert "galleries" not in metrics
    assert {path.name for path in out.iterdir()} == {".marginface", "metrics.json"}


def test_scores_weigh_and_parquet_and_npz_agree(cli, benchmark):
    found = {}
    for name, change in (
        ("plain", {}),
        ("npz", {"embeddings": "e.npz"}),
        ("unweighted", {"scores": None}),
    ):
        chosen = {key: file for key, file in (ONE_TO_ONE | change).items() if file}
        out = benchmark / name
        assert cli("templates", *options(benchmark, **chosen), "--output", out).status == 0
        found[name] = json.loads((out / "metrics.json").read_text())
    assert found["plain"] == found["npz"]
    assert found["plain"]["tar_at_far_threshold"] != found["unweighted"]["tar_at_far_threshold"]


def test_templates_searches_both_galleries_and_averages(cli, benchmark):
    chosen = {"embeddings": "e.npz", "media": "mid.txt", "probes": "mixed.csv"}
    galleries = ["--gallery", benchmark / "G1.csv", "--gallery", benchmark / "G2.csv"]
    result = cli(
        "templates", *options(benchmark, **chosen), *galleries, "--output", benchmark / "out"
    )
    assert result.status == 0, result.stderr
    metrics = json.loads((benchmark / "out" / "metrics.json").read_text())
    one, two = metrics["galleries"]["G1"], metrics["galleries"]["G2"]
    for each in (one, two):
        assert (each["subjects"], each["mated_probes"], each["non_mated_probes"]) == (6, 6, 6)
    for key, name in (("rank", "1"), ("rank", "5"), ("tpir_at_fpir", "1e-1")):
        assert metrics["mean"][key][name] == pytest.approx((one[key][name] + two[key][name]) / 2)
    assert metrics["mean"]["rank"]["5"] > 0.8
    assert len(metrics["cmc"]) == 6
    for words in ("G1", "G2", "mean", "rank 1", "TPIR at FPIR 1e-2", "DIR at FPIR 1e-1"):
        assert words in result.stdout
    assert "tar_at_far" not in metrics


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("pairs.txt", "1 99 1\n", "pairs.txt names template 99, which no image belongs to"),
        ("pairs.txt", "1 2\n", "Expected 3 columns, got 2"),
        (
            "mid.txt",
            "stranger.jpg 1 10\n",
            "1 of 73 images in .* have no embedding, first stranger",
        ),
        ("mid.txt", "p00/0.jpg 1 10\n", "mid.txt:73: image p00/0.jpg is in template 1 already"),
        (
            "scores.txt",
            "p00/0.jpg" + " 1" * 11 + "\n",
            "scores.txt:73: image p00/0.jpg has a score",
        ),
        ("mid.txt", "p00/0.jpg 1\n", "mid.txt:73: expected 'name template_id media_id'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(cli, benchmark, file, change, words):
    with (benchmark / file).open("a") as opened:
        opened.write(change)
    if file == "mid.txt" and "stranger" in change:
        with (benchmark / "scores.txt").open("a") as opened:
            opened.write("stranger.jpg" + " 1" * 11 + "\n")
    arguments = (*options(benchmark, **ONE_TO_ONE), "--output", benchmark / "out")
    done = cli("templates", *arguments)
    assert done.status == 2
    assert re.search(words, done.stderr.splitlines()[-1])
    assert not (benchmark / "out").exists()


def test_options_that_do_not_go_together_are_refused(refusal, benchmark):
    base = options(benchmark, embeddings="e.npz", media="mid.txt")
    assert "nothing to measure; give --pairs, or --gallery" in refusal("templates", *base)
    one = [*base, "--gallery", benchmark / "G1.csv"]
    assert "--gallery and --probes go together" in refusal("templates", *one)
    (benchmark / "file").write_text("")
    arguments = [*options(benchmark, **ONE_TO_ONE), "--output", benchmark / "file"]
    assert "needs a folder, but" in refusal("templates", *arguments)
    assert "no such file or folder" in refusal(
        "templates", *options(benchmark, **ONE_TO_ONE | {"embeddings": "absent.npz"})
    )
    twice = ["--gallery", benchmark / "G1.csv"] * 2
    assert "G1.csv is given 2 times; give it once" in refusal(
        "templates", *base, *twice, "--probes", benchmark / "mixed.csv"
    )


def test_identify_ranks_probes_and_counts_strangers(cli, benchmark):
    result = cli("identify", *options(benchmark, **SEARCH), "--output", benchmark / "out")
    assert result.status == 0, result.stderr
    metrics = json.loads((benchmark / "out" / "metrics.json").read_text())
    assert metrics["kind"] == "identification"
    assert (metrics["subjects"], metrics["mated_probes"], metrics["non_mated_probes"]) == (
        8,
        40,
        20,
    )
    values = {
        row["path"]: row["embedding"] for row in pq.read_table(benchmark / "e.parquet").to_pylist()
    }
    gallery = np.array([values[f"p{each:02}/0.jpg"] for each in range(8)])
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    first = 0
    for person in range(8):
        for image in range(1, IMAGES):
            first += int(np.argmax(gallery @ values[f"p{person:02}/{image}.jpg"]) == person)
    assert metrics["rank"]["1"] == metrics["cmc"][0] == first / 40
    assert metrics["cmc"][-1] == 1 == metrics["roc"]["tar"][-1]
    assert f"{first / 40:.2%}" in result.stdout


def test_identify_takes_folders_and_names_subjects_in_lists(cli, benchmark):
    for kind, images in (("gallery", (0,)), ("probes", (1, 2))):
        for image in images:
            for person in range(PEOPLE):
                file = benchmark / kind / f"p{person:02}" / f"{image}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"")
    found = {}
    lists = {"gallery": "g.txt", "probes": "p.txt"}
    for kind, images in (("gallery", (0,)), ("probes", (1, 2))):
        lines = [f"p{p:02}/{i}.jpg\tsubject {p}\n" for p in range(PEOPLE) for i in images]
        (benchmark / lists[kind]).write_text("".join(lines))
    for name, change in (("folders", {"gallery": "gallery", "probes": "probes"}), ("lists", lists)):
        arguments = options(benchmark, **SEARCH | change)
        result = cli("identify", *arguments, "--output", benchmark / name)
        assert result.status == 0, result.stderr
        assert "FPIR" not in result.stdout  # there is no stranger
        found[name] = json.loads((benchmark / name / "metrics.json").read_text())
    assert found["folders"] == found["lists"]


def test_identify_refuses_what_does_not_fit(refusal, benchmark):
    (benchmark / "probes.txt").write_text("p00/0.jpg\n")
    assert "image p00/0.jpg is both in the gallery" in refusal(
        "identify", *options(benchmark, **SEARCH)
    )
    (benchmark / "probes.txt").write_text("p00/99.jpg\n")
    assert "no embedding of 1 of 9 images, first p00/99.jpg" in refusal(
        "identify", *options(benchmark, **SEARCH)
    )


def test_real_faces_are_found(cli, tmp_path):
    if not MODEL.exists():
        pytest.skip(f"no real faces in {FACES}")
    root = FACES / "lfw112" / "test"
    people = [each for each in sorted(root.iterdir()) if len(list(each.glob("*.jpg"))) >= 3][:12]
    images = tmp_path / "images"
    for person in people:
        (images / person.name).mkdir(parents=True)
        for each in sorted(person.glob("*.jpg"))[:3]:
            (images / person.name / each.name).symlink_to(each)
    embeddings = tmp_path / "e.parquet"
    how = ("--mean", 127.5, "--std", 128, "--batch-size", 1)
    model = ("--model", MODEL, "--images", images, "--output", embeddings)
    assert cli("embed", *model, *how, "--flip").status == 0
    names = [f"{each.parent.name}/{each.name}" for each in sorted(images.glob("*/*.jpg"))]
    media = [f"{name} {at // 3 * 2 + (at % 3 > 0)} {at}" for at, name in enumerate(names)]
    (tmp_path / "mid.txt").write_text("\n".join(media) + "\n")
    pairs = [f"{2 * a} {2 * b + 1} {int(a == b)}" for a in range(12) for b in range(12)]
    (tmp_path / "pairs.txt").write_text("\n".join(pairs) + "\n")
    chosen = {"embeddings": "e.parquet", "media": "mid.txt", "pairs": "pairs.txt"}
    result = cli("templates", *options(tmp_path, **chosen), "--output", tmp_path / "out")
    assert result.status == 0, result.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["tar_at_far"]["1e-1"] >= 11 / 12
    plain = tmp_path / "plain.parquet"
    model = ("--model", MODEL, "--images", images, "--output", plain)
    assert cli("embed", *model, *how).status == 0
    sums = pq.read_table(embeddings).column("norm").to_numpy()
    assert np.all(sums > 1.2 * pq.read_table(plain).column("norm").to_numpy())
