"""What results show of themselves: the last verifications, a curve for each model and set."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from reports import pairs_of

from marginface.api.evaluate import EvaluationResults
from marginface.evaluation.comparison import Comparison
from marginface.evaluation.evaluate import distinct_images
from marginface.runs.folder import RunFolder
from marginface.training.result import SHOWN, TrainResult

pytest.importorskip("matplotlib")
STEPS = range(1, SHOWN + 3)
RATES = ("accuracy", "best_accuracy", "accuracy_at_one_threshold", "auc")


def test_a_run_shows_its_last_verifications_and_draws_all(tmp_path: Path) -> None:
    records = [
        {"kind": "verification", "step": step, **dict.fromkeys(RATES, 0.5)} for step in STEPS
    ]
    records.insert(0, {"kind": "train", "step": 1, "loss": 9.0})
    lines = "".join(json.dumps(each) + "\n" for each in records)
    RunFolder(tmp_path).metrics.write_text(lines)
    result = TrainResult(tmp_path, STEPS[-1], 0.5, None)
    cells = re.findall(r"<tr><td[^>]*>(\d+)</td>", result._repr_html_())
    assert [int(cell) for cell in cells] == [*STEPS][-SHOWN:]
    (curve,) = result.plot().axes[1].lines
    np.testing.assert_array_equal(curve.get_xdata(), STEPS)


def test_results_of_several_draw_a_named_curve_each() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for model in ("one", "other"):
        for name in ("set", "$another$"):
            pairs = pairs_of(("Ada", "Bo", "Cleo", "Dan"), name)
            embeddings = rng.normal(size=(len(distinct_images(pairs)), 8)).astype(np.float32)
            rows.append(Comparison.of(pairs, embeddings, model))
    results = EvaluationResults(tuple(rows))
    assert [row.model for row in results[1:3]] == ["one", "other"]
    assert isinstance(results[1:3], EvaluationResults)
    chance, *curves = results.plot().axes[0].lines
    assert chance.get_label() == "chance"
    assert [str(curve.get_label()).partition(":")[0] for curve in curves] == [
        f"{row.model}, {row.pairs.name}" for row in rows
    ]
    assert len({curve.get_color() for curve in curves}) == len(rows)
    assert len(results[:1].plot().axes) == 2  # beside the histograms
