"""The options of a run that takes a second, for the functions of `import marginface`."""

from pathlib import Path
from typing import Any

import pytest

PEOPLE = dict.fromkeys(("ann", "bob", "cid", "dee"), 4)


def small(faces: Path, output: Path, **more: Any) -> dict[str, Any]:
    """Return options; skips the test where there is no PyTorch."""
    pytest.importorskip("torch")
    return {
        "data": faces,
        "output": output,
        "backend": "torch",
        "backbone": "mobilefacenet",
        "embedding_size": 8,
        "batch_size": 4,
        "max_steps": 3,
        "log_every": 1,
        "threads": 1,
        "compile": "off",
        **more,
    }
