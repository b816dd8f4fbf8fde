"""The report as a browser shows it: live counts, galleries, plots, and nothing from outside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reports import example

from marginface.evaluation.comparison import Comparison
from marginface.evaluation.verification import roc
from marginface.report import figures
from marginface.report.collect import Report
from marginface.report.galleries import SHOWN
from marginface.report.page import write_page
from marginface.text import printable

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
keys = pytest.importorskip("selenium.webdriver.common.keys")
ui = pytest.importorskip("selenium.webdriver.support.ui")
CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER),
    reason="needs Chromium: apt-get install chromium chromium-driver",
)
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def report() -> Report:
    return example()


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(report, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # No sandbox: in containers tests run as root, and the page is the test's own.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(CHROMEDRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Any, page: Path) -> Any:
    show(chromium, page, WIDTHS[0])
    return chromium


def show(driver: Any, page: Path, width: int) -> None:
    """Open a page in a window of a width, and wait until its last plot is drawn."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get_log("browser")  # what was said before is gone
    driver.get_log("performance")
    driver.get(page.as_uri())
    wait = ui.WebDriverWait(driver, 30)
    wait.until(lambda _: driver.find_elements("css selector", "#training .main-svg"))


def text(driver: Any, name: str) -> str:
    return " ".join(driver.find_element("id", name).text.split())


def choose(driver: Any, kind: str, index: int) -> None:
    select = ui.Select(driver.find_element("id", kind))
    select.select_by_value(str(index))


def slide(driver: Any, value: float) -> float:
    """Move the slider as a hand does; return the threshold that it stands at."""
    return driver.execute_script(
        """const slider = document.getElementById("threshold");
        slider.value = arguments[0];
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        return Number(slider.value);""",
        value,
    )


def expected(row: Comparison, threshold: float) -> tuple[str, str, str]:
    """Return accuracy, false accepts and false rejects as the page words them."""
    same, accepted = row.pairs.same, row.pair_scores.scores >= threshold
    accepts, rejects = int(np.sum(accepted & ~same)), int(np.sum(~accepted & same))
    different, alike = int(np.sum(~same)), int(np.sum(same))
    return (
        f"{np.mean(accepted == same):.2%}",
        f"{accepts:,} of {different:,} ({accepts / different:.2%})",
        f"{rejects:,} of {alike:,} ({rejects / alike:.2%})",
    )


def counts(driver: Any) -> tuple[str, ...]:
    return tuple(text(driver, name) for name in ("accuracy", "false-accepts", "false-rejects"))


def gallery(driver: Any, kind: str) -> list[dict[str, Any]]:
    """Return the pairs that a gallery shows."""
    found = driver.execute_script(
        """return JSON.stringify([...document.querySelectorAll(arguments[0])].map((pair) => ({
          names: [...pair.querySelectorAll("img")].map((image) => image.alt),
          drawn: [...pair.querySelectorAll("img")].map((image) => image.naturalWidth),
          sides: [...pair.querySelectorAll(".side")].map((side) => side.innerText),
          score: pair.querySelector(".score").textContent })));""",
        f"#{kind} .pair",
    )
    return json.loads(found)  # as text: half a surrogate does not come through otherwise


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_works_alone_and_fits(chromium, page, width):
    show(chromium, page, width)
    for index in range(3):
        choose(chromium, "set", index)
        needed, there, inner = chromium.execute_script(
            "const page = document.documentElement;"
            "return [page.scrollWidth, page.clientWidth, innerWidth];"
        )
        assert needed == there <= inner == width
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert page.as_uri() in asked
    assert all(url.startswith("data:image/") for url in asked - {page.as_uri()})
    assert chromium.execute_script("return typeof hacked") == "undefined"


def test_every_plot_has_a_line_for_each_model_and_titles_on_both_axes(browser):
    plots = browser.execute_script(
        """return Object.fromEntries([...document.querySelectorAll(".chart")].map((chart) => [
          chart.id, { lines: chart.data.map((trace) => trace.name),
              titles: [...chart.querySelectorAll(".xtitle, .ytitle")].map((e) => e.textContent),
              log: chart.layout.xaxis.type }]));"""
    )
    both = ["good_model", '&lt;i&gt;bad&lt;/i&gt; &amp; "model"']
    assert plots["roc"]["lines"] == [*both, "chance", "threshold"]
    assert plots["roc"]["log"] == "log"
    assert plots["reject"]["lines"] == plots["cmc"]["lines"] == both
    for name in ("loss", "accuracy", "batch_accuracy", "target_angle", "lr"):
        assert plots[f"training-{name}"]["lines"] == both[1:]
    assert plots["histogram"]["lines"] == ["two people", "same person"]
    assert all(len(plot["titles"]) == 2 and all(plot["titles"]) for plot in plots.values())
    assert len(plots) == 9


@pytest.mark.parametrize("model", [0, 1])
@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_the_counts_begin_as_python_has_them_and_follow_the_slider(browser, report, model, chosen):
    choose(browser, "set", chosen)
    choose(browser, "model", model)
    row = report.measured[model][chosen].comparison
    assert counts(browser) == expected(row, row.result.threshold)
    assert counts(browser)[0] == f"{row.result.best_accuracy:.2%}"
    low, high = row.pair_scores.scores.min(), row.pair_scores.scores.max()
    for wanted in (*np.linspace(low, high, 7), low - 1, high + 1):
        threshold = slide(browser, float(wanted))
        assert counts(browser) == expected(row, threshold)
        assert text(browser, "threshold-value") == f"{threshold:.4f}"
    for score in np.sort(row.pair_scores.scores)[[0, 7, -1]]:  # at the threshold: accepted
        browser.execute_script("chooseThreshold(arguments[0])", float(score))
        assert counts(browser) == expected(row, score)
    browser.find_element("id", "best").click()
    assert counts(browser) == expected(row, row.result.threshold)


def test_the_drawn_roc_is_the_one_that_python_computes(browser, report):
    for chosen, pairs in enumerate(report.sets):
        choose(browser, "set", chosen)
        drawn = browser.execute_script(
            "return document.getElementById('roc').data.map(({ x, y }) => [x, y])"
        )
        for (far, tar), row in zip(drawn, report.measured, strict=False):
            curve = roc(row[chosen].comparison.pair_scores.scores, pairs.same)
            floor = 0.5 / np.sum(~pairs.same)
            on_steps = [max(np.array(tar)[np.array(far) <= max(f, floor)]) for f in curve.far]
            np.testing.assert_array_equal(
                on_steps, [max(curve.tar[curve.far <= f]) for f in curve.far]
            )
            assert len(far) <= len(curve.far) + 1


def test_the_slider_takes_keys(browser, report):
    row = report.measured[0][0].comparison
    slider = browser.find_element("id", "threshold")
    before = float(slider.get_attribute("value"))
    slider.send_keys(keys.Keys.ARROW_RIGHT)
    after = float(slider.get_attribute("value"))
    assert after == pytest.approx(before + 0.001)
    assert counts(browser) == expected(row, after)


def test_the_threshold_moves_in_the_plots(browser, report):
    row = report.measured[0][0].comparison
    threshold = slide(browser, 0.1)
    line, dot = browser.execute_script(
        """const roc = document.getElementById("roc").data.at(-1);
        return [document.getElementById("histogram").layout.shapes[0].x0, [roc.x[0], roc.y[0]]];"""
    )
    accepted, same = row.pair_scores.scores >= threshold, row.pairs.same
    assert line == threshold
    np.testing.assert_allclose(dot, [np.mean(accepted[~same]), np.mean(accepted[same])])


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_the_galleries_show_the_hardest_errors_at_the_threshold(browser, report, chosen):
    choose(browser, "set", chosen)
    choose(browser, "model", 1)
    row = report.measured[1][chosen].comparison
    scores, same = row.pair_scores.scores, row.pairs.same
    lengths = dict(zip(row.pairs.first, row.pair_scores.first_norm, strict=True)) | dict(
        zip(row.pairs.second, row.pair_scores.second_norm, strict=True)
    )
    for wanted in (row.result.threshold, 0.2, 0.9):
        threshold = slide(browser, wanted)
        for kind, wrong, order in (
            ("accepts", ~same & (scores >= threshold), -scores),
            ("rejects", same & (scores < threshold), scores),
        ):
            indices = np.flatnonzero(wrong)
            indices = indices[np.argsort(order[indices], kind="stable")][:SHOWN]
            shown = gallery(browser, kind)
            assert len(shown) == len(indices)
            for pair, index in zip(shown, indices, strict=True):
                names = [row.pairs.first[index], row.pairs.second[index]]
                assert pair["names"] == [*map(printable, names)]
                assert pair["score"] == f"score {scores[index]:.4f}"
                assert pair["drawn"] == [112, 112]
                for side, name in zip(pair["sides"], names, strict=True):
                    identity, _, file = printable(name).rpartition("/")
                    lines = side.split("\n")
                    assert lines[:-1] == ([identity] if chosen < 2 else []) + [file]
                    assert lines[-1].startswith("norm ")
                    assert float(lines[-1][5:]) == pytest.approx(lengths[name], rel=5e-4)
            note = text(browser, f"{kind}-note")
            total = int(wrong.sum())
            assert str(total) in note if total else note == "None at this threshold."


def test_choosing_a_set_changes_everything_that_belongs_to_it(browser, report):
    for chosen, pairs in enumerate(report.sets):
        choose(browser, "set", chosen)
        names = browser.find_elements("css selector", ".set-name")
        assert {each.text for each in names} == {pairs.name}
        marked = browser.find_elements("css selector", "#summary tr.chosen")
        assert [row.get_attribute("data-set") for row in marked] == [str(chosen)] * 2
        identified = report.measured[0][chosen].identification is not None
        assert browser.find_element("id", "cmc").is_displayed() == identified
        assert ("Left out" in text(browser, "cmc-note")) != identified


def test_a_thinned_set_says_so_and_stays_exact_at_the_best_threshold(
    chromium, report, tmp_path, monkeypatch
):
    monkeypatch.setattr(figures, "EXACT_THRESHOLDS", 50)
    monkeypatch.setattr(figures, "THINNED_THRESHOLDS", 40)
    show(chromium, write_page(report, tmp_path), WIDTHS[0])
    choose(chromium, "set", 1)
    row = report.measured[0][1].comparison
    assert counts(chromium) == expected(row, row.result.threshold)
    assert "counts are kept for" in text(chromium, "precision")
    show(chromium, write_page(report, tmp_path), WIDTHS[1])
    assert chromium.get_log("browser") == []
