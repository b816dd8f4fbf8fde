"""What made embeddings stays in their file, and files of two models are not mixed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from real_faces import FACES

from marginface import MarginfaceError
from marginface.embeddings import store as embedding_store
from marginface.embeddings.embedder import Embedder
from marginface.embeddings.files import embeddings_table, merge_to_npz, merge_to_parquet
from marginface.embeddings.origin import Origin, common_origin
from marginface.embeddings.reader import embeddings_of, read_embeddings, read_origins
from marginface.embeddings.store import embed_folder
from marginface.model import Preprocessing

ORIGIN = Origin(
    fingerprint="0123456789abcdef" * 4,
    mean=(127.5, 127.5, 127.5),
    std=(128.0, 128.0, 128.0),
    channels="rgb",
    crop=(0, 8, 112, 96),
    input_size=(112, 96),
    flip=False,
    resize=True,
    backend="onnx",
    norms=(11.5, 21.25),
)
OTHER = "fedcba9876543210" * 4
FORMATS = {".parquet": merge_to_parquet, ".npz": merge_to_npz}


def written(path: Path, names: list[str], origin: Origin | None, size: int = 4) -> Path:
    """Write embeddings of ones."""
    part = path.with_suffix(".part")
    pq.write_table(embeddings_table(names, np.ones((len(names), size), np.float32)), part)
    FORMATS[path.suffix]([part], path, origin)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "origin", [ORIGIN, replace(ORIGIN, mean=None, std=None, crop=None, flip=True), None]
)
def test_the_origin_is_read_back(tmp_path, suffix, origin):
    path = written(tmp_path / f"e{suffix}", ["a", "b"], origin)
    assert read_origins(path) == {path: origin}
    assert [names for names, _ in read_embeddings(path)] == [["a", "b"]]


def test_the_entry_is_plain_json_for_any_program(tmp_path):
    expected = {
        "version": 1,
        "fingerprint": ORIGIN.fingerprint,
        "backend": "onnx",
        "mean": [127.5] * 3,
        "std": [128.0] * 3,
        "channels": "rgb",
        "crop": [0, 8, 112, 96],
        "input_size": [112, 96],
        "flip": False,
        "resize": True,
        "norms": [11.5, 21.25],
    }
    parquet = written(tmp_path / "e.parquet", ["a"], ORIGIN)
    npz = written(tmp_path / "e.npz", ["a"], ORIGIN)
    assert json.loads(pq.read_schema(parquet).metadata[b"marginface.origin"]) == expected
    with np.load(npz, allow_pickle=False) as arrays:
        assert json.loads(str(arrays["marginface.origin"])) == expected


CHANGES = {
    "model": ({"fingerprint": OTHER}, r"a\S+ was made by model 0123456789ab and \S+b\S+ by model "),
    "preprocessing": (
        {"fingerprint": OTHER, "std": (127.5,) * 3, "channels": "bgr"},
        r"by model fedcba987654 \(other std, channels\): .* one model and the same options",
    ),
    "flip": ({"flip": True}, r"b\S+ has embeddings summed .*, \S+a\S+ has not; .* --flip or"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("suffixes", [(".parquet", ".parquet"), (".npz", ".parquet")])
def test_files_of_two_models_are_not_mixed(tmp_path, change, suffixes):
    values, words = CHANGES[change]
    paths = [
        written(tmp_path / f"a{suffixes[0]}", ["1"], ORIGIN),
        written(tmp_path / "silent.npz", ["2"], None),
        written(tmp_path / f"b{suffixes[1]}", ["3"], replace(ORIGIN, **values)),
    ]
    with pytest.raises(MarginfaceError, match=words) as caught:
        embeddings_of(paths, ["1", "3"])
    assert "\n" not in str(caught.value)
    with pytest.raises(MarginfaceError, match=words):
        next(read_embeddings(paths))
    assert embeddings_of(paths[:2], ["2", "1"]).shape == (2, 4)


def test_files_of_one_model_are_read_as_one(tmp_path):
    other = replace(ORIGIN, backend="torch", resize=False, norms=(9.0, 20.0))
    paths = [
        written(tmp_path / "a.parquet", ["1", "2"], ORIGIN),
        written(tmp_path / "b.npz", ["3"], other),
        written(tmp_path / "c.npz", ["4"], None),
    ]
    assert [list(names) for names, _ in read_embeddings(paths)] == [["1", "2"], ["3"], ["4"]]
    assert common_origin(read_origins(paths)) == replace(ORIGIN, norms=(9.0, 21.25))
    assert common_origin(read_origins(paths[2])) is None
    again = written(tmp_path / "d.npz", ["3"], other)
    with pytest.raises(MarginfaceError, match="have two embeddings of 3; embed a folder above"):
        embeddings_of([*paths, again], ["3"])
    assert embeddings_of([again, again], ["3"]).shape == (1, 4)  # one file


def test_files_without_an_origin_that_cannot_be_of_one_model_are_refused(tmp_path):
    paths = [
        written(tmp_path / "a.npz", ["1"], None),
        written(tmp_path / "b.npz", ["2"], ORIGIN, size=5),
    ]
    with pytest.raises(MarginfaceError, match=r"a\.npz has embeddings of 4 numbers, .* of 5"):
        embeddings_of(paths, ["1", "2"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "says in version 2 .* this marginface knows version 1; update marginface"),
        ({"version": 0}, "is not as marginface writes it"),
        ({"version": "1"}, "is not as marginface writes it"),
        ({"fingerprint": "\x1b[31m"}, "is not as marginface writes it"),
        ({"fingerprint": ["0"] * 64}, "is not as marginface writes it"),
        ({"flip": "no"}, "is not as marginface writes it"),
        ({"norms": [1]}, "is not as marginface writes it"),
        ({"norms": [1, float("inf")]}, "is not as marginface writes it"),
        ({"norms": None}, "is not as marginface writes it"),
        ({"crop": {"0": 1}}, "is not as marginface writes it"),
        ({"mean": [10**400] * 3}, "is not as marginface writes it"),
        ("[" * 60_000, "is not as marginface writes it"),
        ("{" + " " * 70_000 + "}", "is not as marginface writes it"),
        ("", "is not as marginface writes it"),
        ("7", "is not as marginface writes it"),
        ("\udcff", "is not as marginface writes it"),
    ],
)
def test_an_entry_that_is_not_ours_is_refused(tmp_path, change, words):
    text = change if isinstance(change, str) else json.dumps(ORIGIN.to_json() | change)
    with pytest.raises(MarginfaceError, match=words) as caught:
        Origin.from_text(text, tmp_path / "e.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "entry", [np.array(1.0), np.array([["x"]]), np.array("x" * 70_000), np.array(b"{}")]
)
def test_an_array_that_holds_no_entry_is_refused(tmp_path, entry):
    arrays = {"path": np.array(["a"]), "embedding": np.ones((1, 2), np.float32)}
    np.savez(tmp_path / "e.npz", **arrays, **{"marginface.origin": entry})
    with pytest.raises(MarginfaceError, match="holds no embeddings that can be read"):
        read_origins(tmp_path / "e.npz")
    metadata = {b"marginface.origin": b"\xff\xfe"}
    table = embeddings_table(["a"], arrays["embedding"]).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "e.parquet")
    with pytest.raises(MarginfaceError, match="is not as marginface writes it"):
        list(read_embeddings(tmp_path / "e.parquet"))


def test_other_programs_files_carry_no_model():
    files = sorted((FACES / "faults").glob("embeddings_*"))
    if not files:
        pytest.skip(f"no files in {FACES / 'faults'}")
    assert read_origins(files) == dict.fromkeys(files)


def test_a_table_that_another_program_wrote_anew_is_taken(tmp_path):
    path = written(tmp_path / "e.parquet", ["a", "b"], ORIGIN)
    columns = pq.read_table(path).to_pydict()
    vectors = pa.array(columns["embedding"], pa.list_(pa.float32(), 4))
    pq.write_table(pa.table({"path": columns["path"], "embedding": vectors}), path)
    assert read_origins(path) == {path: None}
    assert embeddings_of(path, ["b"]).tolist() == [[1.0] * 4]


def lengths(images: np.ndarray) -> np.ndarray:
    """Return vectors whose norms are 1 to 256: 1 + the first pixel's red."""
    red = images[:, 0, 0, 0] + 1
    return np.stack([red * 0.6, red * 0.8], axis=1).astype(np.float32)


@pytest.mark.parametrize("suffix", FORMATS)
def test_embed_writes_what_it_computed_with(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(embedding_store, "PART_SIZE", 2)
    (tmp_path / "faces").mkdir()
    for red in (3, 7, 5):
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[0, 0], pixels[0, -1] = red, 90
        Image.fromarray(pixels).save(tmp_path / "faces" / f"{red}.png")
    raw = Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3)
    embedder = Embedder(lengths, raw, (8, 8), 2, "ab" * 32, backend="tf")
    path = tmp_path / f"e{suffix}"
    embed_folder(embedder, tmp_path / "faces", path, flip=True)
    found = read_origins(path)[path]
    assert found is not None
    assert found.norms == pytest.approx((4, 91))  # of the model, before sums
    expected = Origin("ab" * 32, raw.mean, raw.std, "rgb", None, (8, 8), True, False, "tf", (0, 0))
    assert replace(found, norms=(0, 0)) == expected
