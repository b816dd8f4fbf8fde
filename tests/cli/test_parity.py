"""`marginface parity`: what it prints, writes and refuses."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marginface import losses
from marginface.backend import load_backend
from marginface.parity import DTYPES, broken, compare
from marginface.parity.page import cells


def test_report_of_one_loss(cli, tmp_path):
    pytest.importorskip("torch")
    report = tmp_path / "parity.md"
    status, out, _ = cli("parity", "--loss", "adaface", "--backend", "torch", "--report", report)
    assert status == 0
    assert "torch against spec" in out
    assert "all 16 comparisons are within tolerance" in out  # 4 dtypes, 4 quantities
    text = report.read_text()
    assert all(f"| adaface | {dtype} |" in text for dtype in DTYPES)
    assert "none of 16 comparisons" in text
    assert load_backend("torch").version() in text
    pixels = np.asarray(Image.open(tmp_path / "parity.png").convert("RGB"))
    assert pixels.std() > 20  # something is drawn


def test_the_page_has_every_loss():
    page = Path(__file__).parents[2].joinpath("docs", "parity.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\w+\d+) \|", page, re.M)
    assert rows == [(name, dtype) for name in losses.registry.BUILT_IN for dtype in DTYPES] * 3


def test_backends_after_one_option(cli):
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    status, out, _ = cli("parity", "--backend", "torch", "tf", "--loss", "cosface")
    assert status == 0
    for title in ("torch against tf", "torch against spec", "tf against spec"):
        assert title in out


def test_a_broken_loss_is_told(cli, monkeypatch):
    pytest.importorskip("torch")
    from marginface_torch.losses import OPS
    from marginface_torch.losses.softmax import NormFaceOps

    monkeypatch.setitem(OPS, losses.CosFace, NormFaceOps)  # the margin is forgotten
    status, out, _ = cli("parity", "--backend", "torch", "--loss", "cosface")
    assert status == 1
    assert "comparisons are beyond tolerance; the worst:" in out
    assert " !" in out


def test_cells_mark_what_is_beyond():
    pytest.importorskip("torch")
    rows = compare("normface", "float64", {"torch": load_backend("torch")}, seeds=1)
    assert broken(rows) == []
    line = cells(rows, ("torch", "spec"))[0]
    assert line[:2] == ["normface", "float64"]
    assert not any("!" in cell for cell in line)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--loss", "arcfase"], "unknown loss 'arcfase'; did you mean 'arcface'"),
        (["--backend", "jax"], "unknown backend 'jax'"),
        (["--report", "parity.html"], "expected a name that ends in .md"),
        (["--report", "nowhere/parity.md"], "there is no folder nowhere"),
    ],
)
def test_refusals(cli, arguments, said):
    status, _, error = cli("parity", *arguments)
    assert status == 2
    assert said in error
    assert error.strip().count("\n") == 0
