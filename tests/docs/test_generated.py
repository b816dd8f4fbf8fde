"""What pages repeat of the code is what the code says: tables, lists and pictures.

docs/losses.md is compared in tests/cli/test_losses.py, docs/parity.md in tests/cli/test_parity.py.
"""

from __future__ import annotations

import re
import tomllib

import numpy as np
from blocks import ROOT
from packaging.requirements import Requirement

from marginface import backbones
from marginface.backbones import page
from marginface.backbones.naming import NAMINGS, Naming
from marginface.cli.bench import COMMANDS as BENCHES

NO_ROW = {"torch", "tf", "all", "docs", "dev"}  # extras that README explains otherwise


def test_readme_has_every_extra_and_what_it_brings() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| [^|]+ \|$", readme, re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert rows.keys() == extras.keys() - NO_ROW
    for name in rows:
        packages = set()
        for each in map(Requirement, extras[name]):
            packages |= each.extras if each.name == "marginface" else {each.name}
        told = {each.strip(" `") for each in rows[name].split(",")}
        assert told <= packages, f"README says {told} of the extra {name}, which has {packages}"


def test_the_page_of_backbones_has_their_sizes() -> None:
    page = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
    told = set()
    for names, figures in re.findall(r"^\| (`.+`) \| (.+ M) \|", page, re.M):
        kinds = re.findall(r"`(\w+)`", names)
        for figure in re.findall(r"[\d.]+", figures):
            decimals = len(figure.partition(".")[2])
            assert figure in {f"{size(kind):.{decimals}f}" for kind in kinds}, (kinds, figure)
        told |= set(kinds)
    assert told >= {"iresnet50", "mbf", "mobilefacenet", "vit_t"}


def size(name: str) -> float:
    """Return millions of learned parameters at 512-d."""
    parameters = backbones.describe(name).parameters().items()
    return sum(int(np.prod(p.shape)) for key, p in parameters if "running" not in key) / 1e6


def test_the_page_of_weights_has_every_naming() -> None:
    page = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    assert [*map(row_of, NAMINGS)] == re.findall(r"^\| `.+\|$", page, re.M)


def row_of(naming: Naming) -> str:
    prefix = " or ".join(f"`{each}.`" for each in naming.prefixes if each) or "none"
    prefix += f", in `{naming.wrapper}`" if naming.wrapper else ""
    epsilon = f"{naming.epsilon:g} " if naming.epsilon else ""
    pixels = f"{naming.channels}, {naming.mean:g}, {naming.std:g}"
    return f"| `{naming.name}` | {prefix} | {pixels} | {epsilon}| {naming.source} |"


def test_the_page_of_benches_has_each() -> None:
    page = (ROOT / "docs" / "bench.md").read_text(encoding="utf-8")
    assert not [name for name in BENCHES if f"\nmarginface bench {name}" not in page]


def test_contributing_has_every_room() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| room | what |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`([\w.]+)`", "".join(re.findall(r"^\| ([^|]+) \|", table, re.M))))
    rooms = {path.parent.name for path in (ROOT / "core" / "marginface").glob("*/__init__.py")}
    assert rooms <= told, f"CONTRIBUTING.md does not say what {rooms - told} is for"


def test_the_table_of_backbones_is_counted():
    path = ROOT / "docs" / "backbones.md"
    written, speeds = path.read_text("utf-8"), page.speeds_beside(path)
    command = "python -m marginface.backbones.page docs/backbones.md"
    assert page.with_table(written, speeds) == written, f"{path.name} is behind; run: {command}"
    assert speeds.keys() <= set(page.BUILT_IN)
    row = next(line for line in written.splitlines() if line.startswith("| `mobilefacenet` |"))
    medians = (speeds["mobilefacenet"][runtime][0] for runtime in ("onnx", "torch", "tf"))
    assert f"| {' / '.join(map(page.told, medians))} |" in row
    told = set(re.findall(r"`([a-z]+[0-9a-z_]*)`", written))
    ours = {
        n for n, build in backbones._BUILDERS.items() if build.__module__.startswith("marginface.")
    }
    assert told >= ours >= set(page.BUILT_IN)
