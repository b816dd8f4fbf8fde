"""Build the wheel and the source distribution, and try each in clean environments.

    python releasing/smoke.py --constraint requirements.lock
    python releasing/smoke.py --python python3.12 --extras none torch

Needs `build` alone. What is tried in an environment stands in releasing/checks.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ROOT / "releasing" / "checks.py"
# What is installed, and the frameworks that are there then.
EXTRAS = {
    "none": ("", []),
    "torch": ("[torch,onnx]", ["torch"]),
    "tf": ("[tf-cpu,onnx]", ["tf"]),
    "both": ("[torch,tf-cpu,onnx]", ["torch", "tf"]),
}


def main() -> None:
    """Try the releases; the exit status is not 0 when one fails."""
    parser = argparse.ArgumentParser(description="Try wheel and sdist in clean environments.")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments")
    parser.add_argument("--extras", nargs="+", choices=EXTRAS, default=list(EXTRAS))
    parser.add_argument("--constraint", type=Path, help="pip's: requirements.lock, for example")
    parser.add_argument("--dist", type=Path, help="folder of a built wheel and sdist; else built")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        dist = options.dist or build(Path(scratch) / "dist")
        (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
        first, *_ = options.extras
        for archive, extras in [*((wheel, each) for each in options.extras), (source, first)]:
            place = Path(scratch) / f"{extras}{archive.suffix}"
            attempt(archive, extras, place, options.python, options.constraint)


def build(folder: Path) -> Path:
    """Build both archives into a folder, in isolation."""
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


def attempt(archive: Path, extras: str, place: Path, python: str, constraint: Path | None) -> None:
    """Install an archive with extras in an environment of its own, and run the checks there."""
    started = time.monotonic()
    run(python, "-m", "venv", place / "venv")
    fresh = place / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted, frameworks = EXTRAS[extras]
    constrained = ["--constraint", constraint.resolve()] if constraint else []
    pip = [fresh, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, *constrained, f"marginface{wanted} @ {archive.resolve().as_uri()}")
    (work := place / "work").mkdir()
    run(fresh, "-I", CHECKS, *frameworks, cwd=work)
    size = sum(path.stat().st_size for path in place.rglob("*") if not path.is_symlink())
    version = subprocess.run([fresh, "-V"], capture_output=True, text=True, check=True).stdout
    seconds = time.monotonic() - started
    print(
        f"passed: {archive.name}, {extras}, {version.strip()}, {size / 1e6:,.0f} MB, "
        f"{seconds:.0f} s",
        flush=True,
    )


def run(*command: object, cwd: Path | None = None) -> None:
    """Run a command outside of this repository's environment; end with its status if it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(each) for each in command], cwd=cwd, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"failed with status {done.returncode}: {' '.join(map(str, command))}")


if __name__ == "__main__":
    main()
