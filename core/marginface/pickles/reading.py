"""Read pickles that hold nothing but bytes, lists, flags and NumPy's byte arrays: no code is run.

Python's own unpickler is not used. This one knows the opcodes that such files need and refuses the
others; the few callables that pickles name for bytes and arrays have stand-ins in `values`, the
rest is refused by name. What a file can make this one hold in memory is bounded by its size.
"""

from __future__ import annotations

from mmap import mmap
from pathlib import Path
from typing import Any

from marginface.errors import MarginfaceError
from marginface.pickles.machine import Machine, Refused, Unfit
from marginface.pickles.opcodes import PLAIN, run
from marginface.pickles.values import admitted


def load(buffer: bytes | mmap, where: str | Path) -> Any:
    """Read a pickle of None, bool, int, str, list, tuple, bytes and `values.Array`.

    Bytes, of Python 2 too, are a memoryview of `buffer` where they lie there as they are.

    Args:
        buffer: a whole file.
        where: its name, for messages.

    Raises:
        MarginfaceError: it asks for anything else, or is damaged.

    >>> import pickle
    >>> load(pickle.dumps(([b"", True], None), protocol=2), "flags")
    ([b'', True], None)
    >>> load(pickle.dumps(print), "a.bin")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: a.bin asks for builtins.print, which no verification set \
needs; it was refused and nothing of it was run: get the file from a source that you trust
    """
    machine = Machine(buffer, admitted)
    try:
        value = run(machine, PLAIN)
        if machine.at != len(buffer):
            raise Unfit(f"{len(buffer) - machine.at} bytes follow its end")
    except Refused as refused:
        raise MarginfaceError(
            f"{where} asks for {refused}, which no verification set needs; it was refused "
            "and nothing of it was run: get the file from a source that you trust"
        ) from None
    except Unfit as unfit:
        raise MarginfaceError(
            f"{where} is cut short, damaged or no verification set: {unfit} (at byte "
            f"{machine.start} of {len(buffer)}); restore it or make it again"
        ) from None
    return value
