"""`marginface data`: what is said and written, with good input and with bad."""

from __future__ import annotations

import json
import re

import pytest
from packing_faces import COUNTS, contents, write_faces
from PIL import Image
from real_faces import FACES, needs_faces


@pytest.fixture
def faces(tmp_path):
    return write_faces(tmp_path / "faces")


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("2\nann\t1\t2\nbob\t1\t2\nann\t1\tbob\t1\ncid\t1\tdee\t1\n")
    return path


def test_pack_and_back(cli, faces, tmp_path):
    for source, target in [("faces", "a.rec"), ("a.rec", "b.tfrecord"), ("b.tfrecord", "c")]:
        status, out, err = cli("data", "pack", tmp_path / source, tmp_path / target)
        assert status == 0, err
        assert out == f"5 identities, 32 images; wrote {tmp_path / target}\n"
        assert "32/32" in err
    assert contents(tmp_path / "c") == contents(faces)


def test_pack_pairs(cli, faces, pairs, tmp_path):
    status, out, err = cli("data", "pack", faces, tmp_path / "dev.bin", "--pairs", pairs)
    assert status == 0, err
    assert out == f"2 pairs of one person, 2 of two; wrote {tmp_path / 'dev.bin'}\n"
    assert cli("data", "pack", tmp_path / "dev.bin", tmp_path / "dev.zip")[0] == 0
    assert cli("data", "pack", tmp_path / "dev.zip", tmp_path / "dev")[0] == 0
    assert len(contents(tmp_path / "dev")) == 6 + 1


def test_pack_scales_and_leaves_out(cli, faces, tmp_path):
    (faces / "ann" / "bad.png").write_bytes(b"no image")
    target = tmp_path / "a"
    options = ("--size", 20, "--format", "png", "--skip-bad")
    status, out, _ = cli("data", "pack", faces, target, *options)
    assert status == 0
    assert "left out ann/bad.png: " in out
    made = [*target.rglob("*.png")]
    assert len(made) == sum(COUNTS.values())
    assert {Image.open(path).size for path in made} == {(20, 20)}


def test_bad_packing(refusal, faces, pairs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    bad = faces / "ann" / "bad.png"
    bad.write_bytes(b"no image")
    assert str(bad) in refusal("data", "pack", faces, out / "a.rec")
    bad.unlink()
    assert "no such file or folder" in refusal("data", "pack", tmp_path / "none", out / "a.rec")
    assert "--pairs" in refusal("data", "pack", faces, out / "a.bin")
    assert ".bin or .zip" in refusal("data", "pack", faces, out / "a.rec", "--pairs", pairs)
    assert "ends in .rec, .tfrecord" in refusal("data", "pack", faces, out / "a.npz")
    assert "jpeg or png" in refusal("data", "pack", faces, out / "a.rec", "--format", "gif")
    assert "--size" in refusal("data", "pack", faces, out / "a.rec", "--size", 0)
    assert [*out.iterdir()] == []
    (out / "a.rec").write_text("mine")
    assert "exists already" in refusal("data", "pack", faces, out / "a.rec")
    (tmp_path / "damaged.bin").write_bytes(b"\x80\x03cos\nsystem\n.")
    assert "os.system" in refusal("data", "pack", tmp_path / "damaged.bin", out / "b")
    (tmp_path / "damaged.rec").write_bytes(b"no records at all")
    assert "damaged" in refusal("data", "pack", tmp_path / "damaged.rec", out / "b")
    assert [path.name for path in out.iterdir()] == ["a.rec"]


def test_what_is_done_so_far_is_told(refusal, faces, tmp_path, monkeypatch):
    monkeypatch.setattr("marginface.data.packing.training_sets.CHUNK", 8)
    (faces / "dee" / "bad.png").write_bytes(b"no image")
    line = refusal("data", "pack", faces, tmp_path / "a.rec")
    assert f"what is done so far waits in {tmp_path / '.a.rec.partial'}" in line


def test_inspect(cli, faces, tmp_path):
    other = write_faces(tmp_path / "other", {"bob": 2, "zed": 1}, side=9)
    (other / "zed" / "leak.png").write_bytes((faces / "cid" / "cid_0001.png").read_bytes())
    (other / "zed" / "bad.png").write_bytes(b"no image")
    status, out, err = cli("data", "inspect", faces, other, "--json", tmp_path / "found.json")
    assert status == 0, err
    rows = [re.split(" {2,}", line) for line in out.splitlines()]
    for row in (
        ["images", "32", "5"],
        ["identities", "5", "2"],
        ["broken images", "0", "1"],
        ["faces, other", "1", "1"],
    ):
        assert row in rows
    assert "  cid/cid_0001.png = zed/leak.png" in out.splitlines()
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["shared"][0]["identities"] == ["bob"]
    assert found["shared"][0]["images"] == [["cid/cid_0001.png", "zed/leak.png"]]
    assert found["sets"][0]["images_an_identity"] == {"1": 1, "3": 1, "7": 1, "9": 1, "12": 1}
    assert found["sets"][1]["broken"][0]["name"] == "zed/bad.png"


def test_bad_inspecting(refusal, faces, pairs, tmp_path):
    assert "another kind" in refusal("data", "inspect", pairs)
    assert "no such file or folder" in refusal("data", "inspect", tmp_path / "none")
    assert "given 2 times" in refusal("data", "inspect", faces, faces)
    assert "ROOT/IDENTITY/IMAGE" in refusal("data", "inspect", faces.parent)


def test_pack_says_that_a_bin_loses_folds_of_its_own(cli, faces, pairs, tmp_path):
    listed = tmp_path / "calfw.txt"
    labelled = (("ann", 1, 2), ("ann", 3, 2), ("bob", 1, 1))  # the folds of its same pairs
    lines = [f"{name}/{name}_000{at + n} {fold}" for name, at, fold in labelled for n in (0, 1)]
    lines += ["ann/ann_0001 0", "bob/bob_0001 0", "cid/cid_0001 0", "dee/dee_0001 0"]
    listed.write_text("\n".join(lines))
    for source, target, lost in (
        (listed, "a.bin", True),
        (listed, "a.zip", False),
        (pairs, "b.bin", False),
    ):
        status, out, err = cli("data", "pack", faces, tmp_path / target, "--pairs", source)
        assert status == 0, err
        assert ("cannot tell its 2 folds" in out) == lost


def test_split(cli, faces, tmp_path):
    write_faces(faces, {f"p{number}": 4 for number in range(20)})
    options = ("--output", tmp_path / "out", "--fraction", 0.8, "--pairs", 20, "--seed", 4)
    status, out, err = cli("data", "split", faces, *options)
    assert status == 0, err
    assert out.splitlines()[0].startswith("train: 5 identities, ")
    assert "pairs: 20 in 10 folds" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".marginface",
        "pairs.txt",
        "train",
        "validation",
    ]


def test_bad_splitting(refusal, faces, tmp_path):
    output = ("--output", tmp_path / "out")
    assert "between 0 and 1" in refusal("data", "split", faces, *output, "--fraction", 1.5)
    assert "multiple of 20" in refusal("data", "split", faces, *output, "--pairs", 7)
    assert "--by identity" in refusal(
        "data", "split", faces, *output, "--by", "image", "--pairs", 20
    )
    assert "identity or image" in refusal("data", "split", faces, *output, "--by", "age")
    assert "among the images" in refusal("data", "split", faces, "--output", faces / "out")
    assert "holds what the command reads" in refusal("data", "split", faces, "--output", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces"]


def test_subset(cli, faces, tmp_path):
    options = ("--min-images", 5, "--max-images", 6, "--identities", 2)
    for target in ("a", "a.rec"):
        status, out, err = cli("data", "subset", faces, tmp_path / target, *options)
        assert status == 0, err
        assert out == f"2 identities, 12 images; wrote {tmp_path / target}\n"


def test_bad_subsets(refusal, faces, pairs, tmp_path):
    target = tmp_path / "out"
    assert "has 3 identities" in refusal(
        "data", "subset", faces, target, "--min-images", 5, "--identities", 4
    )
    assert "no table of" in refusal("data", "subset", faces, target, "--kept", pairs)
    assert "No such file" in refusal(
        "data", "subset", faces, target, "--kept", tmp_path / "none.csv"
    )
    assert "ends in .rec" in refusal("data", "subset", faces, tmp_path / "out.bin")
    assert not target.exists()


@needs_faces
def test_real_grey_faces_become_training_images(cli, tmp_path):
    target = tmp_path / "orl.rec"
    status, out, err = cli("data", "pack", FACES / "orl", target, "--size", 112, "--format", "jpeg")
    assert status == 0, err
    assert out.startswith("40 identities, 400 images")
    status, out, _ = cli("data", "inspect", target)
    assert status == 0
    assert "112x112: 400" in out
    assert "jpeg: 400" in out
