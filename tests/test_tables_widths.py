"""Every table in a terminal of 40, 80 and 200 columns and in a pipe: no number is ever cut."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from reports import pairs_of
from rich.table import Table
from rich.text import Text

from marginface.benchmarking.comparing import Change
from marginface.benchmarking.cost import Cost
from marginface.data.inspection import Inspection
from marginface.data.listing import Listing
from marginface.evaluation.comparison import Comparison
from marginface.evaluation.evaluate import distinct_images
from marginface.evaluation.identification import measure, search
from marginface.evaluation.rates import RateAt
from marginface.evaluation.template_verification import TemplateVerification
from marginface.losses.describe import describe
from marginface.losses.problems import DTYPES
from marginface.losses.registry import BUILT_IN
from marginface.parity.measure import Deviation
from marginface.parity.page import QUANTITIES
from marginface.tables import inspection as inspections
from marginface.tables.benchmarking import change_table, cost_table
from marginface.tables.identification import candidates_table, identification_table
from marginface.tables.losses import losses_table, parameters_table
from marginface.tables.parity import parity_table
from marginface.tables.templates import template_table
from marginface.tables.verification import comparison_table, single_table
from marginface.terminal import Terminal

NUMBER = re.compile(r"-?[0-9](?:[0-9.,]*[0-9])?(?:e-?[0-9]+)?%?")
LONG = "elasticface_arc_plus_of_my_own"


def parity() -> Table:
    pair = ("torch", "spec")
    deviations = [
        Deviation(LONG, dtype, pair, quantity, 2.1e-16, 1e-12, "case")
        for dtype in DTYPES
        for quantity in QUANTITIES
    ]
    return parity_table(deviations, pair)


def comparison() -> Comparison:
    pairs = pairs_of(("Ada", "Bo", "Cleo", "Dan"), "a set with a long name")
    images = len(distinct_images(pairs))
    embeddings = np.random.default_rng(0).normal(size=(images, 8)).astype(np.float32)
    return Comparison.of(pairs, embeddings, LONG)


def inspection(names: tuple[str, ...]) -> Inspection:
    labels = np.repeat(np.arange(len(names)), 1200)
    listing = Listing(Path("set"), len(labels), str, str.encode, labels, names)
    sizes = Counter({(112, side): 1_234_567 - side for side in (96, 112, 250)})
    hashes = np.arange(2 * len(labels), dtype=np.uint64).reshape(-1, 2)
    whole = np.arange(len(labels))
    return Inspection(listing, Counter(jpeg=1_234_567), sizes, [], whole, hashes)


def sets() -> list[Inspection]:
    return [inspection(("Ada", "Bo", "Cleo")), inspection(("Bo",))]


def identification() -> Table:
    embeddings = np.random.default_rng(0).normal(size=(12, 8))
    people = np.array([f"{LONG}_{at % 8}" for at in range(12)])
    searches = search(embeddings[:6], people[:6], embeddings[6:], people[6:])
    return identification_table({name: measure(searches) for name in ("G1", "gallery_number_2")})


def candidates() -> Table:
    embeddings = np.random.default_rng(0).normal(size=(6, 8))
    people = [f"{LONG}_{at}" for at in range(6)]
    searches = search(embeddings, people, embeddings[::-1], people[::-1])
    return candidates_table([f"photos/{name}.jpg" for name in people], people, searches)


def templates() -> Table:
    rates = {far: RateAt(0.98765, 0.97654, 0.99876, 0.31234, 1_234_567) for far in ("1e-6", "1e-4")}
    roc = (np.zeros(1), np.ones(1))
    return template_table(TemplateVerification(19_557, 15_638_932, rates, roc, None))


SETS = ("train", "a_validation_set_with_a_long_name")
TABLES = {
    "parity": parity,
    "single": lambda: single_table(comparison()),
    "comparison": lambda: comparison_table([comparison(), comparison()]),
    "sets": lambda: inspections.set_table(SETS, sets()),
    "histogram": lambda: inspections.histogram_table(SETS, sets()),
    "shared": lambda: inspections.shared_table(SETS, inspections.compare(sets())),
    "identification": identification,
    "candidates": candidates,
    "templates": templates,
    "losses": lambda: losses_table([describe(name) for name in BUILT_IN]),
    "parameters": lambda: parameters_table(describe("adaface")),
    "costs": lambda: cost_table(
        [Cost("torch", LONG, "batch 512", [1234.5], [987.6], (1.25, 1.125, 2.5), 10**11)],
        "normface",
    ),
    "changes": lambda: change_table(
        [Change("torch", "batch 512", LONG, (1.5, 1.25), (0.5, 0.25, 0.75), (1.5, 1.25, 1.75))],
        "normface",
    ),
}


def shown(table: Table, columns: int | None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Print a table as into a terminal of so many columns, or a pipe."""
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout", out := io.StringIO())
    Terminal().print(table)
    return out.getvalue()


def numbers(*texts: object) -> list[str]:
    """Return the numbers in the words of some texts, sorted."""
    plain = (text.plain if isinstance(text, Text) else str(text) for text in texts)
    return sorted(each for text in plain for each in NUMBER.findall(text))


@pytest.mark.parametrize("columns", [20, 40, 80, 200, None])
@pytest.mark.parametrize("name", TABLES)
def test_no_table_cuts_a_number(
    name: str, columns: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TABLES[name]()
    at_right = [column for column in table.columns if column.justify == "right"]
    expected = numbers(*(cell for column in at_right or table.columns for cell in column.cells))
    assert len(expected) > 1
    text = shown(table, columns, monkeypatch)
    assert "…" not in text
    missing = Counter(expected) - Counter(numbers(text))
    assert not missing
    if columns and columns >= 40:
        assert max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize("name", TABLES)
def test_a_table_fits_every_width(name: str) -> None:
    """Also where one column less makes rows records, and no word of a header is torn."""
    table = TABLES[name]()
    headers = " ".join(
        str(each.header) for each in table.columns[1:]
    )  # records leave out the first
    words = {word for word in re.findall(r"[^\s:,]+", headers) if len(word) <= 12}
    for columns in range(40, 121):
        Terminal(file=(out := io.StringIO()), width=columns).print(table)
        text = out.getvalue()
        assert max(map(len, text.splitlines())) <= columns
        assert words <= set(re.findall(r"[^\s:,]+", text)), columns


@pytest.mark.parametrize("name", TABLES)
def test_a_row_is_one_line_in_a_pipe(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = TABLES[name]()
    text = shown(table, None, monkeypatch)
    title, caption = (
        str(each).splitlines() if each else [] for each in (table.title, table.caption)
    )
    around = [*title, "headers", "rule", *caption, ""]
    assert len(text.splitlines()) == len(around) + table.row_count


def test_where_a_table_does_not_fit_a_row_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(comparison_table([comparison()]), 40, monkeypatch).splitlines()
    assert lines[:4] == [
        "Verification",
        LONG,
        "  set: a set with a long name",
        "  accuracy: 75.43% ± 9.35",
    ]
    assert lines[6] == "  TAR@1e-3, threshold: 8.33%*, 0.7797"


def test_a_text_goes_on_in_the_next_line_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table("name", "parameters")
    table.add_row("a", "gradient=straight_through_of_my_own")
    lines = shown(table, 20, monkeypatch).splitlines()[2:]
    assert (
        "".join(line[len("name") :].strip() for line in lines)
        == "gradient=straight_through_of_my_own"
    )
