"""Real faces and weights, which the repository does not hold.

`MARGINFACE_FACES` names their folder: `lfw112`, `orl`, `photos`, `weights` and `faults` lie in it.
"""

import os
from pathlib import Path

import pytest

FACES = Path(os.environ.get("MARGINFACE_FACES") or "no-real-faces").absolute()
needs_faces = pytest.mark.skipif(
    not FACES.is_dir(), reason="real faces are absent: set MARGINFACE_FACES to their folder"
)
