"""What can be read: a registry for each kind of input, by content and by suffix.

Each room that reads files has its own: `IMAGE_SETS`, `VERIFICATION_SETS` and `PAIR_LISTS`,
`LANDMARKS`, `EMBEDDINGS`, `WEIGHTS`, `MODELS`. Every command goes through them, so a format that is
registered is known to all. A package of one's own names a module that registers formats as an entry
point of `marginface.formats`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial, wraps
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from marginface.errors import MarginfaceError
from marginface.own_code import in_one_line, said
from marginface.regular import require_regular

ENTRY_POINTS = "marginface.formats"
ZIP, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
KERAS = (".keras", ".h5", ".hdf5")
FROM_KERAS = (
    "write it as .onnx, which --model takes: GhostFaceNet's and others' with tf2onnx, a network of "
    "marginface_tf with marginface_tf.export_onnx (`import marginface_tf` before you load it; "
    "weights go into its create_backbone)"
)
# Where each registry is: a message about a file looks whether it is of another one's.
REGISTRIES = {
    "MODELS": "marginface.embeddings.embedder",  # before images: a run is a folder, too
    "WEIGHTS": "marginface.backbones.weights",
    "EMBEDDINGS": "marginface.embeddings.reader",
    "VERIFICATION_SETS": "marginface.data.verification.opening",
    "IMAGE_SETS": "marginface.data.formats.registry",
}
REGISTERED_ABOVE = "marginface.runs.weights"  # formats of a room above their registry
PART = re.compile(r"-[0-9]+-of-[0-9]+$")  # behind the suffix: s.tfrecord-00000-of-00002

Opener = TypeVar("Opener")


@dataclass(frozen=True)
class Format(Generic[Opener]):
    """A format.

    Args:
        name: for messages, with its article: "a .rec".
        open: reads it; what it takes and returns is for the registry to say.
        suffixes: lower case, with the dot; capitals in a file's name are the same.
        recognises: whether a path that exists is of this format, by what it holds or is.
        own: whether it is a user's own, whose code may raise anything.
    """

    name: str
    open: Opener
    suffixes: tuple[str, ...] = ()
    recognises: Callable[[Path], bool] | None = None
    own: bool = False


class Formats(Generic[Opener]):
    """The formats of one kind of input.

    Args:
        hint: for messages, after the formats' names.
        use: for messages, what these are and which options take them.
        returns: what an opener returns; a user's own is held to it.

    >>> formats = Formats[Callable[[Path], str]]()
    >>> formats.register("a .txt", Path.read_text, ".txt")
    >>> formats.register("a folder", lambda path: "", recognises=Path.is_dir)
    >>> formats.find(Path()).name
    'a folder'
    >>> formats.find(Path("absent.txt"))
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: no such file or folder: absent.txt; expected a .txt or a \
folder
    """

    def __init__(self, hint: str = "", *, use: str = "", returns: type = object) -> None:
        self._hint, self.use, self._returns = hint, use, returns
        self._formats: list[Format[Opener]] = []

    def register(
        self,
        name: str,
        open: Opener,
        *suffixes: str,
        recognises: Callable[[Path], bool] | None = None,
    ) -> None:
        """Add a format; the latest comes first, so it may take the place of another.

        Args:
            name: for messages, with its article: "a .rec".
            open: reads it.
            suffixes: that names of such files end in.
            recognises: whether a path that exists is of this format, by what it holds or is.

        Raises:
            MarginfaceError: there is no way to recognise it, or a suffix has no dot.
        """
        lower = tuple(suffix.lower() for suffix in suffixes)
        if not lower and recognises is None:
            raise MarginfaceError(f"format '{name}' needs a suffix, or recognises=...")
        if dotless := [suffix for suffix in lower if not suffix.startswith(".")]:
            raise MarginfaceError(
                f"suffix '{dotless[0]}' of format '{name}' has no dot; give '.{dotless[0]}'"
            )
        own = not _is_ours(open) or not _is_ours(recognises)
        if own:
            opener: Any = _held_to(open, f"{name} ({_place(open)})", self._returns)
            open = opener
            if recognises is not None:
                recognises = _asked(recognises, f"{name} ({_place(recognises)})")
        self._formats.append(Format(name, open, lower, recognises, own))

    def get(self, path: Path) -> Format[Opener] | None:
        """Return the format of a path that exists, None if it is none of these.

        What a file holds counts for more than its suffix.

        Raises:
            MarginfaceError: it cannot be read, or is a pipe, a socket or a device.
        """
        if found := self.recognise(path):
            return found
        name = PART.sub("", path.name.lower())
        held = [each for each in self._formats[::-1] if name.endswith(each.suffixes)]
        # Folders may be called anything: ours are known by what they hold.
        return next((each for each in held if each.own or not path.is_dir()), None)

    def recognise(self, path: Path) -> Format[Opener] | None:
        """Return the format that knows a path by what it holds; raises as `get` does."""
        _load_installed()
        require_regular(path, str(self))
        try:
            for each in self._formats[::-1]:
                if each.recognises is not None and each.recognises(path):
                    return each
        except OSError as error:
            raise MarginfaceError(f"cannot read {path}: {error.strerror}; {self}") from error
        return None

    def find(self, path: Path) -> Format[Opener]:
        """Return the format of a path.

        Raises:
            MarginfaceError: there is no such file or folder, it cannot be read, or is of another
                kind; what was expected is listed.
        """
        found = self.get(path) if path.exists() else None
        if found is None:
            raise unknown(path, self)
        return found

    @property
    def names(self) -> list[str]:
        """The formats' names, in the order of their registration."""
        _load_installed()
        return [each.name for each in self._formats]

    def __str__(self) -> str:
        return expected(self.names) + (f", {self._hint}" if self._hint else "")


def _is_ours(code: Any) -> bool:
    return code is None or _place(code).startswith(("marginface.", "pathlib."))


def _place(code: Any) -> str:
    """Return the module and name of a function or class, or of what a partial or object is of."""
    code = code.func if isinstance(code, partial) else code
    code = code if hasattr(code, "__qualname__") else type(code)
    return f"{code.__module__}.{code.__qualname__}"


def _held_to(opener: Any, what: str, returns: type) -> Any:
    """Let a user's own opener raise one line, and return nothing of another kind."""

    @wraps(opener)
    def held(path: Path, *given: Any) -> Any:
        with in_one_line(f"{what} cannot open {path}", MarginfaceError):
            opened = opener(path, *given)
            fits = isinstance(opened, returns)
        if not fits:
            got = "None" if opened is None else f"a value of type {type(opened).__name__}"
            raise MarginfaceError(f"{what} returns {got} for {path}; {_wanted(returns, opened)}")
        return opened

    return held


def _wanted(returns: type, opened: Any) -> str:
    """Say what an opener should return, and what an object lacks to be that."""
    wanted = f"expected {_place(returns).removeprefix('builtins.')}"
    if opened is None or not getattr(returns, "_is_protocol", False):
        return wanted
    lacks = [n for n in vars(returns) if not n.startswith("_") and not hasattr(opened, n)]
    return f"{wanted}, which has {', '.join(lacks) or 'a length and items'}, too"


def _asked(recognises: Callable[[Path], bool], what: str) -> Callable[[Path], bool]:
    """Let a user's own function raise one line."""

    @wraps(recognises)
    def asked(path: Path) -> bool:
        with in_one_line(f"{what} cannot say whether {path} is one", MarginfaceError):
            return bool(recognises(path))

    return asked


def unknown(path: Path, *kinds: Formats[Any]) -> MarginfaceError:
    """Return the error for a path that is of none of these kinds."""
    known = str(kinds[0])
    if len(kinds) > 1:
        known = expected([name for kind in kinds for name in kind.names])
    if not path.exists():
        return MarginfaceError(f"no such file or folder: {path}; {known}")
    if is_of_keras(path):
        return MarginfaceError(f"{path} is of Keras; {FROM_KERAS}")
    what = "a folder" if path.is_dir() else "a file"
    return MarginfaceError(f"{path} is {what} of another kind; {known}{_meant(path, kinds)}")


def _meant(path: Path, kinds: Sequence[Formats[Any]]) -> str:
    """Say which other kind of input a path is, and which options take it; "" for none known."""
    for name, module in REGISTRIES.items():
        if name == "MODELS" and path.is_dir() and not (path / "model.json").exists():
            continue  # every folder is taken for a run's, and told what it lacks
        other: Formats[Any] = getattr(import_module(module), name)
        with suppress(MarginfaceError):  # what keeps it from being read is not the question
            if other not in kinds and (found := other.recognise(path)):
                return f"; it is {found.name}, {other.use}"
    if begins(path, *UTF_16):
        return "; it is text in UTF-16, as PowerShell and Excel write it: save it as UTF-8"
    return "; it is a zip, which has to be unpacked" if begins(path, ZIP) else ""


def is_of_keras(path: Path) -> bool:
    """Return whether a path is a model or weights as Keras or TensorFlow save them."""
    saved_model = (path / "saved_model.pb").is_file()
    return saved_model or path.suffix.lower() in KERAS or begins(path, HDF5)


def expected(names: Iterable[str]) -> str:
    """Return the end of a message.

    >>> expected(["a .rec", "a .bin", "a folder"])
    'expected a .rec, a .bin or a folder'
    """
    *most, last = names
    return f"expected {', '.join(most)} or {last}" if most else f"expected {last}"


# A protobuf message of ONNX's: field 1, the version of its form, and the field that comes next.
ONNX = re.compile(rb"\x08[\x03-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]")


def is_onnx(path: Path) -> bool:
    """Return whether a file begins as an ONNX model does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return ONNX.match(file.read(3)) is not None


def begins(path: Path, *starts: bytes) -> bool:
    """Return whether a file, which a folder is not, begins with one of these bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(max(map(len, starts))).startswith(starts)


@cache
def _load_installed() -> None:
    """Import what a room above its registry and installed packages register."""
    import_module(REGISTERED_ABOVE)
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except (Exception, SystemExit) as error:  # a package's code raises anything
            raise MarginfaceError(
                f"the formats '{entry.name}' ({entry.value}) of an installed package cannot be "
                f"loaded: {said(error)}; repair or uninstall it"
            ) from error
