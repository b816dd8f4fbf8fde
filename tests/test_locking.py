"""One writer for each output: real processes, killed and not."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from packing_faces import contents

from marginface import locking
from marginface.errors import BusyError, MarginfaceError
from marginface.locking import sole_writer

HOLD = """
import os, sys, time
from pathlib import Path
from marginface.locking import sole_writer
with sole_writer(Path(sys.argv[1])):
    {more}
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    """Start a process that holds an output until its standard input ends."""
    started = []

    def start(output: Path, more: str = "pass") -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(more=more), str(output)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def refusal(output: Path) -> str:
    with pytest.raises(BusyError) as caught, sole_writer(output):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_second_is_told_who_writes_and_touches_nothing(holder, tmp_path):
    process = holder(tmp_path / "new" / "a.rec")
    before = contents(tmp_path)
    said = refusal(tmp_path / "new" / "a.rec")
    assert f"another process is writing {tmp_path / 'new' / 'a.rec'}: process {process.pid}" in said
    assert f" on {os.uname().nodename} since 20" in said
    assert f"(-c {tmp_path / 'new' / 'a.rec'}); wait for it, stop it" in said
    assert contents(tmp_path) == before
    process.communicate()  # it ends
    with sole_writer(tmp_path / "new" / "a.rec"):
        pass
    assert [*tmp_path.iterdir()] == []


def test_other_outputs_are_free(holder, tmp_path):
    holder(tmp_path / "a.rec")
    with sole_writer(tmp_path / "b.rec"), sole_writer(tmp_path / "a.idx"):
        pass


def test_a_kill_frees_it(holder, tmp_path):
    process = holder(tmp_path / "a.rec")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".a.rec.lock"]  # no longer locked
    with sole_writer(tmp_path / "a.rec"):
        assert f"process {os.getpid()} on" in refusal(tmp_path / "a.rec")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_a_killed_process_forked_holds_nothing(holder, tmp_path):
    child = tmp_path / "child"
    more = f"""if not os.fork():
        Path({str(child)!r}).write_text(str(os.getpid()))
        time.sleep(60)
    while not Path({str(child)!r}).exists() or not Path({str(child)!r}).read_text():
        time.sleep(0.01)"""
    process = holder(tmp_path / "a.rec", more)
    refusal(tmp_path / "a.rec")
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.kill(int(child.read_text()), 0)  # it lives
    try:
        with sole_writer(tmp_path / "a.rec"):
            pass
    finally:
        os.kill(int(child.read_text()), signal.SIGKILL)


def test_what_a_process_started_holds_nothing(tmp_path):
    child = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(more=child), str(tmp_path / "a.rec")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    number = int(process.stdout.readline())
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    try:
        with sole_writer(tmp_path / "a.rec"):
            os.kill(number, 0)  # it lives
    finally:
        os.kill(number, signal.SIGKILL)


@pytest.mark.parametrize("name", ["link/a.rec", "real/../real/a.rec", "relative"])
def test_two_names_of_one_output_meet(holder, tmp_path, monkeypatch, name):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    holder(tmp_path / "real" / "a.rec")
    monkeypatch.chdir(tmp_path / "real")
    refusal(Path("a.rec") if name == "relative" else tmp_path / name)


def test_threads_of_one_process_meet_too(tmp_path):
    with sole_writer(tmp_path / "a"):
        refusal(tmp_path / "a")
        with (tmp_path / ".a.lock").open():
            pass  # whoever else opens and closes the file does not free it
        refusal(tmp_path / "a")


def test_only_one_of_many_has_it_at_a_time(tmp_path):
    inside, most, turns = [0], [0], [0]

    def work():
        done = 0
        while done < 40:
            try:
                with sole_writer(tmp_path / "deep" / "a"):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    turns[0] += 1
                    inside[0] -= 1
                    done += 1
            except BusyError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most[0], turns[0]) == (1, 160)
    assert contents(tmp_path) == {}


def test_a_lock_of_a_file_that_went_away_is_none(tmp_path, monkeypatch):
    lock, real = tmp_path / ".a.lock", locking._lock
    calls = []

    def first_unlinked(descriptor):
        if not calls:
            lock.unlink()  # as whoever held it does between our opening and locking
        calls.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(locking, "_lock", first_unlinked)
    with sole_writer(tmp_path / "a"):
        assert lock.exists()
        refusal(tmp_path / "a")
    assert len(calls) == 3


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locking.fcntl, "flock", fail)
    with pytest.warns(UserWarning, match="has no locks") as said, sole_writer(tmp_path / "a"):
        pass
    assert len(said) == 1
    assert [*tmp_path.iterdir()] == []


def test_a_failed_block_frees_it_and_leaves_nothing(tmp_path):
    output = tmp_path / "one" / "two" / "a"
    with pytest.raises(MarginfaceError, match="bad"), sole_writer(output):
        raise MarginfaceError("bad")
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_is_used_stays(tmp_path):
    with sole_writer(tmp_path / "one" / "a"):
        (tmp_path / "one" / "a").write_text("whole")
    assert contents(tmp_path) == {"one/a": b"whole"}


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".a.lock").symlink_to("precious")
    with pytest.raises(OSError, match="symbolic links") as caught, sole_writer(tmp_path / "a"):
        pass
    assert caught.value.filename == str(tmp_path / "a")
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "one that does not say which it is"),
        (b"\xff\xfe{", "one that does not say which it is"),
        (b"[1, 2]", "one that does not say which it is"),
        (b'{"host": "a"}', "one that does not say which it is"),
        (
            b'{"host": "h\\u001b[31m", "process": {"a": 1}, "since": "\\n", "command": "\\u202e"}',
            r"process {'a': 1} on h\x1b[31m since \n (\u202e)",
        ),
    ],
)
def test_what_a_lock_file_says_is_not_trusted(tmp_path, monkeypatch, content, said):
    monkeypatch.setattr("time.sleep", lambda _: None)
    with sole_writer(tmp_path / "a"):
        (tmp_path / ".a.lock").write_bytes(content)
        assert said in refusal(tmp_path / "a")
