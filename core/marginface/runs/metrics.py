"""A run's metrics file: a JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from marginface.errors import MarginfaceError
from marginface.runs.folder import write_text

TRAIN, VERIFICATION = "train", "verification"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a metrics file; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if line.endswith(b"\n"):
            try:
                record = json.loads(line)
                if not isinstance(record["step"], int) or not isinstance(record["kind"], str):
                    raise TypeError(record)
                records.append(record)
            except (ValueError, KeyError, TypeError, RecursionError):
                raise MarginfaceError(
                    f"{path}:{number}: not a line of metrics; restore or delete that line"
                ) from None
    return records


def cut_back(path: Path, step: int, *, verified: bool) -> None:
    """Drop the records after the checkpoint of `step`: a resumed run writes them again.

    Args:
        path: the metrics file.
        step: the checkpoint's.
        verified: whether the checkpoint was made after the verification at its step.
    """
    kept_lines = [
        record
        for record in read_metrics(path)
        if record["step"] < step
        or (record["step"] == step and (verified or record["kind"] != VERIFICATION))
    ]
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept_lines))
