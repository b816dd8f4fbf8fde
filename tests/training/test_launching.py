"""Processes of a few lines that need no framework, started as those of a run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from marginface.training.processes import launching
from marginface.training.processes.groups import STORE, this_process
from marginface.training.processes.launching import (
    environments,
    free_ports,
    launch,
    this_program,
)
from marginface.training.processes.listening import loopback

RANK = "import os, signal, sys, time; rank = int(os.environ['RANK'])\n"
WAIT = "time.sleep(60)\n"


@pytest.fixture
def launched(tmp_path, capfd, monkeypatch):
    """Launch some lines of Python; returns exit status and what was printed."""
    monkeypatch.setattr(launching, "GRACE_SECONDS", 0.3)

    def run(code, count=2, output=tmp_path / "run"):
        status = launch([sys.executable, "-S", "-c", RANK + code], count, output)
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return run


def test_each_process_finds_its_place(launched, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    code = f"import json; json.dump(dict(os.environ), open(f'{tmp_path}/{{rank}}', 'w'))"
    assert launched(code, 3) == (0, "", "")
    found = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(3)]
    places = [this_process(environment) for environment in found]
    assert [(place.rank, place.local_rank) for place in places] == [(0, 0), (1, 1), (2, 2)]
    assert {(place.size, place.local_size) for place in places} == {(3, 3)}
    (store,) = {one[STORE] for one in found}
    clusters = [json.loads(one["TF_CONFIG"]) for one in found]
    assert [one["task"] for one in clusters] == [{"type": "worker", "index": i} for i in range(3)]
    workers = clusters[0]["cluster"]["worker"]
    assert clusters[2]["cluster"]["worker"] == workers
    assert len({address.removeprefix("127.0.0.1:") for address in workers}) == 3
    interfaces = {one[f"{kind}_SOCKET_IFNAME"] for one in found for kind in ("GLOO", "NCCL")}
    assert interfaces == {loopback()}
    assert not Path(store).parent.exists()  # it has ended


def test_processes_meet_in_a_folder_of_their_user(launched):
    code = f"folder = os.path.dirname(os.environ['{STORE}'])\n"
    code += (
        "info = os.stat(folder); print(oct(info.st_mode & 0o777), info.st_uid, os.listdir(folder))"
    )
    assert launched(code, 1) == (0, f"0o700 {os.getuid()} []\n", "")


def test_threads_are_shared_out_unless_they_are_given(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert environments(2, tmp_path)[1]["OMP_NUM_THREADS"] == "7"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert environments(10**3, tmp_path)[1]["OMP_NUM_THREADS"] == "1"


def test_ports_differ():
    assert len(set(free_ports(20))) == 20


def test_a_killed_process_is_named_and_the_others_are_ended(launched, tmp_path):
    code = f"open(f'{tmp_path}/{{rank}}', 'w').write(str(os.getpid()))\n"
    code += "if rank == 1: os.kill(os.getpid(), signal.SIGKILL)\n" + WAIT
    status, _, err = launched(code, 3)
    assert status == 1
    message = "process 1 of 3 was killed by signal 9 (SIGKILL); the others were ended"
    assert err == f"marginface: error: {message}\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "0").read_text()), 0)


def test_a_process_that_ignores_its_end_is_ended_all_the_same(launched):
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif rank == 1: sys.exit(1)\n" + WAIT
    status, _, err = launched(code)
    assert (status, err.count("\n")) == (1, 1)
    assert "process 1 of 2 ended with exit status 1; the others were ended" in err


def test_what_the_killed_process_takes_along_is_not_named(launched):
    code = "if rank == 1: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(0.2); sys.exit(1)"
    status, _, err = launched(code)
    assert (status, err.count("\n")) == (1, 1)
    assert "process 1 of 2 was killed by signal 9 (SIGKILL)" in err


def test_a_run_that_has_begun_can_be_continued(launched, tmp_path):
    (tmp_path / "config.yaml").write_text("lr: 1")
    err = launched("sys.exit(rank)", output=tmp_path)[2]
    assert err.endswith(f"; continue: marginface train --output {tmp_path} --resume\n")


def test_an_error_that_was_printed_is_left_at_that(launched):
    code = "if rank == 1: print('marginface: error: a', file=sys.stderr); sys.exit(2)\n" + WAIT
    assert launched(code) == (2, "", "marginface: error: a\n")


SHOW = """
import json
from marginface.training.processes.launching import this_program
print(json.dumps(this_program()))
"""


@pytest.mark.parametrize("flags", [["-P", "-c", SHOW], ["program.py"]])
def test_ones_own_program_is_what_the_processes_run(flags, tmp_path):
    (tmp_path / "program.py").write_text(SHOW)
    command = [sys.executable, *flags, "train", "--lr", "1"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=True)
    assert json.loads(done.stdout) == command


def test_the_command_line_is_started_as_a_module(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/marginface", "train"])
    assert this_program() == [sys.executable, "-P", "-m", "marginface.cli.main", "train"]


def test_a_program_in_no_file_is_refused():
    done = subprocess.run([sys.executable, "-"], input=SHOW, capture_output=True, text=True)
    assert "this program again, which is in no file; save it as one" in done.stderr


STOPPING = r"""
import sys, time
from marginface.training.stopping import StopRequest
rank = int(__import__("os").environ["RANK"])
with StopRequest(quiet=rank > 0) as stop:
    sys.stdout.write("ready\n")  # in one piece: both write to one pipe
    sys.stdout.flush()
    while not stop.received:
        time.sleep(0.02)
    time.sleep({linger})
sys.stdout.write(f"stopped {{rank}}\n")
sys.exit(128 + stop.received)
"""

LAUNCHER = """
import sys
from pathlib import Path
from marginface.training.processes.launching import launch
sys.exit(launch([sys.executable, "-c", {code!r}], 2, Path("nowhere")))
"""


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """Start a launcher of its own, in a process group as a terminal gives it."""
    started = []
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a launcher that is killed leaves its folder

    def start(code):
        command = [sys.executable, "-c", LAUNCHER.format(code=code)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        started.append(process)
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        return process

    yield start
    for process in started:
        while process.poll() is None:  # twice ends its processes too
            process.terminate()
            time.sleep(0.2)
        process.communicate(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_each_process_once(launcher, number):
    process = launcher(STOPPING.format(linger=0.3))
    os.killpg(process.pid, number)  # as a terminal's Ctrl-C
    out, err = process.communicate(timeout=10)
    assert sorted(out.splitlines()) == ["stopped 0", "stopped 1"]
    assert err.count("stopping after this step") == 1
    assert process.returncode == 128 + number


def test_a_second_signal_ends_all_at_once(launcher):
    process = launcher(STOPPING.format(linger=60))
    os.killpg(process.pid, signal.SIGINT)
    assert process.stderr.readline() == "\n"  # the notice
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=10)  # far less than it would linger
    assert (out, process.returncode) == ("", 128 + signal.SIGINT)


def test_processes_whose_launcher_is_killed_stop(launcher):
    code = STOPPING.replace(
        "with Stop",
        "import os; from marginface.training.processes.launching import PARENT, leave_with\n"
        "leave_with(int(os.environ[PARENT]))\nwith Stop",
    )
    process = launcher(code.format(linger=0))
    process.kill()
    out, _ = process.communicate(timeout=10)
    assert sorted(out.splitlines()) == ["stopped 0", "stopped 1"]
