"""Names of what computes, the same in every framework, and how numbers are rounded there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from marginface.errors import MarginfaceError

NAMED = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
FORMS = "auto, cpu, cuda, cuda:NUMBER or mps"

# Of the backbone: float32 throughout; with products rounded to TensorFloat-32; or computed in half.
Precision = Literal["full", "tf32", "bfloat16", "float16"]


def device_name(value: Any) -> str:
    """Return a name of a device.

    Raises:
        MarginfaceError: it is none.

    >>> device_name("cuda:1")
    'cuda:1'
    >>> device_name("gpu")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: device is 'gpu', expected auto, cpu, cuda, cuda:NUMBER or mps
    """
    if not isinstance(value, str) or not NAMED.fullmatch(value):
        said = "empty" if value is None else repr(value)
        raise MarginfaceError(f"device is {said}, expected {FORMS}")
    return value


def choose_device(asked: str, there: Sequence[str], framework: str) -> str:
    """Return the device to use: for auto the first GPU of CUDA's, or the CPU.

    Args:
        asked: a name as `device_name` returns it.
        there: the devices that the framework sees: cpu, cuda:0, mps.
        framework: its name and version, for the message.

    Raises:
        MarginfaceError: there is no such device; the message says which there are.

    >>> choose_device("auto", ["cpu", "cuda:0"], "torch 2"), choose_device("auto", ["cpu"], "tf 2")
    ('cuda:0', 'cpu')
    >>> choose_device("cuda:3", ["cpu"], "torch 2.13+cpu")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: device cuda:3 is not there: torch 2.13+cpu sees cpu; choose \
one of these or auto
    """
    if asked == "auto":
        return "cuda:0" if "cuda:0" in there else "cpu"
    if asked == "cuda" and "cuda:0" in there:
        return "cuda:0"
    if asked not in there:
        raise MarginfaceError(
            f"device {asked} is not there: {framework} sees {', '.join(there)}; choose one of "
            "these or auto"
        )
    return asked


def check_precision(precision: Precision, device: str) -> None:
    """Raise if a device cannot compute so.

    >>> check_precision("tf32", "cpu")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: precision tf32 is of NVIDIA's GPUs, and the run is on cpu; \
choose full or bfloat16
    """
    if precision == "tf32" and not device.startswith("cuda"):
        raise MarginfaceError(
            f"precision tf32 is of NVIDIA's GPUs, and the run is on {device}; choose full or "
            "bfloat16"
        )


def require_gpu(process: int, gpus: int) -> None:
    """Raise unless a process of this machine has a GPU of its own.

    >>> require_gpu(1, 1)
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: process 1 of this machine has no GPU: there is 1; start at \
most 1 process here, or compute on the CPU (--device cpu)
    """
    if process >= gpus:
        there = "there is 1" if gpus == 1 else f"there are {gpus}"
        raise MarginfaceError(
            f"process {process} of this machine has no GPU: {there}; start at most "
            f"{gpus} process{'es' if gpus > 1 else ''} here, or compute on the CPU (--device cpu)"
        )
