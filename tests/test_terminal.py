"""Tables in a narrow terminal and, where rich takes 80 columns, in a pipe."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from reports import pairs_of
from rich.table import Table

from marginface.api.progress import image_progress
from marginface.benchmarking.comparing import Change
from marginface.benchmarking.cost import Cost
from marginface.evaluation.comparison import Comparison
from marginface.evaluation.evaluate import distinct_images
from marginface.losses.problems import DTYPES
from marginface.parity.measure import Deviation
from marginface.parity.page import QUANTITIES
from marginface.tables.benchmarking import change_table, cost_table
from marginface.tables.parity import parity_table
from marginface.tables.verification import comparison_table, single_table
from marginface.terminal import Terminal

NUMBER = re.compile(r"-?[0-9][0-9.,]*(?:e-?[0-9]+)?%?")
LONG = "elasticface_arc_plus_of_my_own"


def parity() -> Table:
    pair = ("torch", "spec")
    return parity_table(
        [
            Deviation(LONG, dtype, pair, quantity, 2.1e-16, 1e-12, "case")
            for dtype in DTYPES
            for quantity in QUANTITIES
        ],
        pair,
    )


def comparison() -> Comparison:
    pairs = pairs_of(("Ada", "Bo", "Cleo", "Dan"), "a set with a long name")
    images = len(distinct_images(pairs))
    embeddings = np.random.default_rng(0).normal(size=(images, 8)).astype(np.float32)
    return Comparison.of(pairs, embeddings, LONG)


TABLES = {
    "parity": parity,
    "single": lambda: single_table(comparison()),
    "comparison": lambda: comparison_table([comparison(), comparison()]),
    "costs": lambda: cost_table(
        [Cost("torch", LONG, "batch 512", [1234.5], [987.6], (1.25, 1.125, 2.5), 10**11)],
        "normface",
    ),
    "changes": lambda: change_table(
        [Change("torch", "batch 512", LONG, (1.5, 1.25), (0.5, 0.25, 0.75), (1.5, 1.25, 1.75))],
        "normface",
    ),
}


def shown(table: Table, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    Terminal().print(table)
    return out.getvalue()


@pytest.mark.parametrize("columns", [20, 50, 80])
@pytest.mark.parametrize("name", TABLES)
def test_no_table_cuts_a_number(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = shown(TABLES[name](), 300, monkeypatch)
    narrow = shown(TABLES[name](), columns, monkeypatch)
    numbers = NUMBER.findall(wide)
    assert len(numbers) > 3
    assert sorted(NUMBER.findall(narrow)) == sorted(numbers)
    assert "…" not in narrow


@pytest.mark.parametrize("columns", [40, 80])
def test_the_bar_of_progress_cuts_no_number(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with image_progress("a_model_with_a_long_name, a_set_of_many_images") as show:
        show(12_345, 12_345)
    shown = capsys.readouterr().err
    assert "12345/12345" in shown
    assert "0:00:00" in shown
    assert "…" not in shown


def test_a_text_in_a_narrow_table_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table("name", "parameters")
    table.add_row("a", "gradient=straight_through_of_my_own")
    lines = shown(table, 20, monkeypatch).splitlines()
    cells = "".join(line.split("│")[2].strip() for line in lines if line.count("│") > 2)
    assert cells == "gradient=straight_through_of_my_own"
