"""Progress in a narrow terminal, and what of it a pipe gets."""

from __future__ import annotations

import pytest

from marginface.api.progress import image_progress


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


def test_a_pipe_gets_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as CI services set it
    name = "a name that is longer than a line of eighty columns has room for, " * 2
    with image_progress(name) as show:
        show(1, 2)
        show(2, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert "\r" not in line
    assert "━" not in line
    assert name.strip() in line
    assert "2/2" in line
