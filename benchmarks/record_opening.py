"""Open a .rec of millions of records, first and again: seconds, memory, random reads a second.

python benchmarks/record_opening.py --records 10000000
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer
from harness import memory, run, show, write
from pyarrow import csv

from marginface.data.formats.recordio import MAGIC, frame, pack_labelled
from marginface.data.formats.tables import write_idx
from marginface.data.opening import open_listed

CHUNK = 1_000_000
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
        openings_of_all = [run(__file__, "--child", path) for _ in range(1 + rounds)]
        sizes = {entry.name: entry.stat().st_size for entry in sorted(path.parent.iterdir())}
    rows = []
    for title, openings in (("first", openings_of_all[:1]), ("again", openings_of_all[1:])):
        seconds, kept, peak, reads = (
            [each[name] for each in openings] for name in ("seconds", "kept", "peak", "reads")
        )
        spread = (statistics.median(seconds), min(seconds), max(seconds))
        sizes_in_memory = (f"{statistics.median(each) / 1e6:.0f}" for each in (kept, peak))
        speed = f"{statistics.median(reads):,.0f}"
        rows.append((title, *(f"{value:.3f}" for value in spread), *sizes_in_memory, speed))
    show(
        f"{records:,} records" + (", named" if names else ""),
        ("opening",),
        ("seconds", "smallest", "largest", "MB kept", "MB peak", "reads/s"),
        rows,
    )
    print(", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items()))
    write(output, records=records, names=names, sizes=sizes, openings=openings_of_all)


def _write(path: Path, records: int, names: bool) -> None:
    """Write records of 16 bytes an image; all are alike but for key and label."""
    one = np.frombuffer(frame(pack_labelled(b"0123456789abcdef", 0, 0)), "<u4")
    assert one[0] == MAGIC
    keys = np.arange(records)
    labels = keys // IMAGES_AN_IDENTITY
    with path.open("wb") as file:
        for begin in range(0, records, CHUNK):
            chunk = np.tile(one, (len(keys[begin : begin + CHUNK]), 1))
            chunk[:, 3] = labels[begin : begin + CHUNK].astype("<f4").view("<u4")
            chunk[:, 4] = keys[begin : begin + CHUNK]
            file.write(chunk.tobytes())
    write_idx(path.with_suffix(".idx"), keys, keys * one.nbytes)
    if names:
        lst = path.with_suffix(".lst")
        options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
        with csv.CSVWriter(
            lst,
            pa.schema({"key": pa.int64(), "label": pa.int64(), "path": pa.string()}),
            write_options=options,
        ) as writer:
            for begin in range(0, records, CHUNK):
                own = slice(begin, begin + CHUNK)
                paths = [
                    f"n{label:06d}/{key:08d}.jpg"
                    for key, label in zip(keys[own].data, labels[own].data, strict=True)
                ]
                writer.write_table(
                    pa.table({"key": keys[own], "label": labels[own], "path": paths})
                )


def _measure(path: Path) -> dict[str, Any]:
    before = memory("RssAnon")
    begin = time.perf_counter()
    images = open_listed(path)
    seconds = time.perf_counter() - begin
    kept, peak = memory("RssAnon") - before, memory("VmHWM") - before
    chosen = np.random.default_rng(0).integers(0, len(images), READS).tolist()
    begin = time.perf_counter()
    for number in chosen:
        images.encoded(number)
    reads = READS / (time.perf_counter() - begin)
    return {"seconds": seconds, "kept": kept, "peak": peak, "reads": reads}


if __name__ == "__main__":
    typer.run(main)
