"""Training steps on a GPU: our learner in several ways, beside a loop as arcface_torch's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from gpu_timing import measure, start, tell
from learners import EMBEDDING, learner
from plain_torch import RATE, PlainArcFace, plain_step

import marginface_torch
from marginface.heads.initial import InitialHead

SCALE, MARGIN = 64.0, 0.5
# The first loss of all is one batch's under the same weights.
ALLOWED = {"full": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}
PLAIN, COMPILED, MICRO = "plain", "ours, compiled", "4 micro-batches"
WAYS: dict[str, dict[str, Any]] = {
    "ours": {},
    COMPILED: {},
    MICRO: {"accumulation": 4},
    "recomputed": {"recompute": True},
}


def main(device: torch.device, sizes: dict[str, Any]) -> None:
    """Time whole steps on one batch."""
    batch, classes, side = sizes["batch"], sizes["classes"], sizes["side"]
    half = sizes["precision"] == "bfloat16"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, side, side, 3), np.uint8)
    labels = rng.integers(0, classes, batch)
    rivals: dict[str, Callable[[], Any]] = {}
    clearing: list[Callable[[], None]] = []
    for name in sizes["rivals"]:
        if name == PLAIN:
            network = marginface_torch.create_backbone(
                sizes["backbone"], EMBEDDING, input_size=(side, side), seed=0
            )
            weight = np.asarray(InitialHead((classes, EMBEDDING), 0))
            head = PlainArcFace(weight, SCALE, MARGIN)
            rivals[name] = plain_step(network, head, images, labels, device=device, half=half)
            clearing += [network.zero_grad, head.zero_grad]
            continue
        made: Any = learner(
            marginface_torch,
            sizes["backbone"],
            classes,
            side=side,
            scale=SCALE,
            margin=MARGIN,
            device=str(device),
            precision=sizes["precision"],
            head_precision="bfloat16" if half else "full",
            **WAYS[name],
        )
        if name == COMPILED:
            made.compile()
        rivals[name] = partial(loss_of, made, images, labels)
        clearing.append(made.optimizer.zero_grad)

    def clear() -> None:
        for free in clearing:
            free()

    result: dict[str, Any] = {"first losses": first_losses(rivals, clear)}
    tell(result)
    # Batch normalisation sees micro-batches: another loss.
    same = [loss for name, loss in result["first losses"].items() if name != MICRO]
    if same and not max(same) - min(same) <= ALLOWED[sizes["precision"]] * min(same):
        raise SystemExit(f"rivals disagree on the first loss: {result['first losses']}")
    measure(result, "steps", rivals, device, rounds=sizes["rounds"], clear=clear)


def loss_of(made: Any, images: np.ndarray, labels: np.ndarray) -> float:
    """Take a step; return its loss."""
    return made.step(images, labels, RATE, {}).loss


def first_losses(
    rivals: dict[str, Callable[[], Any]], clear: Callable[[], None]
) -> dict[str, float]:
    """Return the loss of each rival's first step, but of those for which memory is too small."""
    found = {}
    for name, work in rivals.items():
        try:
            found[name] = float(work())
        except torch.OutOfMemoryError:  # `measure` will say so
            clear()
            torch.cuda.empty_cache()
    return found


if __name__ == "__main__":
    start(main)
