"""A loss of one's own in files, and a registry that forgets it after a test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from blocks import files
from registries import keep_formats

from marginface.losses.registry import OWN
from marginface.losses.tensor_code import CODE


def forgetting(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Work in a folder; what is registered, and imported from there, is gone after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(folder)
    keep_formats(monkeypatch)
    yield
    forget(folder)


def forget(folder: Path) -> None:
    """Be as a process that has imported nothing from a folder."""
    OWN.clear()
    CODE.clear()
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "").parent == folder:
            del sys.modules[name]


def write_example(folder: Path) -> str:
    """Write the files that docs/losses.md shows; returns what it calls its loss."""
    shown = files("losses.md")
    assert [*shown] == ["my_losses.py", "my_losses_torch.py", "my_losses_tf.py"]
    for name, code in shown.items():
        (folder / name).write_text(code)
    return "my_losses:EasyCosFace"
