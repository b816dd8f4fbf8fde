"""Drawing with Pillow: shapes of a face in a pose, enlarged, with a map of what is where."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from marginface.demo.drawing.geometry import SIZE, Points, Pose

SCALE = 3  # drawn this much larger, then averaged down
SKIN, HAIR, REST = (255, 0, 0), (0, 255, 0), (0, 0, 255)  # kinds of surface


class Pen:
    """Draws in the face's own frame on a black canvas, and notes the kinds of surface."""

    def __init__(self, pose: Pose) -> None:
        self.pose = pose
        self.canvas, self._kinds = (
            Image.new("RGB", (SIZE * SCALE, SIZE * SCALE)) for _ in range(2)
        )
        self._draw, self._note = ImageDraw.Draw(self.canvas, "RGBA"), ImageDraw.Draw(self._kinds)

    def fill(
        self,
        points: Points,
        colour: ArrayLike,
        *,
        lift: ArrayLike | None = None,
        alpha: float = 1.0,
        kind: tuple[int, int, int] | None = None,
    ) -> None:
        """Fill a polygon [points, 2]; `lift` is as `Pose.flat` takes it."""
        path = self._path(points, lift)
        self._draw.polygon(path, _paint(colour, alpha))
        if kind is not None:
            self._note.polygon(path, kind)

    def line(
        self,
        points: Points,
        colour: ArrayLike,
        width: float,
        *,
        lift: ArrayLike | None = None,
        alpha: float = 1.0,
    ) -> None:
        """Draw a line through points [points, 2], so many pixels wide."""
        wide = max(1, round(width * SCALE))
        self._draw.line(self._path(points, lift), _paint(colour, alpha), wide, joint="curve")

    def disc(self, at: Points, radius: float, colour: ArrayLike, *, alpha: float = 1.0) -> None:
        """Fill a circle around a point [1, 2], whose radius the pose zooms alone."""
        ((x, y),) = self._path(at, None)
        r = radius * SCALE * self.pose.zoom
        self._draw.ellipse((x - r, y - r, x + r, y + r), _paint(colour, alpha))

    def paste(self, other: Pen) -> None:
        """Copy what another pen has drawn, as far as it has noted skin."""
        self.canvas.paste(other.canvas, mask=other._kinds.getchannel(0))

    def finish(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return colours [112, 112, 3] on black, and the shares of skin, hair and the rest."""
        kinds = np.asarray(self._kinds.reduce(SCALE), np.float32) / np.float32(255)
        return np.asarray(self.canvas.reduce(SCALE), np.float32), kinds

    def _path(self, points: Points, lift: ArrayLike | None) -> list[tuple[float, float]]:
        return list(map(tuple, (self.pose.pixels(points, lift) * SCALE).tolist()))


def _paint(colour: ArrayLike, alpha: float) -> tuple[int, ...]:
    return (*np.clip(colour, 0, 255).round().astype(int).tolist(), round(255 * alpha))
