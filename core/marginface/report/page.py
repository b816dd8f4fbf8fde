"""The report's page: one HTML file that holds all it shows and needs no network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from marginface.atomic import replacing
from marginface.data.verification.leaving_out import by_fold
from marginface.data.verification.pairs import Pairs
from marginface.evaluation.comparison import Comparison
from marginface.evaluation.intervals import LEVEL, Intervals
from marginface.evaluation.rejection import FMR
from marginface.evaluation.verification import FAR_TARGETS, VerificationResult
from marginface.extras import needs
from marginface.report.collect import Measured, Report
from marginface.report.figures import accept_counts, curves, histogram
from marginface.report.galleries import hardest_pairs, thumbnail
from marginface.text import printable
from marginface.version import __version__

with needs("report"):
    from plotly.offline import get_plotlyjs

PAGE_NAME = "index.html"


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What stands around a report on a page.

    Args:
        title: of the page.
        opening, closing: HTML, names in it escaped, before and after the report.
        style: CSS for these.
        footer: a line of text.
    """

    title: str = "marginface report"
    opening: str = ""
    closing: str = ""
    style: str = ""
    footer: str = f"marginface {__version__}"


def write_page(report: Report, output: Path, frame: Frame = Frame()) -> Path:
    """Write `output`/index.html, whole or not at all, and return its path.

    Raises:
        MarginfaceError: an image of the galleries cannot be read.
    """
    text = render(report, frame)
    output.mkdir(parents=True, exist_ok=True)
    path = output / PAGE_NAME
    with replacing(path) as temporary:
        # A file name that is no UTF-8 is shown with question marks.
        temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    return path


def render(report: Report, frame: Frame = Frame()) -> str:
    """Return the page."""
    plotly = get_plotlyjs()
    script = "\n".join(_part(name) for name in ("charts.js", "page.js"))
    return Template(_part("page.html")).substitute(
        # Scripts run by their hash alone: nothing that got into the page as text can be one.
        policy=(
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src {_hash(plotly)} {_hash(script)}; base-uri 'none'; form-action 'none'"
        ),
        title=html.escape(frame.title),
        opening=frame.opening,
        closing=frame.closing,
        footer=html.escape(frame.footer),
        style=_part("page.css") + frame.style,
        plotly=plotly,
        script=script,
        data=script_safe(page_data(report)),
        headline=html.escape(_headline(report)),
        targets="".join(f'<th scope="col">{100 * float(target):g}%</th>' for target in FAR_TARGETS),
        target_count=len(FAR_TARGETS),
        rows=_rows(report),
        measured_with=_measured_with(report),
        level=f"{LEVEL:.0%}",
        fmr=f"{100 * FMR:g}%",
        sets=_options([pairs.name for pairs in report.sets]),
        models=_options([model.name for model in report.models]),
    )


def script_safe(values: Any) -> str:
    """Return JSON that a script element can hold: no text in it can end or comment out anything.

    >>> script_safe({"name": "</script><!--"})
    '{"name": "\\\\u003c/script>\\\\u003c!--"}'
    """
    return json.dumps(values, allow_nan=False).replace("<", "\\u003c")


def page_data(report: Report) -> dict[str, Any]:
    """Return everything that the page's script draws, as plain values."""
    results = [[_result(measured) for measured in row] for row in report.measured]
    sets = []
    for index, pairs in enumerate(report.sets):
        hardest = [kind for row in results for kind in row[index]["hardest"].values()]
        shown = sorted({name for kind in hardest for pair in kind for name in pair["names"]})
        same = int(pairs.same.sum())
        sets.append(
            {
                "name": printable(pairs.name),
                "same": same,
                "different": len(pairs) - same,
                "images": {name: thumbnail(pairs.images, name) for name in shown},
            }
        )
    models = [
        {
            "name": printable(model.name),
            "training": model.training,
            "about": printable(model.about),
        }
        for model in report.models
    ]
    return {"models": models, "sets": sets, "results": results}


def _result(measured: Measured) -> dict[str, Any]:
    row = measured.comparison
    return {
        "threshold": row.result.threshold,
        "tar_at_far_threshold": row.result.tar_at_far_threshold,
        "measured_with": None if row.measured_with is None else row.measured_with.to_json(),
        "counts": accept_counts(row),
        "histogram": histogram(row),
        "hardest": hardest_pairs(row),
        **curves(measured),
    }


def _part(name: str) -> str:
    return files("marginface.report").joinpath(name).read_text("utf-8")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _headline(report: Report) -> str:
    models, sets = len(report.models), len(report.sets)
    pairs = sum(len(one) for one in report.sets)
    return (
        f"{models} model{'s' * (models > 1)} on {sets} verification set{'s' * (sets > 1)}, "
        f"{pairs:,} pairs."
    )


def _rows(report: Report) -> str:
    return "\n".join(
        _row(number, row[number].comparison)
        for number in range(len(report.sets))
        for row in report.measured
    )


def _row(number: int, row: Comparison) -> str:
    result = row.result
    cells = [
        f"{result.accuracy:.2%} ± {100 * result.accuracy_std:.2f}",
        _interval(row.intervals),
        f"{result.auc:.5f}",
        f"{result.eer:.2%}",
        *(_rate(result, target) for target in FAR_TARGETS),
    ]
    values = "".join(f"<td>{cell}</td>" for cell in cells)
    return (
        f'<tr data-set="{number}"><th scope="row">{_name(row.pairs.name)}'
        f"<small>{result.same_pairs:,} + {result.different_pairs:,} pairs"
        f"{_left_out(row.pairs)}</small></th>"
        f'<th scope="row">{_name(row.model)}</th>{values}</tr>'
    )


def _left_out(pairs: Pairs) -> str:
    if not pairs.left_out:
        return ""
    return f"; {sum(pairs.left_out):,} left out: {by_fold(pairs.left_out)}"


def _interval(ends: Intervals) -> str:
    if ends.accuracy is None:
        return ends.accuracy_note
    return f"{100 * ends.accuracy[0]:.2f} … {100 * ends.accuracy[1]:.2f}"


def _measured_with(report: Report) -> str:
    """Return a line for each model: what its figures were measured with."""
    first = [row[0].comparison.measured_with for row in report.measured]
    recorded = [each for each in first if each is not None]
    return "".join(
        f"<li><b>{_name(each.model)}</b> {html.escape(each.summary())}</li>" for each in recorded
    )


def _name(name: str) -> str:
    """Return a name as HTML; a line may end behind an underscore."""
    return html.escape(printable(name)).replace("_", "_<wbr>")


def _rate(result: VerificationResult, target: str) -> str:
    mark = "*" if result.admits_none(target) else ""
    threshold = result.tar_at_far_threshold[target]
    return f"{result.tar_at_far[target]:.2%}{mark}<small>≥ {threshold:.4f}</small>"


def _options(names: list[str]) -> str:
    return "".join(
        f'<option value="{index}">{html.escape(printable(name))}</option>'
        for index, name in enumerate(names)
    )
