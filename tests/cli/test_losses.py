"""`marginface losses`, and the page that it comes from."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marginface import losses
from marginface.losses import describe
from marginface.losses.plot import COLOURS, THETA, boundary, draw, draw_side_by_side, panels
from marginface.losses.registry import find

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_current():
    written = (DOCS / "losses.md").read_text(encoding="utf-8")
    command = "python -m marginface.losses.describe docs/losses.md"
    assert written == describe.page(), f"docs/losses.md is behind the code; run: {command}"


def test_the_page_has_everything():
    page = describe.page()
    for name in losses.names():
        assert f"\n## {name}\n" in page
        for parameter, default in losses.parameters(name).items():
            assert f"| `{parameter}` | `{default!r}` |" in page


@pytest.mark.parametrize("name", losses.names())
def test_every_docstring_can_be_read(name):
    found = describe.describe(name)
    assert found.formula
    assert all("=" in line for line in found.formula)
    assert found.source or name == "softmax"
    assert [p.name for p in found.parameters] == list(losses.parameters(name))
    assert all(len(p.meaning) > 2 for p in found.parameters)


def test_list_has_every_loss_and_parameter(cli):
    status, out, _ = cli("losses", columns=200)
    assert status == 0
    lines = out.splitlines()
    for name in losses.names():
        line = next(line for line in lines if line.split()[:1] == [name])
        assert all(f"{parameter}=" in line for parameter in losses.parameters(name))
        assert describe.describe(name).source in line


def test_explaining_one(cli):
    status, out, _ = cli("losses", "arcface")
    assert status == 0
    assert "target logit = scale * cos(theta + margin)" in out
    assert "1801.07698, eq. 3" in out
    assert "arcface_torch" in out
    assert "marginface train --loss arcface --scale 64 --margin 0.5" in out


@pytest.mark.parametrize("name", losses.names())
def test_the_example_works(cli, name):
    """What is printed as a command is a valid configuration."""
    from marginface.training.config.files import resolve_config

    _, out, _ = cli("losses", name)
    command = next(line for line in out.splitlines() if line.startswith("Train with it: "))
    words = command.removeprefix("Train with it: marginface train ").split()
    options = {
        key.removeprefix("--").replace("-", "_"): value
        for key, value in zip(words[::2], words[1::2], strict=True)
    }
    config = resolve_config({"data": "faces", "output": "run"}, options)
    assert config.make_loss() == losses.get(name)


def test_plot_draws_the_picture_of_the_page(cli, tmp_path):
    status, out, _ = cli("losses", "--plot", tmp_path / "losses.png")
    assert status == 0
    assert "wrote" in out
    drawn, shown = (
        np.asarray(Image.open(folder / "losses.png").convert("RGB"), int)
        for folder in (tmp_path, DOCS)
    )
    command = "marginface losses --plot docs/losses.png --overwrite"
    assert drawn.shape == shown.shape, f"docs/losses.png is behind the code; run: {command}"
    # Other versions of matplotlib set letters a pixel aside; a curve more is some thousands.
    differing = (np.abs(drawn - shown).max(axis=2) > 64).sum()
    assert differing < 1000, f"docs/losses.png is behind the code; run: {command}"


@pytest.mark.parametrize("name", losses.names())
def test_plot_of_one(cli, tmp_path, name):
    status, _, _ = cli("losses", name, "--plot", tmp_path / "one.png")
    assert status == 0
    assert Image.open(tmp_path / "one.png").size[0] > 200


def test_plot_of_two(cli, tmp_path):
    both = ("curricularface", "cosface")
    status, _, _ = cli("losses", *both, "--plot", tmp_path / "two.png")
    assert status == 0
    shown = np.asarray(Image.open(tmp_path / "two.png").convert("RGB"))
    for colour in COLOURS[:2]:
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(shown.astype(int) - wanted).max(axis=2) < 8).sum() > 500
    targets, target_slopes, negatives, negative_slopes = draw_side_by_side(both).axes
    assert [line.get_label() for line in targets.lines[1:]] == list(both)
    found = {line.get_label(): line.get_ydata() for line in negatives.lines}
    assert list(found)[1:] == [f"curricularface, hard, t = {t}" for t in (0, 0.3, 0.6)] + [
        "cosface"
    ]
    np.testing.assert_array_equal(found["cosface"], found["cos(theta)"])
    cosines = np.cos(THETA)
    np.testing.assert_allclose(found["curricularface, hard, t = 0.3"], cosines * (0.3 + cosines))
    # cos (t + cos) by the angle: -sin (t + 2 cos), drawn as its fall.
    slope = negative_slopes.lines[2].get_ydata()
    inner, sines = cosines[1:-1], np.sin(THETA)[1:-1]
    np.testing.assert_allclose(slope, sines * (0.3 + 2 * inner))
    np.testing.assert_allclose(target_slopes.lines[2].get_ydata(), sines)  # of cosface
    colours = [line.get_color() for line in negatives.lines[1:]]
    assert colours == [COLOURS[0]] * 3 + [COLOURS[1]]
    assert len({line.get_linestyle() for line in negatives.lines[1:4]}) == 3


@pytest.mark.parametrize("name", losses.names())
def test_every_loss_can_stand_beside_another(name):
    other = "arcface" if name != "arcface" else "normface"
    targets, _, negatives, _ = draw_side_by_side([name, other]).axes
    for axis in (targets, negatives):
        labels = [line.get_label() for line in axis.lines]
        assert any(label == name or label.startswith(f"{name},") for label in labels)
        assert other in labels


def test_explaining_two(cli):
    status, out, _ = cli("losses", "arcface", "cosface")
    assert status == 0
    assert "marginface train --loss arcface" in out
    assert "marginface train --loss cosface" in out


def test_every_loss_is_in_a_panel():
    shown = {name for group in panels(losses.names()).values() for name in group}
    assert shown == set(losses.names()) - {"softmax", "normface", "adacos"}
    for name in shown:
        for curve in find(name).curves():
            assert np.isfinite([curve.at(c) for c in (-1.0, -0.3, 0.4, 1.0)]).all()


@pytest.mark.parametrize("name", ["elasticface_arc_plus", "elasticface_cos_plus"])
def test_a_plus_variant_alone_has_its_own_curves(name):
    drawn = draw([name]).axes[0].lines
    assert name in [line.get_label() for line in drawn]
    together = [line.get_label() for axis in draw(losses.names()).axes for line in axis.lines]
    assert name not in together


def test_boundaries():
    """NormFace's is the diagonal; a margin of the angle moves it by itself."""
    others, own = boundary(losses.get("normface"))
    np.testing.assert_allclose(own, others, atol=0.26)
    others, own = boundary(losses.get("arcface", margin=0.5))
    middle = (others > 60) & (others < 120)
    np.testing.assert_allclose(own[middle], others[middle] - np.degrees(0.5), atol=0.5)
    lines = [line.get_label() for line in draw(losses.names()).axes[-1].lines]
    assert lines == [name for name in losses.names() if find(name).shows_boundary]
    assert {"normface", "arcface"} <= set(lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["li-arcface"], "unknown loss 'li-arcface'; did you mean 'li_arcface'"),
        (["arcface", "arcface"], "the loss arcface is named twice; name each once"),
        (["--plot", "losses.pdf"], "expected a name that ends in .png"),
        (["--plot", "nowhere/losses.png"], "there is no folder nowhere"),
    ],
)
def test_refusals(cli, arguments, said):
    status, _, error = cli("losses", *arguments)
    assert status == 2
    assert said in error
    assert error.strip().count("\n") == 0


def test_no_framework_is_loaded():
    code = (
        "import sys; sys.argv = ['marginface', 'losses', 'arcface']\n"
        "from marginface.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('loaded', [m for m in ('torch', 'tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"
