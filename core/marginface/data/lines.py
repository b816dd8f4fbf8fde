"""Lists as people write them: text files of a line for each thing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from marginface.errors import MarginfaceError
from marginface.regular import require_regular
from marginface.text import as_utf8

NUMBER = re.compile(r":\d+$")  # of a line
UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")  # its marks, as undecodable bytes


def numbered_lines(path: Path, expected: str, *, piped: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 text that are not blank, with their numbers; at least one.

    Bytes that are no UTF-8 stay as the system gives those of files' names: a list in Latin-1 means
    files whose names are Latin-1.

    Args:
        path: the file.
        expected: what it ought to be, for messages.
        piped: take a pipe of the shell, which can be read once.

    Raises:
        MarginfaceError: it cannot be read, or is another file.
    """
    empty = True
    require_regular(path, f"expected {expected}", piped=piped)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line or line.startswith(UTF_16):
                    raise MarginfaceError(
                        f"{path} is no UTF-8 text; expected {expected} (convert a list in UTF-16: "
                        f"iconv -f UTF-16 -t UTF-8 {quote(str(path))} > utf8.txt)"
                    )
                if line.strip():
                    empty = False
                    yield number, line
    except OSError as error:
        raise MarginfaceError(
            f"cannot read {path}: {error.strerror}; expected {expected}"
        ) from error
    if empty:
        raise MarginfaceError(f"{path} is empty; expected {expected}")


def how_to_convert(name: str, where: str) -> str:
    """Return what to do where a list's name is not found and is no UTF-8; '' of any other name.

    Args:
        name: as in the list.
        where: the list, with the line or without: `list.txt:3`.
    """
    if as_utf8(name) == name:
        return ""
    path = Path(NUMBER.sub("", where))
    with path.open("rb") as file:
        number = next((at for at, line in enumerate(file, 1) if not _is_utf8(line)), None)
    if number is None:  # CFP's pairs are numbers of names in another file
        return "; the name is no UTF-8: where those of the images are, convert the list that has it"
    return (
        f"; line {number} is no UTF-8: where the images' names are, convert the list (such as "
        f"iconv -f ISO-8859-1 -t UTF-8 {quote(str(path))} > utf8.txt)"
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
