"""Starting a program once a process, as `marginface train --processes` does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from marginface.training.processes.launching import environments


def run_all(command: list[Any], count: int) -> None:
    """Run a Python program in so many processes that find each other; all must succeed."""
    with TemporaryDirectory() as folder:
        running = [
            subprocess.Popen(
                [sys.executable, *map(str, command)],
                env={**os.environ, **environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
                stderr=subprocess.PIPE,
                text=True,
            )
            for environment in environments(count, Path(folder))
        ]
        try:
            for each in running:
                _, errors = each.communicate(timeout=1200)
                assert each.returncode == 0, errors[-3000:]
        finally:
            for each in running:
                each.kill()
