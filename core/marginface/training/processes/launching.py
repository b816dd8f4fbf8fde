"""Launch the processes of a run on this machine, and wait for all to end."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from types import FrameType

from marginface.errors import MarginfaceError
from marginface.runs.folder import RunFolder
from marginface.text import print_error
from marginface.training.processes.groups import STORE, share_of_cores
from marginface.training.processes.listening import loopback

# SIGHUP, from a terminal that closes, would end the launcher and leave its processes alone.
FORWARDED = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
COMMAND = "marginface.cli.main"
PARENT = "MARGINFACE_LAUNCHER"  # the variable with the number of the process that launched
GRACE_SECONDS = 5.0  # from the first process's failure to the end of those that it left waiting
POLL_SECONDS = 0.05


def this_program() -> list[str]:
    """Return the command that starts this program again, with its arguments.

    It may be one that registers a backbone, a loss or a format of its own before it calls `main`:
    the others have to know them, too.

    Raises:
        MarginfaceError: it is in no file that could be started, as where it is typed or piped in.
    """
    main = sys.modules["__main__"]
    module = getattr(getattr(main, "__spec__", None), "name", None)
    if module == COMMAND or Path(sys.argv[0]).stem == "marginface":
        # -P: the folder in which the command is called is no place to import from.
        return [sys.executable, "-P", "-m", COMMAND, *sys.argv[1:]]
    if "-c" not in sys.orig_argv and not Path(getattr(main, "__file__", "")).is_file():
        raise MarginfaceError(
            "several processes start this program again, which is in no file; save it as one, and "
            "call marginface.cli.main.main at its end"
        )
    return [sys.executable, *sys.orig_argv[1:]]


def launch(command: Sequence[str], count: int, output: Path) -> int:
    """Run `count` copies of a command as the processes of one run; return the exit status.

    Each finds its place in the variables that torchrun sets, and in TF_CONFIG; they meet where no
    other user and no other machine reaches. A stop signal goes to all of them, a second one ends
    them at once. Where one of them fails, the others, which would wait for it, are ended.

    Args:
        command: program and arguments.
        count: how many processes.
        output: the run folder, for the advice how to go on.
    """
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)

    # From before the first process starts until the last has ended, no signal ends this one.
    # nohup ignores the signal of a terminal that closes; so do the processes then. Ctrl-C is always
    # heard, as one process alone hears it, also where a shell starts us in the background.
    always = (signal.SIGINT, signal.SIGTERM)
    heard = [n for n in FORWARDED if n in always or signal.getsignal(n) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        heard = []  # where Python delivers no signals
    before = {number: signal.signal(number, receive) for number in heard}
    children: list[subprocess.Popen[bytes]] = []
    try:
        with tempfile.TemporaryDirectory(prefix="marginface-") as folder:
            try:
                for environment in environments(count, Path(folder)):
                    children.append(_start(command, environment))
                return _mind(children, received, output)
            finally:
                for child in children:
                    child.kill()
                    child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def environments(count: int, folder: Path) -> list[dict[str, str]]:
    """Return the extra environment variables of each process.

    Args:
        count: how many processes.
        folder: an empty one of this run alone, which no other user may enter.
    """
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(count)]}
    common = {
        PARENT: str(os.getpid()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        STORE: str(folder / "store"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(share_of_cores(count)),
    }
    if interface := loopback():  # where gloo and NCCL listen
        common |= {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface}
    return [
        {
            **common,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "TF_CONFIG": json.dumps(
                {"cluster": cluster, "task": {"type": "worker", "index": rank}}
            ),
        }
        for rank in range(count)
    ]


def free_ports(count: int) -> list[int]:
    """Return distinct ports that nothing listens at just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for socket_ in sockets:
            socket_.bind(("127.0.0.1", 0))
        return [int(socket_.getsockname()[1]) for socket_ in sockets]


def _start(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(command),
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        # A terminal sends Ctrl-C to its whole session: it must reach them by way of us alone.
        start_new_session=True,
    )


def _mind(children: list[subprocess.Popen[bytes]], received: list[int], output: Path) -> int:
    """Wait for all processes, forward signals, and end the others after one fails."""
    forwarded = 0
    culprit: int | None = None
    deadline = math.inf
    while True:
        codes = [child.poll() for child in children]
        failed = [rank for rank, code in enumerate(codes) if code]
        if failed and culprit is None:
            # Where one was killed, the others may have failed because of it at the same moment.
            culprit = min(failed, key=lambda rank: (codes[rank] or 0) > 0)
            deadline = time.monotonic() + GRACE_SECONDS
        if None not in codes:
            break
        count, late = len(received), time.monotonic() > deadline
        if count > forwarded or late:
            for child in children:
                child.send_signal(signal.SIGKILL if count > 1 or late else received[0])
            forwarded = count
        time.sleep(POLL_SECONDS)
    if culprit is None:
        return 0
    code = children[culprit].returncode
    if code == 2 or code - 128 in FORWARDED:  # it has reported why
        return code
    if received and code < 0:
        return 128 + received[0]
    print_error(_account(culprit, children, output))
    return 1


def _account(culprit: int, children: Sequence[subprocess.Popen[bytes]], output: Path) -> str:
    """Describe which process failed, how, and how to go on."""
    code = children[culprit].returncode
    how = f"ended with exit status {code}"
    if code < 0:
        how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
    text = f"process {culprit} of {len(children)} {how}; the others were ended"
    if RunFolder(output).config.is_file():
        text += f"; continue: marginface train --output {quote(str(output))} --resume"
    return text


def leave_with(parent: int) -> None:
    """Stop this process, as SIGTERM does, once `parent`, the launcher, is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
