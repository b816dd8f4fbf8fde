"""The pictures of margin.md."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from marginface import losses
from marginface.demo.drawing.people import draw_person, draw_shot
from marginface.demo.drawing.picture import draw_face
from marginface.evaluation.curves import FAINT, INK
from marginface.vectors import unit_embeddings
from pictures.panel import COLOURS, WIDTH, Floats, Numbers, one_panel


def draw_plane() -> tuple[Figure, Numbers]:
    """Draw people on a circle, as a small network puts them with and without a margin."""
    people, pictures, scale, margin = 6, 12, 16.0, 0.4
    rng = np.random.default_rng(5)
    persons = [draw_person(rng) for _ in range(people)]
    faces = np.stack([draw_face(each, draw_shot(rng)) for each in persons for _ in range(pictures)])
    labels = np.repeat(np.arange(people), pictures)
    figure = Figure(figsize=(WIDTH, 2.75), layout="constrained")
    numbers: Numbers = {}
    axes = figure.subplots(1, 2)
    for axis, (name, value) in zip(axes, (("without", 0.0), ("with", margin)), strict=True):
        loss = losses.get("arcface", scale=scale, margin=value)
        embeddings, centres = _train_on_plane(loss, faces, labels)
        unit, centre = unit_embeddings(embeddings), unit_embeddings(centres)
        cosines = np.clip(unit @ centre.T, -1, 1)
        own = np.degrees(np.arccos(cosines[np.arange(len(labels)), labels]))
        numbers |= {
            f"angle_{name}": f"{own.mean():.1f} degrees",
            f"angle_{name}_most": f"{own.max():.0f} degrees",
            f"right_{name}": f"{np.mean(cosines.argmax(1) == labels):.0%}",
        }
        axis.add_patch(mpl.patches.Circle((0, 0), 1, fill=False, color=FAINT))
        for person in range(people):
            mine = unit[labels == person]
            axis.plot(*mine.T, "o", color=COLOURS[person], markersize=4)
            axis.plot(*np.array([0 * centre[person], centre[person]]).T, color=INK, linewidth=1.5)
            x, y = 1.42 * centre[person]
            axis.imshow(
                faces[person * pictures][8:104, 8:104],
                extent=(x - 0.3, x + 0.3, y - 0.3, y + 0.3),
            )
        axis.set_xlim(-1.75, 1.75)
        axis.set_ylim(-1.65, 1.65)
        axis.set_axis_off()
        axis.set_title(f"{name} a margin")
    return figure, numbers


def _train_on_plane(
    loss: losses.MarginLoss, faces: NDArray[np.uint8], labels: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Train a network whose embeddings have two numbers, with Adam and the losses' reference."""
    people, hidden, steps = int(labels.max()) + 1, 48, 300
    pixels = faces.reshape(len(faces), 14, 8, 14, 8, 3).mean((2, 4)).reshape(len(faces), -1)
    pixels = (pixels - pixels.mean(0)) / pixels.std()
    mixing = np.random.default_rng(0).normal(0, pixels.shape[1] ** -0.5, (pixels.shape[1], hidden))
    features = np.tanh(pixels @ mixing)  # a layer that stays as it was drawn
    around = 2 * np.pi * np.arange(people) / people
    arrays = [
        np.random.default_rng(1).normal(0, 0.1, (hidden, 2)),
        np.stack([np.cos(around), np.sin(around)], 1),
    ]
    means, squares = [0 * each for each in arrays], [0 * each for each in arrays]
    for step in range(1, steps + 1):
        gradients = loss.evaluate(features @ arrays[0], arrays[1], labels).gradients
        rate = 0.05 * (1 - step / (steps + 1))
        for at, gradient in enumerate((features.T @ gradients["embeddings"], gradients["weight"])):
            means[at] = 0.9 * means[at] + 0.1 * gradient
            squares[at] = 0.99 * squares[at] + 0.01 * gradient**2
            mean, square = means[at] / (1 - 0.9**step), squares[at] / (1 - 0.99**step)
            arrays[at] = arrays[at] - rate * mean / (np.sqrt(square) + 1e-9)
    return features @ arrays[0], arrays[1]


def draw_target() -> tuple[Figure, Numbers]:
    """Draw the target logit over the angle, for several margins."""
    figure, axis = one_panel()
    theta = np.linspace(0, 120, 241)
    at_40 = {}
    for margin, colour in ((0.0, FAINT), (0.2, COLOURS[0]), (0.5, COLOURS[1])):
        loss = losses.get("arcface", margin=margin)
        values = [_target(loss, angle) for angle in theta]
        label = f"margin {margin:g} ({np.degrees(margin):.0f}°)" if margin else "no margin"
        axis.plot(theta, values, color=colour, linewidth=2, label=label)
        at_40[margin] = _target(loss, 40)
        axis.plot([40], [at_40[margin]], "o", color=colour)
    axis.plot([40, 40], [at_40[0.0], at_40[0.5]], color=INK, linewidth=1, linestyle=":")
    axis.set_xlabel("angle to the own class, degrees")
    axis.set_ylabel("target logit / scale")
    axis.legend(frameon=False)
    return figure, {
        "target_40": f"{at_40[0.0]:.2f}",
        "target_40_margin": f"{at_40[0.5]:.2f}",
        "margin_degrees": f"{np.degrees(0.5):.1f}",
    }


def _target(loss: losses.MarginLoss, degrees: float) -> float:
    return loss.target(float(np.cos(np.radians(degrees))), 1.0, {}).value


def draw_scale() -> tuple[Figure, Numbers]:
    """Draw the loss over the angle for several scales, all other classes at a right angle."""
    classes, enough = 10_000, 0.1
    figure, axis = one_panel()
    theta, numbers = np.linspace(0, 90, 181), Numbers()
    for scale, margin, colour in (
        (4, 0.0, COLOURS[0]),
        (16, 0.0, COLOURS[1]),
        (64, 0.0, COLOURS[2]),
        (64, 0.5, INK),
    ):
        loss = losses.get("arcface", scale=scale, margin=margin)
        # The others' logits, all 0, add up to one of ln(classes - 1).
        others = math.log(classes - 1)
        values = [loss.reduce([scale * _target(loss, at), others], 0)[0] for at in theta]
        label = f"scale {scale}" + (f", margin {margin:g}" if margin else "")
        axis.plot(theta, values, "--" if margin else "-", color=colour, linewidth=2, label=label)
        if small := [angle for angle, value in zip(theta, values, strict=True) if value < enough]:
            numbers[f"enough_at_{scale}_{margin:g}"] = f"{max(small):.0f} degrees"
        else:
            numbers[f"least_at_{scale}"] = f"{values[0]:.1f}"
    axis.set_ylim(-0.4, 12)
    axis.set_xlabel("angle to the own class, degrees")
    axis.set_ylabel(f"loss, {classes:,} classes")
    axis.legend(frameon=False, loc="upper left")
    return figure, numbers
