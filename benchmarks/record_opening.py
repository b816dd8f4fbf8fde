"""Open a .rec of millions of records, first and again: seconds, memory, random reads a second.

python benchmarks/record_opening.py --records 10000000
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer
from pyarrow import csv
from rich.console import Console
from rich.table import Table

from marginface.benchmarking import machine
from marginface.data.formats.recordio import MAGIC, frame, pack_labelled
from marginface.data.formats.tables import write_idx
from marginface.data.opening import open_listed

BLOCK = 1_000_000
IMAGES_AN_IDENTITY = 100
READS = 200_000


def main(
    records: int = 10_000_000,
    names: Annotated[bool, typer.Option(help="With a .lst that names each image.")] = False,
    rounds: int = 5,
    folder: Annotated[Path | None, typer.Option(help="Where there is disk for the file.")] = None,
    output: Path | None = None,
    child: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Write a .rec of tiny images, open it in new processes, print what that took."""
    if child is not None:
        print(json.dumps(_measure(child)))
        return
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "train.rec"
        _write(path, records, names)
        found = [_in_a_process(path) for _ in range(1 + rounds)]
        sizes = {entry.name: entry.stat().st_size for entry in sorted(path.parent.iterdir())}
    table = Table(title=f"{records:,} records" + (", named" if names else ""))
    for column in ("opening", "seconds", "smallest", "largest", "MB kept", "MB peak", "reads/s"):
        table.add_column(column, justify="left" if column == "opening" else "right")
    for title, rows in (("first", found[:1]), ("again", found[1:])):
        seconds, kept, peak, reads = (
            [row[name] for row in rows] for name in ("seconds", "kept", "peak", "reads")
        )
        table.add_row(
            title,
            f"{statistics.median(seconds):.3f}",
            f"{min(seconds):.3f}",
            f"{max(seconds):.3f}",
            f"{statistics.median(kept) / 1e6:.0f}",
            f"{statistics.median(peak) / 1e6:.0f}",
            f"{statistics.median(reads):,.0f}",
        )
    console = Console(width=100)
    console.print(table)
    console.print(", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items()))
    if output is not None:
        record = {"machine": machine(), "records": records, "names": names, "sizes": sizes}
        output.write_text(json.dumps({**record, "openings": found}, indent=1) + "\n")


def _write(path: Path, records: int, names: bool) -> None:
    """Write records of 16 bytes an image; all are alike but for key and label."""
    one = np.frombuffer(frame(pack_labelled(b"0123456789abcdef", 0, 0)), "<u4")
    assert one[0] == MAGIC
    keys = np.arange(records)
    labels = keys // IMAGES_AN_IDENTITY
    with path.open("wb") as file:
        for begin in range(0, records, BLOCK):
            block = np.tile(one, (len(keys[begin : begin + BLOCK]), 1))
            block[:, 3] = labels[begin : begin + BLOCK].astype("<f4").view("<u4")
            block[:, 4] = keys[begin : begin + BLOCK]
            file.write(block.tobytes())
    write_idx(path.with_suffix(".idx"), keys, keys * one.nbytes)
    if names:
        lst = path.with_suffix(".lst")
        options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
        with csv.CSVWriter(
            lst,
            pa.schema({"key": pa.int64(), "label": pa.int64(), "path": pa.string()}),
            write_options=options,
        ) as writer:
            for begin in range(0, records, BLOCK):
                own = slice(begin, begin + BLOCK)
                paths = [
                    f"n{label:06d}/{key:08d}.jpg"
                    for key, label in zip(keys[own].data, labels[own].data, strict=True)
                ]
                writer.write_table(
                    pa.table({"key": keys[own], "label": labels[own], "path": paths})
                )


def _in_a_process(path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def _measure(path: Path) -> dict[str, Any]:

    before = _memory("RssAnon")
    begin = time.perf_counter()
    images = open_listed(path)
    seconds = time.perf_counter() - begin
    kept, peak = _memory("RssAnon") - before, _memory("VmHWM") - before
    chosen = np.random.default_rng(0).integers(0, len(images), READS).tolist()
    begin = time.perf_counter()
    for number in chosen:
        images.encoded(number)
    reads = READS / (time.perf_counter() - begin)
    return {"seconds": seconds, "kept": kept, "peak": peak, "reads": reads}


def _memory(kind: str) -> int:
    """Return bytes of memory of this process: RssAnon, its own; VmHWM, the most with file pages."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{kind}:")[1].split()[0])


if __name__ == "__main__":
    typer.run(main)
