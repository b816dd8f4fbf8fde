"""Parity on a GPU: losses against the reference, a run against the CPU's, and a checkpoint there
and back."""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_timing import start, tell
from learners import learner

import marginface_torch
from marginface import losses
from marginface.errors import MissingPackageError
from marginface.loss_scaling import SCALE, LossScale
from marginface.parity import compare

sys.path.insert(0, str(Path(__file__).parents[1] / "parity_tests"))
from layer_cases import JOINS  # the small network of parity_tests/test_precision.py, and its bands

# Of values and gradients, relative to the largest; of the loss over 20 steps, for the precisions.
LOSS_BANDS = {"float64": 1e-9, "float32": 1e-5}
RUN_BANDS = {"full": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2, "float16": 1e-2}
STEPS, SIDE, CLASSES, BATCH, RATE = 20, 32, 6, 8, 1e-4


def main(device: torch.device, sizes: dict[str, Any]) -> None:
    """Raise where something is out of its band; report how far all is off."""
    result: dict[str, Any] = {"losses": {}, "runs": {}}
    for name in losses.names()[: sizes["losses"]]:
        for dtype, band in LOSS_BANDS.items():
            if device.type == "mps" and dtype == "float64":
                continue
            rows = compare(name, dtype, {"torch": marginface_torch}, seeds=1, device=str(device))
            off = max(row.error for row in rows)
            result["losses"][f"{name}, {dtype}"] = off
            tell(result)
            require(off, band, f"{name} in {dtype}")
    wanted = run("cpu", "full")
    for precision, band in RUN_BANDS.items():
        if precision == "tf32" and device.type != "cuda":
            continue
        found = run(str(device), precision)
        off = float(np.abs(found / wanted - 1).max())
        result["runs"][precision] = off
        tell(result)
        require(off, band, f"20 steps in {precision}")
    try:
        result["there and back"] = there_and_back(str(device))
    except (ModuleNotFoundError, MissingPackageError) as error:  # of the command line's trainer
        tell(result | {"there and back": f"skipped: {error}"})
        return
    tell(result)
    require(result["there and back"], RUN_BANDS["full"], "a run that went there and back")


def require(off: float, band: float, what: str) -> None:
    if not off <= band:
        raise SystemExit(f"{what} is off by {off:.3g}, more than {band:g}")


def run(device: str, precision: str) -> np.ndarray:
    """Return the losses of 20 steps."""
    made = learner(
        marginface_torch,
        JOINS,
        CLASSES,
        embedding_size=16,
        side=SIDE,
        scale=16,
        margin=0.3,
        device=device,
        precision=precision,
    )
    if precision == "float16":  # a scale that overflows nowhere here: no step is left out
        state = {name: array.copy() for name, array in made.arrays()}
        made.load_arrays(state | {SCALE: LossScale(2.0**8).to_array()})
    rng = np.random.default_rng(7)
    four = [
        (rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8), rng.integers(0, CLASSES, BATCH))
        for _ in range(4)
    ]
    return np.array([made.step(*four[i % 4], RATE, {}).loss for i in range(STEPS)])


def there_and_back(device: str) -> float:
    """Train on the CPU, on the device, on the CPU again; return how far the losses are off."""
    from PIL import Image

    import marginface as mf

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = Path(folder)
        rng = np.random.default_rng(0)
        for person in range(3):
            (root / "faces" / str(person)).mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / "faces" / str(person) / f"{number}.png")
        how = {
            "data": root / "faces",
            "backbone": "mobilefacenet",
            "embedding_size": 16,
            "input_size": (SIDE, SIDE),
            "batch_size": 6,
            "lr": RATE,
            "scale": 16,
            "schedule": "step",
            "milestones": (1,),
            "gamma": 1.0,  # one rate, whatever the length
            "log_every": 1,
            "compile": "off",
            "backend": "torch",
        }
        mf.train(output=root / "whole", max_steps=6, device="cpu", **how)
        mf.train(output=root / "moved", max_steps=2, device="cpu", **how)
        for steps, place in ((4, device), (6, "cpu")):
            mf.train(output=root / "moved", resume=True, max_steps=steps, device=place)
        found = [_losses(root / name) for name in ("moved", "whole")]
        return float(np.abs(np.array(found[0]) / np.array(found[1]) - 1).max())


def _losses(run: Path) -> list[float]:
    from marginface.runs.metrics import read_metrics

    return [line["loss"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line]


if __name__ == "__main__":
    start(main)
