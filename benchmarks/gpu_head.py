"""The head on a GPU: in bfloat16, beside arcface_torch's dense head and the bare products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from gpu_timing import OUT_OF_MEMORY, measure, start, tell
from head_rivals import SIZE
from head_torch import ARCFACE, THEIRS, ArcfaceTorch
from torch import Tensor, nn

from marginface.benchmarking.losses import inputs
from marginface.optimizers import SGD
from marginface_torch import MarginHead

Step = Callable[[], object]
RATE, MOMENTUM, DECAY = 0.1, 0.9, 5e-4
# Gradients in half are off; ours in float32 is what they are held to.
ALLOWED = {"ours, bfloat16": 0.03, "dense, autocast": 0.1}


def main(device: torch.device, sizes: dict[str, Any]) -> None:
    """Check that all agree, then time forward and backward, with and without the update."""
    batch, classes, rounds = sizes["batch"], sizes["classes"], sizes["rounds"]
    torch.manual_seed(0)
    embeddings, numbers = inputs(batch, classes)
    x = torch.tensor(embeddings, device=device, requires_grad=True)
    y = torch.tensor(numbers, device=device)
    weight = nn.Parameter(torch.empty(classes, SIZE, device=device).normal_(std=0.01))

    def clear() -> None:
        x.grad = weight.grad = None

    result: dict[str, Any] = {"off": disagreements(x, y, weight)}
    tell(result)
    clear()
    rivals: dict[str, Step] = {
        "three products, bfloat16": products(x, weight),
        "ours, bfloat16": cleared(ours(x, y, weight, "bfloat16"), clear),
        "dense, float32": cleared(dense(x, y, weight, None), clear),
        "dense, autocast": cleared(dense(x, y, weight, torch.bfloat16), clear),
    }
    measure(result, "gradients", rivals, device, rounds=rounds, clear=clear)
    del rivals
    with device:
        stepping = MarginHead(
            ARCFACE,
            SIZE,
            classes,
            precision="bfloat16",
            update=SGD(weight_decay=DECAY, momentum=MOMENTUM),
            dtype=weight.dtype,
        )
    stepping.rate = RATE
    kind = {"lr": RATE, "momentum": MOMENTUM, "weight_decay": DECAY, "fused": True}
    steps: dict[str, Step] = {
        "ours, bfloat16, SGD in the backward pass": cleared(
            lambda: stepping(x, y).backward(), clear
        ),
        "dense, autocast, fused SGD": followed(
            cleared(dense(x, y, weight, torch.bfloat16), clear),
            torch.optim.SGD([weight], **kind),
        ),
        "dense, float32, SGD": followed(
            cleared(dense(x, y, weight, None), clear),
            torch.optim.SGD([weight], **kind | {"fused": False}),
        ),
    }
    measure(result, "steps", steps, device, rounds=rounds, clear=clear)


def ours(
    x: Tensor, y: Tensor, weight: nn.Parameter, precision: str, loss: object = ARCFACE
) -> Step:
    """Return forward and backward of our head on shared weights."""
    with weight.device:  # on a CPU millions of classes take seconds
        head = MarginHead(loss, SIZE, len(weight), precision=precision)
    head.weight = weight
    return lambda: head(x, y).backward()


def dense(x: Tensor, y: Tensor, weight: nn.Parameter, half: torch.dtype | None) -> Step:
    """Return forward and backward of arcface_torch's head."""
    head = ArcfaceTorch(weight)

    def step() -> None:
        with torch.autocast(x.device.type, half, enabled=half is not None):
            value = head(x, y)
        value.backward()

    return step


def products(x: Tensor, weight: nn.Parameter) -> Step:
    """Return the three products alone."""
    left, right = x.detach().bfloat16(), weight.detach().bfloat16()
    logits, d_left, d_right = left @ right.T, torch.empty_like(left), torch.empty_like(right)

    def step() -> None:
        torch.mm(left, right.T, out=logits)
        torch.mm(logits.T, left, out=d_right)
        torch.mm(logits, right, out=d_left)

    return step


def cleared(step: Step, clear: Callable[[], None]) -> Step:
    """Return a step that begins without gradients."""

    def whole() -> None:
        clear()
        step()

    return whole


def followed(step: Step, optimizer: torch.optim.Optimizer) -> Step:
    """Return a step with the optimizer's after it."""

    def whole() -> None:
        step()
        optimizer.step()

    return whole


def disagreements(x: Tensor, y: Tensor, weight: nn.Parameter) -> dict[str, float | str]:
    """Return how far gradients are off, relative to float32's; raise where it is too far."""
    found: dict[str, float | str] = {}
    for name, rival, exact in (
        ("ours, bfloat16", lambda: ours(x, y, weight, "bfloat16"), ARCFACE),
        # It records nothing of the margin: its gradient is held to ours of that kind.
        ("dense, autocast", lambda: dense(x, y, weight, torch.bfloat16), THEIRS),
    ):
        wanted = gradients(ours(x, y, weight, "full", exact), x, weight)
        try:
            got = gradients(rival(), x, weight)
        except torch.OutOfMemoryError:
            found[name] = OUT_OF_MEMORY
            torch.cuda.empty_cache()
            continue
        errors = [((a - b).norm() / b.norm()).item() for a, b in zip(got, wanted, strict=True)]
        found[name] = max(errors)
        if not max(errors) < ALLOWED[name]:
            raise SystemExit(f"{name} is off by {errors} in the gradients of embeddings, weights")
    return found


def gradients(step: Step, x: Tensor, weight: nn.Parameter) -> tuple[Tensor, Tensor]:
    """Return the gradients of embeddings and weights."""
    x.grad = weight.grad = None
    step()
    assert x.grad is not None
    assert weight.grad is not None
    return x.grad, weight.grad


if __name__ == "__main__":
    start(main)
