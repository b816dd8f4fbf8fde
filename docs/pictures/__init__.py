"""Draw the pictures of docs/concepts and write the numbers that its pages state.

    PYTHONPATH=docs python -m pictures

The numbers are those of the people whom the demo holds out, by the model that it trains. New ones:

    marginface demo --backend torch --output demo
    marginface embed --model demo/model.onnx --images demo/faces/test \\
        --output docs/concepts/embeddings.npz --overwrite
"""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from pictures import identification, margin, verification
from pictures.panel import Numbers

Draw = Callable[[], tuple[Figure, Numbers]]
PICTURES: dict[str, dict[str, Draw]] = {
    "margin.md": {
        "plane.jpg": margin.draw_plane,
        "target.png": margin.draw_target,
        "scale.png": margin.draw_scale,
    },
    "verification.md": {
        "pairs.jpg": verification.draw_pairs,
        "scores.png": verification.draw_histograms,
        "rates.png": verification.draw_rates,
        "roc.png": verification.draw_curve,
    },
    "identification.md": {
        "search.jpg": identification.draw_search,
        "templates.png": identification.draw_templates,
        "open_set.png": identification.draw_open_set,
    },
}
