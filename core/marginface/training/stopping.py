"""Ctrl-C and SIGTERM: finish the step, save, leave; a second signal leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = "stopping after this step (minutes, where it is being compiled); again to stop at once"
SHOW_CURSOR = "\x1b[?25h"  # which the progress bar hides and a process that is ended cannot restore


class StopRequest:
    """Within the `with` block, `received` is the first stop signal's number, or None.

    Outside the main thread, where Python delivers no signals, it never stops anything.

    Args:
        quiet: print nothing; another process tells the user.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self.received: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = number
        for stop in SIGNALS:
            signal.signal(stop, signal.SIG_DFL)  # the next one ends the process
        if self._quiet:
            return
        with suppress(OSError):  # not print: the signal may have come in the middle of one
            os.write(2, f"{SHOW_CURSOR if os.isatty(2) else ''}\n{NOTICE}\n".encode())

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {stop: signal.signal(stop, self._receive) for stop in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for stop, handler in self._before.items():
            signal.signal(stop, handler)
