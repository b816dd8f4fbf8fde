"""Stand-ins for the callables and types that PyTorch's pickles name, above all tensors.

A tensor is a view of a storage, a run of numbers of one type that lies outside of the pickle. None
is read before it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError
from marginface.pickles.machine import Admitted, Refused, Unfit, is_key

BFLOAT16 = "bfloat16"  # which NumPy lacks
LARGEST = 2**48  # items of an array, were its empty dimensions of length 1; more NumPy refuses
DIMENSIONS = 64  # that NumPy takes


@dataclass(frozen=True)
class ItemType:
    """A type of number.

    Args:
        name: NumPy's, or "bfloat16".
        size: bytes of one.
    """

    name: str
    size: int


@dataclass(eq=False)
class Storage:
    """Numbers in a file.

    Args:
        path: the file.
        file_size: in bytes.
        type: of the numbers; bytes where only its tensors know it.
        count: how many.
        at: where they begin; -1 until that is known.
        order: of the bytes of a number: "<" or ">".
    """

    path: Path
    file_size: int
    type: ItemType
    count: int
    at: int = -1
    order: Literal["<", ">"] = "<"
    _items: dict[ItemType, NDArray[Any]] = field(default_factory=dict)

    def items(self, kind: ItemType) -> NDArray[Any]:
        """Return the numbers as an array of one dimension, read once; bfloat16 as float32."""
        if kind not in self._items:
            stored = {BFLOAT16: "uint16", "bool": "uint8"}.get(kind.name, kind.name)
            whole_bytes = len(self._bytes) // kind.size * kind.size
            array = self._bytes[:whole_bytes].view(np.dtype(stored).newbyteorder(self.order))
            array = array.astype(stored, copy=False)
            if stored != kind.name:  # what is converted needs its bytes no longer
                del self._bytes
            if kind.name == BFLOAT16:  # the upper half of a float32
                wide = array.astype(np.uint32)
                wide <<= 16
                array = wide.view(np.float32)
            elif kind.name == "bool":
                array = array != 0
            array.flags.writeable = False  # several tensors may be views of it
            self._items[kind] = array
        return self._items[kind]

    @cached_property
    def _bytes(self) -> NDArray[np.uint8]:
        size = self.count * self.type.size
        content = np.fromfile(self.path, np.uint8, size, offset=self.at)
        if len(content) < size:
            raise MarginfaceError(f"{self.path} became shorter while it was read; read it anew")
        return content


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage; offset and strides are in items, `lazy` is a conjugate or negative."""

    storage: Storage
    type: ItemType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    lazy: bool = False

    def __post_init__(self) -> None:
        held = self.storage.count * self.storage.type.size // self.type.size
        count = math.prod(self.shape)
        last = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if count and self.offset + last >= held:
            raise Unfit(f"a tensor of shape {_shown(self.shape)} beyond its storage of {held}")
        if math.prod(max(n, 1) for n in self.shape) > LARGEST:
            raise Unfit(f"a tensor of shape {_shown(self.shape)}")

    def array(self) -> NDArray[Any]:
        """Return the numbers, read-only; bfloat16, which NumPy lacks, as float32.

        Raises:
            MarginfaceError: they are those of a view that would have to be worked out first.
        """
        if self.lazy:
            raise self._not_supported("a conjugate or negative view")
        # One number may stand for many, by strides of 0; copies of it shall not take all memory.
        if math.prod(self.shape) * self.type.size > self.storage.file_size:
            raise self._not_supported("expanded to more than the file holds")
        items = self.storage.items(self.type)
        if not math.prod(self.shape):
            return np.empty(self.shape, items.dtype)
        size = items.itemsize
        steps = [stride * size for stride in self.strides]
        return np.ndarray(self.shape, items.dtype, items, self.offset * size, steps)

    def _not_supported(self, trait: str) -> MarginfaceError:
        return MarginfaceError(
            f"{self.storage.path} holds a tensor of shape {_shown(self.shape)} that is {trait}, "
            "which is not supported; save what its .clone() returns instead"
        )


class OrderedMapping(dict[Any, Any]):
    """An OrderedDict; what a state_dict notes of its modules' versions is left out."""

    def fill(self, state: Any) -> None:
        """Take its attributes."""
        if not isinstance(state, dict):
            raise Unfit("the state of a dictionary that is none")


class Dtype:
    """A NumPy dtype, of a number that no weights need."""

    def fill(self, state: Any) -> None:
        """Take its state, and none of it."""


def admitted(module: str, name: str) -> Any:
    """Return the stand-in for a global name; None for a name that these files do not need."""
    if module.partition(".")[0] in LIGHTNING:
        return Admitted(f"{module}.{name}", _named_only(f"{module}.{name}"))
    return ADMITTED.get((module.replace("numpy._core.", "numpy.core."), name))


def _named_only(name: str) -> Callable[[tuple[Any, ...]], Any]:
    """Return what refuses to be called: a class that is the key of something."""

    def refuse(_: tuple[Any, ...]) -> Any:
        raise Refused(name)

    return refuse


def _rebuild(arguments: tuple[Any, ...]) -> Tensor | None:
    """Make a tensor of storage, offset, shape, strides; what follows is of gradients and flags."""
    if len(arguments) not in (4, 6, 7):
        return None
    return _tensor(arguments[:4], None, arguments[6:])


def _rebuild_typed(arguments: tuple[Any, ...]) -> Tensor | None:
    """Make a tensor whose type the storage does not know."""
    if len(arguments) not in (7, 8) or not isinstance(arguments[6], ItemType):
        return None
    return _tensor(arguments[:4], arguments[6], arguments[7:])


def _tensor(view: tuple[Any, ...], kind: ItemType | None, flags: tuple[Any, ...]) -> Tensor | None:
    storage, offset, shape, strides = view
    if not isinstance(storage, Storage) or not _is_count(offset):
        return None
    for each in (shape, strides):
        if not isinstance(each, tuple) or not all(map(_is_count, each)):
            return None
    if len(shape) != len(strides) or len(shape) > DIMENSIONS:
        return None
    return Tensor(storage, kind or storage.type, offset, shape, strides, lazy=any(flags))


def _parameter(arguments: tuple[Any, ...]) -> Tensor | None:
    first = arguments[0] if arguments else None
    return first if isinstance(first, Tensor) else None


def _typed_rebuild(arguments: tuple[Any, ...]) -> Any:
    """Make a tensor that has attributes: function, type, its arguments, attributes."""
    if len(arguments) != 4 or arguments[1] is not TENSOR or not isinstance(arguments[2], tuple):
        return None
    function = arguments[0]
    return function(arguments[2]) if function in REBUILDERS else None


def _ordered(arguments: tuple[Any, ...]) -> OrderedMapping | None:
    """Make an OrderedDict; Python 2 gives its items as lists of two."""
    if not arguments:
        return OrderedMapping()
    items = arguments[0]
    if not isinstance(items, list) or not all(
        isinstance(item, list | tuple) and len(item) == 2 for item in items
    ):
        return None
    return OrderedMapping((key, value) for key, value in items if is_key(key))


def _counter(arguments: tuple[Any, ...]) -> dict[Any, Any] | None:
    return arguments[0] if arguments and isinstance(arguments[0], dict) else None


def _set(arguments: tuple[Any, ...]) -> list[Any] | None:
    return arguments[0] if arguments and isinstance(arguments[0], list) else None


def _size(arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    return arguments[0] if arguments and isinstance(arguments[0], tuple) else None


def _device(arguments: tuple[Any, ...]) -> str | None:
    return str(arguments[0]) if arguments and isinstance(arguments[0], str) else None


def _encoded(arguments: tuple[Any, ...]) -> bytes | None:
    """Make `_codecs.encode(text, "latin1")`: bytes as Python 3 writes them for Python 2."""
    if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] != "latin1":
        return None
    try:
        return arguments[0].encode("latin-1")
    except UnicodeEncodeError:
        return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _shown(shape: tuple[int, ...]) -> str:
    return str(shape)[:80]


NUMPY_TYPES = (
    *("float64", "float32", "float16", "int64", "int32", "int16", "int8", "bool"),
    *("uint64", "uint32", "uint16", "uint8", "complex128", "complex64"),
)
ITEM_TYPES = {BFLOAT16: ItemType(BFLOAT16, 2)} | {
    name: ItemType(np.dtype(name).name, np.dtype(name).itemsize) for name in NUMPY_TYPES
}
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
}
# Whose checkpoints name the classes of callbacks, as AdaFace's do: keys, which are left out.
LIGHTNING = ("pytorch_lightning", "lightning", "lightning_fabric")
TENSOR = Admitted("torch.Tensor", lambda _: None)  # an argument only
REBUILDERS = (
    Admitted("torch's _rebuild_tensor", _rebuild),
    Admitted("torch's _rebuild_tensor_v3", _rebuild_typed),
)
ADMITTED: Mapping[tuple[str, str], Any] = {
    **{("torch", name): kind for name, kind in ITEM_TYPES.items()},
    **{("torch", name): ITEM_TYPES[kind] for name, kind in STORAGES.items()},
    ("torch.storage", "UntypedStorage"): ITEM_TYPES["uint8"],
    ("torch", "Tensor"): TENSOR,
    ("torch._utils", "_rebuild_tensor"): REBUILDERS[0],
    ("torch._utils", "_rebuild_tensor_v2"): REBUILDERS[0],
    ("torch._utils", "_rebuild_tensor_v3"): REBUILDERS[1],
    ("torch._utils", "_rebuild_parameter"): Admitted("torch's _rebuild_parameter", _parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Admitted(
        "torch's _rebuild_parameter_with_state", _parameter
    ),
    ("torch._tensor", "_rebuild_from_type_v2"): Admitted(
        "torch's _rebuild_from_type_v2", _typed_rebuild
    ),
    ("torch", "Size"): Admitted("torch.Size", _size),
    ("torch", "device"): Admitted("torch.device", _device),
    ("collections", "OrderedDict"): Admitted("collections.OrderedDict", _ordered),
    ("collections", "Counter"): Admitted("collections.Counter", _counter),
    ("_codecs", "encode"): Admitted("_codecs.encode", _encoded),
    # figures beside the weights, such as the best accuracy
    ("numpy", "dtype"): Admitted("numpy.dtype", lambda _: Dtype()),
    ("numpy.core.multiarray", "scalar"): Admitted("numpy's scalar", lambda _: ()),
    **{(module, "set"): Admitted("set", _set) for module in ("builtins", "__builtin__")},
}
