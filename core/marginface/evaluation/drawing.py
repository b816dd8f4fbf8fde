"""A figure that a notebook shows, also where pyplot was never imported."""

from __future__ import annotations

from io import BytesIO

from marginface.extras import needs

with needs("report"):
    from matplotlib.figure import Figure


class Drawing(Figure):
    """matplotlib's figure; `savefig` writes it."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()
