"""Curves of a face and their projection: a head is an ellipsoid that turns, nods and tilts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.demo.drawing.people import Person, Shot

Points = NDArray[np.float64]  # [points, 2]: x to the right, y down

SIZE = 112
CENTRE = (56.0, 51.0)  # where the point between the eyes lands in a frontal picture
DEPTH = 27.0
CATMULL_ROM = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2


def smooth(points: ArrayLike, samples: int = 6, *, closed: bool = True) -> Points:
    """Return a Catmull-Rom curve through `points` [points, 2]."""
    corners = np.asarray(points, float)
    ends = ((1, 2), (0, 0)) if closed else ((1, 1), (0, 0))
    padded = np.pad(corners, ends, "wrap" if closed else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 4, axis=0)
    basis = (np.arange(samples)[:, None] / samples) ** np.arange(4) @ CATMULL_ROM
    curve = np.einsum("sk,cdk->csd", basis, windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, corners[-1:]])


def mirrored(right: ArrayLike) -> Points:
    """Return `right` followed by its mirror image in reverse: a closed symmetric outline."""
    corners = np.asarray(right, float)
    left = corners[::-1] * (-1, 1)
    return np.concatenate([corners, left[left[:, 0] < -1e-9]])


def ellipse(wide: float, high: float, power: float = 1.0) -> Points:
    """Return an ellipse about the origin, of which a power below 1 makes a rounded rectangle."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    unit = np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.asarray(np.sign(unit) * np.abs(unit) ** power * (wide, high))


class Pose:
    """Projects points of the face's own frame (origin between the eyes) onto the picture."""

    def __init__(self, person: Person, shot: Shot) -> None:
        self.half = np.array([person.width * 1.12, (person.height + person.forehead) * 0.56])
        self.middle = np.array([0.0, (person.height - person.forehead) / 2])
        self.sin_yaw, self.cos_yaw = np.sin(shot.yaw), np.cos(shot.yaw)
        self.sin_pitch, self.cos_pitch = np.sin(shot.pitch), np.cos(shot.pitch)
        self.zoom = shot.zoom
        sin, cos = np.sin(shot.roll), np.cos(shot.roll)
        self.turn = shot.zoom * np.array([[cos, -sin], [sin, cos]])
        # A photographer keeps the turned face half in the middle.
        drift = np.array([DEPTH * self.sin_yaw, -DEPTH * self.sin_pitch]) * 0.55
        self.origin = np.asarray(CENTRE) + shot.shift - self.turn @ drift

    def surface(self, points: Points) -> NDArray[np.float64]:
        """Return the depth of points [N, 2] of the face, towards the camera."""
        inside = 1 - (((points - self.middle) / self.half) ** 2).sum(-1)
        return np.asarray(DEPTH * np.sqrt(np.maximum(inside, 0.0)))

    def flat(self, points: Points, lift: ArrayLike | None = None) -> Points:
        """Return the turned and nodded points [N, 2], not yet tilted, zoomed or moved.

        Args:
            points: [N, 2] in the face's frame.
            lift: depth of each point; None for that of the face's surface.
        """
        z = self.surface(points) if lift is None else np.broadcast_to(lift, len(points))
        x = points[:, 0] * self.cos_yaw + z * self.sin_yaw
        z = z * self.cos_yaw - points[:, 0] * self.sin_yaw
        return np.stack([x, points[:, 1] * self.cos_pitch - z * self.sin_pitch], 1)

    def pixels(self, points: Points, lift: ArrayLike | None = None) -> Points:
        """Return pixels [N, 2] of the 112 x 112 picture."""
        return self.flat(points, lift) @ self.turn.T + self.origin

    def grid(self, side: int) -> NDArray[np.float32]:
        """Return x and y of side x side pixels in the turned face, [2, pixels]: not tilted."""
        axis = (np.arange(side) + 0.5) * (SIZE / side)
        places = np.stack(np.meshgrid(axis, axis)).reshape(2, -1) - self.origin[:, None]
        return (np.linalg.inv(self.turn) @ places).astype(np.float32)
