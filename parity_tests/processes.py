"""Starting a program once a process, as a launcher does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any


def run_all(command: list[Any], count: int) -> None:
    """Run a Python program in so many processes that find each other; all must succeed."""
    running = [
        subprocess.Popen(
            [sys.executable, *map(str, command)], env=env, stderr=subprocess.PIPE, text=True
        )
        for env in environments(count)
    ]
    try:
        for each in running:
            _, errors = each.communicate(timeout=1200)
            assert each.returncode == 0, errors[-3000:]
    finally:
        for each in running:
            each.kill()


def environments(count: int) -> list[dict[str, str]]:
    """Return each process's environment, as a launcher sets it."""
    ports = free_ports(count + 1)
    workers = [f"127.0.0.1:{port}" for port in ports[1:]]
    return [
        {
            **os.environ,
            "RANK": str(rank),
            "WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(ports[0]),
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
            ),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        for rank in range(count)
    ]


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
