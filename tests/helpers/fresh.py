"""Code in a Python process of its own, some packages absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

RUN = """
import contextlib, io, json, sys
from marginface.cli.main import main
ends = []
for arguments in json.loads({commands!r}):
    sys.argv = ["marginface", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as left:
            status = left.code or 0
    ends.append((status, out.getvalue(), err.getvalue()))
print(json.dumps(ends))
"""


def python(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Run code, with more folders to import from."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


def blocking(*packages: str) -> str:
    """Return code after which `packages` are not found, as where they are not installed."""
    return f"""
import importlib.machinery
found = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    if not any(name == each or name.startswith(each + ".") for each in {packages!r}):
        return found(name, path, target)
importlib.machinery.PathFinder.find_spec = find_spec
"""


def run_without(packages: Sequence[str], commands: Sequence[str]) -> list[tuple[int, str, str]]:
    """Run commands in one process where packages are absent; return how each ended."""
    split = json.dumps([command.split() for command in commands])
    done = python(blocking(*packages) + RUN.format(commands=split))
    assert done.returncode == 0, done.stderr
    return [tuple(end) for end in json.loads(done.stdout.splitlines()[-1])]
