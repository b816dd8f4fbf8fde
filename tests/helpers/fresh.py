"""Code in a Python process of its own, some packages absent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


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
