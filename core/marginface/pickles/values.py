"""Stand-ins for the callables that pickles of bytes and NumPy's byte arrays name.

Each makes what the real one would make of the arguments that such pickles give, and nothing of any
others; none is the real one.
"""

from __future__ import annotations

import math
from typing import Any

from marginface.pickles.machine import Admitted, Unfit

DTYPES = ("u1", "b1")  # uint8 and bool
DIMENSIONS = 32  # more than NumPy 1 has
LATIN_1 = ("latin1", "latin-1")


class Dtype:
    """A NumPy dtype of one byte an item.

    Args:
        code: one of `DTYPES`.
    """

    def __init__(self, code: str) -> None:
        self.code = code

    def fill(self, state: Any) -> None:
        """Take the state that NumPy writes for it: no fields, no subarray, no metadata."""
        if not isinstance(state, tuple) or len(state) < 2 or _text(state[1]) != "|":
            raise Unfit("the state of a dtype that is not plain")
        if any(part is not None for part in state[2:5]):
            raise Unfit("the state of a dtype that is not plain")


class Array:
    """A NumPy array of one byte an item.

    Attributes:
        code: u1 for uint8, b1 for bool; empty until it is filled.
        shape: its lengths.
        data: its items, the last dimension fastest.
    """

    def __init__(self) -> None:
        self.code = ""
        self.shape: tuple[int, ...] = ()
        self.data: bytes | memoryview = b""

    def fill(self, state: Any) -> None:
        """Take version, shape, dtype, whether columns come first, and the items."""
        if not isinstance(state, tuple) or len(state) != 5 or state[3] not in (False, 0):
            raise Unfit("the state of an array that no verification set has")
        self.set(state[4], state[2], state[1])

    def set(self, data: Any, dtype: Any, shape: Any) -> None:
        """Take the items; their number must be what the shape says."""
        if not isinstance(dtype, Dtype) or not _is_bytes(data):
            raise Unfit("an array of other things than bytes or flags")
        if (
            not isinstance(shape, tuple)
            or len(shape) > DIMENSIONS
            or not all(map(_is_count, shape))
        ):
            raise Unfit("an array whose shape is no tuple of lengths")
        if math.prod(shape) != len(data):
            raise Unfit(f"an array with {len(data)} items and another shape")
        self.code, self.shape, self.data = dtype.code, shape, data


def admitted(module: str, name: str) -> Admitted | None:
    """Return the stand-in for a callable, or None for one that is not admitted."""
    return ADMITTED.get((module.replace("numpy._core.", "numpy.core."), name))


def _encode(arguments: tuple[Any, ...]) -> bytes | None:
    """Make `_codecs.encode(text, "latin1")`: bytes as Python 3 writes them for Python 2."""
    if len(arguments) != 2 or not isinstance(arguments[0], str):
        return None
    if arguments[1] not in LATIN_1:
        return None
    try:
        return arguments[0].encode("latin-1")
    except UnicodeEncodeError:
        return None


def _bytes(arguments: tuple[Any, ...]) -> bytes | memoryview | None:
    """Make `bytes()`, `bytearray()`, `bytearray(bytes)` or `bytearray(text, "latin-1")`."""
    if not arguments:
        return b""
    if len(arguments) == 1 and _is_bytes(arguments[0]):
        content: bytes | memoryview = arguments[0]  # not copied: nothing here changes it
        return content
    return _encode(arguments)


def _dtype(arguments: tuple[Any, ...]) -> Dtype | None:
    code = _text(arguments[0]) if len(arguments) == 3 else ""
    if code not in DTYPES:
        raise Unfit(f"an array of type {code[:20]!r}, expected one of {', '.join(DTYPES)}")
    return Dtype(code)


def _reconstruct(arguments: tuple[Any, ...]) -> Array | None:
    """Make the empty array that a state fills."""
    fits = len(arguments) == 3 and arguments[0] is NDARRAY and arguments[1] == (0,)
    return Array() if fits else None


def _from_buffer(arguments: tuple[Any, ...]) -> Array | None:
    """Make an array of protocol 5: items, dtype, shape, order."""
    if len(arguments) != 4 or _text(arguments[3]) != "C":
        return None
    array = Array()
    array.set(*arguments[:3])
    return array


def _scalar(arguments: tuple[Any, ...]) -> int | None:
    """Make a bool or a number of a NumPy scalar: dtype, bytes."""
    if len(arguments) != 2 or not isinstance(arguments[0], Dtype) or not _is_bytes(arguments[1]):
        return None
    if len(arguments[1]) != 1:
        return None
    value = int(arguments[1][0])
    return value != 0 if arguments[0].code == "b1" else value


def _is_bytes(value: Any) -> bool:
    return isinstance(value, bytes | memoryview)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(value: Any) -> str:
    """Return text, or Python 2's bytes, as text; empty for anything else."""
    if isinstance(value, str):
        return value
    return bytes(value[:64]).decode("latin-1") if _is_bytes(value) else ""


def _no_call(_: tuple[Any, ...]) -> None:
    return None


NDARRAY = Admitted("numpy.ndarray", _no_call)  # an argument only
ADMITTED = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): Admitted("numpy.dtype", _dtype),
    ("numpy.core.multiarray", "_reconstruct"): Admitted("numpy's _reconstruct", _reconstruct),
    ("numpy.core.multiarray", "scalar"): Admitted("numpy's scalar", _scalar),
    ("numpy.core.numeric", "_frombuffer"): Admitted("numpy's _frombuffer", _from_buffer),
    ("_codecs", "encode"): Admitted("_codecs.encode", _encode),
    **{
        (module, name): Admitted(name, _bytes)
        for module in ("builtins", "__builtin__")
        for name in ("bytes", "bytearray")
    },
}
