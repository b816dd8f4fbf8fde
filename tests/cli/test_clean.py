"""`marginface clean` on a run whose head has several centres a class."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from record_files import pack
from runs import save_checkpoint

from marginface import backbones
from marginface.data.formats.example import ImageExample, pack_example
from marginface.data.formats.tfrecord import frame
from marginface.model import ModelSpec
from marginface.runs.checkpoints import Checkpoint

PEOPLE = ("ann", "bob", "cid")
SPEC = ModelSpec("mobilefacenet", 8, (32, 32))
STRAY = "bob/3.png"


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256, (len(PEOPLE), 32, 32, 3))
    for label, name in enumerate(PEOPLE):
        folder = tmp_path / "faces" / name
        folder.mkdir(parents=True)
        for number in range(4):
            # The last but one of bob's pictures is cid's.
            of = 2 if f"{name}/{number}.png" == STRAY else label
            pixels = (patterns[of] + rng.integers(-5, 6, patterns[of].shape)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "faces"


def write_run(path, weights, weight, identities=PEOPLE):
    path.mkdir()
    (path / "model.json").write_text(json.dumps(SPEC.to_json()))
    (path / "identities.txt").write_text("".join(f"{name}\n" for name in identities))
    state = {f"backbone.{name}": value for name, value in weights.items()}
    head = {} if weight is None else {"head.weight": weight}
    save_checkpoint(path / "checkpoints", Checkpoint(1, state | head, {}))
    return path


@pytest.fixture
def parts(data):
    """A backbone and class weights: of two centres the second is the identity's own direction."""
    from marginface.onnx.session import OnnxSession
    from marginface.onnx.writer import build_onnx

    graph = backbones.describe("mobilefacenet", 8, (32, 32))
    weights = backbones.initial_weights(graph, 0)
    session = OnnxSession(build_onnx(SPEC, weights).SerializeToString())
    rows = []
    for name in PEOPLE:
        pixels = np.array(Image.open(data / name / "0.png"))[None]
        own = session(SPEC.preprocessing(pixels))[0]
        rows += [-own, own]
    return weights, np.array(rows, np.float32)


@pytest.fixture
def run(tmp_path, parts):
    return write_run(tmp_path / "run", *parts)


def test_the_stray_image_is_dropped(cli, run, data, tmp_path):
    output, kept = tmp_path / "clean.csv", tmp_path / "kept"
    arguments = ("clean", "--run", run, "--data", data, "--output", output)
    status, out, err = cli(*arguments, "--link-to", kept, "--max-angle", 10)
    assert status == 0, err
    assert "3 identities, 12 images, 1 dropped (8.3% farther than 10 degrees)" in out
    assert "linked 11 images" in out
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == sorted(f"{n}/{i}.png" for n in PEOPLE for i in range(4))
    assert [row["path"] for row in rows if row["kept"] == "0"] == [STRAY]
    assert all((float(row["angle"]) <= 10) == (row["kept"] == "1") for row in rows)
    linked = sorted(path.relative_to(kept).as_posix() for path in kept.rglob("*.png"))
    assert linked == [row["path"] for row in rows if row["kept"] == "1"]
    assert all((kept / path).samefile(data / path) for path in linked)


def test_names_in_another_unicode_form_are_those_that_were_trained_on(cli, parts, data, tmp_path):
    (data / "bob").rename(data / "Bo\u0301b")
    (data / "ann").rename(data / "Bp")
    identities = ("Bp", "B\u00f3b", "cid")
    run = write_run(tmp_path / "run", *parts, identities=identities)
    given = ("--run", run, "--data", data, "--output", tmp_path / "c.csv", "--max-angle", 10)
    status, out, err = cli("clean", *given)
    assert status == 0, err
    assert "3 identities, 12 images, 1 dropped" in out
    assert "Bo\u0301b/3.png,Bo\u0301b," in (tmp_path / "c.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["faces.rec", "faces.tfrecord"])
def test_a_file_is_cleaned_as_the_folder_packed_into_it(cli, refusal, run, data, tmp_path, name):
    packed = pack(data, tmp_path / name, (32, 32))
    tables = []
    for images in (data, packed):
        output = tmp_path / f"{images.name}.csv"
        given = ("--run", run, "--data", images, "--output", output, "--max-angle", 10)
        status, _, err = cli("clean", *given)
        assert status == 0, err
        tables.append(output.read_text())
    assert tables[0] == tables[1]
    message = refusal(
        "clean",
        "--run",
        run,
        "--data",
        packed,
        "--output",
        tmp_path / "b.csv",
        "--link-to",
        tmp_path / "kept",
    )
    assert f"marginface data subset {packed} NEW --kept {tmp_path / 'b.csv'}" in message


def test_images_in_another_order_are_cleaned_alike(cli, parts, data, tmp_path):
    weights, weight = parts
    weight[2] = weight[5]  # bob's other centre is cid's, as if the stray image had its own
    run = write_run(tmp_path / "run", weights, weight)
    names = [f"{name}/{number}.png" for number in (3, 0, 2, 1) for name in PEOPLE]
    with (tmp_path / "mixed.tfrecord").open("wb") as file:
        for name in names:
            label = PEOPLE.index(name[:3])
            example = ImageExample((data / name).read_bytes(), label, name[:3], name)
            file.write(frame(pack_example(example)))
    output = tmp_path / "mixed.csv"
    given = ("--run", run, "--data", tmp_path / "mixed.tfrecord", "--output", output)
    status, _, err = cli("clean", *given, "--max-angle", 10)
    assert status == 0, err
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["path"] for row in rows) == sorted(names)
    assert [row["path"] for row in rows if row["kept"] == "0"] == [STRAY]


def test_a_wide_angle_keeps_everything(cli, run, data, tmp_path):
    output = tmp_path / "clean.csv"
    arguments = ("clean", "--run", run, "--data", data, "--output", output)
    status, out, _ = cli(*arguments, "--max-angle", 180, "--batch-size", 5)
    assert status == 0
    assert "12 images, 0 dropped" in out


def test_a_checkpoint_of_the_run_and_bad_images(cli, refusal, run, data, tmp_path):
    (data / "ann" / "bad.png").write_bytes(b"no image")
    given = ("--data", data, "--output", tmp_path / "clean.csv", "--max-angle", 10)
    checkpoint = run / "checkpoints" / "step-00000001"
    assert "bad.png" in refusal("clean", "--run", checkpoint, *given)
    status, out, _ = cli("clean", "--run", checkpoint, *given, "--skip-bad")
    assert status == 0
    assert "12 images, 1 dropped" in out


def test_copies_where_links_fail(cli, run, data, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    kept = tmp_path / "kept"
    arguments = ("--run", run, "--data", data, "--output", tmp_path / "a.csv", "--link-to", kept)
    assert cli("clean", *arguments, "--max-angle", 10)[0] == 0
    copies = list(kept.rglob("*.png"))
    assert len(copies) == 11
    assert (kept / "ann/0.png").read_bytes() == (data / "ann/0.png").read_bytes()
    assert not (kept / "ann/0.png").samefile(data / "ann/0.png")


def test_a_tree_that_fails_leaves_nothing(cli, run, data, tmp_path, monkeypatch):
    from marginface.data import linking

    made = []

    def fail(old, new):
        made.append(new)
        if len(made) == 5:
            raise OSError(28, "No space left on device", str(new))
        os.link(old, new)

    monkeypatch.setattr(linking, "_link", fail)
    kept, output = tmp_path / "kept", tmp_path / "clean.csv"
    before = sorted(tmp_path.iterdir())
    arguments = ("--run", run, "--data", data, "--output", output, "--link-to", kept)
    status, _, err = cli("clean", *arguments)
    assert status == 2
    assert err.splitlines()[-1].endswith("No space left on device")
    assert len(made) == 5
    assert sorted(tmp_path.iterdir()) == before


def test_refusals(cli, refusal, run, data, parts, tmp_path):
    output = tmp_path / "clean.csv"
    given = ("--data", data, "--output", output)
    weights, weight = parts
    one = write_run(tmp_path / "one", weights, weight[::2])
    message = refusal("clean", "--run", one, *given)
    assert "3 class weights for 3 identities" in message
    assert "subcenter_arcface" in message
    others = write_run(tmp_path / "others", weights, weight, ("ann", "bob", "dee"))
    message = refusal("clean", "--run", others, *given)
    assert "3 identities that differ from the 3 which run" in message
    assert "no such file or folder" in refusal("clean", "--run", tmp_path / "none", *given)
    onnx = tmp_path / "model.onnx"
    cli("export", "--run", run, "--output", onnx)
    assert "is a file, no run folder" in refusal("clean", "--run", onnx, *given)
    headless = write_run(tmp_path / "headless", weights, None)
    message = refusal("clean", "--run", headless, *given)
    assert "has no class weights (head.weight)" in message
    message = refusal("clean", "--run", run, *given, "--provider", "tensorrt")
    assert "no provider 'tensorrt'" in message
    inside = refusal("clean", "--run", run, *given, "--link-to", data / "kept")
    assert "among the images" in inside
    taken = refusal("clean", "--run", run, *given, "--link-to", tmp_path / "one")
    assert "one exists already" in taken
    assert not output.exists()
    output.write_text("mine")
    assert "clean.csv exists already; pass --overwrite" in refusal("clean", "--run", run, *given)
    assert output.read_text() == "mine"


def test_several_sets_are_cleaned_and_parts_taken_by_one_table(cli, parts, data, tmp_path):
    weights, weight = parts
    more = tmp_path / "more"
    shutil.copytree(data, more)
    (more / STRAY).unlink()
    called = [f"{name}/{who}" for name in ("faces", "more") for who in PEOPLE]
    run = write_run(tmp_path / "both", weights, np.tile(weight, (2, 1)), called)
    (run / "config.yaml").write_text("join_identities: false\n")
    output, kept = tmp_path / "clean.csv", tmp_path / "kept"
    given = ("--run", run, "--data", data, "--data", more, "--output", output, "--max-angle", 10)
    status, out, err = cli("clean", *given, "--link-to", kept)
    assert status == 0, err
    assert "6 identities, 23 images, 1 dropped" in out
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    dropped = [row for row in rows if row["kept"] == "0"]
    assert [(row["path"], row["identity"]) for row in dropped] == [
        (STRAY, "faces/" + STRAY.partition("/")[0])
    ]
    assert {row["data"] for row in rows} == {str(data), str(more)}
    assert not (kept / "faces" / STRAY).exists()
    assert (kept / "more" / PEOPLE[0] / "0.png").samefile(more / PEOPLE[0] / "0.png")
    for source, count in ((data, 11), (more, 11)):
        target = tmp_path / f"{source.name}_kept"
        assert cli("data", "subset", source, target, "--kept", output)[0] == 0
        assert len(list(target.rglob("*.png"))) == count
    status, _, err = cli("data", "subset", kept / "more", tmp_path / "x", "--kept", output)
    assert status == 2
    assert f"keeps no image of {kept / 'more'}; its sets are {data}, {more}" in err


def test_joined_sets_are_cleaned_by_the_identities_of_the_run(cli, run, data, tmp_path):
    more = tmp_path / "more"
    shutil.copytree(data / PEOPLE[0], more / PEOPLE[0])
    (run / "config.yaml").write_text("join_identities: true\n")
    output = tmp_path / "clean.csv"
    given = ("clean", "--run", run, "--output", output, "--max-angle", 10)
    status, out, err = cli(*given, "--data", data, "--data", more)
    assert status == 0, err
    assert "3 identities, 16 images, 1 dropped" in out
    output.unlink()
    status, _, err = cli(*given, "--data", data, "--data", data)
    assert (status, "is given twice" in err) == (2, True)


def test_behind_a_damaged_checkpoint_the_one_before_is_taken(cli, refusal, run, data, tmp_path):
    arguments = ("clean", "--run", run, "--data", data, "--output")
    assert cli(*arguments, tmp_path / "before.csv").status == 0
    newest = run / "checkpoints/step-00000002"
    shutil.copytree(newest.with_name("step-00000001"), newest)  # whose record says step 1
    with pytest.warns(match="step-00000002 is damaged .*: took step-00000001"):
        assert cli(*arguments, tmp_path / "after.csv").status == 0
    assert (tmp_path / "after.csv").read_bytes() == (tmp_path / "before.csv").read_bytes()
    named = ("clean", "--run", newest, *arguments[3:], tmp_path / "named.csv")
    assert "step-00000002 is damaged" in refusal(*named)
