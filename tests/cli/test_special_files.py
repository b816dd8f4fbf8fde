"""What is no file is never waited for: pipes, sockets, devices, links that lead nowhere."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from embedded_people import SEARCH, options, write_people
from record_files import png
from runs import save_checkpoint

from marginface.atomic import replacing
from marginface.data.formats.tfrecord import frame
from marginface.data.image_files import folder_files
from marginface.data.images import read_image
from marginface.data.opening import open_images, open_listed
from marginface.data.packing.training_sets import pack
from marginface.data.photos.photos import check_output
from marginface.errors import MarginfaceError
from marginface.evaluation import template_files
from marginface.locking import sole_writer
from marginface.regular import real_path, special_kind
from marginface.runs.checkpoints import Checkpoint, check_checkpoint, list_checkpoints
from marginface.runs.folder import RunFolder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs named pipes and /dev")
HERE = Path(__file__)


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """End a test that waits for a pipe."""

    def late(*_: object) -> None:
        raise TimeoutError("a pipe was waited for")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")  # paths of sockets are short
    os.close(folder)


def make_linked_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (os.mkfifo, "no regular file but a pipe"),
    "link to a pipe": (make_linked_pipe, "no regular file but a pipe"),
    "socket": (make_socket, "no regular file but a socket"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "no regular file but a device"),
    "broken link": (lambda path: path.symlink_to("gone"), "no such file|No such file|not exist"),
    "circle": (
        lambda path: path.symlink_to(path.name),
        "no such file|Too many levels|not exist",
    ),
    "folder": (Path.mkdir, "is a folder|Is a directory|no images under"),
}
COMMANDS: dict[str, list[str]] = {
    "x.yaml": ["train", "--config", "X", "--data", "faces", "--output", "out"],
    "x.rec": ["train", "--data", "X", "--output", "out"],
    "x.onnx": ["data", "align", "faces", "out", "--detector", "X"],
    "x.json": ["data", "align", "faces", "out", "--landmarks", "X"],
    "x.csv": ["data", "subset", "faces", "out", "--kept", "X"],
    "x.txt": ["data", "pack", "faces", "out.bin", "--pairs", "X"],
    "x.bin": ["data", "inspect", "X"],
    "x.tfrecord": ["data", "preview", "X", "out.png"],
    "x.safetensors": ["export", "--weights", "X", "--backbone", "mbf", "--output", "out.onnx"],
    "x.list": ["identify", "--embeddings", "e.parquet", "--gallery", "X", "--probes", "probes.txt"],
    "x.npz": ["identify", "--embeddings", "X", "--gallery", "g.txt", "--probes", "probes.txt"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_command_waits_for_what_is_no_file(refusal, kind: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_people(tmp_path, np.random.default_rng(0))
    for person in ("ann", "bo"):
        (tmp_path / "faces" / person).mkdir(parents=True)
        (tmp_path / "faces" / person / "1.png").write_bytes(png(7))
    make, reason = KINDS[kind]
    for name, command in COMMANDS.items():
        before = set(tmp_path.iterdir())
        make(tmp_path / name)
        message = refusal(*[name if word == "X" else word for word in command])
        assert name in message
        assert re.search(reason, message), message
        made = set(tmp_path.iterdir()) - before
        assert {path.name for path in made} <= {name, "pipe"}
        for path in made:
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "read",
    [
        template_files.read_media,
        template_files.read_subjects,
        template_files.read_detector_scores,
        lambda path: list(template_files.read_template_pairs(path)),
        read_image,
    ],
)
def test_nor_do_readers_of_lists_and_images(read: Callable[[Path], object], tmp_path: Path):
    os.mkfifo(tmp_path / "x")
    for path in (tmp_path / "x", Path("/dev/zero")):
        with pytest.raises(MarginfaceError, match=f"{path}.*(a pipe|a device)"):
            read(path)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    for person in ("ann", "bo"):
        (tmp_path / "faces" / person).mkdir(parents=True)
        (tmp_path / "faces" / person / "1.png").write_bytes(png(7))
    pack(open_listed(tmp_path / "faces"), tmp_path / "s.rec")
    return tmp_path / "s.rec"


@pytest.mark.parametrize("beside", [".idx", ".lst"])
def test_a_pipe_beside_a_record_file_is_named(records: Path, beside: str):
    records.with_name("s.rec.index").unlink(missing_ok=True)
    path = records.with_suffix(beside)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MarginfaceError, match=f"s{beside} is no regular file but a pipe"):
        open_images(records)


def test_a_pipe_in_place_of_the_cached_index_is_left_alone(records: Path):
    cached = records.with_name("s.rec.index")
    cached.unlink(missing_ok=True)
    os.mkfifo(cached)
    assert len(open_images(records)) == 2
    assert cached.is_fifo()


def test_a_pipe_among_shards_is_named(tmp_path: Path):
    (tmp_path / "s.tfrecord-00000-of-00002").write_bytes(frame(b"some"))
    os.mkfifo(tmp_path / "s.tfrecord-00001-of-00002")
    with pytest.raises(MarginfaceError, match="00001-of-00002 is no regular file but a pipe"):
        open_listed(tmp_path / "s.tfrecord-00000-of-00002")


@pytest.mark.parametrize("file", ["config", "environment", "model", "identities", "metrics"])
def test_a_pipe_in_a_run_is_named(file: str, tmp_path: Path):
    run = RunFolder(tmp_path)
    os.mkfifo(getattr(run, file))
    for require in (run.require_run, run.require_model, run.require_free):
        with pytest.raises(MarginfaceError, match=f"{file}.* is no regular file but a pipe"):
            require()


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
def test_a_checkpoint_with_a_pipe_in_it_is_damaged(file: str, tmp_path: Path):
    save_checkpoint(tmp_path, Checkpoint(3, {"backbone.weight": np.ones(2)}, {}))
    (path,) = list_checkpoints(tmp_path)
    (path / file).unlink()
    os.mkfifo(path / file)
    with pytest.raises(MarginfaceError, match=rf"damaged.*{file}.* a pipe"):
        check_checkpoint(path)


def test_a_pipe_as_the_lock_is_named(tmp_path: Path):
    os.mkfifo(tmp_path / ".out.lock")
    with (
        pytest.raises(MarginfaceError, match=r"\.out\.lock is no regular file but a pipe"),
        sole_writer(tmp_path / "out"),
    ):
        pass


@pytest.mark.parametrize("leads", ["..", ".", "../ann", "/"])
def test_links_in_a_circle_are_passed_over(leads: str, tmp_path: Path):
    (tmp_path / "faces" / "ann").mkdir(parents=True)
    (tmp_path / "faces" / "ann" / "1.png").write_bytes(png(7))
    link = tmp_path / "faces" / "ann" / "again"
    link.symlink_to(leads)
    files = folder_files(tmp_path / "faces")
    assert files.images == ["ann/1.png"]
    assert files.others == [("ann/again", "a link to a folder around it")]
    link.unlink()
    shutil.move(tmp_path / "faces" / "ann", tmp_path / "elsewhere")
    (tmp_path / "faces" / "bo").symlink_to("../elsewhere")  # no circle
    assert folder_files(tmp_path / "faces").images == ["bo/1.png"]


@pytest.mark.parametrize("target", ["/dev/null", "/dev/zero", "pipe", "link"])
def test_an_output_that_is_no_file_stays(cli, records: Path, target: str, monkeypatch):
    monkeypatch.chdir(records.parent)
    os.mkfifo("pipe")
    Path("link").symlink_to("/dev/full")
    refused = pytest.raises(MarginfaceError, match=f"{target} is no regular file .*; give the name")
    with refused, replacing(Path(target)):
        raise AssertionError("it would be replaced")
    done = cli("data", "inspect", records, "--json", target)
    assert done.status == 2
    why = "exists already, a link to /dev/full" if target == "link" else "is no regular file"
    assert f"{target} {why}" in done.stderr
    assert special_kind(target) == ("a pipe" if target == "pipe" else "a device")


def test_an_output_that_links_to_itself_is_no_traceback(tmp_path: Path):
    (tmp_path / "loop").symlink_to("loop")
    check_output(HERE.parent, tmp_path / "loop" / "out")
    assert real_path(tmp_path / "loop").name == "loop"


@pytest.mark.parametrize("option", ["gallery", "probes"])
def test_a_list_may_come_through_a_pipe_of_the_shell(printed, option: str, tmp_path: Path):
    write_people(tmp_path, np.random.default_rng(0))
    reads, writes = os.pipe()
    content = (tmp_path / SEARCH[option]).read_bytes()
    feeding = threading.Thread(target=lambda: (os.write(writes, content), os.close(writes)))
    feeding.start()
    files = dict(SEARCH, **{option: f"/dev/fd/{reads}"})
    assert "mated probes" in printed("identify", *options(tmp_path, **files))
    feeding.join()
    os.close(reads)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/dev/null", "a device"), (".", ""), (HERE, ""), ("gone", ""), ("\0", "")],
)
def test_the_kind_of_a_path(path: str | Path, kind: str):
    assert special_kind(path) == kind
