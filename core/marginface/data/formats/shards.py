"""Record files that are one set in several parts: s.tfrecord-00000-of-00002 and its siblings."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from marginface.data.formats.recordio import is_recordio
from marginface.data.formats.tfrecord_head import is_tfrecord
from marginface.errors import MarginfaceError

# s.tfrecord-00000-of-00002, or s-00000-of-00002.tfrecord
SHARD = re.compile(r"(.*)-([0-9]{1,6})-of-([0-9]{1,6})(\.tfrecords?)?", re.IGNORECASE)
SHOWN = 3  # names of missing shards in a message


def shard_paths(path: Path) -> list[Path]:
    """Return all shards of the set that a record file belongs to, in order; else the file alone.

    Shards are numbered from 0, or from 1 where the last one's number is how many there are.

    Raises:
        MarginfaceError: some of the shards are missing, or there are none of that number.
    """
    match = SHARD.fullmatch(path.name)
    # A shard may be empty, so its name alone is enough.
    named = ".tfrecord" in path.name.lower() and path.is_file() and not is_recordio(path)
    if match is None or not (named or is_tfrecord(path)):
        return [path]
    before, number, total, after = match[1], match[2], int(match[3]), match[4] or ""

    def name(shard: int) -> str:
        return f"{before}-{shard:0{len(number)}d}-of-{match[3]}{after}"

    present = {entry.name for entry in path.parent.iterdir()}
    first = 1 if name(0) not in present and name(total) in present else 0
    if not first <= int(number) < first + total:
        raise MarginfaceError(
            f"{path} calls itself number {int(number)} of {total} shards, which count from 0; "
            "rename it"
        )
    names = [name(shard) for shard in range(first, first + total)]
    missing = [each for each in names if each not in present]
    if missing:
        more = ", ..." if len(missing) > SHOWN else ""
        raise MarginfaceError(
            f"{path} is one of {total} shards, and {total - len(missing)} of {total} are there: "
            f"{', '.join(missing[:SHOWN])}{more} missing; restore the others, or take '-of-' out "
            "of the name to use this one alone"
        )
    return [path.with_name(each) for each in names]


def warn_of_parts(path: Path) -> None:
    """Warn of a .rec that calls itself one of several: each is taken as a set by itself."""
    match = SHARD.fullmatch(path.stem)
    if match is not None and int(match[3]) > 1:
        warnings.warn(
            f"{path} calls itself {int(match[2])} of {int(match[3])}; only .tfrecord files are "
            "taken together, so give the other parts, too",
            stacklevel=3,
        )
