"""What PyTorch computes on, and how exactly."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from marginface.devices import Precision, check_precision, choose_device


def devices() -> list[str]:
    """Return the names of the devices that there are."""
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    apple = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *gpus, *apple]


def find_device(asked: str) -> torch.device:
    """Return a device by its name; cuda is that of this process.

    Raises:
        MarginfaceError: it is not there.
    """
    there = devices()
    if asked in ("auto", "cuda") and "cuda:0" in there:
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(choose_device(asked, there, f"torch {torch.__version__}"))


def described(device: torch.device) -> str:
    """Return a device's name with its make."""
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"


def set_up(device: torch.device, precision: Precision, *, deterministic: bool) -> None:
    """Let this process compute as exactly as it was asked to.

    Raises:
        MarginfaceError: the device has no such precision.
    """
    check_precision(precision, str(device))
    if deterministic:  # else it stays as its user set it
        torch.use_deterministic_algorithms(True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.benchmark = not deterministic


def half_precision(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Return a context in which networks compute in half where that is asked for."""
    if precision not in ("bfloat16", "float16"):
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))
