"""The report: what it embeds is exact, complete and harmless."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reports import HOSTILE, TRAINING, Drawn, colour_of, example, flat, measured, pairs_of
from runs import save_checkpoint

from marginface import MarginfaceError
from marginface.evaluation.comparison import Comparison
from marginface.evaluation.evaluate import PairScores, distinct_images
from marginface.evaluation.intervals import intervals
from marginface.evaluation.verification import verify
from marginface.report import figures
from marginface.report.collect import Report, identities, measure
from marginface.report.figures import accept_counts, histogram
from marginface.report.galleries import SHOWN, hardest_pairs, thumbnail
from marginface.report.page import page_data, script_safe, write_page
from marginface.report.training import describe_training, read_training
from marginface.runs.checkpoints import Checkpoint
from marginface.text import printable

GRAPH = """<ir_version: 8, opset_import: ["": 17]>
tiny (float[N, 3, 112, 112] x) => (float[N, 12] y) {
    pooled = AveragePool<kernel_shape = [56, 56], strides = [56, 56]>(x) y = Flatten(pooled) }"""


@pytest.fixture(scope="module")
def report() -> Report:
    return example()


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(report, tmp_path_factory.mktemp("report"))


def compared(scores, same) -> Comparison:
    """Return the comparison of a model with these scores."""
    score, truth = np.asarray(scores, np.float64), np.asarray(same, np.bool_)
    names = tuple(f"{k}.jpg" for k in range(len(score)))
    pairs = replace(
        pairs_of(("a", "b"), "set"),
        first=names,
        second=names,
        same=truth,
        fold=np.arange(len(truth)) % 2,
    )
    fold = pairs.fold
    found = PairScores(score, np.ones(len(score), np.float32), np.ones(len(score), np.float32))
    return Comparison(
        "m", pairs, found, verify(score, truth, fold), intervals(score, truth, fold, resamples=2)
    )


def decoded(counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kinds = (("thresholds", "<f8"), ("same", "<u4"), ("different", "<u4"))
    thresholds, same, different = (
        np.frombuffer(base64.b64decode(counts[name]), kind) for name, kind in kinds
    )
    return thresholds, same, different


def recounted(counts, threshold: float) -> tuple[int, int]:
    """Return how many same and different pairs are accepted, as the page does."""
    thresholds, same, different = decoded(counts)
    at = int(np.searchsorted(thresholds, threshold))
    return (0, 0) if at == len(thresholds) else (int(same[at]), int(different[at]))


few_scores = st.sampled_from([-1.0, -0.25, 0.0, 0.1, 0.1 + 1e-16, 0.3, 0.30000000000000004, 1.0])


@given(st.lists(st.tuples(few_scores, few_scores), min_size=1, max_size=30), st.data())
def test_recounts_are_those_of_the_scores_at_any_threshold(drawn, data):
    scores = np.array(drawn).ravel()
    same = np.arange(len(scores)) % 2 == 0
    row = compared(scores, same)
    counts = accept_counts(row)
    threshold = data.draw(
        st.one_of(few_scores, st.floats(-1.5, 1.5), st.just(row.result.threshold))
    )
    accepted = scores >= threshold
    assert recounted(counts, threshold) == (
        int(np.sum(accepted & same)),
        int(np.sum(accepted & ~same)),
    )
    assert counts["exact"]


@pytest.mark.parametrize("lean", [0.0, 0.3, 5.0])
def test_a_large_set_keeps_what_matters(monkeypatch, lean):
    monkeypatch.setattr(figures, "EXACT_THRESHOLDS", 500)
    monkeypatch.setattr(figures, "THINNED_THRESHOLDS", 200)
    rng = np.random.default_rng(0)
    same = rng.random(5000) < 0.3
    scores = rng.normal(0, 0.2, 5000) + lean * same
    row = compared(scores, same)
    counts = accept_counts(row)
    thresholds, kept_same, kept_different = decoded(counts)
    assert not counts["exact"]
    assert len(thresholds) <= 201
    accepted = scores >= thresholds[:, None]
    np.testing.assert_array_equal(kept_same, np.sum(accepted & same, axis=1))
    np.testing.assert_array_equal(kept_different, np.sum(accepted & ~same, axis=1))
    best = scores >= row.result.threshold
    assert recounted(counts, row.result.threshold) == (np.sum(best & same), np.sum(best & ~same))
    assert {1, 2, 3, 5, 10} <= set(kept_different.tolist())  # the rates that matter are not thinned


def test_histograms_count_every_pair_of_its_kind(report):
    row = report.measured[1][1].comparison
    counts = histogram(row)
    assert sum(counts["same"]) == row.pairs.same.sum()
    assert sum(counts["different"]) == (~row.pairs.same).sum()
    assert len(counts["edges"]) == len(counts["same"]) + 1


def test_the_hardest_pairs_come_first(report):
    row = report.measured[1][1].comparison
    scores, same = row.pair_scores.scores, row.pairs.same
    hardest = hardest_pairs(row)
    assert [pair["score"] for pair in hardest["accepts"]] == sorted(scores[~same])[::-1][:SHOWN]
    assert [pair["score"] for pair in hardest["rejects"]] == sorted(scores[same])[:SHOWN]
    first = hardest["accepts"][0]
    index = int(np.flatnonzero((scores == first["score"]) & ~same)[0])
    assert first["names"] == [row.pairs.first[index], row.pairs.second[index]]
    assert first["norms"] == [row.pair_scores.first_norm[index], row.pair_scores.second_norm[index]]
    assert first["identities"] == [name.rpartition("/")[0] for name in first["names"]]


def test_thumbnails_are_small_jpegs_of_the_image():
    address = thumbnail(Drawn(), "someone/1.jpg")
    kind, _, content = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(BytesIO(base64.b64decode(content))) as picture:
        assert (picture.format, max(picture.size)) == ("JPEG", 112)
        np.testing.assert_allclose(picture.getpixel((50, 50)), colour_of("someone/1.jpg"), atol=4)


def test_identities_are_folders_that_agree_with_the_pairs(report):
    calm, _, numbered = report.sets
    assert identities(calm)["Ada/0.jpg"] == "Ada"
    assert identities(numbered) is None
    assert identities(replace(calm, same=~calm.same)) is None


def test_identification_takes_the_first_image_of_each_person_as_gallery():
    pairs = pairs_of(("a", "b"), "two people")
    names = distinct_images(pairs)  # a/0 a/1 a/2 b/0 b/1 b/2
    angles = np.radians([0, 10, 80, 90, 100, 60])  # a/2 lies with b
    found = measure("m", pairs, np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32))
    assert names[2] == "a/2.jpg"
    assert (found.identification.subjects, found.identification.mated) == (2, 4)
    np.testing.assert_allclose(found.identification.cmc, [0.75, 1.0])


def test_identification_is_left_out_where_nobody_has_two_images():
    pairs = pairs_of(("a", "b", "c", "d"), "set")
    assert measured("m", flat(pairs, "flat"), 0.5).identification is None
    assert measured("m", pairs, 0.5).identification is not None


def test_rejection_goes_by_the_shorter_of_two_embeddings(report):
    found = report.measured[1][0]
    row = found.comparison
    norms = np.minimum(row.pair_scores.first_norm, row.pair_scores.second_norm)
    every = dict(
        zip(
            row.pairs.first + row.pairs.second,
            np.append(row.pair_scores.first_norm, row.pair_scores.second_norm),
            strict=True,
        )
    )
    half = sorted(every.values())[len(every) // 2]
    left = norms >= half
    same, scores = row.pairs.same[left], row.pair_scores.scores[left]
    missed = np.mean(scores[same] <= scores[~same].max())  # no false match is allowed
    at = int(np.flatnonzero(np.isclose(found.rejection.share, 0.5))[0])
    assert found.rejection.fnmr[at] == pytest.approx(missed)


METRICS = """\
{"kind": "train", "step": 10, "loss": 9.0, "lr": 0.1}
{"kind": "train", "step": 20, "loss": NaN, "lr": 0.05, "accuracy": 0.25, "target_angle": 1.5}
{"kind": "verification", "step": 20, "accuracy": 0.9}
"""


def test_training_curves_come_from_the_run_of_a_folder_or_of_a_checkpoint(tmp_path):
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000020"
    checkpoint.mkdir(parents=True)
    assert read_training(tmp_path / "run") is None
    (tmp_path / "run" / "metrics.jsonl").write_text(METRICS)
    assert read_training(tmp_path / "run") == read_training(checkpoint) == TRAINING
    (tmp_path / "model.onnx").write_text("")
    assert read_training(tmp_path / "model.onnx") is None


def test_what_curves_do_not_show_is_said_of_a_run(tmp_path):
    assert describe_training(tmp_path) == describe_training(tmp_path / "model.onnx") == ""
    config = tmp_path / "config.yaml"
    config.write_text("freeze: stem\nunfreeze_at: 9\nlr_factor: {head: 2}\n")
    words = "stem frozen until step 9, learning rate times 2 for head"
    assert describe_training(tmp_path) == words
    best = {"metric": "lfw:auc", "value": 0.9, "step": 20, "since": 1}
    saved = Checkpoint(30, {"w": np.zeros(2)}, {"progress": {"best": best}})
    save_checkpoint(tmp_path / "checkpoints", saved)
    assert describe_training(tmp_path) == f"{words}, the best is lfw:auc 0.9000 at step 20"
    config.write_text("loss: arcface\n")  # of an earlier version
    assert describe_training(tmp_path) == "the best is lfw:auc 0.9000 at step 20"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("3", "1: not a line of metrics; restore"),
        ("{}", "1: not a line of metrics; restore"),
        ('{"kind": "train", "step": 1, "loss": "x", "lr": 1}', "is not what a run writes"),
    ],
)
def test_metrics_that_no_run_writes_are_refused(tmp_path, line, said):
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(MarginfaceError, match=said):
        read_training(tmp_path)


class Elements(HTMLParser):
    """Notes a page's elements, attributes and what its scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        del tag
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text += data


def test_hostile_names_stay_text(report, page):
    calm = Report(report.models[:1], report.sets[:1], (report.measured[0][:1],))
    elements = Elements(page.read_text("utf-8"))
    harmless = Elements(write_page(calm, page.parent / "calm").read_text("utf-8"))
    assert {tag for tag, _ in elements.tags} == {tag for tag, _ in harmless.tags}
    assert [tag for tag, _ in elements.tags].count("script") == 3
    known = {name for _, attrs in harmless.tags for name in attrs}
    assert {name for _, attrs in elements.tags for name in attrs} == known
    assert '<i>bad</i> & "model"' in elements.text
    assert "</select><b>set & co" in elements.text
    data = json.loads(elements.scripts[0])
    shown = {
        pair["identities"][0] for kind in data["results"][1][1]["hardest"].values() for pair in kind
    }
    assert len(shown & set(map(printable, HOSTILE))) >= 4
    written = {
        name
        for row in data["results"]
        for kind in row[1]["hardest"].values()
        for pair in kind
        for name in (*pair["shown"], *pair["identities"])
    }
    assert written
    assert all(printable(name) == name for name in written)
    assert not {each for each in elements.text if printable(each) != each} - {"\n"}


@given(st.text())
def test_no_text_ends_a_script_element(text):
    safe = script_safe({"name": text})
    assert "<" not in safe
    assert json.loads(safe) == {"name": text}
    assert safe.isascii()  # U+2028 and halves of surrogates, too


def test_the_page_is_one_file_that_refers_to_nothing_outside(page):
    assert [found.name for found in page.parent.iterdir() if found.is_file()] == ["index.html"]
    elements = Elements(page.read_text("utf-8"))
    referring = {"src", "href", "action", "srcset", "poster", "data", "background"}
    assert not [attrs for _, attrs in elements.tags if referring & attrs.keys()]
    assert "url(" not in re.sub(r"(?s)<script>.*?</script>", "", page.read_text("utf-8"))
    images = json.loads(elements.scripts[0])["sets"][0]["images"]
    assert all(address.startswith("data:image/jpeg;base64,") for address in images.values())


def test_the_policy_admits_the_page_s_own_scripts_alone(page):
    elements = Elements(page.read_text("utf-8"))
    policy = next(attrs["content"] for tag, attrs in elements.tags if "http-equiv" in attrs and tag)
    assert policy.startswith("default-src 'none'; img-src data:;")
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in elements.scripts[1:]
    ]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy


def test_the_summary_states_every_model_on_every_set(report, page):
    text = " ".join(Elements(page.read_text("utf-8")).text.split())
    assert "2 models on 3 verification sets" in text
    for row in report.measured:
        for found in row:
            result, ends = found.comparison.result, found.comparison.intervals.accuracy
            for figure in (
                f"{result.accuracy:.2%} ± {100 * result.accuracy_std:.2f}",
                "none under 30 + 30 pairs"
                if ends is None
                else f"{100 * ends[0]:.2f} … {100 * ends[1]:.2f}",
                f"{result.auc:.5f}",
                f"{result.eer:.2%}",
                f"{result.tar_at_far['1e-4']:.2%}*≥ {result.tar_at_far_threshold['1e-4']:.4f}",
                f"{result.same_pairs:,} + {result.different_pairs:,} pairs",
            ):
                assert figure in text
    assert "$" not in text.replace("$data", "")


def test_the_same_report_gives_the_same_page(report, page, tmp_path):
    assert write_page(report, tmp_path).read_bytes() == page.read_bytes()


def test_page_data_holds_the_hardest_pairs_images_once(report):
    data = page_data(report)
    for index, pairs in enumerate(data["sets"]):
        shown = {
            name
            for row in data["results"]
            for kind in row[index]["hardest"].values()
            for pair in kind
            for name in pair["names"]
        }
        assert set(pairs["images"]) == shown


class Broken(Drawn):
    """Holds no readable image."""

    def encoded(self, name: str) -> bytes:
        del name
        return b"no image"


def test_a_failed_page_leaves_the_old_one(report, tmp_path):
    broken = replace(report, sets=tuple(replace(one, images=Broken()) for one in report.sets))
    (tmp_path / "index.html").write_text("old")
    with pytest.raises(MarginfaceError, match="cannot read the image"):
        write_page(broken, tmp_path)
    assert [found.name for found in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text() == "old"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(onnx.parser.parse_model(GRAPH), path)
    return path


def test_the_command_writes_the_page(cli, model, tiny_faces, pairs_file, tmp_path):
    output = tmp_path / "new" / "report"
    done = cli("report", model, "--images", tiny_faces, "--pairs", pairs_file, "--output", output)
    assert done.status == 0, done.stderr
    assert f"wrote {output}/index.html (" in done.stdout.replace("\n", "")
    elements = Elements((output / "index.html").read_text("utf-8"))
    data = json.loads(elements.scripts[0])
    assert [each["name"] for each in data["models"]] == ["tiny"]
    assert [(each["name"], each["same"], each["different"]) for each in data["sets"]] == [
        ("pairs", 10, 10)
    ]
    assert data["results"][0][0]["cmc"]["subjects"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": "absent.onnx"},
            "absent.onnx; expected a run folder, a model folder or an .onnx",
        ),
        ({"model": "pairs.txt"}, "expected a run folder, a model folder or an .onnx"),
        ({"pairs": None}, "there is nothing to verify"),
        ({"images": None}, "give them, too"),
        ({"output": "pairs.txt"}, "what the command reads"),
        ({"again": "tiny.onnx"}, "is given 2 times"),
        ({"pairs": "tiny.onnx"}, "tiny.onnx"),
    ],
)
def test_bad_input_ends_in_one_line_and_leaves_nothing(
    cli, change, message, model, tiny_faces, pairs_file, tmp_path
):
    given = {"model": model, "pairs": pairs_file, "images": tiny_faces, "output": tmp_path / "out"}
    given |= {name: value and tmp_path / value for name, value in change.items()}
    models = [given[name] for name in ("model", "again") if name in given]
    options = [
        part
        for name in ("pairs", "images", "output")
        if given[name] is not None
        for part in (f"--{name}", given[name])
    ]
    done = cli("report", *models, *options)
    assert done.status == 2
    line = done.stderr.splitlines()
    assert len(line) == 1
    assert message in line[0]
    assert not (tmp_path / "out").exists()
