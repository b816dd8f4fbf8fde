"""What a shell completes: names of commands and options, quickly and without a message."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fresh import python

BIN = Path(sys.executable).parent


def shell(text: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **more}
    return subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, env=environment, check=False
    )


def completed(*words: str) -> list[str]:
    """Return what bash offers for the last of these words."""
    line = shlex.join(["marginface", *words])
    done = shell(
        'eval "$(_MARGINFACE_COMPLETE=source_bash marginface)"\n'
        f"COMP_WORDS=({line}); COMP_CWORD={len(words)}\n"
        '_marginface_completion marginface; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.split()


needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")


@needs_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ev",), ["evaluate"]),
        (("data", "pa"), ["pack"]),
        (("train", "--ba"), ["--backend", "--backbone", "--batch-size"]),
        (("train", "--lr", "1", "--lr", "2", "--backb"), ["--backbone"]),
        (("bench", "losses", "--thr"), ["--threads"]),
        (("frobnicate", "--ba"), []),
    ],
)
def test_bash_completes_commands_and_options(words: tuple[str, ...], offered: list[str]) -> None:
    assert completed(*words) == offered


@pytest.mark.parametrize(
    ("kind", "request_", "answer"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "marginface ev"}, '"evaluate":'),
        (
            "fish",
            {"_TYPER_COMPLETE_ARGS": "marginface ev", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
            "evaluate\t",
        ),
    ],
)
@needs_bash
def test_other_shells_are_answered(kind: str, request_: dict[str, str], answer: str) -> None:
    assert "marginface" in shell("marginface", _MARGINFACE_COMPLETE=f"source_{kind}").stdout
    done = shell("marginface", _MARGINFACE_COMPLETE=f"complete_{kind}", **request_)
    assert (done.returncode, done.stderr) == (0, "")
    assert answer in done.stdout


@needs_bash
def test_it_is_installed_for_the_shell_that_asks(tmp_path: Path) -> None:
    done = shell("marginface --install-completion; true", HOME=str(tmp_path))
    assert "bash completion installed in" in done.stdout, done
    written = tmp_path / ".bash_completions" / "marginface.sh"
    assert f"source '{written}'" in (tmp_path / ".bashrc").read_text()
    assert "complete -o default" in written.read_text()


def test_names_of_commands_are_completed_without_numpy() -> None:
    done = python(
        "import os, sys\n"
        'os.environ |= {"_MARGINFACE_COMPLETE": "complete_bash", "COMP_CWORD": "1",\n'
        '    "COMP_WORDS": "marginface ev"}\n'
        'sys.argv = ["marginface"]\n'
        "from marginface.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n"
        '    heavy = {"numpy", "torch", "tensorflow", "keras", "grain", "PIL"}\n'
        "    print(sorted(heavy & set(sys.modules)))"
    )
    assert done.stdout.split() == ["evaluate", "[]"], done
