"""Values in a run's files that are nested deeper than any that was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from marginface.errors import MarginfaceError
from marginface.runs.checkpoints import REST, read_record
from marginface.runs.folder import RunFolder, load_run
from marginface.runs.metrics import read_metrics
from marginface.training.config.files import read_config_file

TOO_DEEP = "[" * 100_000


def test_a_format_of_lists_is_not_written_out(tmp_path: Path) -> None:
    (tmp_path / REST).write_text('{"format": ' + "[" * 500 + "]" * 500 + "}")
    with pytest.raises(MarginfaceError, match=r"state\.json is not what was written"):
        read_record(tmp_path)


def test_what_is_too_deep_to_read_is_one_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (run.checkpoints / "step-00000001").mkdir(parents=True)
    (tmp_path / "metrics.jsonl").write_text(f"{TOO_DEEP}\n")
    for path in (tmp_path / REST, run.environment, run.model):
        path.write_text(TOO_DEEP)
    with pytest.raises(MarginfaceError, match="not what was written"):
        read_record(tmp_path)
    with pytest.raises(MarginfaceError, match="not what was written; restore or delete it"):
        run.read_starts()
    with pytest.raises(MarginfaceError, match="is no model specification; restore it"):
        load_run(tmp_path)
    with pytest.raises(MarginfaceError, match=":1: not a line of metrics"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_a_number_too_long_to_write_out(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("seed: 0x" + "f" * 6000)
    with pytest.raises(MarginfaceError, match="line 1: not valid YAML: a number of more than 256"):
        read_config_file(path)
    path.write_text("seed: 0xff")
    assert read_config_file(path) == {"seed": 255}
