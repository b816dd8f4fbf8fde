"""Every reader of a user's file, given any bytes: a value, or one line that says what is wrong.

python tests/helpers/fuzz_parsers.py rec --runs 100000 --seconds 60     # pip install atheris
"""

from __future__ import annotations

import io
import json
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from record_files import insightface, intact_offsets, pack, png
from safetensors.numpy import save

from marginface.backbones import read_weights
from marginface.benchmarking.comparing import compare
from marginface.benchmarking.files import read_costs
from marginface.cards import Card
from marginface.cards.folder import TYPE, read_config
from marginface.data.formats.index_cache import load_index
from marginface.data.formats.recordio import RecordFile
from marginface.data.images import decode_image
from marginface.data.opening import open_listed
from marginface.data.photos.landmarks import read_landmarks
from marginface.data.verification.bin_file import read_bin, write_bin
from marginface.data.verification.cfp_lists import read_cfp
from marginface.data.verification.container import read_container, write_container
from marginface.data.verification.pair_lists import read_pair_list
from marginface.data.verification.pairs import Pairs, read_pairs
from marginface.embeddings.origin import ORIGIN_KEY, Origin
from marginface.embeddings.reader import read_embeddings
from marginface.errors import MarginfaceError
from marginface.evaluation.image_lists import read_subjects_of_images
from marginface.evaluation.template_files import (
    read_detector_scores,
    read_media,
    read_subjects,
    read_template_pairs,
)
from marginface.model import ModelSpec
from marginface.serving.stored_faces import stored_faces
from marginface.training.config.files import read_config_file

MEMORY = 512  # MiB more than a process has before it reads


@dataclass(frozen=True)
class Parser:
    """A reader, the name of the file that it is given, and what such a file holds when it is whole.

    `read` finds the file in a folder where everything else that it needs is whole.
    """

    file: str
    read: Callable[[Path], object]
    seeds: Callable[[], list[bytes]]


@cache
def good() -> Path:
    """Return a folder with one whole file of each kind."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    insightface(folder / "x.rec", [0, 0, 1, 1])
    names = [f"{key}\t{label}\tp{label}/{key}.png\n" for key, label in enumerate((0, 0, 1, 1), 1)]
    (folder / "x.lst").write_text("".join(names))
    open_listed(folder / "x.rec")
    for name in ("ann", "bob"):
        (folder / "faces" / name).mkdir(parents=True)
        for number in (1, 2):
            (folder / "faces" / name / f"{name}_{number:04d}.png").write_bytes(
                png(number * 50, side=8)
            )
    (folder / "pairs.txt").write_text("1\nann\t1\t2\nann\t1\tbob\t1\n")
    pairs = read_pairs(folder / "pairs.txt", folder / "faces")
    write_bin(folder / "x.bin", pairs)
    write_container(folder / "x.zip", pairs)
    pack(folder / "faces", folder / "x.tfrecord", size=(8, 8))
    fold, images = folder / "Protocol/Split/FP/01", folder / "Data/Images/001"
    for made in (fold, images / "frontal", images / "profile"):
        made.mkdir(parents=True)
    for kind in ("frontal", "profile"):
        (images / kind / "01.png").write_bytes(png(9, side=8))
        lines = f"1 ../Data/Images/001/{kind}/01.jpg\n"
        (folder / f"Protocol/Pair_list_{kind[0].upper()}.txt").write_text(lines)
    for name in ("same", "diff"):
        (fold / f"{name}.txt").write_text("1,1\n")
    return folder


def whole(file: str) -> Callable[[], list[bytes]]:
    """Return the seed that lies in the folder."""
    return lambda: [(good() / file).read_bytes()]


def texts(*lines: str) -> Callable[[], list[bytes]]:
    """Return seeds of text."""
    return lambda: [line.encode() for line in lines]


def every_image(path: Path) -> None:
    """Read all that a file of records tells of its images."""
    images = open_listed(path)
    for number in range(len(images)):
        images.name(number)
        images.encoded(number)
    images.fingerprint()


def intact(path: Path) -> None:
    """Read a .rec without its index, as far as it is whole."""
    records = RecordFile(path)
    for offset in intact_offsets(records):
        records.labelled(offset)


def every_pair(pairs: Pairs) -> None:
    """Read the images of a verification set."""
    for name in {*pairs.first, *pairs.second}:
        pairs.images.encoded(name)


def cached(path: Path) -> None:
    """Read a cached index, which claims to be of these files."""
    text = path.read_bytes()
    header = text[8 : 8 + int.from_bytes(text[:8], "little")][:4096]
    try:
        stamp = str(json.loads(header)["__metadata__"]["stamp"])
    except (ValueError, KeyError, TypeError, RecursionError):
        stamp = ""
    index = load_index(path, stamp)
    for number in range(min(len(index), 100)):
        index.name(number)


def origin() -> str:
    """Return the entry that tells what made embeddings."""
    made = (None, None, "rgb", None, (112, 112), True, False, "onnx", (9.0, 20.0))
    return Origin("0123456789abcdef" * 4, *made).to_text()


def parquet() -> list[bytes]:
    """Return whole files of embeddings."""
    path = good() / "e.parquet"
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2, 3, 4], pa.float32()), 2)
    table = pa.table({"path": ["a/1.png", "b/1.png"], "embedding": vectors})
    pq.write_table(table.replace_schema_metadata({ORIGIN_KEY: origin()}), path)
    return [path.read_bytes()]


def faces() -> list[bytes]:
    """Return whole files of the faces of photos."""
    path = good() / "f.parquet"
    lists = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2.0 * n), pa.float32()), n)
        for name, n in (("box", 4), ("points", 10), ("embedding", 2))
    }
    numbers = {"face": pa.array([0, 1], pa.int32()), "score": pa.array([0.9, 0.8], pa.float32())}
    table = pa.table({"path": ["a/1.png", "a/1.png"], **numbers, **lists})
    pq.write_table(table.replace_schema_metadata({ORIGIN_KEY: origin()}), path)
    return [path.read_bytes()]


def npz() -> list[bytes]:
    """Return whole files of embeddings."""
    path = good() / "e.npz"
    arrays = {"path": np.array(["a/1.png", "b/1.png"]), "embedding": np.eye(2, dtype=np.float32)}
    np.savez(path, **arrays, **{ORIGIN_KEY: np.array(origin())})
    return [path.read_bytes()]


def torch_file(*, zipped: bool) -> list[bytes]:
    """Return whole files of PyTorch: a state_dict in a wrapper, with views of one storage."""
    import torch

    shared = torch.arange(6.0).reshape(2, 3)
    state = {"a": shared, "b": shared.T, "c": torch.ones(2, dtype=torch.bfloat16)}
    written = io.BytesIO()
    values = {"epoch": 3, "lr": 0.1, "state_dict": state}
    torch.save(values, written, _use_new_zipfile_serialization=zipped)
    return [written.getvalue()]


def model_config() -> list[bytes]:
    """Return what a model folder says of itself."""
    spec, card = ModelSpec("mobilefacenet", 8, (32, 32)), Card(loss="cosface", figures={"LFW": 99})
    said = {"model": spec.to_json(), "card": card.to_json(), "sha256": 64 * "0"}
    return [json.dumps({"model_type": TYPE} | said).encode()]


POINTS = ",".join(["1.5"] * 10)
PARSERS: dict[str, Parser] = {
    "rec": Parser("x.rec", every_image, whole("x.rec")),
    "rec prefix": Parser("y.rec", intact, whole("x.rec")),
    "idx": Parser("x.idx", lambda path: every_image(path.with_suffix(".rec")), whole("x.idx")),
    "lst": Parser("x.lst", lambda path: every_image(path.with_suffix(".rec")), whole("x.lst")),
    "index": Parser("x.rec.index", cached, whole("x.rec.index")),
    "tfrecord": Parser("x.tfrecord", every_image, whole("x.tfrecord")),
    "bin": Parser("x.bin", lambda path: every_pair(read_bin(path)), whole("x.bin")),
    "container": Parser("x.zip", lambda path: every_pair(read_container(path)), whole("x.zip")),
    "pairs": Parser(
        "pairs.txt",
        lambda path: every_pair(read_pair_list(path, path.parent / "faces")),
        texts(
            "1\nann\t1\t2\nann\t1\tbob\t1\n",
            "ann/ann_0001.png 1\nann/ann_0002.png 1\nann/ann_0001.png 0\nbob/bob_0001.png 0\n",
            "ann/ann_0001.png ann/ann_0002.png 1\nann/ann_0001.png bob/bob_0001.png 0\n",
        ),
    ),
    "cfp": Parser(
        "Protocol/Split/FP/01/same.txt",
        lambda path: every_pair(read_cfp(path.parents[1])),
        texts("1,1\n"),
    ),
    "landmarks json": Parser(
        "l.json",
        read_landmarks,
        texts('{"a/1.jpg": [0.9, [[1, 2], [3, 2], [2, 3], [1, 4], [3, 4]]]}'),
    ),
    "landmarks csv": Parser("l.csv", read_landmarks, texts(f"a/1.jpg,{POINTS}\nb.jpg,{POINTS}\n")),
    "landmarks of ijb": Parser(
        "l.txt",
        read_landmarks,
        texts("1.jpg 1 2 3 2 2 3 1 4 3 4 0.9\n2.jpg 1 2 3 2 2 3 1 4 3 4 1\n"),
    ),
    "safetensors": Parser(
        "w.safetensors", read_weights, lambda: [save({"a": np.eye(2), "b": np.ones(1, np.float32)})]
    ),
    "torch zip": Parser("w.pt", read_weights, partial(torch_file, zipped=True)),
    "torch row": Parser("w.pth", read_weights, partial(torch_file, zipped=False)),
    "model folder": Parser("config.json", lambda path: read_config(path.parent), model_config),
    "yaml": Parser("c.yaml", read_config_file, texts("data: faces\noutput: run\nlr: 0.1\n")),
    "costs": Parser(
        "b.json",
        lambda path: compare(read_costs(path).costs, read_costs(path).costs),
        texts(
            '{"machine": {"cores": 2}, "base": "a", "costs": [{"backend": "tf", "name": "a", '
            '"case": "b", "seconds": [1.5], "base_seconds": [2.5], '
            '"to_base": [1, 1, 1], "memory": null}]}'
        ),
    ),
    "media": Parser("m.txt", read_media, texts("1.jpg 1 2\n2.jpg 1 3\n")),
    "scores": Parser("s.txt", read_detector_scores, texts("1.jpg 1 2 3 4 5 6 7 8 9 10 0.9\n")),
    "template pairs": Parser(
        "p.txt", lambda path: list(read_template_pairs(path)), texts("1 2 1\n1 3 0\n")
    ),
    "subjects": Parser(
        "g.csv",
        read_subjects,
        texts("TEMPLATE_ID,SUBJECT_ID,FILENAME\n1,7,a.jpg\n2,8,b.jpg\n"),
    ),
    "images": Parser("i.txt", read_subjects_of_images, texts("ann/1.jpg\nx.jpg\tbob\n")),
    "parquet": Parser("e.parquet", lambda path: list(read_embeddings(path)), parquet),
    "faces": Parser("f.parquet", lambda path: list(stored_faces(path)), faces),
    "npz": Parser("e.npz", lambda path: list(read_embeddings(path)), npz),
    "image": Parser(
        "a.png", lambda path: decode_image(path.read_bytes(), path), lambda: [png(7, side=112)]
    ),
}


def check(name: str, data: bytes, folder: Path) -> str | None:
    """Give a reader some bytes; return the line that it refuses them with, or None.

    Raises:
        AssertionError: the message is not one line.
    """
    parser = PARSERS[name]
    path = folder / parser.file
    path.write_bytes(data)
    if path.suffix != ".index":  # nothing may be known of the file that was there before
        for index in folder.glob("*.index"):
            index.unlink()
    try:
        parser.read(path)
    except MarginfaceError as error:
        message = str(error)
        assert message, f"{name}: an empty message"
        assert "\n" not in message, f"{name}: {message!r}"
        return message
    return None


def copied(work: Path) -> Path:
    """Return a folder of whole files that may be changed."""
    return Path(shutil.copytree(good(), work / "files"))


def limit_memory() -> None:
    """Let this process have little more memory than it has: what asks for more fails."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(parser: str, runs: int = 100_000, seconds: int = 60) -> None:
    """Look for bytes that make a reader fail in another way; they are written to the disk."""
    import atheris

    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as corpus, tempfile.TemporaryDirectory() as work:
        for number, seed in enumerate(PARSERS[parser].seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        folder = copied(Path(work))
        limit_memory()
        limits = [f"-runs={runs}", f"-max_total_time={seconds}", "-max_len=8192", "-timeout=20"]
        atheris.Setup(
            [sys.argv[0], corpus, *limits, f"-malloc_limit_mb={MEMORY}", "-print_final_stats=1"],
            lambda data: check(parser, data, folder),
        )
        atheris.Fuzz()


if __name__ == "__main__":
    typer.run(main)
