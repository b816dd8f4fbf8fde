"""Curves of a face and their projection: a head is an ellipsoid that turns, nods and tilts."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from marginface.demo.drawing.people import Person, Shot

Points = NDArray[np.float64]  # [points, 2]: x to the right, y down

SIZE = 112
SCALE = 3  # drawn this much larger, then averaged down
CENTRE = (56.0, 51.0)  # where the point between the eyes lands in a frontal picture
DEPTH = 27.0


@cache
def _catmull_rom(samples: int) -> NDArray[np.float64]:
    t = np.arange(samples)[:, None] / samples
    matrix = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
    basis: NDArray[np.float64] = np.concatenate([t**0, t, t**2, t**3], 1) @ matrix
    return basis


def smooth(points: Points, samples: int = 6, *, closed: bool = True) -> Points:
    """Return a Catmull-Rom curve through `points` [points, 2]."""
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
        count = len(points)
    else:
        padded = np.concatenate([points[:1], points, points[-1:]])
        count = len(points) - 1
    windows = np.stack([padded[k : k + count] for k in range(4)], 1)
    curve = np.einsum("sk,ckd->csd", _catmull_rom(samples), windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def mirrored(right: Points) -> Points:
    """Return `right` followed by its mirror image in reverse: a closed symmetric outline."""
    left = right[::-1] * (-1, 1)
    return np.concatenate([right, left[left[:, 0] < -1e-9]])


class Pose:
    """Projects points of the face's own frame (origin between the eyes) onto the canvas."""

    def __init__(self, person: Person, shot: Shot) -> None:
        self.half = np.array([person.width * 1.12, (person.height + person.forehead) * 0.56])
        self.middle = np.array([0.0, (person.height - person.forehead) / 2])
        self.sin_yaw, self.cos_yaw = np.sin(shot.yaw), np.cos(shot.yaw)
        self.sin_pitch, self.cos_pitch = np.sin(shot.pitch), np.cos(shot.pitch)
        turn = shot.zoom * np.array(
            [[np.cos(shot.roll), -np.sin(shot.roll)], [np.sin(shot.roll), np.cos(shot.roll)]]
        )
        self.turn = turn
        # A photographer keeps the turned face half in the middle.
        drift = np.array([DEPTH * self.sin_yaw, -DEPTH * self.sin_pitch]) * 0.55
        self.origin = np.asarray(CENTRE) + shot.shift - turn @ drift

    def depth(self, points: Points) -> NDArray[np.float64]:
        """Return the depth of points [N, 2] of the face, towards the camera."""
        inside = 1 - (((points - self.middle) / self.half) ** 2).sum(-1)
        depth: NDArray[np.float64] = DEPTH * np.sqrt(np.maximum(inside, 0.0))
        return depth

    def flat(self, points: Points, lift: float | NDArray[np.float64] | None = None) -> Points:
        """Return the turned and nodded points [N, 2], not yet tilted, zoomed or moved.

        Args:
            points: [N, 2] in the face's frame.
            lift: depth of each point; None for that of the face's surface.
        """
        z = self.depth(points) if lift is None else np.broadcast_to(lift, len(points))
        x = points[:, 0] * self.cos_yaw + z * self.sin_yaw
        z = z * self.cos_yaw - points[:, 0] * self.sin_yaw
        y = points[:, 1] * self.cos_pitch - z * self.sin_pitch
        return np.stack([x, y], 1)

    def image(self, points: Points, lift: float | NDArray[np.float64] | None = None) -> Points:
        """Return pixels [N, 2] of the 112 x 112 image."""
        return self.flat(points, lift) @ self.turn.T + self.origin

    def canvas(
        self, points: Points, lift: float | NDArray[np.float64] | None = None
    ) -> list[tuple[float, float]]:
        """Return pixels of the enlarged canvas as Pillow takes them."""
        return list(map(tuple, (self.image(points, lift) * SCALE).tolist()))

    def surface(self, points: Points, extra: float = 0.0) -> NDArray[np.float64]:
        """Return the surface's depth at `points`, `extra` pixels above it."""
        return self.depth(points) + extra


def head_outline(person: Person) -> tuple[Points, NDArray[np.float64]]:
    """Return the outline of skull and jaw, and the depth that makes the chin turn with the face."""
    w, h, top = person.width, person.height, person.forehead
    jaw = w * person.jaw
    right = np.array(
        [
            (0, -top),
            (w * 0.52, -top * 0.92),
            (w * 0.86, -top * 0.66),
            (w * 0.985, -top * 0.3),
            (w, 2),
            (w * 0.96, h * 0.32),
            (jaw, h * 0.66),
            (0.5 * (jaw + person.chin), h * 0.87),
            (person.chin, h * 0.985),
            (0, h * 1.01),
        ]
    )
    outline = smooth(mirrored(right))
    below = np.clip(outline[:, 1] / h, 0, 1)
    lift: NDArray[np.float64] = 17 * below**2
    return outline, lift
