"""`marginface identify` on photos as a user types it: who is found, and what is refused."""

from __future__ import annotations

import csv
import errno
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import cli, printed, refusal
from PIL import Image
from tiny_model import save_model
from tiny_scrfd import photo_with, save_detector

import marginface as mf
from marginface.serving import answers as files

PEOPLE, EACH, FAR = 12, 4, 0.1


def photo(person: int, *blocks: tuple[int, int, int], seed: int = 0) -> Image.Image:
    """Return a photo on the dark colours of a person, with a face where a bright block is."""
    colours = np.random.default_rng(person).integers(0, 90, (4, 4, 3))
    noise = np.random.default_rng([person, seed]).integers(0, 20, (192, 224, 3))
    marks = photo_with(192, 224, *blocks)
    ground = colours.repeat(48, 0).repeat(56, 1) + noise
    return Image.fromarray(np.where(marks > 0, marks, ground).astype(np.uint8))


def save(path: Path, *given: object, **more: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo(*given, **more).save(path)


FACE = (16, 6, 5)
SMALL = (8, 22, 18)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with people, probes, and a model calibrated on other people's photos."""
    folder = tmp_path_factory.mktemp("photos")
    save_detector(folder / "d.onnx")
    save_model(folder / "m.onnx")
    names = [(f"c{who}/{n}.png", who) for who in range(100, 100 + PEOPLE) for n in range(EACH)]
    for name, who in names:
        save(folder / "others" / name, who, FACE, seed=int(name[-5]))
    pairs = [f"{a} {b} {int(i == j)}" for (a, i), (b, j) in combinations(names, 2)]
    (folder / "pairs.txt").write_text("\n".join(pairs) + "\n")
    data = {"pairs": folder / "pairs.txt", "images": folder / "others"}
    how = {"detector": folder / "d.onnx", "far": [FAR, 1e-3], "mean": 45, "std": 45}
    mf.calibrate(folder / "m.onnx", **data, **how, output=folder / "c.onnx")
    for who, name in enumerate(("ann", "bo", "王")):
        save(folder / "people" / name / "1.png", who, FACE, seed=1)
    save(folder / "people" / "ann" / "2.png", 0, FACE, SMALL, seed=2)
    save(folder / "inbox" / "a.png", 0, FACE, seed=3)
    save(folder / "inbox" / "deep" / "er" / "b.png", 1, FACE, seed=4)
    save(folder / "inbox" / "stranger.png", 50, FACE, seed=5)
    save(folder / "inbox" / "none.png", 2)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """Return a copy to change."""
    for name in ("people", "inbox"):
        shutil.copytree(made / name, tmp_path / name)
    for name in ("m.onnx", "c.onnx", "d.onnx"):
        shutil.copy(made / name, tmp_path)
    return tmp_path


def arguments(place: Path, *more: object, model: str = "c.onnx") -> list[object]:
    folders = ("--gallery", place / "people", "--probes", place / "inbox")
    how = ("--model", place / model, "--detector", place / "d.onnx")
    return ["identify", *folders, *how, *more]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_people_are_found_and_strangers_are_nobody(place: Path) -> None:
    out = place / "found"
    done = cli(*arguments(place, "--far", FAR, "--top", 2, "--output", out))
    assert done.status == 0, done.stderr
    table = pq.read_table(out / "candidates.parquet").to_pylist()
    best = {row["photo"]: (row["name"], row["decision"]) for row in table if row["rank"] == 1}
    assert best["a.png"] == ("ann", "found")
    assert best["deep/er/b.png"] == ("bo", "found")
    assert best["stranger.png"][1] == "nobody"
    assert [row["rank"] for row in table] == [1, 2] * 3
    assert {row["decision"] for row in table if row["rank"] == 2} == {None}
    assert all(len(row["box"]) == 4 and row["face"] == 0 for row in table)
    assert table[0]["enrolled"].startswith("ann/")
    assert [row["name"] for row in rows(out / "candidates.csv")] == [row["name"] for row in table]
    assert rows(out / "left_out.csv") == [
        {"part": "probes", "path": "none.png", "face": "", "reason": "no face"}
    ]
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.height > 3 * 112
    for told in ("2 found, 1 nobody against 3 people (4 faces)", "at FAR 0.1", "wrote "):
        assert told in done.stdout
    for told in ("1 - (1 - 0.1)^4 = 34% of strangers", "gallery: 1 photo has several"):
        assert told in done.stderr
    assert "probes: left out 1 no face" in done.stderr
    kept = sorted(path.name for path in out.iterdir() if path.name[0] != ".")
    again = refusal(*arguments(place, "--output", out))
    assert "exists already; pass --overwrite" in again
    printed(*arguments(place, "--overwrite", "--output", out))
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == kept


def test_the_function_gives_what_the_command_writes(place: Path) -> None:
    result = mf.identify(
        place / "people", place / "inbox", model=mf.load(place / "c.onnx"),
        detector=place / "d.onnx", far=FAR,
    )  # fmt: skip
    assert [answer.name for answer in result.answers] == ["ann", "bo", None]
    assert result.counts == {"found": 2, "nobody": 1}
    assert "stranger.png" in repr(result)
    assert "note: a FAR is for one comparison" in repr(result)
    assert "<table>" in result._repr_html_()
    recogniser = mf.Recogniser(place / "c.onnx", place / "d.onnx", flip=True)
    result.gallery.enrol("new", *next(recogniser(place / "inbox" / "stranger.png")))
    (again,) = result.gallery.search(next(recogniser(place / "inbox" / "stranger.png")))
    assert (again.name, round(again.candidates[0].score, 5)) == ("new", 1)


def test_embedded_files_give_the_same_answers(place: Path) -> None:
    how = ("--model", place / "c.onnx", "--detector", place / "d.onnx", "--flip")
    for name in ("people", "inbox"):
        printed("embed", "--photos", place / name, *how, "--output", place / f"{name}.parquet")
    found = {}
    for gallery, probes in (
        ("people", "inbox"),
        ("people.parquet", "inbox"),
        ("people.parquet", "inbox.parquet"),
    ):
        out = place / f"{gallery}-{probes}"
        given = ("--gallery", place / gallery, "--probes", place / probes, "--far", FAR)
        printed("identify", *given, *how[:4], "--output", out)
        found[out] = pq.read_table(out / "candidates.parquet")
        assert (out / "contact_sheet.png").exists() == (probes == "inbox")
    first, *others = found.values()
    for other in others:
        for column in ("photo", "face", "name", "rank", "decision", "enrolled", "box"):
            assert other[column] == first[column]
    one = ("--gallery", place / "people.parquet", "--probes", place / "inbox", *how[:4])
    assert "were embedded with --flip" in refusal("identify", *one, "--no-flip")
    other_model = ("--model", place / "other.onnx", "--detector", place / "d.onnx")
    mf.export(model=place / "m.onnx", std=99, output=place / "other.onnx")
    assert "was made by model" in refusal("identify", *one[:4], *other_model)


def test_without_a_rate_there_are_scores_alone(place: Path) -> None:
    done = cli(*arguments(place))
    assert "decision" not in done.stdout
    assert "give --far to decide, one that the model has: 0.1" in done.stderr
    done = cli(*arguments(place, model="m.onnx"))
    assert "marginface calibrate measures them" in done.stderr
    assert "has no thresholds; marginface calibrate" in refusal(
        *arguments(place, "--far", FAR, model="m.onnx")
    )
    assert "is not calibrated for a false accept rate of 0.3" in refusal(
        *arguments(place, "--far", 0.3)
    )
    assert "too few to show" in refusal(*arguments(place, "--far", 1e-3))
    assert "not calibrated for this use" in refusal(*arguments(place, "--far", FAR, "--no-flip"))
    for far in (0, -1, 2, "nan"):
        assert "far must be above 0 and below 1" in refusal(*arguments(place, "--far", far))
    other = ("--std", 3)
    assert "thresholds are those of another" in refusal(*arguments(place, "--far", FAR, *other))
    assert "one that the model has: none" in cli(*arguments(place, *other)).stderr


def test_thresholds_of_another_model_are_refused(place: Path) -> None:
    from marginface.onnx.metadata import read_metadata, write_with_metadata
    from marginface.serving.thresholds import THRESHOLDS_KEY

    kept = read_metadata(place / "c.onnx")[THRESHOLDS_KEY]
    mf.export(model=place / "m.onnx", std=99, output=place / "o.onnx")
    write_with_metadata(place / "o.onnx", place / "x.onnx", {THRESHOLDS_KEY: kept})
    told = refusal(*arguments(place, "--far", FAR, "--output", place / "found", model="x.onnx"))
    assert "thresholds are those of another model" in told
    assert not (place / "found").exists()


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("box", "x"),
        ("box", [1.0]),
        ("points", [1.0] * 4),
        ("face", None),
        ("face", "0"),
        ("score", [0.5]),
        ("embedding", [0.0] * 12),
    ],
)
def test_damaged_files_of_faces_are_refused(place: Path, column: str, values: object) -> None:
    how = ("--model", place / "c.onnx", "--detector", place / "d.onnx")
    printed("embed", "--photos", place / "people", *how, "--flip", "--output", place / "g.parquet")
    table = pq.read_table(place / "g.parquet")
    other = pa.array([values] * len(table))
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, column, other), place / "g.parquet")
    given = ("--gallery", place / "g.parquet", "--probes", place / "inbox", *how)
    told = refusal("identify", *given, "--output", place / "found")
    assert f"its column {column} (" in told or "length zero" in told
    assert not (place / "found").exists()


def test_photos_of_no_use_are_listed(place: Path) -> None:
    people, inbox = place / "people", place / "inbox"
    save(people / "empty handed" / "1.png", 7)
    save(people / "stray.png", 0, FACE)
    odd = 'a\nb"; rm \x1b[31m,'
    save(people / odd / "1.png", 8, FACE)
    save(inbox / f"{odd}.png", 8, FACE, seed=9)
    (inbox / "bad.jpg").write_bytes(b"no image")
    told = refusal(*arguments(place))
    assert "bad.jpg: cannot read the image" in told
    assert told.endswith("replace it, or leave such out with --skip-bad")
    out = place / "found"
    done = cli(*arguments(place, "--skip-bad", "--far", FAR, "--output", out))
    assert done.status == 0, done.stderr
    assert "gallery: 1 person is left out, as no photo of theirs can be used: empty" in done.stderr
    assert "gallery: left out 1 not in the folder of a person, 1 no face" in done.stderr
    assert "probes: left out 1 unreadable, 1 no face" in done.stderr
    listed = [(row["part"], row["path"]) for row in rows(out / "left_out.csv")]
    assert listed == [
        ("gallery", "stray.png"),
        ("gallery", "empty handed/1.png"),
        ("probes", "bad.jpg"),
        ("probes", "none.png"),
    ]
    table = pq.read_table(out / "candidates.parquet").to_pylist()
    assert odd in {row["name"] for row in table if row["decision"] == "found"}
    assert r"a\nb" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("apart", ["same", "inside", "around", "link"])
def test_a_photo_must_not_find_itself(place: Path, apart: str) -> None:
    people, inbox = place / "people", place / "inbox"
    if apart == "link":
        (inbox / "again.png").symlink_to(people / "ann" / "1.png")
    probes = {"same": people, "inside": people / "ann", "around": place, "link": inbox}[apart]
    given = ("--gallery", people, "--probes", probes, "--model", place / "c.onnx")
    told = refusal("identify", *given, "--detector", place / "d.onnx")
    assert "would find" in told


def test_what_does_not_do(place: Path) -> None:
    people, inbox, out = place / "people", place / "inbox", place / "found"
    how = ["--model", place / "c.onnx", "--output", out]
    (place / "none").mkdir()
    given = ["identify", "--gallery", place / "none", "--probes", inbox, *how]
    assert "no images under" in refusal(*given)
    save(place / "flat" / "1.png", 0, FACE)
    save(place / "blank" / "ann" / "1.png", 0)
    detector = ["--detector", place / "d.onnx"]
    for name, told in (("flat", "1 not in the folder of a person"), ("blank", "1 no face")):
        given = ["identify", "--gallery", place / name, "--probes", inbox, *how, *detector]
        assert f"nobody can be enrolled from the gallery {place / name}: {told}" in refusal(*given)
    given = ["identify", "--gallery", people, "--probes", place / "blank", *how, *detector]
    assert "no face of the probes" in refusal(*given)
    given = ["identify", "--gallery", people, "--probes", inbox, *how]
    assert "expected 112x112; give --detector" in refusal(*given)
    assert "lies in" in refusal(*given[:-1], people / "found", *detector)
    assert "no such folder" in refusal("identify", "--gallery", place / "no", *given[3:])
    both = ["--gallery", people, "--probes", inbox]
    assert "give --model for photos, or --embeddings" in refusal("identify", *both)
    embeddings = ["--embeddings", place / "e.parquet"]
    assert "not both" in refusal("identify", *both, *how, *embeddings)
    assert "--far does not go with --embeddings" in refusal(
        "identify", *both, *embeddings, "--far", 0.1
    )
    assert not out.exists()


def test_a_full_disk_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, *_: object) -> None:
        (folder / "half.png").write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_pages", full)
    told = refusal(*arguments(place, "--output", place / "found"))
    assert "No space left" in told
    assert not [*(place / "found").glob("*")]
