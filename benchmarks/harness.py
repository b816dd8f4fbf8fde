"""What benchmarks share: tables, figures on disk, processes of their own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from marginface.atomic import replacing
from marginface.benchmarking import Work, interleave, machine, memory, ratios

__all__ = [
    "Work",
    "interleave",
    "memory",
    "ratios",
    "real_faces",
    "report",
    "run",
    "show",
    "spread",
    "write",
]


def real_faces() -> Path:
    """Return the faces that are read where no others are given."""
    named = os.environ.get("MARGINFACE_FACES", "")
    faces = Path(named, "lfw112", "train")
    if not named or not faces.is_dir():
        import typer

        missing = f"there is no folder {faces}" if named else "MARGINFACE_FACES is not set"
        raise typer.BadParameter(
            f"{missing}; give --data FOLDER, or set MARGINFACE_FACES to a folder with lfw112/train"
        )
    return faces


def report(
    title: str,
    results: Mapping[str, dict[str, list[float]]],
    batch: int,
    base: str,
    output: Path | None,
) -> None:
    """Print images a second and the ratio to `base` for every case; write JSON when asked."""
    rows = [
        (case, name, f"{batch / statistics.median(values):.1f}", *spread(seconds, base, name))
        for case, seconds in results.items()
        for name, values in seconds.items()
    ]
    show(title, ("case", "rival"), ("images/s", "ratio", "smallest", "largest"), rows)
    write(output, batch=batch, base=base, seconds=dict(results))


def show(
    title: str,
    words: Sequence[str],
    numbers: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: str | None = None,
) -> None:
    """Print a table with columns of words, then columns of numbers."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, caption=caption, box=SIMPLE)
    for column in words:
        table.add_column(column, no_wrap=True)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=160).print(table)


def spread(seconds: Mapping[str, list[float]], base: str, rival: str) -> list[str]:
    """Return how many times as fast as `base` a rival is: median, least and most of the rounds."""
    return [f"{value:.2f}" for value in ratios(seconds, base, rival)]


def write(output: Path | None, **figures: Any) -> None:
    """Write figures, and the machine they are from, where a file is asked for."""
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as temporary:
            record = {"machine": machine(), **figures}
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def run(script: str, *arguments: object, **environment: str) -> Any:
    """Run a script in a process of its own; return its last line, which is JSON."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
