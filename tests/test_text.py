"""Names as text: what is escaped, what is left alone, and that no string goes another way."""

import ast
import io
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

import marginface
from marginface.api.progress import image_progress
from marginface.cli import main as command_line
from marginface.terminal import Terminal, say
from marginface.text import as_utf8, printable
from marginface.training.event_file import EventFile

CORE = Path(marginface.__file__).parent
SOURCES = [
    path
    for package in (CORE, CORE.parents[1] / "torch_impl", CORE.parents[1] / "tf_impl")
    for path in package.rglob("*.py")
]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("tab\tline\nreturn\r", r"tab\tline\nreturn\r"),
        ("\x00\x7f", r"\x00\x7f"),
        ("\x9b31m\x85", r"\u009b31m\u0085"),
        ("a\u202egpj.exe\u2066\u2069\u200f", r"a\u202egpj.exe\u2066\u2069\u200f"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("a\u200bb\ufeffc\xad", r"a\u200bb\ufeffc\u00ad"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("byte \udcff", r"byte \xff"),
        ("half \ud83d", r"half \ud83d"),
    ],
)
def test_what_acts_on_a_terminal_is_escaped(name, shown):
    assert printable(name) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "name",
    [
        *("José", "Jose\u0301", "日本 王", "می\u200cخ", "क्\u200dष", "👩\u200d🚀", "🏳️\u200d🌈"),
        *("C:\\new\\x1b", "[/bold]", ":smile:", "$x_1$", "a\xa0b", "日\u3000本", "\ue000", ""),
    ],
)
def test_letters_of_any_script_stay(name):
    assert printable(name) == name


@given(st.text(st.characters()))
def test_any_text_becomes_one_line_that_utf_8_can_hold(text):
    shown = printable(text)
    shown.encode()
    kinds = {unicodedata.category(each) for each in shown if each not in "\u200c\u200d"}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(shown.splitlines()) <= 1


def test_only_bytes_that_are_no_utf_8_are_escaped_in_files():
    assert as_utf8("a\x1b\n\u202e[b]\udcff") == "a\x1b\n\u202e[b]\\xff"


HOSTILE = "[/bold][red]:smile: \x1b[31m\n\u202e\udcff {x} $x_1$"
SHOWN = r"[/bold][red]:smile: \x1b[31m\n\u202e\xff {x} $x_1$"


def test_a_terminal_shows_strings_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    table = Table(title=HOSTILE, caption=HOSTILE)
    table.add_column(HOSTILE, footer=HOSTILE)
    table.add_row(HOSTILE)
    terminal = Terminal()
    for each in (table, HOSTILE):
        terminal.print(each)
        terminal.print(each, markup=True, emoji=True, highlight=True)
    say(Console(), HOSTILE)
    printed = capsys.readouterr().out
    assert printed.count(SHOWN) == 2 * 4 + 2 + 1
    assert "\x1b" not in printed


def test_a_progress_bar_shows_its_description_as_it_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    with image_progress(HOSTILE) as on_progress:
        on_progress(1, 2)
    assert SHOWN in capsys.readouterr().err


def test_warnings_are_one_line_of_text():
    code = f"""
import warnings
from marginface.cli import app, main
app.app = lambda **_: warnings.warn({HOSTILE!r})
main.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr.decode() == f"marginface: warning: {SHOWN}\n"


def test_a_terminal_without_the_letters_gets_escapes(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.argv", ["marginface", "losses", "José 王"])
    monkeypatch.setattr("sys.stderr", narrow)
    with pytest.raises(SystemExit):
        command_line.main()
    narrow.seek(0)
    assert "unknown loss 'Jos\\xe9 \\u738b'" in narrow.read()


def test_tensorboard_takes_any_name(tmp_path):
    with EventFile(tmp_path) as events:
        events.scalars(1, {f"verification/{HOSTILE}/accuracy": 0.5})
    (written,) = tmp_path.iterdir()
    assert SHOWN.encode() in written.read_bytes()


def called(path: Path) -> set[str]:
    """Return the names of the functions that a module calls, print's but no method's."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(node.func.id)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") != "print":
            found.add(getattr(node.func, "attr", ""))
    return found


def test_consoles_and_prints_are_made_in_one_place():
    assert len(SOURCES) > 200
    by_function = {
        function: {path.name for path in SOURCES if function in called(path)}
        for function in ("Console", "Terminal", "print", "echo", "secho")
    }
    assert by_function["Terminal"] >= {"embed.py", "trainer.py", "progress.py"}
    assert by_function["Console"] == set()  # Terminal is the one, and derives from it
    # A number for the parent process; words of ours (the version, what Ctrl-C stopped); what is
    # escaped before it is printed.
    expected = {"losses.py", "app.py", "progress.py", "text.py", "compare.py", "info.py"}
    assert by_function["print"] == expected
    assert by_function["echo"] == by_function["secho"] == set()
