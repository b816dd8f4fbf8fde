"""What a user's type checker sees: real classes with real signatures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "marginface": ROOT / "core",
    "marginface_torch": ROOT / "torch_impl",
    "marginface_tf": ROOT / "tf_impl",
}
# The frameworks' own types are as if they were not installed: reading them takes a minute.
CONFIG = """
[mypy]
mypy_path = {paths}
[mypy-torch.*,tensorflow.*,keras.*]
follow_imports = skip
ignore_missing_imports = True
[mypy-marginface.*,marginface_torch.*,marginface_tf.*]
ignore_errors = True
"""
USER = """
import marginface_tf as of_tf
import marginface_torch as of_torch

reveal_type(of_torch.MarginHead("arcface", 4, 10))
reveal_type(of_tf.MarginHead("arcface", 4, 10))
reveal_type(of_torch.create_backbone("mbf"))
of_torch.MarginHead(7, 4, 10)
of_tf.no_such_name
"""


def test_mypy_sees_the_classes_of_both_backends(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(CONFIG.format(paths=":".join(map(str, PACKAGES.values()))))
    (tmp_path / "user.py").write_text(USER)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("user.py")]
    expected = (
        'Revealed type is "marginface_torch.heads.head.MarginHead"',
        'Revealed type is "marginface_tf.heads.head.MarginHead"',
        'Revealed type is "marginface_torch.backbones.backbone.Backbone"',
        'Argument 1 to "MarginHead" has incompatible type "int"',
        'Module has no attribute "no_such_name"',
    )
    assert len(lines) == len(expected), done.stdout + done.stderr
    for line, words in zip(lines, expected, strict=True):
        assert words in line


def test_the_packages_say_that_they_are_typed() -> None:
    for name, folder in PACKAGES.items():
        assert (folder / name / "py.typed").is_file()
