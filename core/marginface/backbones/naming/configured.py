"""What a configuration beside a file says of its pixels, where a project writes one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from marginface.backbones.naming.table import Naming

# CVLface keeps weights of both orders, and notes which in config.json, or NAME.yaml for NAME.pt.
COLORS = re.compile(r"color_space['\"]?\s*:\s*['\"]?(RGB|BGR)\b")
LARGEST = 1 << 20  # bytes of a configuration


def as_configured(namings: Iterable[Naming], path: Path) -> tuple[Naming, ...]:
    """Return namings of a file's arrays with the order of channels that is stated beside it."""
    return tuple(_configured(each, path) if each.name == "cvlface" else each for each in namings)


def _configured(naming: Naming, path: Path) -> Naming:
    for beside in (path.with_suffix(".yaml"), path.with_name("config.json")):
        if beside.is_file() and beside.stat().st_size < LARGEST:
            found = COLORS.search(beside.read_text(encoding="utf-8", errors="replace"))
            if found:
                order: Literal["rgb", "bgr"] = "bgr" if found[1] == "BGR" else "rgb"
                return replace(naming, channels=order, source=str(beside))
    return naming
