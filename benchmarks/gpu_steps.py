"""Training steps on a GPU: our learner, plain and compiled, beside a loop as arcface_torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gpu_timing import finish, given, measure
from plain_torch import PlainArcFace

from marginface import losses
from marginface.backend import load_backend
from marginface.heads.initial import InitialHead
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD

EMBEDDING, SCALE, MARGIN, RATE = 512, 64.0, 0.5, 1e-3
# The first loss of all is one batch's under the same weights.
ALLOWED = {"full": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}
LARGE: dict[str, dict[str, Any]] = {
    "4 micro-batches": {"accumulation": 4},
    "recomputed": {"recompute": True},
}


def main() -> None:
    """Time whole steps on one batch."""
    device, sizes = given()
    batch, classes, side = sizes["batch"], sizes["classes"], sizes["side"]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, side, side, 3), np.uint8)
    labels = rng.integers(0, classes, batch)
    kinds: dict[str, dict[str, Any]] = {"ours": {}}
    if sizes["large"]:
        kinds |= LARGE
    rivals: dict[str, Callable[[], Any]] = {}
    for name, options in kinds.items():
        learner = learner_of(device, sizes, **options)
        rivals[name] = lambda made=learner: made.step(images, labels, RATE, {}).loss
    if sizes["compiled"]:
        fast = learner_of(device, sizes)
        fast.compile()
        rivals["ours, compiled"] = lambda: fast.step(images, labels, RATE, {}).loss
    rivals["plain"] = plain(device, sizes, images, labels)
    first = {name: float(work()) for name, work in rivals.items()}
    spread = max(first.values()) - min(first.values())
    of_batch_norm = sizes["large"]  # it sees micro-batches: another loss
    if not of_batch_norm and not spread <= ALLOWED[sizes["precision"]] * min(first.values()):
        raise SystemExit(f"rivals disagree on the first loss: {first}")
    finish({"steps": measure(rivals, device, rounds=sizes["rounds"]), "first losses": first})


def learner_of(device: torch.device, sizes: dict[str, Any], **options: Any) -> Any:
    """Return our learner with a head in bfloat16, where the backbone is."""
    half = sizes["precision"] == "bfloat16"
    side = sizes["side"]
    return load_backend("torch").create_learner(
        LearnerSpec(
            ModelSpec(sizes["backbone"], EMBEDDING, (side, side)),
            losses.get("arcface", scale=SCALE, margin=MARGIN),
            sizes["classes"],
            SGD(weight_decay=5e-4),
            seed=0,
            device=str(device),
            precision=sizes["precision"],
            head_precision="bfloat16" if half else "full",
            **options,
        )
    )


def plain(
    device: torch.device, sizes: dict[str, Any], images: np.ndarray, labels: np.ndarray
) -> Callable[[], float]:
    """Return the step that people write: NCHW, autocast, a dense head, clipping, PyTorch's SGD."""
    side, half = sizes["side"], sizes["precision"] == "bfloat16"
    network = load_backend("torch").create_backbone(
        sizes["backbone"], EMBEDDING, input_size=(side, side), seed=0
    )
    network.to(device).train()
    head = PlainArcFace(np.asarray(InitialHead((sizes["classes"], EMBEDDING), 0)), SCALE, MARGIN)
    head.to(device)
    parameters = [p for p in (*network.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=RATE, momentum=0.9, weight_decay=5e-4)

    def step() -> float:
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device).float()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            embeddings = network((batch - 127.5) / 127.5)
        loss = head(embeddings.float(), torch.from_numpy(labels).to(device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    main()
