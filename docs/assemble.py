"""Assemble the pages of the site: docs, files of the repository, and the command line.

    python docs/assemble.py build/docs

The generator of the site takes one folder, and links inside it.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from marginface.cli.app import COMMANDS
from marginface.cli.lazy import build_command, load_command

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/marginface/marginface/blob/main"
# Files outside of docs that are pages of the site.
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "RELEASE.md": "release.md",
    "benchmarks/README.md": "benchmarks.md",
}
NOT_SHOWN = ("*.py", "pictures", "__pycache__", "*.npz", "numbers.json")  # what pages are made with
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


def assemble(folder: Path) -> None:
    """Write all pages and pictures to a folder, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns(*NOT_SHOWN))
    for path in folder.rglob("*.md"):
        source = f"docs/{path.relative_to(folder).as_posix()}"
        path.write_text(relinked(path.read_text(encoding="utf-8"), source), encoding="utf-8")
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        (folder / page).write_text(relinked(text, source), encoding="utf-8")
    (folder / "cli.md").write_text(command_line(), encoding="utf-8")


def relinked(text: str, source: str) -> str:
    """Return the text of a file of the repository with links as the site has them."""
    page = PAGES.get(source, source.removeprefix("docs/"))

    def of_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        if target not in PAGES and not target.startswith("docs/"):
            return f"{REPOSITORY}/{target}"
        on_site = PAGES.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(on_site, posixpath.dirname(page) or ".")

    return LINK.sub(of_site, text)


def command_line() -> str:
    """Return the page of all commands and their options, as `--help` has them."""
    parts = [
        "# The command line",
        "Each command says the same with `--help`. Exit status 0 is success, 2 an error that one "
        "line explains, 130 Ctrl-C; [others](environment.md#exit-codes) are rare.",
    ]
    for name in COMMANDS:
        command = build_command(name, load_command("marginface.cli", name))
        parts += described(command, f"marginface {name}")
    return "\n\n".join(parts) + "\n"


def described(command: Any, path: str, level: int = 2) -> list[str]:
    """Return the paragraphs of a command, and of its own commands."""
    parts = [f"{'#' * level} {path}", "\n\n".join((command.help or "").split("\n\n"))]
    rows = [f"| {_names(each)} | {_text(each)} |" for each in command.params if each.name != "help"]
    if rows and not hasattr(command, "commands"):
        parts.append("\n".join(["| option | |", "|---|---|", *rows]))
    for name in getattr(command, "commands", {}):
        parts += described(
            build_command(name, load_command(f"marginface.cli.{command.name}", name)),
            f"{path} {name}",
            level + 1,
        )
    return parts


def _names(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return names if parameter.param_type_name == "option" else f"`{parameter.name.upper()}`"


def _text(parameter: Any) -> str:
    text = (parameter.help or "").replace("|", "\\|")
    if parameter.required:
        return f"{text} **Required.**"
    default = parameter.default
    shown = default not in (None, False, (), []) and not callable(default) and "default" not in text
    return f"{text} Default: `{default}`." if shown else text


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
