"""Packages that only some uses need: a missing one is named with its pip command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from marginface.errors import MissingPackageError

# Each has the module onnxruntime: who has the one must not be sent to the other.
ALSO = {"onnx": ", or on an NVIDIA GPU 'marginface[onnx-gpu]'"}

# What pip calls packages that are imported by another name.
INSTALLED_AS = {
    "absl": "absl-py",
    "faiss": "faiss-cpu",
    "google": "protobuf",  # of those that share the name, the one that is used
    "google_crc32c": "google-crc32c",
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
    except ModuleNotFoundError as error:
        module = str(error.name)
        package = INSTALLED_AS.get(module.partition(".")[0], module)
        raise MissingPackageError(
            f"{user} needs {package}, which is not installed; "
            f"run: pip install 'marginface[{extra}]'{ALSO.get(extra, '')}"
        ) from error


def require(extra: str, package: str, user: str = "this") -> None:
    """Raise as `needs` does, before any work is done for what the package is to do at its end."""
    with needs(extra, user):
        import_module(package)
