"""The `marginface` command: Ctrl-C ends it with one line and status 130, from its first import on.

What takes time to import is imported where Ctrl-C is heard already.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

STATUS = 130
_received: list[int] = []


def main() -> None:
    """Run the command line: SystemExit has its status."""
    _received.clear()
    heard = _hear(_leave)
    import _thread
    import time

    from marginface.cli.app import run

    before = sys.unraisablehook

    def interrupt() -> None:
        time.sleep(0.05)  # by then the hook has returned: within it Python would drop this one, too
        _thread.interrupt_main()

    def again(swallowed: sys.UnraisableHookArgs) -> None:
        """Let Ctrl-C come again where Python drops it, as in a destructor or while it imports."""
        if issubclass(swallowed.exc_type, KeyboardInterrupt):
            _thread.start_new_thread(interrupt, ())  # does not wait for the thread to start
        else:
            before(swallowed)

    try:
        if heard:
            sys.unraisablehook = again
            _hear(_stop)
        run(lambda: bool(_received))
    finally:
        sys.unraisablehook = before
        if heard:
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)  # no traceback from there
            atexit.register(_end)  # so it comes first of all
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _hear(handler: Callable[[int, FrameType | None], None]) -> bool:
    """Let Ctrl-C call a handler; not where a shell in the background or a caller sees to it."""
    if signal.getsignal(signal.SIGINT) not in (signal.default_int_handler, _leave):
        return False
    try:
        signal.signal(signal.SIGINT, handler)
    except ValueError:  # in a thread, which hears no signals
        return False
    return True


def _leave(number: int, frame: FrameType | None) -> None:
    """End the process: nothing has begun that would have to be undone."""
    del number, frame
    os.write(2, b"marginface: stopped by Ctrl-C\n")
    os._exit(STATUS)


def _stop(number: int, frame: FrameType | None) -> None:
    del frame
    _received.append(number)
    raise KeyboardInterrupt


def _end() -> None:
    """End the process after Ctrl-C: what packages clean up at exit may never end.

    An import that was cut short can leave them in any state. Python's own status is another, too,
    once the interrupt has passed through `exec`.
    """
    if _received:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(STATUS)


if __name__ == "__main__":
    main()
