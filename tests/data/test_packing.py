"""Packing: the same bytes whichever way they went, whatever interrupted them, and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing_faces import COUNTS, contents, write_faces
from PIL import Image

from marginface.data.formats.compact import Texts
from marginface.data.formats.folder import ImageFolder, open_folder
from marginface.data.formats.record_index import fit_for_files
from marginface.data.formats.recordio import RecordFile
from marginface.data.images import decode_image
from marginface.data.listing import open_set
from marginface.data.names import inner_path
from marginface.data.opening import open_images
from marginface.data.packing import training_sets
from marginface.data.packing.encoding import Encoding
from marginface.data.packing.partial import partial_output, partial_path
from marginface.data.packing.training_sets import pack
from marginface.errors import MarginfaceError

CHUNK = 8
TARGETS = ("out", "out.rec", "out.tfrecord")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_sets, "CHUNK", CHUNK)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_faces(tmp_path / "faces")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def refusal(*arguments, **options) -> str:
    with pytest.raises(MarginfaceError) as caught:
        pack(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    original = ImageFolder.encoded

    def encoded(self: ImageFolder, index: int) -> bytes:
        read.append(self.name(index))
        return original(self, index)

    monkeypatch.setattr(ImageFolder, "encoded", encoded)
    return read


def test_a_round_trip_through_all_formats_gives_the_same_bytes(faces: Path, out: Path) -> None:
    pack(open_set(faces), out / "one.rec", encoding=Encoding())
    pack(open_set(out / "one.rec"), out / "two.tfrecord", encoding=Encoding())
    made = pack(open_set(out / "two.tfrecord"), out / "three", encoding=Encoding())
    assert contents(out / "three") == contents(faces)
    assert (made.identities, made.images, made.skipped) == (len(COUNTS), sum(COUNTS.values()), [])


def test_a_record_file_has_the_layout_of_insightface(faces: Path, out: Path) -> None:
    pack(open_folder(faces), out / "train.rec")
    images = sum(COUNTS.values())
    records = RecordFile(out / "train.rec")
    index = dict(map(int, line.split()) for line in (out / "train.idx").read_text().splitlines())
    assert [*index] == [*range(1, images + len(COUNTS) + 1), 0]
    ranges = [
        np.frombuffer(records.read(index[key])[24:], "<f4").tolist()
        for key in [*range(images + 1, images + 1 + len(COUNTS)), 0]
    ]
    ends = np.cumsum([1, *COUNTS.values()]).tolist()
    assert ranges[-1] == [images + 1, images + 1 + len(COUNTS)]
    assert ranges[:-1] == [list(pair) for pair in pairwise(ends)]
    assert (out / "property").read_text() == f"{len(COUNTS)},12,12\n"
    opened = open_images(out / "train.rec", size=(12, 12))
    assert opened.identities == tuple(COUNTS)
    assert opened.fingerprint() == open_folder(faces).fingerprint()


PACK_AND_HANG = """
import sys, time
from pathlib import Path
from marginface.data.packing import training_sets
from marginface.data.formats.folder import ImageFolder, open_folder

training_sets.CHUNK = {chunk}
original = ImageFolder.encoded

def encoded(self, index):
    if index == 20:
        time.sleep(600)
    return original(self, index)

ImageFolder.encoded = encoded
training_sets.pack(open_folder(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def kill_in_the_middle(faces: Path, target: Path) -> Path:
    """Return the partial output of a process that was killed with two blocks done."""
    script = PACK_AND_HANG.format(chunk=CHUNK)
    process = subprocess.Popen([sys.executable, "-c", script, str(faces), str(target)])
    journal = partial_path(target) / "journal.jsonl"
    for _ in range(600):
        if journal.is_file() and journal.read_text().count("\n") == 3:
            break
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return partial_path(target)


@pytest.mark.parametrize("name", TARGETS)
def test_a_killed_run_leaves_no_target_and_goes_on(
    faces: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, out = tmp_path / "unbroken", tmp_path / "killed"
    pack(open_folder(faces), unbroken / name)
    partial = kill_in_the_middle(faces, out / name)
    assert [path.name for path in out.iterdir()] == [partial.name]
    read = count_reads(monkeypatch)
    progress: list[tuple[int, int]] = []
    pack(open_folder(faces), out / name, on_progress=lambda *at: progress.append(at))
    assert contents(out) == contents(unbroken)
    assert sorted(read) == sorted(open_folder(faces).paths[2 * CHUNK :])
    assert progress[-1] == (sum(COUNTS.values()),) * 2


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("harm", ["data", "source", "journal", "longer"])
def test_what_was_harmed_meanwhile_is_done_again(
    faces: Path, tmp_path: Path, name: str, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "killed" / name
    partial = kill_in_the_middle(faces, target)
    paths = open_folder(faces).paths
    written = partial / "images" / paths[10] if name == "out" else partial / name[4:]
    if harm == "data":
        data = bytearray(written.read_bytes())
        data[-1] ^= 1
        written.write_bytes(data)
    elif harm == "longer":
        with (partial / "stray").open("wb") as file, written.open("ab") as longer:
            file.write(b"stray")
            longer.write(b"more")
    elif harm == "source":
        Image.new("RGB", (5, 7)).save(faces / paths[10])
    else:
        journal = partial / "journal.jsonl"
        journal.write_bytes(journal.read_bytes()[:-5])
    read = count_reads(monkeypatch)
    pack(open_folder(faces), target)
    whole = 2 * CHUNK if harm == "longer" and name != "out" else CHUNK
    assert len(read) == len(paths) - whole
    pack(open_folder(faces), tmp_path / "unbroken" / name)
    assert contents(target.parent) == contents(tmp_path / "unbroken")


def test_another_job_starts_anew(faces: Path, tmp_path: Path) -> None:
    target = tmp_path / "killed" / "out"
    kill_in_the_middle(faces, target)
    chosen = np.arange(3, 30)
    pack(open_folder(faces), target, chosen=chosen)
    paths = open_folder(faces).paths
    assert [*contents(target)] == [paths[number] for number in chosen]
    assert not partial_path(target).exists()


def test_another_encoding_starts_anew(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        del total
        if done > 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(training_sets, "STRIDE", 1)
    images, target = open_folder(faces), tmp_path / "broken" / "a.rec"
    with pytest.raises(KeyboardInterrupt):
        pack(images, target, on_progress=stop)
    for parent in ("broken", "unbroken"):
        pack(images, tmp_path / parent / "a.rec", encoding=Encoding((20, 20)))
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")


def test_links_in_partial_output_are_not_followed(faces: Path, tmp_path: Path) -> None:
    target = tmp_path / "killed" / "out"
    partial = kill_in_the_middle(faces, target)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (partial / "images" / "dee").symlink_to(elsewhere)
    pack(open_folder(faces), target)
    assert [*elsewhere.iterdir()] == []
    assert contents(target) == contents(faces)


def test_two_runs_do_not_write_one_target(faces: Path, out: Path) -> None:
    def again(done: int, total: int) -> None:
        del done, total
        assert "another process is writing" in refusal(open_folder(faces), out / "a.rec")

    pack(open_folder(faces), out / "a.rec", on_progress=again)
    assert (out / "a.rec").is_file()


def test_a_bad_image_is_refused_or_left_out(
    faces: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = faces / "cid" / "cid_0001.png"
    bad.write_bytes(bad.read_bytes()[:50])
    message = refusal(open_folder(faces), out / "a.rec", encoding=Encoding())
    assert str(bad) in message
    assert "--skip-bad" in message
    assert [path.name for path in out.iterdir()] == [".a.rec.partial"]
    read = count_reads(monkeypatch)
    options = {"encoding": Encoding(), "skip_bad": True}
    made = pack(open_folder(faces), out / "a.rec", **options)
    assert len(read) == sum(COUNTS.values()) - 2 * CHUNK  # it went on, though asked otherwise
    assert [name for name, _ in made.skipped] == ["cid/cid_0001.png"]
    assert made.skipped[0][1].startswith("cannot read the image")
    assert made.identities == len(COUNTS) - 1
    opened = open_images(out / "a.rec", size=(12, 12))
    assert opened.identities == ("Al Bo", "ann", "bob", "dee")
    assert opened.labels.max() == 3


def test_a_link_to_nothing_is_a_bad_image(faces: Path, out: Path) -> None:
    (faces / "ann" / "gone.png").symlink_to("nowhere")
    made = pack(open_folder(faces), out / "a.rec", skip_bad=True)
    assert made.images == sum(COUNTS.values()) > CHUNK
    reason = "cannot read the image: No such file or directory; replace it"
    assert made.skipped == [("ann/gone.png", reason)]


def test_what_left_out_a_bad_image_does_not_go_on_without_being_asked(
    faces: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = faces / "Al Bo" / "Al Bo_0001.png"
    bad.write_bytes(b"no image")

    def stop(done: int, total: int) -> None:
        del total
        if done > 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(training_sets, "STRIDE", 1)
    options = {"encoding": Encoding()}
    with pytest.raises(KeyboardInterrupt):
        pack(open_folder(faces), out / "a", **options, skip_bad=True, on_progress=stop)
    assert partial_path(out / "a").exists()
    assert str(bad) in refusal(open_folder(faces), out / "a", **options)


DISK_FULL = """
import resource, signal, sys
sys.dont_write_bytecode = True  # Python would leave cut .pyc files behind, for everybody after it
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv[:] = ["marginface", "data", "pack", *sys.argv[2:]]
from marginface.cli.main import main
main()
"""


@pytest.mark.parametrize("name", ["a.rec", "a.tfrecord", "a", "a.bin", "a.zip"])
def test_a_full_disk_leaves_nothing(faces: Path, out: Path, name: str) -> None:
    pairs = []
    if name in ("a.bin", "a.zip"):
        listed = out.parent / "pairs.txt"
        listed.write_text("1\nann\t1\t2\nann\t1\tbob\t1\n")
        pairs = ["--pairs", str(listed)]
    run = subprocess.run(
        [sys.executable, "-c", DISK_FULL, "400", str(faces), str(out / name), *pairs],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1] == f"marginface: error: {out / name}: File too large"
    assert "Traceback" not in run.stderr
    assert [*out.iterdir()] == []


def test_a_partial_output_that_cannot_be_made_is_named_by_its_target(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "a.rec"
    with pytest.raises(NotADirectoryError) as caught, partial_output(target, "job"):
        pass
    assert caught.value.filename == str(target)


HOSTILE = (
    ("..", "1.png"),
    ("ann", ".."),
    ("ann", "../1.png"),
    ("/etc", "1.png"),
    ("ann", "1\0.png"),
    (".ssh", "1.png"),
    ("", "1.png"),
    ("ann", ""),
    ("ann", "x" * 300),
)


@pytest.mark.parametrize("parts", HOSTILE)
def test_hostile_names_are_refused(parts: tuple[str, str]) -> None:
    with pytest.raises(MarginfaceError):
        inner_path(Path("root"), "/".join(parts))


@given(st.text(st.characters(exclude_categories=[]), max_size=20) | st.sampled_from(".~/:\\"))
def test_a_name_stays_inside_or_is_refused(name: str) -> None:
    try:
        path = inner_path(Path("/root/of/all"), name)
    except MarginfaceError:
        return
    assert Path(os.path.normpath(path)).is_relative_to("/root/of/all")
    assert path != Path("/root/of/all")
    assert fit_for_files(Texts.of(name.split("/")))


class Named:
    """Labelled images with names of the caller's choice."""

    root = Path("named")
    identities = ("one",)
    size = (1, 1)
    skipped = ()

    def __init__(self, names: list[str], encoded: bytes) -> None:
        self.names, self.bytes = names, encoded
        self.labels = np.zeros(len(names), np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def encoded(self, index: int) -> bytes:
        return self.bytes if index >= 0 else b""

    def fingerprint(self) -> str:
        return str(self.names)


@pytest.mark.parametrize("parts", HOSTILE)
@pytest.mark.parametrize("name", TARGETS)
def test_no_writer_takes_a_hostile_name(
    faces: Path, out: Path, parts: tuple[str, str], name: str
) -> None:
    encoded = (faces / "ann" / "ann_0001.png").read_bytes()
    before = contents(out.parent)
    refusal(Named(["/".join(parts)], encoded), out / name)
    assert contents(out.parent) == before
    assert [*out.iterdir()] == []


def test_a_hostile_list_beside_a_record_file_leads_nowhere(faces: Path, out: Path) -> None:
    pack(open_folder(faces), out / "a.rec")
    listed = out / "a.lst"
    listed.write_text(listed.read_text().replace("ann/", "../../ann/"))
    (out / "deep").mkdir()
    pack(open_set(out / "a.rec"), out / "deep" / "unpacked")
    assert sorted(path.name for path in out.parent.iterdir()) == ["faces", "out"]
    assert len(contents(out / "deep" / "unpacked")) == sum(COUNTS.values())


def test_images_that_fit_stay_and_others_are_encoded_anew(faces: Path, out: Path) -> None:
    Image.new("RGB", (30, 20), (200, 10, 10)).save(faces / "bob" / "large.bmp")
    pack(open_folder(faces), out / "sized", encoding=Encoding((12, 12)))
    made, before = contents(out / "sized"), contents(faces)
    assert made.pop("bob/large.png") == (out / "sized" / "bob" / "large.png").read_bytes()
    del before["bob/large.bmp"]
    assert made == before
    pixels = decode_image((out / "sized" / "bob" / "large.png").read_bytes(), "", (12, 12))
    assert (pixels == (200, 10, 10)).all()
    pack(open_folder(faces), out / "jpegs", encoding=Encoding(format="jpeg"))
    made = contents(out / "jpegs")
    assert all(name.endswith(".jpg") and data[:2] == b"\xff\xd8" for name, data in made.items())
    assert made["ann/ann_0002.jpg"] == before["ann/ann_0002.jpg"]


def test_names_that_would_become_one_are_refused(faces: Path, out: Path) -> None:
    Image.new("RGB", (12, 12)).save(faces / "ann" / "ann_0001.bmp")
    options = {"encoding": Encoding(format="png")}
    assert "ann_0001" in refusal(open_folder(faces), out / "a.rec", **options)
    pack(open_folder(faces), out / "a", encoding=Encoding())
    assert contents(out / "a") == contents(faces)


def test_targets_that_do_not_do(faces: Path, out: Path) -> None:
    images = open_folder(faces)
    assert "expected a name that ends in .rec, .tfrecord" in refusal(images, out / "a.npz")
    assert "among the images" in refusal(images, faces / "packed")
    (out / "a.idx").write_text("mine")
    assert "a.idx exists already" in refusal(images, out / "a.rec")
    (out / "b").symlink_to(out / "nowhere")
    assert "b exists already" in refusal(images, out / "b")
    assert (out / "a.idx").read_text() == "mine"
