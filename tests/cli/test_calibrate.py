"""`marginface calibrate`: thresholds that stay with a model, for the way it is used."""

import json
import shutil
from functools import partial
from itertools import combinations, islice, pairwise, product
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import printed, refusal
from PIL import Image
from tiny_model import save_model
from tiny_scrfd import photo_with, save_detector

import marginface as mf
from marginface.data.verification.opening import open_verification
from marginface.embeddings.embedder import open_embedder
from marginface.evaluation.evaluate import embed_pairs, score_pairs
from marginface.evaluation.verification import verify
from marginface.onnx import metadata
from marginface.onnx.files import write_model
from marginface.serving.thresholds import find_calibration, read_calibrations

PEOPLE, EACH = 16, 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with crops, a list of 150 pairs of each kind, and a model."""
    folder = tmp_path_factory.mktemp("calibrated")
    rng = np.random.default_rng(0)
    names = []
    for person in range(PEOPLE):
        colours = rng.integers(60, 196, (4, 4, 3))
        (folder / "crops" / f"p{person}").mkdir(parents=True)
        names.append([f"p{person}/{number}.png" for number in range(EACH)])
        for name in names[-1]:
            noisy = (colours + rng.integers(-60, 61, (4, 4, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy.repeat(28, 0).repeat(28, 1)).save(folder / "crops" / name)
    same = [pair for each in names for pair in combinations(each, 2)][:150]
    other = product(islice(pairwise(names), 15), range(2), range(5))
    different = [(a[i], b[j]) for (a, b), i, j in other]
    rows = [f"{a} {b} 1" for a, b in same] + [f"{a} {b} 0" for a, b in different]
    (folder / "list.txt").write_text("\n".join(rows) + "\n")
    save_model(folder / "m.onnx")
    return folder


@pytest.fixture
def arguments(place, tmp_path):
    """Return the command's arguments; the output is c.onnx in a fresh folder."""

    def of(*more: object, model: Path = place / "m.onnx", output: Path = tmp_path / "c.onnx"):
        data = ("--images", place / "crops", "--pairs", place / "list.txt")
        return ["calibrate", "--model", model, *data, "--output", output, *more]

    return of


def test_thresholds_are_those_that_evaluate_gives(arguments, place, tmp_path):
    text = printed(*arguments("--far", "1e-1", "--far", "1e-2", "--std", 128))
    assert "0.01  not supported" in text
    assert "FAR 0.01 takes 1,000 different pairs." in text
    embedder = open_embedder(tmp_path / "c.onnx")
    assert embedder.preprocessing.std == (128, 128, 128)  # nobody needs to say so again
    (kept,) = read_calibrations(tmp_path / "c.onnx")
    assert (kept.fingerprint, kept.flip, kept.faces) == (embedder.fingerprint, True, "crops")
    assert (kept.pairs, kept.same_pairs, kept.different_pairs) == ("list", 150, 150)
    pairs = open_verification(place / "list.txt", place / "crops")
    scores = score_pairs(pairs, embed_pairs(embedder, pairs)).scores
    expected = verify(scores, pairs.same)
    at, unsupported = kept.thresholds
    assert at.value == expected.tar_at_far_threshold["1e-1"]
    assert at.true_accepts[0] == expected.tar_at_far["1e-1"]
    assert (at.supported, unsupported.supported) == (True, False)
    assert find_calibration([kept], embedder) == (kept, "")


def test_the_graph_stays_and_other_uses_stand_beside(arguments, place, tmp_path):
    calibrated = tmp_path / "c.onnx"
    printed(*arguments())
    printed(*arguments("--no-flip", "--overwrite", model=calibrated))  # the file itself
    assert [each.flip for each in read_calibrations(calibrated)] == [True, False]
    printed(*arguments("--far", "0.2", "--overwrite", model=calibrated))
    assert [each.flip for each in read_calibrations(calibrated)] == [False, True]
    assert [each.far for each in read_calibrations(calibrated)[-1].thresholds] == [0.2]
    before, after = onnx.load(place / "m.onnx"), onnx.load(calibrated)
    assert after.graph == before.graph
    text = printed(*arguments("--std", 99, "--overwrite", model=calibrated))
    assert "dropped 2 earlier calibrations: of another model or preprocessing" in text


def test_photos_with_a_detector_are_a_use_of_their_own(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        dim = rng.integers(0, 60, (12, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        photo = np.maximum(photo_with(96, 96, (8, 5, 5)), dim)
        Image.fromarray(photo).save(folder / f"{number}.png")
    Image.new("RGB", (96, 96)).save(folder / "dark.png")
    rows = [f"{a}.png {b}.png {int(a % 2 == b % 2)}" for a, b in combinations(range(6), 2)]
    (tmp_path / "list.txt").write_text("\n".join([*rows, "0.png dark.png 0"]) + "\n")
    model, detector = save_model(tmp_path / "m.onnx"), save_detector(tmp_path / "d.onnx")
    given = ("calibrate", "--model", model, "--images", folder, "--pairs", tmp_path / "list.txt")
    given += ("--detector", detector, "--far", "0.2", "--output", tmp_path / "c.onnx")
    assert "dark.png: no face; leave out its pairs with --skip-bad" in refusal(*given)
    assert not (tmp_path / "c.onnx").exists()
    printed(*given, "--skip-bad")
    (kept,) = read_calibrations(tmp_path / "c.onnx")
    assert kept.faces == mf.Recogniser(model, detector).faces_origin
    assert (kept.same_pairs, kept.different_pairs) == (6, 9)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--far", "0"), "far must be above 0 and below 1, such as 1e-3, got '0'"),
        (("--far", "1e-3x"), "far must be above 0 and below 1, such as 1e-3, got '1e-3x'"),
        (("--far", "-1"), "far must be above 0 and below 1, such as 1e-3, got '-1'"),
        (("--far", "nan"), "far must be above 0 and below 1, such as 1e-3, got 'nan'"),
        (("--far", "1e-320"), "far must be at least 1e-12, got '1e-320'"),
        (("--min-score", "0.3"), "--min-score goes with --detector"),
        (
            ("--mean", "-1e6"),
            "all 300 pairs score 1.000000, to 1e-06: the model tells nobody apart",
        ),
        (("--detector", "none.onnx"), "none.onnx does not exist"),
        (("--val", "none.bin"), "none.bin"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(arguments, tmp_path, more, message):
    assert message in refusal(*arguments(*more))
    assert not list(tmp_path.glob("*.onnx"))


def test_an_output_is_asked_for_and_not_overwritten(arguments, place):
    assert "give the file to write as --output" in refusal(
        *("calibrate", "--model", place / "m.onnx", "--images", place / "crops"),
        *("--pairs", place / "list.txt"),
    )
    assert "--overwrite" in refusal(*arguments(output=place / "m.onnx"))
    assert "written as .onnx, got 'c.txt'" in refusal(*arguments(output=Path("c.txt")))


def test_the_data_of_a_large_model_are_claimed_too(arguments, place, tmp_path, monkeypatch):
    """As where the tensors lie beside the graph: in NAME.onnx.data."""
    model = onnx.load(place / "m.onnx")
    ones = np.ones((1, 3, 112, 112), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(ones, "ones"))
    model.graph.node[0].input[0] = "same"
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["x", "ones"], ["same"]))
    smaller = partial(metadata.write_with_metadata, largest=9)
    monkeypatch.setattr(metadata, "write_with_metadata", smaller)
    write_model(model, tmp_path / "m.onnx", largest=9)
    given = arguments(model=tmp_path / "m.onnx")
    beside = tmp_path / "c.onnx.data"
    beside.write_bytes(b"of somebody else")
    assert "c.onnx.data exists already; pass --overwrite" in refusal(*given)
    assert (beside.read_bytes(), (tmp_path / "c.onnx").exists()) == (b"of somebody else", False)
    printed(*given, "--overwrite")
    assert beside.read_bytes() == (tmp_path / "m.onnx.data").read_bytes()
    assert len(read_calibrations(tmp_path / "c.onnx")) == 1
    (tmp_path / "m.onnx.data").rename(tmp_path / "d.onnx.data")
    named = (tmp_path / "m.onnx").read_bytes().replace(b"m.onnx.data", b"d.onnx.data")
    (tmp_path / "m.onnx").write_bytes(named)
    given = arguments("--overwrite", model=tmp_path / "m.onnx", output=tmp_path / "d.onnx")
    assert "d.onnx.data is what the command reads" in refusal(*given)


def test_thresholds_that_are_damaged_are_named(arguments, place, tmp_path):
    model = onnx.load(place / "m.onnx")
    onnx.helper.set_model_props(model, {"marginface.thresholds": json.dumps({"version": 1})})
    onnx.save(model, tmp_path / "m.onnx")
    told = refusal(*arguments(model=tmp_path / "m.onnx"))
    assert "m.onnx are not what marginface writes; calibrate again" in told


def test_in_python(place, tmp_path):
    shutil.copy(place / "m.onnx", tmp_path / "m.onnx")
    given = {"images": place / "crops", "pairs": place / "list.txt", "flip": False}
    result = mf.calibrate(tmp_path / "m.onnx", output=tmp_path / "c.onnx", far=0.1, **given)
    assert result.written == tmp_path / "c.onnx"
    assert (result.calibration,) == read_calibrations(result.written)
    assert "Thresholds" in repr(result)
    assert "<table" in result._repr_html_()
    with pytest.raises(mf.MarginfaceError, match="give the file to write as output=MODEL"):
        mf.calibrate(tmp_path / "m.onnx", **given)


def test_an_export_takes_them_along_only_where_embeddings_stay(arguments, tmp_path):
    printed(*arguments("--no-flip", "--std", 128))
    given = ("export", "--model", tmp_path / "c.onnx", "--output", tmp_path / "fast.onnx")
    printed(*given, "--for", "cpu")
    (kept,) = read_calibrations(tmp_path / "fast.onnx")
    assert kept.fingerprint == open_embedder(tmp_path / "fast.onnx").fingerprint
    assert kept.thresholds == read_calibrations(tmp_path / "c.onnx")[0].thresholds
    with pytest.warns(match="thresholds were dropped, because its embeddings are others now"):
        mf.export(tmp_path / "sum.onnx", model=tmp_path / "c.onnx", flip=True)
    assert read_calibrations(tmp_path / "sum.onnx") == ()
