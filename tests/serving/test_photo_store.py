"""Faces of a folder of photos in one file: rows, what has none, resuming, shares, refusals."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_model import save_model
from tiny_scrfd import photo_with, save_detector

import marginface as mf
from marginface.embeddings.reader import embeddings_of, read_embeddings, read_origins
from marginface.serving import photo_store
from marginface.serving.recogniser import Recogniser

BLOCKS = [(8, 6, 6), (16, 8, 3), (32, 1, 4)]  # stride, column, row
PHOTOS = {"ann/1.png": 1, "ann/2.png": 2, "bob/1.png": 0, "bob/2.png": 3, "cid.png": 1}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_store, "PART_SIZE", 2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, count in PHOTOS.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photo = photo_with(192, 224, *BLOCKS[:count])
        photo[photo == 0] = rng.integers(0, 30, (photo == 0).sum())  # crops differ
        Image.fromarray(photo).save(path)
    return tmp_path / "photos"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model.onnx")


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return save_detector(tmp_path / "tiny.onnx")


def left_out(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_row_for_each_face(photos: Path, model: Path, detector: Path, tmp_path: Path) -> None:
    output = tmp_path / "e.parquet"
    (photos / "dora.jpg").write_bytes(b"no image")
    with pytest.raises(
        mf.MarginfaceError, match=r"dora\.jpg: cannot .*, or leave such .* with skip_bad=True$"
    ):
        mf.embed(model, photos=photos, detector=detector, output=output)
    summary = mf.embed(model, photos=photos, detector=detector, output=output, skip_bad=True)
    assert (summary.embedded, len(summary.skipped)) == (7, 1)
    assert "7 faces of 6 photos" in repr(summary)
    rows = pq.read_table(output).to_pylist()
    named = [(row["path"], row["identity"], row["face"]) for row in rows]
    assert named == [
        ("ann/1.png", "ann", 0),
        *[("ann/2.png", "ann", number) for number in range(2)],
        *[("bob/2.png", "bob", number) for number in range(3)],
        ("cid.png", "", 0),
    ]
    paths = [photos / name for name in PHOTOS]
    faces = [face for each in Recogniser(model, detector)(paths) for face in each]
    for row, face in zip(rows, faces, strict=True):
        np.testing.assert_array_equal(np.float32(row["box"]), face.box)
        np.testing.assert_array_equal(np.float32(row["points"]), face.points.ravel())
        np.testing.assert_array_equal(np.float32(row["embedding"]), face.embedding)
        for name in ("size", "blur", "yaw", "pitch", "roll", "norm"):
            assert row[name] == np.float32(getattr(face.quality, name))
    header, none, bad = left_out(tmp_path / "e.left_out.csv")
    assert header == ["path", "face", "reason"]
    assert none == ["bob/1.png", "", "no face"]
    assert bad[:2] == ["dora.jpg", ""]
    assert "cannot read the image" in bad[2]
    assert sorted(path.name for path in tmp_path.glob("e.*")) == ["e.left_out.csv", "e.parquet"]


@pytest.mark.parametrize("calls", [1, 2])
def test_an_interrupted_run_writes_the_same_rows(
    photos: Path, model: Path, detector: Path, tmp_path: Path, calls: int
) -> None:
    options = {"batch_size": 2, "flip": True, "threads": 1}
    whole, output = tmp_path / "whole.parquet", tmp_path / "e.parquet"
    mf.embed(model, photos=photos, detector=detector, output=whole, **options)
    recogniser = Recogniser(mf.load(model), detector, **options)
    left, embedder = iter(range(2 * calls)), recogniser.embedder

    def run(images: np.ndarray) -> np.ndarray:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return embedder.run(images)

    recogniser.embedder = replace(embedder, run=run)
    with pytest.raises(KeyboardInterrupt):
        photo_store.embed_photos(recogniser, photos, output)
    assert not output.exists()
    summary = mf.embed(model, photos=photos, detector=detector, output=output, **options)
    assert summary.resumed == 2 * calls
    assert pq.read_table(output).equals(pq.read_table(whole))
    assert output.read_bytes() == whole.read_bytes()


def test_parts_of_other_work_are_not_mixed_in(
    photos: Path, model: Path, detector: Path, tmp_path: Path
) -> None:
    output = tmp_path / "e.parquet"
    (photos / "dora.jpg").write_bytes(b"no image")
    given = {"photos": photos, "detector": detector, "output": output}
    with pytest.raises(mf.MarginfaceError, match="dora"):
        mf.embed(model, **given)
    for option, told in (
        ({"flip": True}, "choice of flip"),
        ({"min_score": 0.4}, "detector or its min_score"),
        ({"min_face": 9}, "choice of min_face"),
        ({"batch_size": 9}, "choice of batch_size"),
        ({"shard": "1/2"}, "list of photos"),
    ):
        with pytest.raises(mf.MarginfaceError, match=f"the {told}.* changed since"):
            mf.embed(model, **given, **option, skip_bad=True)
    assert mf.embed(model, **given, skip_bad=True).resumed == 4
    with pytest.raises(mf.MarginfaceError, match=r"e\.parquet exists"):
        mf.embed(model, **given, skip_bad=True)


def test_shares_are_the_whole(photos: Path, model: Path, detector: Path, tmp_path: Path) -> None:
    whole, shares = tmp_path / "whole.parquet", [tmp_path / f"{n}.parquet" for n in (1, 2, 3)]
    mf.embed(model, photos=photos, detector=detector, output=whole)
    for number, output in enumerate(shares, 1):
        mf.embed(model, photos=photos, detector=detector, output=output, shard=(number, 3))
    joined = pa.concat_tables([pq.read_table(share) for share in shares])
    assert joined.combine_chunks().equals(pq.read_table(whole).combine_chunks())
    crops, parts = tmp_path / "crops.parquet", [tmp_path / f"c{n}.parquet" for n in (1, 2)]
    mf.embed(model, photos, crops, resize=True)
    for number, output in enumerate(parts, 1):
        mf.embed(model, photos, output, resize=True, shard=f"{number}/2")
    joined = pa.concat_tables([pq.read_table(part) for part in parts])
    assert joined.combine_chunks().equals(pq.read_table(crops).combine_chunks())
    with pytest.raises(mf.MarginfaceError, match=r"shard 1/9 of 5 images is empty"):
        mf.embed(model, photos, tmp_path / "no.parquet", shard="1/9")
    for wrong in ("0/3", "4/3", "1", 3, "1/x"):
        with pytest.raises(mf.MarginfaceError, match=r"shard must be such as 3/16"):
            mf.embed(model, photos, tmp_path / "no.parquet", shard=wrong)


def test_readers_refuse_two_faces_of_one_photo(
    photos: Path, model: Path, detector: Path, tmp_path: Path
) -> None:
    output = tmp_path / "e.parquet"
    mf.embed(model, photos=photos, detector=detector, output=output)
    assert sum(len(names) for names, _ in read_embeddings(output)) == 7
    assert embeddings_of(output, ["ann/1.png", "cid.png"]).shape == (2, 12)
    origin = read_origins(output)[output]
    assert origin is not None
    assert origin.faces == Recogniser(model, detector).faces_origin
    with pytest.raises(mf.MarginfaceError, match=r"several faces of ann/2\.png; .*data align"):
        embeddings_of(output, ["ann/2.png"])


def test_nothing_is_written_where_no_face_is_found(
    photos: Path, model: Path, detector: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "e.parquet"
    with pytest.raises(mf.MarginfaceError, match=r"no face of the 5 photos .* 7 face too small"):
        mf.embed(model, photos=photos, detector=detector, output=output, min_face=10_000)
    assert not list(output.parent.glob("*"))


def test_options_that_do_not_go_together(photos: Path, model: Path, detector: Path) -> None:
    for given, told in (
        ({}, "give aligned crops as images, or photos as photos"),
        ({"photos": photos}, "photos needs detector"),
        ({"photos": photos, "images": photos, "detector": detector}, "images does not go with"),
        ({"photos": photos, "resize": True, "detector": detector}, "resize=True does not go with"),
        ({"images": photos, "detector": detector}, "detector does not go with images"),
        ({"images": photos, "min_face": 3}, "min_face does not go with images"),
        ({"photos": photos / "no", "detector": detector}, "does not exist|no such folder"),
    ):
        with pytest.raises(mf.MarginfaceError, match=told):
            mf.embed(model, output="e.parquet", **given)
    with pytest.raises(mf.MarginfaceError, match=r"expected \.parquet"):
        mf.embed(model, photos=photos, detector=detector, output="e.npz")
