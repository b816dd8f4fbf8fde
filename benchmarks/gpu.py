"""One command for a machine with a GPU: the head, training steps, ONNX Runtime, the loader, parity.

It takes at most nine minutes. A checkout, PyTorch and NumPy are enough; what needs more is skipped
and says what is missing.

python benchmarks/gpu.py gpu/              # JSON of each part, and tables in gpu/README.md
python benchmarks/gpu.py gpu/ --parts parity,head     # these
python benchmarks/gpu.py tried/ --device cpu --tiny   # does it run at all?

Run it again for what was not finished: a part that is there, whole, of the same sizes and the same
card, stays.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
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
    "rivals": ["ours", "plain"],
}
TINY_HEAD = {"batch": 8, "classes": 100, "rounds": 1}
TINY_STEP = {"backbone": "mobilefacenet", "batch": 8, "classes": 20, "side": 32, "rounds": 1}
STEPS = [(backbone, batch) for backbone in ("iresnet50", "iresnet100") for batch in (128, 256)]
PARTS = {
    "parity": Part("gpu_parity", {"losses": 99}, {"losses": 2}, 90),
    "head-100k": Part("gpu_head", HEAD | {"classes": 100_000}, TINY_HEAD, 40),
    "head-1M": Part("gpu_head", HEAD | {"classes": 1_000_000}, TINY_HEAD, 60),
    "head-4M": Part("gpu_head", HEAD | {"classes": 4_000_000, "rounds": 5}, TINY_HEAD, 90),
    **{
        f"step-{backbone}-{batch}": Part(
            "gpu_steps", STEP | {"backbone": backbone, "batch": batch}, TINY_STEP, 60
        )
        for backbone, batch in STEPS
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
        STEP
        | {"backbone": "iresnet100", "batch": 256}
        | {"rivals": ["ours", "4 micro-batches", "recomputed", "plain"]},
        TINY_STEP,
        60,
    ),
    "onnx": Part(
        "gpu_onnx",
        {"backbone": "iresnet50", "batch": 128, "side": 112, "rounds": 10},
        {"backbone": "mobilefacenet", "batch": 8, "side": 32, "rounds": 1},
        60,
    ),
    "loader": Part(
        "gpu_loader",
        {"images": 8192, "batch": 256, "batches": 40, "threads": [1, 2, 4, 8, 16]},
        {"images": 128, "batch": 8, "batches": 4, "threads": [1, 2]},
        60,
    ),
    # Last: a compilation takes a minute or two.
    **{
        f"step-{backbone}-{batch}-compiled": Part(
            "gpu_steps",
            STEP | {"backbone": backbone, "batch": batch, "rivals": ["ours", "ours, compiled"]},
            TINY_STEP | {"rivals": ["ours"]},
            150,
        )
        for backbone, batch in STEPS
    },
}
BUDGET = 530  # seconds


def main() -> None:
    """Run the parts that are not there yet, as far as the time goes; then write the tables."""
    given = _arguments()
    output, device = given.output, given.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("no GPU that PyTorch can use; --device cpu --tiny tries the parts out")
    wanted = [name for name in PARTS if name.startswith(tuple(given.parts.split(",")))]
    if not wanted:
        raise SystemExit(f"no part begins with {given.parts}; there are: {', '.join(PARTS)}")
    output.mkdir(parents=True, exist_ok=True)
    ending, notes, here = time.monotonic() + given.budget, [], card(device)
    for name in wanted:
        path, part = output / f"{name}.json", PARTS[name]
        measured = {"card": here, "sizes": part.sizes | (part.tiny if given.tiny else {})}
        if is_there(path, measured):
            continue
        left = ending - time.monotonic()
        if left < part.seconds / 3:
            notes.append(f"{name}: not run, {left:.0f} s were left; run the command again")
            continue
        problem = run(part.script, device, path, measured, min(part.seconds, left))
        if problem:
            notes.append(f"{name}: {problem}")
        print(notes[-1] if problem else f"{name}: done", flush=True)
    notes.append("parity of TensorFlow: pytest parity_tests --device cuda tests it")
    page = tables(output, notes)
    (output / "README.md").write_text(page, encoding="utf-8")
    print(page)


def _arguments() -> argparse.Namespace:
    # What has more, such as typer, need not be there.
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", type=Path, help="folder, made if absent")
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:1, cpu")
    parser.add_argument("--parts", default="", help="how their names begin, with commas; else all")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of all parts")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try it out")
    return parser.parse_args()


def is_there(path: Path, measured: Mapping[str, Any]) -> bool:
    """Say whether a file has all that a part measures, of these sizes and this card."""
    if not path.exists():
        return False
    record = json.loads(path.read_text(encoding="utf-8"))
    same = all(record.get(key) == value for key, value in measured.items())
    return same and "incomplete" not in record


def run(script: str, device: str, path: Path, measured: Mapping[str, Any], seconds: float) -> str:
    """Run a part and keep what it tells; return what went wrong, "" for nothing."""
    command = [sys.executable, str(HERE / f"{script}.py"), device, json.dumps(measured["sizes"])]
    started, problem = time.monotonic(), ""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=seconds)
        output = done.stdout
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            problem = f"failed: {lines[-1] if lines else done.returncode}"
    except subprocess.TimeoutExpired as late:
        output, problem = late.stdout or b"", f"stopped after {seconds:.0f} s"
    result = told(output)
    if "skipped" in result:
        return f"skipped: {result['skipped']}"
    if result:
        incomplete = {"incomplete": problem} if problem else {}
        took = time.monotonic() - started
        write(path, seconds=took, **measured, **incomplete, **result)
    return problem


def told(output: bytes) -> dict[str, Any]:
    """Return what a part told last, {} for nothing; a line that was cut off does not count."""
    for line in reversed(output.decode(errors="replace").splitlines(keepends=True)):
        if line.startswith("{") and line.endswith("\n"):
            result: dict[str, Any] = json.loads(line)
            return result
    return {}


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


def tables(output: Path, notes: list[str]) -> str:
    """Return what the parts found as Markdown, by the card that each is from."""
    cards: dict[str, dict[str, Any]] = {}
    for name in PARTS:
        if (path := output / f"{name}.json").exists():
            part = json.loads(path.read_text(encoding="utf-8"))
            cards.setdefault(part["card"], {})[name] = part
    lines = ["Seconds are medians; ratios are to the first row of a table.", ""]
    for where, parts in cards.items():
        lines += [f"## {where}", ""]
        for name, part in parts.items():
            lines += [f"### {name}", "", _sizes(part), "", *_found(part)]
        lines += _loader_against_step(parts)
    return "\n".join([*lines, *(f"- {note}" for note in notes)]).rstrip() + "\n"


def _sizes(part: Mapping[str, Any]) -> str:
    sizes = "; ".join(
        f"{name} {', '.join(map(str, size)) if isinstance(size, list) else size}"
        for name, size in part["sizes"].items()
    )
    return f"{sizes}. Not complete: {part['incomplete']}" if "incomplete" in part else f"{sizes}."


def _found(part: Mapping[str, Any]) -> list[str]:
    lines = []
    for kind in ("gradients", "steps"):
        if kind in part:
            lines += [f"{kind}:", "", *_timed(part[kind]), ""]
    if part.get("losses"):
        worst, off = max(part["losses"].items(), key=lambda item: item[1])
        lines += [f"Of {len(part['losses'])} losses the worst is {worst}: {off:.2g} off.", ""]
        lines += [f"- 20 steps in {p}: {off:.2g} off" for p, off in part["runs"].items()]
        if "there and back" in part:
            back = part["there and back"]
            there = back if isinstance(back, str) else f"{back:.2g} off"
            lines.append(f"- a run there and back: {there}")
        lines.append("")
    if "images/s" in part:
        lines += ["| | images/s |", "|---|---|"]
        lines += [f"| {how} | {speed:,.0f} |" for how, speed in part["images/s"].items()]
        lines.append("")
    for name, off in part.get("off", {}).items():
        lines += [f"{name}: {off if isinstance(off, str) else f'{off:.2g} off'}.", ""]
    return lines


def _loader_against_step(parts: Mapping[str, Any]) -> list[str]:
    """Say how much faster images are read than the fastest step takes them."""
    steps = {
        f"{name}, {rival}": part["sizes"]["batch"] / median(measured)
        for name, part in parts.items()
        if name.startswith("step-")
        for rival, measured in part.get("steps", {}).items()
        if "seconds" in measured
    }
    if not steps or "loader" not in parts:
        return []
    how, read = max(parts["loader"]["images/s"].items(), key=lambda item: item[1])
    step, taken = max(steps.items(), key=lambda item: item[1])
    return [
        f"The loader at its best, {how}, gives {read:,.0f} images/s: {read / taken:.2f} times the "
        f"{taken:,.0f} of the fastest step, {step}.",
        "",
    ]


def _timed(rivals: Mapping[str, Any]) -> list[str]:
    """Return rows of time, ratio and memory."""
    timed = [name for name in rivals if "seconds" in rivals[name]]
    base = median(rivals[timed[0]]) if timed else 1.0
    rows = ["| | ms | smallest to largest | of the first | MB at most |", "|---|---|---|---|---|"]
    for name, measured in rivals.items():
        if "seconds" not in measured:
            rows.append(f"| {name} | {measured.get('failed', 'not timed')} | | | |")
            continue
        seconds, size = measured["seconds"], measured["bytes"]
        rows.append(
            f"| {name} | {1e3 * median(measured):.2f} | {1e3 * min(seconds):.2f} to "
            f"{1e3 * max(seconds):.2f} | {median(measured) / base:.2f} | "
            f"{'' if size is None else f'{size / 1e6:,.0f}'} |"
        )
    return rows


if __name__ == "__main__":
    main()
