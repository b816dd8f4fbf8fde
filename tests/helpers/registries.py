"""Registries of formats that forget what a test registers."""

import pytest

from marginface.backbones.weights import WEIGHTS
from marginface.data.formats.registry import IMAGE_SETS
from marginface.data.verification.opening import VERIFICATION_SETS
from marginface.embeddings.embedder import MODELS
from marginface.embeddings.reader import EMBEDDINGS


def keep_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is registered from here on be gone after the test, and nothing else."""
    assert WEIGHTS.names  # what is installed is registered by now
    for formats in (IMAGE_SETS, VERIFICATION_SETS, EMBEDDINGS, WEIGHTS, MODELS):
        monkeypatch.setattr(formats, "_formats", [*formats._formats])
