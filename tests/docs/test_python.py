"""The Python of README.md and docs runs as it stands: a page's blocks in order."""

from __future__ import annotations

import doctest
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from blocks import PAGES, Block, read_blocks
from own_losses import forgetting
from stage import set_stage, shorten_training

from marginface import backbones
from marginface.backbones.weights import WEIGHTS
from marginface.data.formats.registry import IMAGE_SETS

PYTHON = {
    page: [b for b in read_blocks(page) if b.language in ("python", "pycon")] for page in PAGES
}
PACKAGES = (
    *("torch", "tensorflow", "keras", "lightning", "timm", "pytorch_metric_learning"),
    *("onnxruntime", "pyarrow"),
)

SLOW = {"own_loop"}  # TensorFlow traces whole networks


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """A module to run in; what it registers is gone after it."""
    module = ModuleType("a_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(backbones, "_BUILDERS", dict(backbones._BUILDERS))
    assert WEIGHTS.names  # what is installed is registered by now
    monkeypatch.setattr(IMAGE_SETS, "_formats", [*IMAGE_SETS._formats])
    monkeypatch.syspath_prepend(tmp_path)
    shorten_training(monkeypatch)
    for _ in forgetting(monkeypatch, tmp_path):
        yield module


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page.stem in SLOW else (), id=page.stem)
        for page, blocks in PYTHON.items()
        if blocks
    ],
)
def test_a_page_runs(page: Path, namespace: ModuleType, tmp_path: Path) -> None:
    blocks = [block for block in PYTHON[page] if not block.not_run]
    code = "\n".join(block.text for block in blocks)
    for package in PACKAGES:
        if re.search(rf"^ *(>>> )?(import|from) (marginface_)?{package}\b", code, re.M):
            pytest.importorskip(package)
    set_stage(tmp_path, code)
    for block in blocks:
        run(block, namespace)


def run(block: Block, module: ModuleType) -> None:
    """Run a block; what fails points to the page's line."""
    if block.language == "pycon":
        parser, flags = doctest.DocTestParser(), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        case = parser.get_doctest(block.text, vars(module), str(block), str(block.page), block.line)
        doctest.DebugRunner(optionflags=flags).run(case, clear_globs=False)
        vars(module).update(case.globs)
    elif block.file:
        Path(block.file).write_text(block.text, encoding="utf-8")
        importlib.import_module(Path(block.file).stem)
    else:
        lines = "\n" * block.line + block.text
        exec(compile(lines, block.page, "exec"), vars(module))
