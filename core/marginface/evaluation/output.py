"""The folder that figures are written to."""

from __future__ import annotations

import os
from pathlib import Path

from marginface.errors import MarginfaceError

METRICS_NAME = "metrics.json"


def check_output_dir(output_dir: Path) -> None:
    """Raise before any work if `output_dir` cannot be a folder or written to."""
    existing = next(path for path in (output_dir, *output_dir.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise MarginfaceError(
            f"--output {output_dir} needs a folder, but {existing} is a file; give another name"
        )
    if not os.access(existing, os.W_OK):
        raise MarginfaceError(
            f"--output {output_dir} cannot be written, {existing} is not yours to write to; give "
            "another name or change its permissions"
        )
