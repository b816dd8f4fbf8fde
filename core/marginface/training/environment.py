"""The software and hardware of a run: no name of a host or a user."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    *("marginface", "numpy", "grain", "pillow", "safetensors"),
    *("onnx", "onnxruntime", "onnxruntime-gpu"),
    *("torch", "tensorflow", "tensorflow-cpu", "keras"),
)


def environment(framework: str, device: str, first_step: int, processes: int) -> dict[str, Any]:
    """Describe this machine's software and processor.

    Args:
        framework: name and version of the framework in use.
        device: what it computes on.
        first_step: the step at which this start of the run begins.
        processes: how many took part in it.
    """
    packages = {}
    for package in PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "first_step": first_step,
        "framework": framework,
        "device": device,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "processes": processes,
        "packages": packages,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
