"""One registry for each kind of input: by content and by suffix, known to every command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from packing_faces import write_faces
from pair_sets import content, pairs_of
from record_files import pack
from registries import keep_formats
from tar_faces import open_tar, tarred

from marginface import MarginfaceError, backbones
from marginface.backbones.weights import WEIGHTS
from marginface.data.formats.registry import IMAGE_SETS
from marginface.data.listing import open_set
from marginface.data.opening import open_by_name, open_images, open_sets
from marginface.data.sources import LabelledImages, OpenOptions
from marginface.data.subsets import split, write_split
from marginface.data.verification.bin_file import write_bin
from marginface.data.verification.container import write_container
from marginface.data.verification.opening import (
    PAIR_LISTS,
    VERIFICATION_SETS,
    open_all,
    open_verification,
)
from marginface.data.verification.pairs import Pairs
from marginface.embeddings.embedder import MODELS, Embedder, open_embedder
from marginface.embeddings.files import embeddings_table
from marginface.embeddings.reader import EMBEDDINGS, embeddings_of
from marginface.formats import Formats
from marginface.model import ModelSpec, Preprocessing
from marginface.onnx.writer import build_onnx

SIZE = (12, 12)
NAMES, VALUES = ["a/1.png", "b/1.png"], np.array([[1, 2], [3, 4]], np.float32)
ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def faces(tmp_path):
    return write_faces(tmp_path / "faces", {"ann": 2, "bo": 2})


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    keep_formats(monkeypatch)


# By suffix and content


def shapes(arrays: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def write_parquet(path: Path) -> None:
    pq.write_table(embeddings_table(NAMES, VALUES), path)


def write_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, path=np.array(NAMES), embedding=VALUES)


WRITERS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    ".bin": (
        lambda path: write_bin(path, pairs_of()),
        lambda path: content(open_verification(path)),
    ),
    ".zip": (
        lambda path: write_container(path, pairs_of()),
        lambda path: content(open_verification(path)),
    ),
    ".parquet": (write_parquet, lambda path: embeddings_of(path, NAMES).tolist()),
    ".npz": (write_npz, lambda path: embeddings_of(path, NAMES).tolist()),
    ".safetensors": (
        lambda path: backbones.write_weights(path, ARRAYS),
        lambda path: shapes(backbones.read_weights(path)),
    ),
    ".pt": (
        lambda path: torch.save({"a": torch.tensor(ARRAYS["a"])}, path),
        lambda path: shapes(backbones.read_weights(path)),
    ),
    ".pth": (
        lambda path: torch.save(
            {"a": torch.tensor(ARRAYS["a"])}, path, _use_new_zipfile_serialization=False
        ),
        lambda path: shapes(backbones.read_weights(path)),
    ),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_is_known_in_capitals_and_by_what_it_holds(tmp_path, suffix):
    write, read = WRITERS[suffix]
    write(tmp_path / f"set{suffix}")
    expected = read(tmp_path / f"set{suffix}")
    for name in (f"SET{suffix.upper()}", "set", "set.v2", "pytorch_model.dat"):
        (tmp_path / f"set{suffix}").rename(tmp_path / name)
        assert read(tmp_path / name) == expected
        (tmp_path / name).rename(tmp_path / f"set{suffix}")


@pytest.mark.parametrize("suffix", [".rec", ".tfrecord"])
def test_records_are_known_in_capitals_and_by_what_they_hold(faces, tmp_path, suffix):
    pack(faces, tmp_path / f"set{suffix}", SIZE)
    expected = open_images(tmp_path / f"set{suffix}", size=SIZE).labels.tolist()
    for name in (f"set{suffix.upper()}", "set"):
        (tmp_path / f"set{suffix}").rename(tmp_path / name)
        assert open_images(tmp_path / name, size=SIZE).labels.tolist() == expected
        assert len(open_by_name(tmp_path / name)[1]) == 4
        assert len(open_set(tmp_path / name)) == 4
        (tmp_path / name).rename(tmp_path / f"set{suffix}")


def test_shards_without_a_suffix_are_one_set(faces, tmp_path):
    pack(faces, tmp_path / "a.tfrecord", SIZE)
    whole = (tmp_path / "a.tfrecord").read_bytes()
    for number in range(2):
        (tmp_path / f"train-{number:05d}-of-00002").write_bytes(whole)
    assert len(open_images(tmp_path / "train-00001-of-00002", size=SIZE)) == 8
    (tmp_path / "train-00000-of-00002").unlink()
    with pytest.raises(MarginfaceError, match="1 of 2 are there"):
        open_images(tmp_path / "train-00001-of-00002")


def test_content_counts_for_more_than_a_suffix(faces, tmp_path):
    write_parquet(tmp_path / "e.npz")
    assert embeddings_of(tmp_path / "e.npz", NAMES).tolist() == VALUES.tolist()
    write_container(tmp_path / "lfw.bin", pairs_of())
    assert content(open_verification(tmp_path / "lfw.bin")) == content(pairs_of())
    for name, other in (("a.rec", "b.tfrecord"), ("c.tfrecord", "d.rec")):
        pack(faces, tmp_path / name, SIZE)
        (tmp_path / name).rename(tmp_path / other)
        if name == "a.rec":
            (tmp_path / "a.idx").rename(tmp_path / "b.idx")
        assert len(open_images(tmp_path / other, size=SIZE)) == 4


# What is none


KINDS: dict[str, tuple[Callable[[Path], object], tuple[Formats, ...]]] = {
    "images": (open_images, (IMAGE_SETS,)),
    "images by name": (open_by_name, (IMAGE_SETS,)),
    "sets of images": (lambda path: open_sets([path]), (IMAGE_SETS,)),
    "verification sets": (open_verification, (VERIFICATION_SETS, PAIR_LISTS)),
    "embeddings": (lambda path: embeddings_of(path, []), (EMBEDDINGS,)),
    "weights": (backbones.read_weights, (WEIGHTS,)),
    "models": (open_embedder, (MODELS,)),
    "any set": (open_set, (IMAGE_SETS, VERIFICATION_SETS)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_none_is_refused_in_the_same_words_by_all(kind, tmp_path):
    read, registries = KINDS[kind]
    (tmp_path / "notes.xyz").write_bytes(b"\0\1\2")
    for path, words in (
        (tmp_path / "absent.xyz", f"no such file or folder: {tmp_path / 'absent.xyz'}; expected "),
        (tmp_path / "notes.xyz", f"{tmp_path / 'notes.xyz'} is a file of another kind; expected "),
    ):
        with pytest.raises(MarginfaceError) as caught:
            read(path)
        message = str(caught.value)
        assert message.startswith(words)
        assert "\n" not in message
        for registry in registries:
            registry.register("a .mine", read, ".mine")
            assert all(name in message for name in registry.names[:-1])
            registry._formats.pop()


FOREIGN = {  # to each reader, what others write that begins alike
    "verification sets": (".npz", ".pt", ".pth"),
    "any set": (".npz", ".pt", ".pth", ".safetensors"),
    "embeddings": (".zip", ".pt"),
    "weights": (".npz", ".zip", ".bin"),
    "models": (".npz", ".bin", ".pth"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_that_begin_alike_are_told_apart(kind, tmp_path):
    for suffix in FOREIGN[kind]:
        path = tmp_path / f"file{suffix}"
        WRITERS[suffix][0](path)
        with pytest.raises(MarginfaceError, match=rf"{suffix} is a file of another kind; expected"):
            KINDS[kind][0](path)


MEANT = {  # by suffix: what it is said to be, and the option that takes it
    ".bin": "it is a .bin of InsightFace, pairs to verify: give it as --val",
    ".zip": "it is a .zip of images and pairs, pairs to verify: give it as --val",
    ".npz": "it is an .npz, embeddings: give them as --embeddings",
    ".pt": "it is PyTorch's .pt, .pth or .ckpt, a backbone's weights: give them as "
    "--weights to `marginface export`, which makes an .onnx",
    ".rec": "it is a .rec, to train on or to embed: give it as --data, or --images",
    "": "it is a folder of images, to train on or to embed: give it as --data, or --images",
}


@pytest.mark.parametrize("suffix", MEANT)
def test_what_is_given_at_another_option_is_told_which_takes_it(faces, tmp_path, suffix):
    path = tmp_path / f"given{suffix}"
    if suffix in WRITERS:
        WRITERS[suffix][0](path)
    elif suffix:
        pack(faces, path, SIZE)
    else:
        path = faces
    said = []
    for kind in ("images", "verification sets", "embeddings", "weights", "models"):
        try:
            KINDS[kind][0](path)
        except MarginfaceError as error:
            said += [str(error)] if "of another kind" in str(error) else []
    assert len(said) == (4 if suffix else 3)  # a folder may be meant for a run's
    assert all(MEANT[suffix] in each for each in said)


def test_a_zip_without_pairs_is_told_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("ann/1.jpg", b"")
    with pytest.raises(MarginfaceError, match=r"it has no pairs\.csv; expected a zip with"):
        open_verification(tmp_path / "faces.zip")
    for kind in ("images", "embeddings", "weights", "models"):
        with pytest.raises(MarginfaceError, match=r"; it is a zip, which has to be unpacked$"):
            KINDS[kind][0](tmp_path / "faces.zip")


def test_a_list_of_pairs_may_begin_with_what_a_pickle_does(tmp_path):
    write_faces(tmp_path / "faces", {"(ann)": 2, "]bo": 2})
    for name in ("(ann)", "]bo"):
        names = sorted(path.name for path in (tmp_path / "faces" / name).iterdir())
        (tmp_path / "pairs.txt").write_text(
            f"{name}/{names[0]} {name}/{names[1]} 1\n{name}/{names[0]} {name}/{names[0]} 0\n"
        )
        (found,) = open_all([tmp_path / "pairs.txt"], None, tmp_path / "faces")
        assert found.first[0] == f"{name}/{names[0]}"
        assert found.same.tolist() == [True, False]


def test_a_model_of_onnx_is_known_without_its_suffix(tmp_path):
    graph = backbones.describe("mobilefacenet", embedding_size=4, input_size=(32, 32))
    weights = backbones.initial_weights(graph, seed=0)
    spec = ModelSpec("mobilefacenet", 4, (32, 32))
    (tmp_path / "a.onnx").write_bytes(build_onnx(spec, weights).SerializeToString())
    expected = open_embedder(tmp_path / "a.onnx").fingerprint
    for name in ("model", "model.v2"):
        shutil.copy(tmp_path / "a.onnx", tmp_path / name)
        assert open_embedder(tmp_path / name).fingerprint == expected


def test_a_folder_is_none_of_what_are_files(tmp_path):
    for read in (backbones.read_weights, lambda path: embeddings_of(path, [])):
        with pytest.raises(MarginfaceError, match="is a folder of another kind; expected a"):
            read(tmp_path)


# One's own


def test_images_in_a_format_of_ones_own(faces, tmp_path):
    path = tarred(faces, tmp_path / "faces.TAR")
    with pytest.raises(MarginfaceError, match="of another kind"):
        open_images(path)
    IMAGE_SETS.register("a .tar", open_tar, ".tar")
    folder, found = open_images(faces, size=SIZE), open_images(path, size=SIZE)
    assert found.fingerprint() == folder.fingerprint()
    assert found.identities == folder.identities
    for one, other in zip(folder, found, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    assert open_by_name(path)[1] == list(folder.paths)
    assert len(open_sets([path, faces], size=SIZE)) == 8
    with pytest.raises(
        MarginfaceError, match=r"expected a folder of images, a \.rec, .* or a \.tar"
    ):
        open_images(tmp_path / "gone")


def test_a_replacement_of_rec_has_an_index_to_rebuild(faces, tmp_path):
    asked = []

    def open_mine(path: Path, options: OpenOptions) -> LabelledImages:
        asked.append(options.rebuild_index)
        return open_tar(path, options)

    path = tarred(faces, tmp_path / "faces.rec")
    IMAGE_SETS.register("a .rec of mine", open_mine, ".rec")
    assert len(open_by_name(path, rebuild_index=True)[1]) == 4
    images = open_images(path, size=SIZE)
    write_split(images, split(images, 0.5), tmp_path / "parts")
    assert asked == [True, False]
    assert (tmp_path / "parts" / "train.rec").exists()


def test_pairs_embeddings_weights_and_models_of_ones_own(tmp_path):
    path = tmp_path / "a.mine"
    path.write_bytes(b"MINE")

    class Mine:
        def __init__(self, path: Path) -> None:
            assert path.read_bytes() == b"MINE"

        def origin(self) -> None:
            return None

        def names(self):
            return iter(NAMES)

        def batches(self):
            return iter([(NAMES, VALUES)])

    def open_pairs(_: Path) -> Pairs:
        return pairs_of()

    def open_model(_: Path, options: object) -> Embedder:
        return replace(embedder, backend=options.backend)  # type: ignore[attr-defined]

    embedder = Embedder(lambda images: images, Preprocessing(), SIZE, 3, "mine")
    is_mine = partial(Path.__eq__, path)
    EMBEDDINGS.register("a .mine", Mine, recognises=is_mine)
    VERIFICATION_SETS.register("a .mine", open_pairs, ".mine")
    WEIGHTS.register("a .mine", lambda _: ARRAYS, ".mine")
    MODELS.register("a .mine", open_model, ".mine")
    assert embeddings_of(path, NAMES[1:]).tolist() == VALUES[1:].tolist()
    assert content(open_verification(path)) == content(pairs_of())
    assert backbones.read_weights(path) is ARRAYS
    assert open_embedder(path).fingerprint == "mine"


def test_what_could_never_be_found_is_not_registered():
    formats: Formats[Callable[[Path], str]] = Formats()
    with pytest.raises(MarginfaceError, match=r"'a \.tar' needs a suffix, or recognises"):
        formats.register("a .tar", Path.read_text)
    with pytest.raises(MarginfaceError, match=r"suffix 'tar' of .* has no dot; give '\.tar'"):
        formats.register("a .tar", Path.read_text, "TAR")
    assert formats.names == []


def test_the_latest_takes_the_place_of_a_former(tmp_path):
    WEIGHTS.register("mine", lambda _: ARRAYS, ".safetensors", recognises=Path.is_dir)
    (tmp_path / "a.safetensors").write_bytes(b"")
    assert backbones.read_weights(tmp_path / "a.safetensors") is ARRAYS
    assert backbones.read_weights(tmp_path) is ARRAYS


PLUGIN = """
import sys
sys.path.insert(0, {helpers!r})
from marginface.data.formats.registry import IMAGE_SETS
from tar_faces import open_tar
IMAGE_SETS.register("a .tar", open_tar, ".tar")
"""


def installed(folder: Path, code: str) -> dict[str, str]:
    """Return the environment in which a package is installed whose module registers formats."""
    about = folder / "mine-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "mine_formats.py").write_text(code)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[marginface.formats]\ntar = mine_formats\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_an_installed_package_registers_formats_for_every_command(faces, tmp_path):
    path = tarred(faces, tmp_path / "faces.tar")
    code = PLUGIN.format(helpers=str(Path(__file__).parent / "helpers"))
    command = [sys.executable, "-m", "marginface.cli.main", "data", "inspect", str(path)]
    done = subprocess.run(
        command, env=installed(tmp_path / "one", code), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "4" in done.stdout
    done = subprocess.run(
        command,
        env=installed(tmp_path / "two", "import nothing_like_it"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "the formats 'tar' (mine_formats) of an installed package cannot be" in done.stderr
    assert "'nothing_like_it' (" in done.stderr
    assert "mine_formats.py, line 1); repair or uninstall it" in done.stderr
