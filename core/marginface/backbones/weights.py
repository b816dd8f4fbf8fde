"""Weights under canonical names: how they start, how files are read, how they are checked."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.arrays import DTYPES, save_file
from marginface.atomic import replacing
from marginface.backbones.graph import Graph
from marginface.errors import MarginfaceError
from marginface.formats import Formats
from marginface.pickles.tensors import BFLOAT16, Tensor
from marginface.pickles.torch_files import is_torch_file, read_torch_file

Arrays = dict[str, NDArray[Any]]


class StateDict(dict[str, NDArray[Any]]):
    """The arrays of a file, and what else it says.

    Attributes:
        wrapper: the key of the dictionary that they were in; "" for none.
        outside: the other keys there, which were not read.
        bfloat16: names of those that are stored so, and were read as float32.
    """

    wrapper = ""
    outside: tuple[str, ...] = ()
    bfloat16: frozenset[str] = frozenset()


class UsualEpsilon(dict[str, NDArray[Any]]):
    """The arrays of a model, for its network with the usual BatchNorm epsilon."""


WRAPPERS = ("state_dict_backbone", "net_state_dict", "state_dict", "model")  # seen around weights

DEEPEST = 100  # dictionaries in one another around arrays

REAL = "fiub"  # NumPy's kinds: floating point, whole numbers, flags


def initial_weights(graph: Graph, seed: int) -> Arrays:
    """Draw a backbone's float32 weights; the same seed gives every framework the same ones.

    >>> from marginface.backbones import describe
    >>> initial_weights(describe("mbf"), seed=0)["layers.0.layers.0.weight"].shape
    (128, 3, 3, 3)
    """
    rng = np.random.default_rng(seed)
    return {
        name: parameter.draw(rng).astype(np.float32)
        for name, parameter in graph.parameters().items()
    }


def check_weights(
    graph: Graph, weights: Mapping[str, NDArray[Any]], source: str = "weights"
) -> Arrays:
    """Return `weights` in the graph's order; names and shapes must be the graph's, numbers real.

    They may lie under a common prefix, as `backbone.` in a checkpoint; a warning says what is left.

    What PyTorch adds is dropped: counters, and the prefixes of its wrappers (DataParallel and
    AveragedModel write `module.`, torch.compile `_orig_mod.`, both when one holds the other).

    Raises:
        MarginfaceError: naming the parameter with both shapes or its type, or what is missing or
            left over.
    """
    stripped: Mapping[str, NDArray[Any]] = _without_wrappers(weights, source)
    expected = graph.parameters()
    label = f"{source} does not fit backbone '{graph.name}'"
    stripped = _without_prefix(stripped, expected, source)
    missing = [name for name in expected if name not in stripped]
    if missing:
        raise MarginfaceError(
            f"{label}: {len(missing)} of {len(expected)} parameters are missing, the first is "
            f"'{missing[0]}'; is it another backbone?"
        )
    unexpected = [name for name in stripped if name not in expected]
    if unexpected:
        raise MarginfaceError(
            f"{label}: {len(unexpected)} parameters are not the backbone's, the first is "
            f"'{unexpected[0]}'"
        )
    arrays = {}
    for name, parameter in expected.items():
        if tuple(stripped[name].shape) != parameter.shape:
            raise MarginfaceError(
                f"{label}: parameter '{name}' has shape {tuple(stripped[name].shape)}, expected "
                f"{parameter.shape}; check --embedding-size and the input size"
            )
        arrays[name] = np.asarray(stripped[name])
        if not _is_real(arrays[name].dtype):
            raise MarginfaceError(
                f"{label}: parameter '{name}' is of type {arrays[name].dtype}, expected real "
                "numbers; convert it to float32"
            )
    return arrays


def check_finite(arrays: Mapping[str, NDArray[Any]], source: str) -> None:
    """Raise if a number is NaN or infinite."""
    if broken := next((n for n, each in arrays.items() if not np.isfinite(each).all()), None):
        raise MarginfaceError(
            f"{source}: {broken} has numbers that are NaN or infinite; the weights are broken: "
            "take others"
        )


def fitting(
    graph: Graph, weights: Mapping[str, NDArray[Any]], source: str = "weights"
) -> tuple[Arrays, dict[str, tuple[int, ...]], list[str]]:
    """Sort out which weights are a graph's by name and shape, under the prefix that has most.

    Returns:
        The arrays that fit; of the graph's others, the shape under their name, () where there is
        none; the names of what is left of the weights.

    Raises:
        MarginfaceError: two prefixes have as many, and more than half of the graph's.
    """
    expected, named = graph.parameters(), _without_wrappers(weights, source)
    prefixes = count_prefixes(named, expected)
    ranks = {each: (-count, each.count(".")) for each, count in prefixes.items()}
    best = [each for each in prefixes if ranks[each] == min(ranks.values())]
    if len(best) > 1 and prefixes[best[0]] > len(expected) / 2:
        raise _several(source, best)
    prefix = best[0] if best else ""
    fits, others = {}, {}
    for name, parameter in expected.items():
        array = named.get(f"{prefix}{name}")
        shape = () if array is None else tuple(array.shape)
        if array is not None and shape == parameter.shape and _is_real(np.asarray(array).dtype):
            fits[name] = array
        else:
            others[name] = shape
    return fits, others, [name for name in named if name.removeprefix(prefix) not in fits]


def count_prefixes(stored: Iterable[str], expected: Collection[str]) -> Counter[str]:
    """Count how many of the expected names stand behind each prefix.

    >>> count_prefixes(["a.w", "a.b", "slots.a.w"], {"w", "b"})
    Counter({'a.': 2, 'slots.a.': 1})
    """
    longest = max((name.count(".") for name in expected), default=0) + 1
    found: Counter[str] = Counter()
    for name in stored:
        parts = name.split(".")
        for at in range(max(len(parts) - longest, 0), len(parts)):
            own = ".".join(parts[at:])
            if own in expected:
                found[name.removesuffix(own)] += 1
    return found


def _is_real(kind: np.dtype[Any]) -> bool:
    return kind.kind in REAL or kind.name == "bfloat16"


def _without_wrappers(weights: Mapping[str, NDArray[Any]], source: str) -> Arrays:
    """Drop what PyTorch adds to a state_dict, see `check_weights`."""
    bare: Arrays = {}
    for name, array in weights.items():
        if name.endswith(("num_batches_tracked", "n_averaged")):
            continue
        own = re.sub(r"^((module|_orig_mod)\.)+", "", name)
        if own in bare:
            raise MarginfaceError(
                f"{source} holds '{own}' twice, with and without 'module.' or '_orig_mod.'; save "
                "the arrays of one network in a file of its own"
            )
        bare[own] = array
    return bare


def _without_prefix(
    weights: Mapping[str, NDArray[Any]], expected: Mapping[str, Any], source: str
) -> Mapping[str, NDArray[Any]]:
    """Return the arrays under the one prefix that has all expected names, without it.

    Where none has, or there is no need of one, all are returned as they are.
    """
    first = next(iter(expected), None)
    if first is None or first in weights:
        return weights
    prefixes = [name.removesuffix(first) for name in weights if name.endswith(f".{first}")]
    whole = [each for each in prefixes if all(f"{each}{name}" in weights for name in expected)]
    # The outermost: slots of an optimizer lie deeper, and have a backbone's names, too.
    fits = [each for each in whole if each.count(".") == min(one.count(".") for one in whole)]
    if not fits:
        return weights
    if len(fits) > 1:
        raise _several(source, fits)
    inside = {name: array for name, array in weights.items() if name.startswith(fits[0])}
    if left := [name for name in weights if name not in inside]:
        _say_left(source, fits[0].removesuffix("."), left)
    return {name.removeprefix(fits[0]): array for name, array in inside.items()}


def _several(source: str, prefixes: list[str]) -> MarginfaceError:
    return MarginfaceError(
        f"{source} holds several backbones, {' and '.join(map(repr, sorted(prefixes)))}; save the "
        "arrays of one in a file of its own"
    )


def _say_left(source: str, taken: str, left: list[str]) -> None:
    listed = ", ".join(f"'{name}'" for name in left[:5]) + (", ..." if len(left) > 5 else "")
    warnings.warn(f"{source}: took '{taken}'; left {len(left)}: {listed}", stacklevel=3)


def read_weights(path: str | Path) -> Arrays:
    """Read a backbone's arrays from a run, or a file in one of the formats of `WEIGHTS`.

    PyTorch is not needed, and no code from a file is run.

    Raises:
        MarginfaceError: no such file, of another kind, damaged, or without arrays.
    """
    arrays = read_file(Path(path))
    if isinstance(arrays, StateDict) and arrays.outside:
        _say_left(str(path), arrays.wrapper, list(arrays.outside))
    return arrays


def read_file(path: Path) -> Arrays:
    """Read arrays as `read_weights` does, without a word on what a file of PyTorch's holds beside.

    Raises:
        MarginfaceError: as `read_weights`.
    """
    return WEIGHTS.find(path).open(path)


def _read_safetensors(path: Path) -> Arrays:
    from safetensors import SafetensorError, deserialize

    try:
        # NumPy has no bfloat16, so not its load_file. safetensors has no types for this.
        stored = dict(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError) as error:
        raise MarginfaceError(f"{path} is not a whole safetensors file: {error}") from error
    arrays = StateDict()
    arrays.bfloat16 = frozenset(n for n, each in stored.items() if each["dtype"] == "BF16")
    for name, each in stored.items():
        if name in arrays.bfloat16:  # which NumPy lacks: the upper half of a float32
            halves = np.frombuffer(each["data"], np.uint16).astype(np.uint32)
            array: NDArray[Any] = (halves << 16).view(np.float32)
        elif each["dtype"] in DTYPES:
            array = np.frombuffer(each["data"], DTYPES[each["dtype"]])
        else:
            raise MarginfaceError(
                f"{path}: {name} is of type {each['dtype']}, expected real numbers; convert it to "
                "float32"
            )
        try:
            arrays[name] = array.reshape(each["shape"])
        except ValueError as error:  # no numbers, but sides that NumPy does not take
            raise MarginfaceError(f"{path}: {name} has the shape of no array: {error}") from error
    return arrays


def _read_torch(path: Path) -> Arrays:
    values = read_torch_file(path)
    if not isinstance(values, dict):
        raise MarginfaceError(f"{path} holds a {type(values).__name__}; expected a state_dict")
    arrays, entered = StateDict(), {id(values)}
    while wrapper := next((n for n in WRAPPERS if isinstance(values.get(n), dict)), None):
        arrays.wrapper = wrapper
        arrays.outside += tuple(str(name) for name in values if name != wrapper)
        values = values[wrapper]
        if id(values) in entered:  # it holds itself
            break
        entered.add(id(values))
    tensors = {str(name): value for name, value in values.items() if isinstance(value, Tensor)}
    if not any("." in name for name in tensors):  # no names of parameters: they lie deeper
        tensors = dict(_nested(values, path))
    arrays.update((name, tensor.array()) for name, tensor in tensors.items())
    arrays.bfloat16 = frozenset(n for n, each in tensors.items() if each.type.name == BFLOAT16)
    if not arrays:
        raise MarginfaceError(f"{path} holds no arrays; expected a backbone's state_dict")
    return arrays


def _nested(values: Mapping[Any, Any], path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in dictionaries of dictionaries, under dotted names.

    Each dictionary is entered once: they may hold themselves, or one of them many times.
    """
    waiting: list[tuple[str, Mapping[Any, Any], int]] = [("", values, 0)]
    entered = set[int]()
    for prefix, inner, depth in waiting:  # which grows
        if id(inner) in entered:
            continue
        if depth > DEEPEST:
            raise MarginfaceError(
                f"{path} holds dictionaries in dictionaries, more than {DEEPEST} deep; save "
                "model.state_dict() alone"
            )
        entered.add(id(inner))
        for name, value in inner.items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
            elif isinstance(value, dict):
                waiting.append((f"{prefix}{name}.", value, depth + 1))


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins with the length of a JSON object that it can hold."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


WEIGHTS: Formats[Callable[[Path], Arrays]] = Formats(
    use="a backbone's weights: give them as --weights to `marginface export`, which makes an .onnx "
    "model of them, or in training as --init",
    returns=dict,
)
WEIGHTS.register("a .safetensors", _read_safetensors, ".safetensors", recognises=_is_safetensors)
WEIGHTS.register(
    "PyTorch's .pt, .pth or .ckpt",
    _read_torch,
    *(".pt", ".pth", ".ckpt"),
    recognises=is_torch_file,
)


def write_weights(path: str | Path, weights: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a safetensors file, under its final name only when whole."""
    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise MarginfaceError(f"weights are written as .safetensors, got '{path.name}'")
    if not path.parent.is_dir():
        raise MarginfaceError(f"folder {path.parent} does not exist; create it first")
    with replacing(path) as part:
        save_file(weights, part)
