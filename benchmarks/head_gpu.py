"""The head on a GPU: in half precision, beside the dense one and the bare matrix products.

python benchmarks/head_gpu.py --classes 100000,1000000 --output results/
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import typer
from harness import interleave, ratios, write
from head import Cost, show_costs
from head_rivals import SIZE
from head_torch import ARCFACE, THEIRS, ArcfaceTorch
from torch import Tensor, nn

from marginface.benchmarking.losses import inputs
from marginface_torch import MarginHead

RIVALS = ("ours full", "ours bfloat16", "ours float16", "dense bfloat16", "products bfloat16")
# In half precision the gradients of both are off; ours in full precision is what they are held to.
ALLOWED = 0.03


def main(
    classes: str = "100000,1000000",
    batch: int = 512,
    rounds: int = 20,
    device: str = "cuda",
    output: Path | None = None,
) -> None:
    """Time forward and backward side by side, check that they agree, and measure their memory."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU that PyTorch can use; --device cpu tries the script out")
    costs: list[Cost] = []
    for number in map(int, classes.split(",")):
        compared = compare(torch.device(device), batch, number, rounds)
        show_costs(compared, RIVALS[-1])
        costs += compared
    name = torch.cuda.get_device_name() if device == "cuda" else device
    path = output and output / "head_gpu.json"
    write(path, device=name, costs=[asdict(cost) for cost in costs])


def compare(device: torch.device, batch: int, classes: int, rounds: int) -> list[Cost]:
    """Return the costs of all rivals, which share their weights."""
    embeddings, numbers = inputs(batch, classes)
    x = torch.tensor(embeddings, device=device, requires_grad=True)
    y = torch.tensor(numbers, device=device)
    weight = nn.Parameter(torch.empty(classes, SIZE, device=device).normal_(std=0.01))
    steps = {name: rival(name, x, y, weight) for name in RIVALS}
    # The dense one records nothing of the margin: its gradient is held to ours of that kind.
    exact = gradients(rival("ours full", x, y, weight), x, weight)
    theirs = gradients(rival("ours as dense", x, y, weight), x, weight)
    for name in RIVALS[1:-1]:
        wanted = theirs if name.startswith("dense") else exact
        for part, got, value in zip(
            ("embeddings", "weights"), gradients(steps[name], x, weight), wanted, strict=True
        ):
            error = ((got - value).norm() / value.norm()).item()
            if not error < ALLOWED:
                raise SystemExit(f"{name} is off by {error:.3f} in the gradient of the {part}")
    x.grad = weight.grad = None
    works = {name: timed(step, x, weight) for name, step in steps.items()}
    seconds = interleave(works, rounds=rounds, repeats=1, warm_up=3)
    return [
        Cost(
            "torch",
            name,
            batch,
            classes,
            seconds[name],
            ratios({"of": seconds[name], "to": seconds[RIVALS[-1]]}, "of", "to"),
            memory(works[name], device, weight),
        )
        for name in RIVALS
    ]


def rival(name: str, x: Tensor, y: Tensor, weight: nn.Parameter) -> Callable[[], None]:
    """Return forward and backward of a rival."""
    kind, _, precision = name.partition(" ")
    if kind == "ours":
        loss, precision = (THEIRS, "full") if precision == "as dense" else (ARCFACE, precision)
        head = MarginHead(loss, SIZE, len(weight), precision=precision)
        head.weight = weight
        return lambda: head(x, y).backward()
    dtype = getattr(torch, precision)
    if kind == "dense":
        dense = ArcfaceTorch(weight)

        def step() -> None:
            with torch.autocast(x.device.type, dtype):
                value = dense(x, y)
            value.backward()

        return step
    left, right = x.detach().to(dtype), weight.detach().to(dtype)
    logits, d_left, d_right = left @ right.T, torch.empty_like(left), torch.empty_like(right)

    def products() -> None:
        torch.mm(left, right.T, out=logits)
        torch.mm(logits.T, left, out=d_right)
        torch.mm(logits, right, out=d_left)

    return products


def gradients(step: Callable[[], None], x: Tensor, weight: nn.Parameter) -> tuple[Tensor, Tensor]:
    """Return the gradients of embeddings and weights."""
    x.grad = weight.grad = None
    step()
    assert x.grad is not None
    assert weight.grad is not None
    return x.grad, weight.grad


def timed(step: Callable[[], None], x: Tensor, weight: nn.Parameter) -> Callable[[], None]:
    """Return a step that ends when the device has done it."""

    def whole() -> None:
        x.grad = weight.grad = None
        step()
        if x.is_cuda:
            torch.cuda.synchronize()

    return whole


def memory(step: Callable[[], None], device: torch.device, weight: Tensor) -> int | None:
    """Return the bytes at the highest point beside class weights and their gradient."""
    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() - before - weight.numel() * weight.itemsize


if __name__ == "__main__":
    typer.run(main)
