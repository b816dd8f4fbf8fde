"""The command line in this process, as a user types it."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest

from marginface.cli.main import main

WIDTH = 160  # of the terminal, in columns
ERROR = "marginface: error: "


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    stdout: str
    stderr: str


def cli(*arguments: object, columns: int = WIDTH) -> Done:
    """Run `marginface` with these arguments in a terminal of so many columns."""
    streams = [
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="", write_through=True)
        for _ in range(2)
    ]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(streams[0]):
        patch.setattr("sys.argv", ["marginface", *map(str, arguments)])
        patch.setenv("COLUMNS", str(columns))
        with redirect_stderr(streams[1]), pytest.raises(SystemExit) as left:
            main()
    printed = [stream.buffer.getvalue().decode() for stream in streams]
    code = left.value.code
    return Done(code if isinstance(code, int) else 0, *printed)


def printed(*arguments: object, columns: int = WIDTH) -> str:
    """Run a command that must succeed; return what it prints to standard output."""
    done = cli(*arguments, columns=columns)
    assert done.status == 0, done
    return done.stdout


def refusal(*arguments: object, columns: int = WIDTH) -> str:
    """Run a command that a user has to mend; return the line that says what."""
    done = cli(*arguments, columns=columns)
    assert (done.status, done.stdout) == (2, ""), done
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(ERROR), done
    return line.removeprefix(ERROR)
