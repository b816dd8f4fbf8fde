"""Lists as people write them: text files of a line for each thing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from marginface.errors import MarginfaceError


def numbered_lines(
    path: Path, expected: str, *, errors: str = "strict"
) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 text that are not blank, with their numbers; at least one.

    Args:
        path: the file.
        expected: what it ought to be, for messages.
        errors: what becomes of other bytes, as `open` takes it.

    Raises:
        MarginfaceError: it cannot be read, or is another file.
    """
    empty = True
    try:
        with path.open(encoding="utf-8-sig", errors=errors) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    empty = False
                    yield number, line
    except UnicodeDecodeError as error:
        raise MarginfaceError(f"{path} is no UTF-8 text; expected {expected}") from error
    except OSError as error:
        raise MarginfaceError(
            f"cannot read {path}: {error.strerror}; expected {expected}"
        ) from error
    if empty:
        raise MarginfaceError(f"{path} is empty; expected {expected}")
