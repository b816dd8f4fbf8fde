"""The figures of README are those of the pages that it links to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from marginface import losses

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCHMARKS, RESULTS, PARITY = "benchmarks/README.md", "docs/results.md", "docs/parity.md"

# What README says, where it is measured, and the words there that say so.
CLAIMS = [
    ("to 1e-12", PARITY, "Tolerances: float64 1e-12"),
    ("to 1e-12", PARITY, "Beyond tolerance: none"),
    ("14 MB instead of 8.2 GB", BENCHMARKS, "| marginface | 36 ms | 349 ms | 4.79 s | 6, 14 |"),
    ("14 MB instead of 8.2 GB", BENCHMARKS, "| 829, 8203 |"),
    ("2.5 to 3.6 times as fast", BENCHMARKS, "**2.53** (2.25 to 2.66)"),
    ("2.5 to 3.6 times as fast", BENCHMARKS, "**3.59** (3.25 to 4.02)"),
    ("2.1x to 4.8x faster", BENCHMARKS, "**2.14** (1.84 to 2.98)"),
    ("2.1x to 4.8x faster", BENCHMARKS, "**4.2**, **4.8** (2.1 to 7.5)"),
    ("1.5x to 1.7x", BENCHMARKS, "**1.49** (1.46 to 1.58)"),
    ("1.5x to 1.7x", BENCHMARKS, "**1.67** (1.63 to 1.75)"),
    ("0.8 GB against 3.4 GB", BENCHMARKS, "| 135, 830 |"),
    ("0.8 GB against 3.4 GB", BENCHMARKS, "| 362, 3377 |"),
    ("15.7 million template pairs", BENCHMARKS, "15,658,489 pairs"),
    ("in half a minute", BENCHMARKS, "with intervals and curves | 31.0 |"),
    ("2.3 to 2.7 times faster", BENCHMARKS, "**2.27** (1.62 to 2.48)"),
    ("2.3 to 2.7 times faster", BENCHMARKS, "**2.72** (2.41 to 3.23)"),
    ("89.3 % in both", RESULTS, "| torch | 89.30 % |"),
    ("89.3 % in both", RESULTS, "| tf | 89.30 % |"),
    ("| 91.7 % | 91.6 % |", RESULTS, "| torch | 91.70 % |"),
    ("| 91.7 % | 91.6 % |", RESULTS, "| tf | 91.60 % |"),
    ("| 99.0 % |", RESULTS, "CASIA-WebFace, 112 x 96 | 99.00 % |"),
]


@pytest.mark.parametrize(("claim", "page", "source"), CLAIMS)
def test_a_claim_is_what_was_measured(claim: str, page: str, source: str) -> None:
    assert claim in README
    assert source in (ROOT / page).read_text(encoding="utf-8")


# What docs/losses.md says of which loss to take, and the row of docs/results.md that it is from.
CHOOSING = [
    ("91.7 % of pairs are right at scale 16 (12 epochs)", "| torch | 91.70 % |"),
    ("90.6 % at scale 32 (16 epochs)", "| 32 | 0.3 | 32 | 5e-4 | flip, affine | 16 | 90.6 % |"),
    ("98.77 ± 0.12 %", "| 947 | fine-tuned | tf | **99.37 ± 0.05** | 98.77 ± 0.12 |"),
    ("85.50 ± 0.50 %", "| 947 | from scratch | tf | 85.17 ± 0.89 | 85.50 ± 0.50 |"),
    ("98.87 ± 0.06 %", "| 20 | fine-tuned | torch | 99.26 ± 0.05 | 98.87 ± 0.06 |"),
    ("75.63 ± 2.85 %", "| 20 | from scratch | torch | 76.46 ± 2.02 | 75.63 ± 2.85 |"),
    ("89.30 % after five epochs", "| tf | 89.30 % |"),
    ("1.9 points on people held out (95 % interval -0.9 to 4.7)", "| 1.9 (-0.9 to 4.7) | **75.30"),
    (
        "a sample of 0.3 took 2.1",
        "| 30 % | `--sample-rate 0.3` | 71.12 ± 2.14 | -2.1 (-3.3 to -0.9)",
    ),
    ("95.3 % of what 75 degrees dropped was wrong, 44.6 %", "| 75 | 14 % | 95.3 % | 44.6 % |"),
    ("from scratch only 39.1 %", "| 75 | 74 % | 39.1 % | 96.4 % |"),
]


@pytest.mark.parametrize(("claim", "source"), CHOOSING)
def test_advice_on_losses_is_what_was_measured(claim: str, source: str) -> None:
    assert claim in " ".join((ROOT / "docs/losses.md").read_text(encoding="utf-8").split())
    assert source in (ROOT / RESULTS).read_text(encoding="utf-8")


def test_the_number_of_losses() -> None:
    count = len(losses.names())
    assert f"ArcFace, CosFace and {count - 2} more losses" in README
    assert f"All {count} losses" in README


def test_ratios_of_speed() -> None:
    tables = (ROOT / BENCHMARKS).read_text(encoding="utf-8").partition("Whole training step")[2]
    training, inference = (part.partition("\n\n")[2] for part in tables.split("Inference, ")[:2])
    steps = re.findall(r"^\| training step, (\w+) \|(.*)\|$", README, re.M)
    seen = [float(ratio) for _, cells in steps for ratio in re.findall(r"([\d.]+)x", cells)]
    assert len(seen) == 9
    for backbone, cells in steps:
        (row,) = re.findall(rf"^\| {backbone} \|(.*)$", training.partition("\n\n")[0], re.M)
        assert re.findall(r"([\d.]+)x", cells) == re.findall(r"\*\*([\d.]+)\*\*", row)
    assert f"{min(seen):.1f} to {max(seen):.1f} times as fast" in README
    (cells,) = re.findall(r"^\| inference, .*?\|(.*)\|$", README, re.M)
    rows = [line for line in inference.partition("\n\n")[0].splitlines()[2:] if line]
    measured = [re.findall(r"(?:\d+\.\d): \**([\d.]+)\**", row) for row in rows]
    of_torch, of_tf = [row[0] for row in measured], [row[2] for row in measured]
    assert re.findall(r"([\d.]+)x", cells) == of_torch + of_tf
