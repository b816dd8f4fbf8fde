"""Packages that only some uses need: a missing one is named with its pip command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution

from marginface.errors import MissingPackageError

# Who has one of an extra's kinds must not be sent to another.
ALSO = {
    "onnx": ", or on an NVIDIA GPU 'marginface[onnx-gpu]'",
    "tf": ", with CUDA's libraries 'marginface[tf-cuda]', or for a CPU alone 'marginface[tf-cpu]'",
}
# Packages of one module: each overwrites files of the other, and takes them along when it goes.
ONNX_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
ONE_ONNX_RUNTIME = (
    f"run: pip uninstall -y {' '.join(ONNX_RUNTIMES)}, then: pip install 'marginface[onnx]'"
    + ALSO["onnx"]
)

# What pip calls packages that are imported by another name.
INSTALLED_AS = {
    "absl": "absl-py",
    "faiss": "faiss-cpu",
    "google": "protobuf",  # of those that share the name, the one that is used
    "google_crc32c": "google-crc32c",
    "huggingface_hub": "huggingface-hub",
    "PIL": "pillow",
    "yaml": "pyyaml",
}


@contextmanager
def needs(extra: str, user: str = "this") -> Iterator[None]:
    """Import packages that an extra of marginface brings.

    Args:
        extra: the one that has them.
        user: who needs them, for the message.

    Raises:
        MissingPackageError: one is not installed.

    >>> with needs("report"):
    ...     import no_such_package
    Traceback (most recent call last):
    marginface.errors.MissingPackageError: this needs no_such_package, which is not installed; run: pip install 'marginface[report]'
    """  # noqa: E501 - doctest takes a message on one line alone
    try:
        yield
    except ImportError as error:
        module = str(error.name)
        absent = isinstance(error, ModuleNotFoundError)
        partial = module.startswith("onnxruntime.") or (module == "onnxruntime" and not absent)
        if partial and (there := onnx_runtimes()):
            are = "is" if len(there) == 1 else "are"
            raise MissingPackageError(
                f"{user} needs onnxruntime, of which {' and '.join(there)} {are} installed but not "
                f"whole ({error.msg}): one package took files of another along; {ONE_ONNX_RUNTIME}"
            ) from error
        if not absent:
            raise
        package = INSTALLED_AS.get(module.partition(".")[0], module)
        raise MissingPackageError(
            f"{user} needs {package}, which is not installed; "
            f"run: pip install 'marginface[{extra}]'{ALSO.get(extra, '')}"
        ) from error


def require(extra: str, package: str, user: str = "this") -> None:
    """Raise as `needs` does, before any work is done for what the package is to do at its end."""
    with needs(extra, user):
        import_module(package)


def onnx_runtimes() -> list[str]:
    """Return which packages of the module onnxruntime are installed, as pip knows them."""
    return [name for name in ONNX_RUNTIMES if _is_installed(name)]


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
