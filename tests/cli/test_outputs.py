"""One rule for the output of every command: what it does with what is there already."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from packing_faces import contents, write_faces

from marginface.cli import app, bench, data, lazy
from marginface.data.packing.conversion import convert
from marginface.data.packing.encoding import Encoding
from marginface.embeddings.files import embeddings_table
from marginface.outputs import SIGNATURE, check_file, check_folder

# Every command that writes: its words, with {out} for the output. Nothing else in them exists.
FILES = {
    "embed": "embed --model m.onnx --images {read} --output {out}.npz",
    "export": "export --weights {read} --backbone mbf --output {out}.onnx",
    "convert": "convert {read} --output {out}.pt",
    "calibrate": "calibrate --model m.onnx --val {read} --output {out}.onnx",
    "compare": "compare a.jpg b.jpg --model {read} --picture {out}.png",
    "clean": "clean --run run --data {read} --output {out}.csv",
    "losses": "losses normface --plot {out}.png",
    "parity": "parity --loss normface --report {out}.md",
    "inspect": "data inspect {read} --json {out}.json",
    "preview": "data preview {read} {out}.png",
    "pack .rec": "data pack {read} {out}.rec",
    "pack .tfrecord": "data pack {read} {out}.tfrecord",
    "pack .bin": "data pack faces {out}.bin --pairs {read}",
    "pack .zip": "data pack faces {out}.zip --pairs {read}",
    "subset .rec": "data subset {read} {out}.rec",
}
FOLDERS = {
    "train": "train --data {read} --backbone mobilefacenet --output {out}",
    "evaluate": "evaluate --model {read} --val a.bin --output {out}",
    "templates": "templates --embeddings e.npz --media {read} --pairs p.txt --output {out}",
    "identify": "identify --embeddings e.npz --gallery {read} --probes b.txt --output {out}",
    "report": "report m.onnx --val {read} --output {out}",
    "bench": "bench losses --losses normface --output {out}",
    "demo": "demo --output {out}",
    "model folder": "convert {read} --output {out}",
    "split": "data split {read} --output {out}",
    "align": "data align photos {out} --landmarks {read}",
    "pack": "data pack {read} {out}",
    "pack pairs": "data pack faces {out} --pairs {read}",
    "subset": "data subset {read} {out}",
    "links": "clean --run {read} --data faces --output new.csv --link-to {out}",
}
PRINT_ALONE = ("info",)
READ_NOTHING = ("losses", "parity", "bench", "demo")
SIDES = {".rec": (".idx", ".lst"), ".md": (".png",)}


def words(command: str, out: object, read: object = "absent") -> list[str]:
    return command.format(out=out, read=read).split()


def test_every_command_takes_overwrite_and_stands_here() -> None:
    names = {name for name in app.COMMANDS if name not in ("data", "bench", *PRINT_ALONE)}
    names |= {f"data {name}" for name in data.COMMANDS}
    here = {
        " ".join(line.split()[: 1 + line.startswith(("data ", "bench "))])
        for line in (FILES | FOLDERS).values()
    }
    assert here == names | {"bench losses"}  # which stands for all: they write alike
    for name in names | {f"bench {name}" for name in bench.COMMANDS if name != "compare"}:
        group, _, last = name.rpartition(" ")
        package = f"marginface.cli.{group}".rstrip(".")
        command = lazy.build_command(last, lazy.load_command(package, last))
        assert "--overwrite" in {word for each in command.params for word in each.opts}, name


@pytest.mark.parametrize("command", FILES)
def test_a_file_that_exists(refusal, command: str, tmp_path: Path) -> None:
    given, out = FILES[command], tmp_path / "out"
    path = tmp_path / next(word for word in words(given, "out") if word.startswith("out."))
    path.write_text("mine")
    said = refusal(*words(given, out))
    assert f"{path} exists already; pass --overwrite to replace it" in said
    assert path.read_text() == "mine"
    if command not in READ_NOTHING:
        said = refusal(*words(given, out, path), "--overwrite")
        assert f"output {path} is what the command reads" in said
        assert path.read_text() == "mine"
    path.unlink()
    (tmp_path / "precious.txt").write_text("mine")
    for target in ("nowhere", "precious.txt"):
        path.symlink_to(target)
        assert f"a link to {target}; give another" in refusal(*words(given, out), "--overwrite")
        path.unlink()
    os.mkfifo(path)
    assert "is no regular file" in refusal(*words(given, out), "--overwrite")
    path.unlink()
    path.mkdir()
    assert "is a folder, expected the name of a file" in refusal(*words(given, out), "--overwrite")
    path.rmdir()
    for side in SIDES.get(path.suffix, ()):
        path.with_suffix(side).write_text("mine")
        said = refusal(*words(given, out))
        assert f"{path.with_suffix(side)} exists already; pass --overwrite" in said
        path.with_suffix(side).unlink()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [
        ("precious.txt", "mine")
    ]


@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_that_exists(refusal, command: str, tmp_path: Path) -> None:
    given, out = FOLDERS[command], tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for flags in ([], ["--overwrite"]):
        said = refusal(*words(given, out), *flags)
        assert f"{out} exists already, and --overwrite replaces only what marginface wrote" in said
    if command not in READ_NOTHING:
        said = refusal(*words(given, out, out / "notes.txt"), "--overwrite")
        assert f"output {out} holds what the command reads" in said
        said = refusal(*words(given, out, out), "--overwrite")
        assert f"output {out} is what the command reads" in said
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    out.rmdir()
    out.write_text("mine")
    for flags in ([], ["--overwrite"]):
        said = refusal(*words(given, out), *flags)
        assert "needs a folder, but" in said or "is a file; choose a folder" in said
    assert out.read_text() == "mine"


MODEL = """<ir_version: 8, opset_import: ["" : 17]>
tiny (float[n, 3, 112, 112] images) => (float[n, 12] embeddings)
<int64[2] flat = {0, -1}>
{ small = AveragePool <kernel_shape: ints = [56, 56], strides: ints = [56, 56]> (images)
  embeddings = Reshape(small, flat) }"""
WORK = {
    "embed": "embed --model {model} --images {faces} --output {out}.npz",
    "calibrate": "calibrate --model {model} --images {faces} --pairs {pairs} --output {out}.onnx",
    "inspect": "data inspect {faces} --json {out}.json",
    "preview": "data preview {faces} {out}.png --augment flip",
    "losses": "losses normface --plot {out}.png",
    "pack .rec": "data pack {faces} {out}.rec",
    "pack .tfrecord": "data pack {faces} {out}.tfrecord",
    "pack .bin": "data pack {faces} {out}.bin --pairs {pairs}",
    "subset .rec": "data subset {faces} {out}.rec",
    "evaluate": "evaluate --model {model} --images {faces} --pairs {pairs} --output {out}",
    "identify": "identify --embeddings {embeddings} --gallery {gallery} --probes {probes} "
    "--output {out}",
    "report": "report {model} --images {faces} --pairs {pairs} --output {out}",
    "split": "data split {faces} --output {out} --fraction 0.5",
    "align": "data align {faces} {out} --landmarks {points}",
    "pack": "data pack {faces} {out}",
    "pack pairs": "data pack {faces} {out} --pairs {pairs}",
    "subset": "data subset {faces} {out}",
    "train": "train --data {faces} --backbone mobilefacenet --embedding-size 4 --batch-size 4 "
    "--max-steps 2 --warmup-steps 0 --output {out}",
}


@pytest.fixture
def inputs(tmp_path: Path, tiny_faces: Path, pairs_file: Path) -> dict[str, Path]:
    """Write the files that commands read; return them by name."""
    root = tmp_path / "read"
    root.mkdir()
    onnx.save(onnx.parser.parse_model(MODEL), root / "tiny.onnx")
    names = [path.relative_to(tiny_faces).as_posix() for path in tiny_faces.rglob("*.png")]
    values = np.random.default_rng(0).normal(size=(len(names), 8)).astype(np.float32)
    pq.write_table(embeddings_table(names, values), root / "e.parquet")
    face = [0.9, [[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]]]
    (root / "points.json").write_text(json.dumps(dict.fromkeys(names, face)))
    for name, number in (("gallery", 1), ("probes", 2)):
        rows = [f"person_{i}/person_{i}_000{number}.png\n" for i in range(3)]
        (root / f"{name}.txt").write_text("".join(rows))
    return {
        "faces": tiny_faces,
        "pairs": pairs_file,
        "model": root / "tiny.onnx",
        "embeddings": root / "e.parquet",
        "points": root / "points.json",
        "gallery": root / "gallery.txt",
        "probes": root / "probes.txt",
    }


@pytest.mark.usefixtures("fake_backend")
@pytest.mark.parametrize("command", WORK)
def test_an_output_of_its_own(cli, refusal, inputs, command: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    out = place / "out"
    given = WORK[command].format(out=out, **inputs).split()
    if str(out) in given:
        out.mkdir()  # an empty folder is as good as none
    assert cli(*given).status == 0
    made = listed(place)
    again = refusal(*given)
    assert "--overwrite" in again
    assert "already" in again
    target = next(Path(word) for word in given if word.startswith(str(out)))
    if target.is_file():
        target.write_bytes(b"something else")
    assert cli(*given, "--overwrite").status == 0
    assert listed(place) == made
    if target.is_file():
        assert target.read_bytes() != b"something else"
        return
    (target / "notes.txt").write_text("mine")
    assert "already" in refusal(*given, "--overwrite")
    assert (target / "notes.txt").read_text() == "mine"
    (target / "notes.txt").unlink()
    next(path for path in sorted(target.iterdir()) if path.name != SIGNATURE).rename(
        target / "moved"
    )
    assert "already" in refusal(*given, "--overwrite")


def listed(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if "tfevents" not in path.name
    }


def test_a_folder_that_is_emptied_by_nothing_but_its_successor(
    cli, inputs, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "out"
    given = WORK["evaluate"].format(out=out, **inputs).split()
    assert cli(*given).status == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("marginface.evaluation.score_files.pq.write_table", full)
    done = cli(*given, "--overwrite")
    assert (done.status, "No space left" in done.stderr) == (2, True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("kind", ["link", "here"])
def test_what_cannot_be_renamed(refusal, inputs, kind: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "there").mkdir()
    out = tmp_path / "link"
    out.symlink_to(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    name = out if kind == "link" else "."
    for command in ("subset", "split", "align", "pack"):
        given = WORK[command].format(out=name, **inputs).split()
        assert "a link, a mount or the current folder" in refusal(*given)
    assert [*(tmp_path / "there").iterdir()] == []


def test_a_link_to_a_folder_is_filled(cli, inputs, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "there")
    given = WORK["evaluate"].format(out=tmp_path / "out", **inputs).split()
    assert cli(*given).status == 0
    assert cli(*given, "--overwrite").status == 0
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "there" / "metrics.json").is_file()


@pytest.mark.parametrize("name", ["a.rec", "a.tfrecord", "a"])
def test_replacing_can_be_interrupted_and_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marginface.data.packing.training_sets.CHUNK", 8)
    monkeypatch.setattr("marginface.data.packing.training_sets.STRIDE", 8)
    faces, out = write_faces(tmp_path / "faces"), tmp_path / "out"
    convert(faces, out / name, encoding=Encoding())
    before = contents(out)

    def stop(done: int, _: int) -> None:
        if done == 24:
            raise KeyboardInterrupt

    changed = {"encoding": Encoding((12, 12), "png"), "overwrite": True}
    with pytest.raises(KeyboardInterrupt):
        convert(faces, out / name, **changed, on_progress=stop)
    assert before.items() <= contents(out).items()
    steps: list[int] = []
    convert(faces, out / name, **changed, on_progress=lambda done, _: steps.append(done))
    assert steps == [32]  # of 32: three chunks were done
    convert(faces, tmp_path / "new" / name, **changed)
    assert contents(out) == contents(tmp_path / "new")


@pytest.mark.parametrize(
    "command", ["pack", "subset .rec", "split", "evaluate", "report", "preview"]
)
def test_no_output_lies_among_the_images(refusal, inputs, command: str) -> None:
    given = WORK[command].format(out=inputs["faces"] / "out", **inputs).split()
    assert "among the images" in refusal(*given)


def test_clutter_of_file_managers_does_not_count(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    check_folder(tmp_path, overwrite=False)
    check_file(tmp_path / "new", overwrite=False)
