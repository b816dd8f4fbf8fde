"""Keep the ports of a run on one machine closed to other machines."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

OWN_FILES = Path("/proc/self/fd")
POLL_SECONDS = 0.001


def loopback() -> str | None:
    """Return the name of the machine's loopback interface; None if it has none."""
    names = {name for _, name in socket.if_nameindex()}
    return next((name for name in ("lo", "lo0") if name in names), None)


@contextmanager
def opened_to_this_machine(port: int) -> Iterator[None]:
    """Bind to loopback the port that a library opens in the block, as soon as it is open."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set() and not keep_to_this_machine(port):
            time.sleep(POLL_SECONDS)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def keep_to_this_machine(port: int) -> bool:
    """Bind this process's listener at a port to loopback; return whether that was done.

    Connections that others made before are ended. Only Linux from 5.7 on can bind a listener.
    """
    try:
        files = [int(path.name) for path in OWN_FILES.iterdir()]
    except OSError:
        return False
    return sum(_keep(file, port) for file in files) > 0


def _keep(file: int, port: int) -> bool:
    """Bind one open file of this process, if it is such a listener."""
    try:
        duplicate = os.dup(file)
    except OSError:  # closed since it was listed
        return False
    try:
        listener = socket.socket(fileno=duplicate)
    except OSError:  # no socket
        os.close(duplicate)
        return False
    with listener:
        try:
            if listener.family not in (socket.AF_INET, socket.AF_INET6):
                return False
            if listener.getsockname()[1] != port:
                return False
            if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
                return True
            if not _is_loopback(listener.getpeername()[0]):
                listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
    return False


def _is_loopback(address: str) -> bool:
    parsed = ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
