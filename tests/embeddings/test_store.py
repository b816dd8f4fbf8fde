"""Embedding a folder into one file: columns, resuming, and refusals that leave nothing behind."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from PIL import Image
from record_files import pack

from marginface import MarginfaceError
from marginface.embeddings import store as embedding_store
from marginface.embeddings.embedder import Embedder, open_embedder
from marginface.embeddings.store import embed_folder
from marginface.model import Preprocessing

NAMES = [
    "ann/1.png",
    "ann/deep/2.png",
    "bob/1.png",
    "bob/2.png",
    "cid/1.png",
    "dan/1.png",
    "eve.png",
]


def corners(images: np.ndarray) -> np.ndarray:
    """Stand in for a network: the four corners of the first channel, plus one."""
    return images[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]] + 2


EMBEDDER = Embedder(corners, Preprocessing(), (8, 8), 4, "first model")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(embedding_store, "PART_SIZE", 2)


@pytest.fixture
def faces(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in NAMES:
        path = tmp_path / "faces" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return tmp_path / "faces"


@pytest.fixture
def identities(faces) -> Path:
    """The folder without what does not lie in an identity's folder."""
    for name in NAMES:
        if name.count("/") != 1:
            (faces / name).unlink()
    return faces


def expected(faces: Path, name: str) -> np.ndarray:
    red = np.array(Image.open(faces / name)).astype(float)[:, :, 0]
    values = (red - 127.5) / 127.5 + 2
    return np.array([values[0, 0], values[0, -1], values[-1, 0], values[-1, -1]])


def stop_after(embedder: Embedder, batches: int) -> Embedder:
    """Return an embedder that is interrupted at its next batch, as Ctrl-C would."""
    left = iter(range(batches))

    def run(images: np.ndarray) -> np.ndarray:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return embedder.run(images)

    return replace(embedder, run=run)


def check_rows(rows: list[dict[str, object]], faces: Path, names: list[str]) -> None:
    assert [row["path"] for row in rows] == names
    for row in rows:
        name = str(row["path"])
        assert row["identity"] == (name.split("/")[0] if "/" in name else "")
        np.testing.assert_allclose(row["embedding"], expected(faces, name), rtol=1e-6)
        assert row["norm"] == pytest.approx(np.linalg.norm(expected(faces, name)), rel=1e-6)


def test_parquet_columns_and_types(faces, tmp_path):
    output = tmp_path / "new" / "out.parquet"
    progress: list[tuple[int, int]] = []
    summary = embed_folder(
        EMBEDDER, faces, output, batch_size=3, on_progress=lambda *step: progress.append(step)
    )
    assert (summary.embedded, summary.resumed, summary.skipped) == (7, 0, ())
    table = pq.read_table(output)
    assert [str(field.type) for field in table.schema] == [
        *("string", "string", "float"),
        "fixed_size_list<element: float>[4]",
    ]
    check_rows(table.to_pylist(), faces, NAMES)
    assert progress == [(2, 7), (4, 7), (6, 7), (7, 7)]
    assert [path.name for path in output.parent.iterdir()] == ["out.parquet"]


def test_npz_holds_the_same_and_loads_without_pickle(faces, tmp_path):
    output = tmp_path / "out.npz"
    embed_folder(EMBEDDER, faces, output)
    with np.load(output, allow_pickle=False) as arrays:
        assert sorted(arrays) == ["embedding", "identity", "marginface.origin", "norm", "path"]
        assert arrays["embedding"].dtype == arrays["norm"].dtype == np.float32
        columns = [arrays[name] for name in ("path", "identity", "norm", "embedding")]
        names = ("path", "identity", "norm", "embedding")
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    check_rows(rows, faces, NAMES)


@pytest.mark.parametrize("name", ["faces.rec", "faces.tfrecord"])
def test_a_file_gives_what_the_folder_packed_into_it_does(identities, tmp_path, name):
    packed = pack(identities, tmp_path / name, (8, 8))
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(EMBEDDER, 2), packed, tmp_path / "out.parquet")
    assert embed_folder(EMBEDDER, packed, tmp_path / "out.parquet").resumed == 4
    names = [name for name in NAMES if name.count("/") == 1]
    check_rows(pq.read_table(tmp_path / "out.parquet").to_pylist(), identities, names)


def test_parts_of_a_file_that_changed_are_made_again(identities, tmp_path):
    packed = pack(identities, tmp_path / "faces.tfrecord", (8, 8))
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(EMBEDDER, 2), packed, tmp_path / "out.npz")
    os.utime(packed, ns=(1, 1))
    assert embed_folder(EMBEDDER, packed, tmp_path / "out.npz").resumed == 0


def test_a_missing_index_is_rebuilt_when_asked(identities, tmp_path):
    packed = pack(identities, tmp_path / "faces.rec", (8, 8))
    packed.with_suffix(".idx").unlink()
    with pytest.raises(MarginfaceError, match="--rebuild-index"):
        embed_folder(EMBEDDER, packed, tmp_path / "out.npz")
    assert embed_folder(EMBEDDER, packed, tmp_path / "out.npz", rebuild_index=True).embedded == 5


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
@pytest.mark.parametrize("batches", [0, 1, 2, 3])
def test_an_interrupted_run_goes_on_where_it_stopped(faces, tmp_path, suffix, batches):
    whole, output = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}"
    embed_folder(EMBEDDER, faces, whole)
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(EMBEDDER, batches), faces, output)
    assert not output.exists()
    left = sorted(path.name for path in tmp_path.glob(f"{output.name}.parts/*"))
    finished = [f"part-{n:06d}.parquet" for n in range(batches)]
    assert left == (["manifest.json", *finished] if finished else [])
    assert (tmp_path / f"{output.name}.parts").exists() == bool(finished)
    counted: list[int] = []
    summary = embed_folder(
        EMBEDDER, faces, output, on_progress=lambda done, _: counted.append(done)
    )
    assert (summary.embedded, summary.resumed) == (7, 2 * batches)
    assert counted == [2, 4, 6, 7]
    assert not (tmp_path / f"{output.name}.parts").exists()
    if suffix == "parquet":
        assert pq.read_table(output).equals(pq.read_table(whole))
    else:
        with np.load(output) as resumed, np.load(whole) as straight:
            for name in straight:
                np.testing.assert_array_equal(resumed[name], straight[name])


def test_parts_of_another_model_list_or_option_are_not_mixed_in(faces, tmp_path):
    output = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(EMBEDDER, 1), faces, output)
    other = replace(EMBEDDER, fingerprint="second model")
    with pytest.raises(MarginfaceError, match=r"the model changed since; .*--overwrite"):
        embed_folder(other, faces, output)
    with pytest.raises(MarginfaceError, match="the choice of --flip changed"):
        embed_folder(EMBEDDER, faces, output, flip=True)
    with pytest.raises(MarginfaceError, match="the choice of --resize changed"):
        embed_folder(EMBEDDER, faces, output, resize=True)
    (faces / "eve.png").rename(faces / "eva.png")
    with pytest.raises(MarginfaceError, match="the list of images changed"):
        embed_folder(EMBEDDER, faces, output)
    assert embed_folder(other, faces, output, overwrite=True).resumed == 0
    names = [*NAMES[:-1], "eva.png"]
    check_rows(pq.read_table(output).to_pylist(), faces, names)


def test_parts_of_a_model_whose_external_data_changed_are_not_mixed_in(faces, tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> tiny (float[N, 3, 8, 8] x) => (float[N, 4] y) '
        "{ p = GlobalAveragePool(x) f = Flatten(p) y = MatMul(f, w) }"
    )
    weight = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    path, output = tmp_path / "m.onnx", tmp_path / "out.parquet"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(open_embedder(path), 1), faces, output)
    before = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "w.bin").write_bytes((weight + 1).tobytes())
    with pytest.raises(MarginfaceError, match="the model changed since"):
        embed_folder(open_embedder(path), faces, output)
    (tmp_path / "w.bin").write_bytes(before)
    inline = tmp_path / "renamed.onnx"
    onnx.save(onnx.load(path), inline)  # the same model, in one file
    assert embed_folder(open_embedder(inline), faces, output).resumed == 2


def test_parts_of_the_former_version_are_named_as_such(faces, tmp_path):
    output = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(EMBEDDER, 1), faces, output)
    path = tmp_path / "out.parquet.parts" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"version": 1, "model": "of the file alone"}))
    with pytest.raises(
        MarginfaceError, match=r"of another version of marginface; pass --overwrite"
    ):
        embed_folder(EMBEDDER, faces, output)
    assert embed_folder(EMBEDDER, faces, output, overwrite=True).resumed == 0


def test_a_run_that_finished_nothing_binds_nobody(faces, tmp_path):
    Image.new("RGB", (9, 8)).save(faces / NAMES[0])
    output = tmp_path / "out.parquet"
    with pytest.raises(MarginfaceError, match=r"expected 8x8; .* --resize"):
        embed_folder(EMBEDDER, faces, output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces"]
    assert embed_folder(EMBEDDER, faces, output, resize=True).embedded == 7


def test_an_existing_output_is_replaced_only_when_asked(faces, tmp_path):
    output = tmp_path / "out.parquet"
    output.write_text("precious")
    with pytest.raises(MarginfaceError, match="exists already; pass --overwrite"):
        embed_folder(EMBEDDER, faces, output)
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(EMBEDDER, 1), faces, output, overwrite=True)
    assert output.read_text() == "precious"
    assert embed_folder(EMBEDDER, faces, output, overwrite=True).resumed == 2
    assert pq.read_table(output).num_rows == 7


def test_a_bad_image_is_named_or_skipped_and_counted_once_resumed(faces, tmp_path):
    output = tmp_path / "out.npz"
    whole = (faces / "bob/1.png").read_bytes()
    (faces / "bob/1.png").write_bytes(whole[: len(whole) // 2])
    (faces / "bob/2.png").write_bytes(b"")
    with pytest.raises(MarginfaceError, match=r"bob/1\.png"):
        embed_folder(EMBEDDER, faces, output)
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(EMBEDDER, 1), faces, output, skip_bad=True)
    summary = embed_folder(EMBEDDER, faces, output, skip_bad=True)
    # ann's part, bob's (nothing to embed in it) and cid's with dan's were finished.
    assert (summary.embedded, summary.resumed) == (5, 6)
    assert [path for path, _ in summary.skipped] == ["bob/1.png", "bob/2.png"]
    assert all("cannot read the image" in reason for _, reason in summary.skipped)
    with np.load(output) as arrays:
        assert arrays["path"].tolist() == [name for name in NAMES if "bob" not in name]


def test_parts_that_skipped_are_not_taken_up_by_a_run_that_must_not(faces, tmp_path):
    (faces / NAMES[0]).write_bytes(b"")
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(EMBEDDER, 1), faces, tmp_path / "out.npz", skip_bad=True)
    with pytest.raises(MarginfaceError, match="cannot read the image"):
        embed_folder(EMBEDDER, faces, tmp_path / "out.npz")


def test_an_image_that_changed_meanwhile_is_embedded_again(faces, tmp_path):
    output = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(EMBEDDER, 2), faces, output)
    Image.new("RGB", (8, 8), (9, 9, 9)).save(faces / NAMES[0])
    assert embed_folder(EMBEDDER, faces, output).resumed == 2
    check_rows(pq.read_table(output).to_pylist(), faces, NAMES)


def test_only_bad_images_is_an_error(tmp_path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "a.png").write_bytes(b"no image")
    with pytest.raises(MarginfaceError, match=r"none of the 1 images .*; first: .*a\.png"):
        embed_folder(EMBEDDER, tmp_path / "faces", tmp_path / "out.npz", skip_bad=True)
    assert not (tmp_path / "out.npz").exists()


def test_an_image_of_another_size_is_named_or_skipped_and_counted(faces, tmp_path):
    Image.new("RGB", (9, 8)).save(faces / "bob/1.png")
    output = tmp_path / "out.parquet"
    wrong = r"bob/1\.png: the image is 8x9 .* expected 8x8"
    with pytest.raises(MarginfaceError, match=wrong):
        embed_folder(EMBEDDER, faces, output)
    summary = embed_folder(EMBEDDER, faces, output, skip_bad=True)
    ((path, reason),) = summary.skipped
    assert (summary.embedded, path) == (6, "bob/1.png")
    assert re.search(wrong, reason)
    summary = embed_folder(EMBEDDER, faces, output, resize=True, overwrite=True)
    assert (summary.embedded, summary.skipped) == (7, ())


def test_a_crop_takes_any_one_size(faces, tmp_path):
    cropped = replace(EMBEDDER, preprocessing=Preprocessing(crop=(1, 2, 4, 5)), input_size=(4, 5))
    embed_folder(cropped, faces, tmp_path / "out.parquet")
    row = pq.read_table(tmp_path / "out.parquet").to_pylist()[0]
    red = np.array(Image.open(faces / row["path"])).astype(float)[1:5, 2:7, 0]
    values = (red - 127.5) / 127.5 + 2
    corner_values = [values[0, 0], values[0, -1], values[-1, 0], values[-1, -1]]
    np.testing.assert_allclose(row["embedding"], corner_values, rtol=1e-6)
    Image.new("RGB", (9, 8)).save(faces / "bob/1.png")
    with pytest.raises(MarginfaceError, match=r"expected 8x8 as the first image is"):
        embed_folder(cropped, faces, tmp_path / "other.parquet")


@pytest.mark.parametrize("value", [np.nan, -2.0])
def test_embeddings_without_direction_name_the_image(faces, tmp_path, value):
    def broken(images: np.ndarray) -> np.ndarray:
        embeddings = corners(images)
        embeddings[-1] = value + 2
        return embeddings

    with pytest.raises(MarginfaceError, match=r"length zero, NaN or infinite for .*2\.png"):
        embed_folder(replace(EMBEDDER, run=broken), faces, tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.csv", r"ends in '\.csv', expected \.parquet or \.npz"),
        ("folder.npz", "is a folder, expected the name of a file"),
        ("file/out.npz", "out.npz needs a folder, but .*file is a file"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(faces, tmp_path, name, words):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(MarginfaceError, match=words):
        embed_folder(EMBEDDER, faces, tmp_path / name)


@pytest.mark.parametrize("manifest", [None, "{", "[]"])
def test_a_foreign_parts_folder_is_left_alone(faces, tmp_path, manifest):
    foreign = tmp_path / "out.npz.parts"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("precious")
    if manifest is not None:
        (foreign / "manifest.json").write_text(manifest)
    with pytest.raises(MarginfaceError, match="is in the way and holds no unfinished embeddings"):
        embed_folder(EMBEDDER, faces, tmp_path / "out.npz", overwrite=True)
    assert (foreign / "mine.txt").read_text() == "precious"


def test_a_damaged_part_is_named(faces, tmp_path):
    output = tmp_path / "out.npz"
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(EMBEDDER, 1), faces, output)
    part = tmp_path / "out.npz.parts" / "part-000000.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(MarginfaceError, match=r"part-000000\.parquet is damaged; delete it"):
        embed_folder(EMBEDDER, faces, output)
    part.unlink()
    assert embed_folder(EMBEDDER, faces, output).embedded == 7


def test_the_manifest_says_what_the_parts_belong_to(faces, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        embed_folder(stop_after(EMBEDDER, 1), faces, tmp_path / "out.npz")
    manifest = json.loads((tmp_path / "out.npz.parts" / "manifest.json").read_text())
    assert manifest["model"] == "first model"
