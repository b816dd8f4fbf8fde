"""What TensorFlow computes on, and how exactly."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import keras
import tensorflow as tf

from marginface.devices import Precision, check_precision, choose_device

GPU = "mps" if sys.platform == "darwin" else "cuda"  # Apple's plug-in has one


def devices() -> list[str]:
    """Return the names of the devices that there are."""
    count = len(tf.config.get_visible_devices("GPU"))
    return ["cpu", *([GPU] * count if GPU == "mps" else [f"{GPU}:{n}" for n in range(count)])]


def find_device(asked: str) -> str:
    """Return a device's name here; cuda is that of this process.

    Raises:
        MarginfaceError: it is not there.
    """
    return choose_device(asked, devices(), f"tensorflow {tf.__version__}")


def described(device: str) -> str:
    """Return a device's name with its make."""
    if not device.startswith(GPU):
        return device
    gpu = tf.config.get_visible_devices("GPU")[int(device.partition(":")[2] or 0)]
    make = tf.config.experimental.get_device_details(gpu).get("device_name")
    return f"{device} ({make})" if make else device


def on_device(name: str) -> AbstractContextManager[None]:
    """Return a context in which a device computes; auto leaves it to TensorFlow, as strategies."""
    if name == "auto":
        return nullcontext()
    kind, _, number = find_device(name).partition(":")
    placed: AbstractContextManager[None]
    placed = tf.device("/CPU:0" if kind == "cpu" else f"/GPU:{number or 0}")
    return placed


def set_up(device: str, precision: Precision, *, deterministic: bool) -> None:
    """Let this process compute as exactly as it was asked to.

    Raises:
        MarginfaceError: the device has no such precision.
    """
    check_precision(precision, device)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
    with suppress(RuntimeError):  # it computes already
        for gpu in tf.config.get_visible_devices("GPU"):  # else it takes all memory at once
            tf.config.experimental.set_memory_growth(gpu, True)


@contextmanager
def half_precision(network: keras.Model, precision: Precision) -> Iterator[None]:
    """Let a network compute in half, inside, where that is asked for."""
    before = network.dtype_policy
    if precision in ("bfloat16", "float16"):
        network.dtype_policy = f"mixed_{precision}"
    try:
        yield
    finally:
        network.dtype_policy = before
