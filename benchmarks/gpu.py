"""One command for a machine with a GPU: the head, training steps, the loader, parity; at most nine
minutes. It needs PyTorch alone.

python benchmarks/gpu.py gpu/              # JSON of each part, and tables in gpu/README.md
python benchmarks/gpu.py gpu/ --parts parity,head     # these; parts that are there stay
python benchmarks/gpu.py tried/ --device cpu --tiny   # does it run at all?
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer
from gpu_timing import median
from harness import write

HERE = Path(__file__).parent


class Part(NamedTuple):
    """A script to run in a process of its own.

    Args:
        script: its name.
        sizes: what it measures.
        tiny: what differs where it is only tried.
        seconds: the most that it may take.
    """

    script: str
    sizes: dict[str, Any]
    tiny: dict[str, Any]
    seconds: int


HEAD = {"batch": 1024, "rounds": 15}
STEP = {
    "classes": 10_000,
    "side": 112,
    "rounds": 10,
    "precision": "bfloat16",
    "compiled": True,
    "large": False,
}
TINY_HEAD = {"batch": 8, "classes": 100, "rounds": 1}
TINY_STEP = {
    "backbone": "mobilefacenet",
    "batch": 8,
    "classes": 20,
    "side": 32,
    "rounds": 1,
    "compiled": False,
}
PARTS = {
    "parity": Part("gpu_parity", {"losses": 99}, {"losses": 2}, 90),
    "head-100k": Part("gpu_head", HEAD | {"classes": 100_000}, TINY_HEAD, 40),
    "head-1M": Part("gpu_head", HEAD | {"classes": 1_000_000}, TINY_HEAD, 60),
    "head-4M": Part("gpu_head", HEAD | {"classes": 4_000_000, "rounds": 5}, TINY_HEAD, 90),
    **{
        f"step-{backbone}-{batch}": Part(
            "gpu_steps", STEP | {"backbone": backbone, "batch": batch}, TINY_STEP, 75
        )
        for backbone in ("iresnet50", "iresnet100")
        for batch in (128, 256)
    },
    **{
        f"step-iresnet50-128-{precision}": Part(
            "gpu_steps",
            STEP | {"backbone": "iresnet50", "batch": 128, "precision": precision, "rounds": 5},
            TINY_STEP | {"precision": "full"},
            60,
        )
        for precision in ("full", "tf32")
    },
    "large-iresnet100-256": Part(
        "gpu_steps",
        STEP | {"backbone": "iresnet100", "batch": 256, "large": True, "compiled": False},
        TINY_STEP,
        60,
    ),
    "loader": Part(
        "gpu_loader",
        {"images": 8192, "batch": 256, "batches": 40, "threads": [1, 2, 4, 8, 16]},
        {"images": 128, "batch": 8, "batches": 4, "threads": [1, 2]},
        60,
    ),
}
BUDGET = 530  # seconds


def main(
    output: Path,
    device: str = "cuda",
    parts: str = "",
    budget: int = BUDGET,
    tiny: bool = False,
) -> None:
    """Run the parts that are not there yet, as far as the time goes; then write the tables."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("no GPU that PyTorch can use; --device cpu --tiny tries the parts out")
    wanted = [name for name in PARTS if name.startswith(tuple(parts.split(",")))]
    if not wanted:
        raise SystemExit(f"no part begins with {parts}; there are: {', '.join(PARTS)}")
    ending, notes = time.monotonic() + budget, []
    for name in wanted:
        path, part = output / f"{name}.json", PARTS[name]
        if path.exists():
            continue
        left = ending - time.monotonic()
        if left < part.seconds / 3:
            notes.append(f"{name}: not run, {left:.0f} s were left; run the command again")
            continue
        problem = run(part, device, path, tiny=tiny, seconds=min(part.seconds, left))
        if problem:
            notes.append(f"{name}: {problem}")
        print(notes[-1] if problem else f"{name}: done", flush=True)
    for module, what in (
        ("tensorflow", "parity of TensorFlow on the device"),
        ("onnxruntime", "ONNX Runtime's CUDA"),
    ):
        if note := missing(module, what):
            notes.append(note)
    page = tables(output, device, notes)
    (output / "README.md").write_text(page, encoding="utf-8")
    print(page)


def run(part: Part, device: str, path: Path, *, tiny: bool, seconds: float) -> str:
    """Run a part and keep its result; return what went wrong, "" for nothing."""
    sizes = part.sizes | (part.tiny if tiny else {})
    command = [sys.executable, str(HERE / f"{part.script}.py"), device, json.dumps(sizes)]
    started = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"stopped after {seconds:.0f} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return f"failed: {lines[-1] if lines else done.returncode}"
    result = json.loads(done.stdout.splitlines()[-1])
    write(path, seconds=time.monotonic() - started, sizes=sizes, card=card(device), **result)
    return ""


def missing(module: str, what: str) -> str:
    """Say what is not measured for want of a package, or of a part of it."""
    if importlib.util.find_spec(module) is None:
        return f"{what}: {module} is not installed"
    if module == "onnxruntime":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            return f"{what}: this onnxruntime computes on the CPU alone"
        return f"{what}: marginface bench and embed --provider cuda measure it"
    return f"{what}: pytest parity_tests --device cuda measures it"


def card(device: str) -> str:
    """Name what computes, and the software that it depends on."""
    if not device.startswith("cuda"):
        return f"{device}, torch {torch.__version__}"
    triton = "none"
    if importlib.util.find_spec("triton"):
        import triton as found

        triton = found.__version__
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    return (
        f"{torch.cuda.get_device_name(device)}, driver {driver[0] if driver else 'unknown'}, "
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, Triton {triton}"
    )


def tables(output: Path, device: str, notes: list[str]) -> str:
    """Return what the parts found as Markdown."""
    found = {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name in PARTS
        if (path := output / f"{name}.json").exists()
    }
    lines = [f"On {card(device)}. Seconds are medians; ratios are to the first row of a table.", ""]
    for name, part in found.items():
        for kind in ("gradients", "steps"):
            if kind in part:
                lines += [f"{name}, {kind}:", "", *_timed(part[kind]), ""]
        if "losses" in part:
            name, off = max(part["losses"].items(), key=lambda item: item[1])
            lines += [
                f"Parity: of {len(part['losses'])} losses the worst is {name}, {off:.2g} off."
            ]
            lines += [f"20 steps in {p}: {off:.2g} off." for p, off in part["runs"].items()]
            lines += [f"A run there and back: {part['there and back']:.2g} off.", ""]
        if "images/s" in part:
            lines += ["| loader | images/s |", "|---|---|"]
            lines += [f"| {how} | {speed:,.0f} |" for how, speed in part["images/s"].items()]
            lines.append("")
    return "\n".join([*lines, *(f"- {note}" for note in notes)]).rstrip() + "\n"


def _timed(rivals: Mapping[str, Any]) -> list[str]:
    """Return rows of time, ratio and memory."""
    timed = [name for name in rivals if "seconds" in rivals[name]]
    base = median(rivals[timed[0]]) if timed else 1.0
    rows = ["| | ms | smallest to largest | of the first | MB at most |", "|---|---|---|---|---|"]
    for name, measured in rivals.items():
        if "failed" in measured:
            rows.append(f"| {name} | {measured['failed']} | | | |")
            continue
        seconds, size = measured["seconds"], measured["bytes"]
        rows.append(
            f"| {name} | {1e3 * median(measured):.2f} | {1e3 * min(seconds):.2f} to "
            f"{1e3 * max(seconds):.2f} | {median(measured) / base:.2f} | "
            f"{'' if size is None else f'{size / 1e6:,.0f}'} |"
        )
    return rows


if __name__ == "__main__":
    typer.run(main)
