"""Checkpoints of a run, which all of its processes write together."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from marginface.arrays import in_file_order
from marginface.learner import Group, Learner
from marginface.runs.checkpoint_writer import CheckpointWriter
from marginface.runs.checkpoints import ARRAYS, shard_file
from marginface.training.processes.groups import together


def one_folder(group: Group, folder: Path) -> bool:
    """Find out whether all processes share one folder: each looks for a file of process 0.

    Args:
        group: all processes, which call this together.
        folder: of the run, as this process calls it; process 0 has made it.
    """
    if group.size == 1:
        return True
    mark = folder / f".seen-{group.exchange(secrets.token_hex(8))[0]}"
    with together(group):
        if group.rank == 0:
            mark.touch()
    try:
        seen = group.exchange(json.dumps(mark.is_file()))
    finally:
        if group.rank == 0:
            mark.unlink(missing_ok=True)
    return all(map(json.loads, seen))


def save_checkpoint(
    group: Group,
    learner: Learner,
    folder: Path,
    step: int,
    extra: dict[str, Any],
    *,
    shared: bool,
    keep: int,
    best: int | None = None,
) -> Path:
    """Write a checkpoint, all processes together; return its path.

    Args:
        group: the processes.
        learner: whose arrays are written, one at a time.
        folder: of the run's checkpoints.
        step: steps taken.
        extra: plain values: input pipeline, best accuracy and the like.
        shared: whether all see one folder: each writes its own rows. Else process 0 gathers them.
        keep: how many checkpoints stay.
        best: step of one more that stays.

    Raises:
        MarginfaceError: it cannot be written; nothing of it stays, and older ones are untouched.
        AgreedError: the same, on one of several processes.
    """
    writer, first = CheckpointWriter(folder, step), group.rank == 0
    specs = learner.array_specs()
    sharded = {name: each for name, each in specs.items() if each.rows and shared}
    common = in_file_order({n: each.whole for n, each in specs.items() if n not in sharded})
    shard = in_file_order({name: each.part(group.rank) for name, each in sharded.items()})
    crc32 = own_crc32 = 0
    try:
        with together(group):
            if first:
                writer.begin()
        with together(group):
            if shard:
                arrays = learner.arrays(shard, gather=False)
                own_crc32 = writer.write(shard_file(group.rank, group.size), shard, arrays)
            arrays = learner.arrays(common)
            try:
                if first:
                    crc32 = writer.write(ARRAYS, common, arrays)
            finally:
                if not shared:
                    for _ in arrays:  # process 0 gathers them from all, even if it cannot write
                        pass
        answers = group.exchange(json.dumps(own_crc32))
        shards = [
            {
                "file": shard_file(rank, group.size),
                "crc32": json.loads(text),
                "rows": {
                    n: [rows[rank].start, rows[rank].stop] for n, (_, rows) in sharded.items()
                },
            }
            for rank, text in enumerate(answers)
        ]
        with together(group):
            if first:
                writer.finish(crc32, shards if sharded else [], extra, keep=keep, best=best)
    except BaseException:
        if first:
            writer.discard()
        raise
    return writer.path
