"""The table of docs/backbones.md: what each network is, counted from its description.

python -m marginface.backbones.page docs/backbones.md      writes the table anew

Speeds are those in backbones_speed.json beside the page, which benchmarks/networks.py measures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from marginface.backbones import describe
from marginface.backbones.graph import Graph
from marginface.backbones.layers import BatchNorm

BEGIN, END = "<!-- table: python -m marginface.backbones.page docs/backbones.md -->", "<!-- end -->"
INSIGHTFACE = "https://github.com/deepinsight/insightface/tree/master/recognition"
ARCFACE_TORCH = f"[arcface_torch]({INSIGHTFACE}/arcface_torch)"
EDGEFACE = "[EdgeFace](https://github.com/otroshi/edgeface)"
GHOSTFACENETS = "[GhostFaceNets](https://github.com/HamadYA/GhostFaceNets)"

RUNTIMES = ("onnx", "torch", "tf")  # whose speed is told, in this order
Speeds = Mapping[str, Mapping[str, list[float]]]  # by name and runtime: median, least, most


class Published(NamedTuple):
    """What its authors measured of a network.

    Args:
        figures: what on what, in per cent.
        source: where it is published, as a link.
    """

    figures: str
    source: str


_WEBFACE = "WebFace42M: IJB-C {} (TAR at FAR 1e-4)"
_MS1MV3 = "MS1MV3: LFW {}, CFP-FP {}, AgeDB-30 {}, IJB-C {} (TAR at FAR 1e-4)"
PUBLISHED = {
    "iresnet50": Published(_MS1MV3.format(99.83, 98.96, 98.35, 96.37), ARCFACE_TORCH),
    "iresnet100": Published(_MS1MV3.format(99.85, 99.06, 98.48, 96.85), ARCFACE_TORCH),
    "vit_t": Published(_WEBFACE.format(97.31), ARCFACE_TORCH),
    "vit_s": Published(_WEBFACE.format(97.73), ARCFACE_TORCH),
    "vit_b": Published(_WEBFACE.format("97.90"), ARCFACE_TORCH),
    "vit_l_dp005_mask_005": Published(_WEBFACE.format("98.00"), ARCFACE_TORCH),
    "edgeface_xxs": Published("LFW 99.57, AgeDB-30 94.92", EDGEFACE),
    "edgeface_xs_gamma_06": Published("LFW 99.73, AgeDB-30 96.08", EDGEFACE),
    "edgeface_s_gamma_05": Published("LFW 99.78, AgeDB-30 97.03", EDGEFACE),
    "edgeface_base": Published("LFW 99.83, AgeDB-30 97.60", EDGEFACE),
    "ghostfacenet_v1": Published(_MS1MV3.format(99.68, 93.31, 96.92, 93.45), GHOSTFACENETS),
    "ghostfacenet_v1_s1": Published(_MS1MV3.format(99.73, 96.83, "98.00", 94.94), GHOSTFACENETS),
}
BUILT_IN = (
    *(f"iresnet{depth}" for depth in (18, 34, 50, 100, 200)),
    *(f"ir{depth}" for depth in (18, 34, 50, 101)),
    *(f"ir_se{depth}" for depth in (18, 34, 50, 101)),
    *(f"ir{depth}_evolve" for depth in (50, 101, 152)),
    *(f"ir_se{depth}_evolve" for depth in (50, 101, 152)),
    *("mbf", "mbf_large", "mobilefacenet"),
    *("vit_t", "vit_s", "vit_b", "vit_l_dp005_mask_005"),
    *("edgeface_xxs", "edgeface_xs_gamma_06", "edgeface_s_gamma_05", "edgeface_base"),
    *("ghostfacenet_v1", "ghostfacenet_v1_s1"),
)


def count_keys(graph: Graph) -> int:
    """Count the entries of PyTorch's state_dict, with a counter for each BatchNorm.

    >>> count_keys(describe("iresnet50"))
    475
    """
    counters = sum(isinstance(node.layer, BatchNorm) for node in graph.nodes)
    return len(graph.parameters()) + counters


def speeds_beside(page: Path) -> Speeds:
    """Read the speeds that are measured, as times iresnet50."""
    text = page.with_name(f"{page.stem}_speed.json").read_text(encoding="utf-8")
    times: Speeds = json.loads(text)["times"]
    return times


def told(ratio: float) -> str:
    """Return as many digits as rounds agree on.

    >>> told(2.437), told(31.84)
    ('2.4', '32')
    """
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def table(speeds: Speeds) -> str:
    """Return the table, in Markdown; where nothing is measured the cell is empty."""
    lines = [
        "| name | parameters | multiply-adds | keys | speed here | published |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name in BUILT_IN:
        graph, published = describe(name), PUBLISHED.get(name)
        said = f"{published.figures}; {published.source}" if published else ""
        speed = " / ".join(told(speeds[name][each][0]) for each in RUNTIMES if name in speeds)
        lines.append(
            f"| `{name}` | {graph.count_parameters() / 1e6:.2f} M "
            f"| {graph.multiply_adds() / 1e9:.2f} G | {count_keys(graph)} | {speed} | {said} |"
        )
    return "\n".join(lines)


def with_table(page: str, speeds: Speeds) -> str:
    """Return a page with the table between its marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{table(speeds)}\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    written = with_table(path.read_text(encoding="utf-8"), speeds_beside(path))
    path.write_text(written, encoding="utf-8")
