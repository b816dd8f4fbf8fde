"""docs/environment.md names the environment variables that the code reads or sets, and no other."""

import os
import re
from pathlib import Path

from marginface.cli.bench.measuring import chosen_backends
from marginface.training.processes.groups import STORE
from marginface.training.processes.launching import PARENT, environments

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "environment.md").read_text("utf-8")
CONSTANTS = {"STORE": STORE, "PARENT": PARENT}
USE = re.compile(r"\bos\.(?:environ(?:\.get|\.setdefault|\.pop)?|getenv)(?:[(\[](\"?)(\w+)\1)?")


def used() -> set[str]:
    """Variables at a use of `os.environ`, and what `--processes` sets."""
    found = set(environments(2, Path("nowhere"))[0])
    for folder in ("core", "torch_impl", "tf_impl"):
        for path in (ROOT / folder).rglob("*.py"):
            for quote, name in USE.findall(path.read_text("utf-8")):
                if name:  # else the whole of it is passed on
                    found.add(name if quote else CONSTANTS[name])
    return found


def named(heading: str) -> set[str]:
    rows = PAGE.split(heading)[1].split("\n\n")[1].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_page_names_the_variables_of_the_code() -> None:
    assert named("These are read or set by marginface itself:") == used()


def test_variables_of_other_libraries_stand_apart() -> None:
    assert not named("These are read by libraries below") & used()


def test_benches_let_idle_threads_sleep_unless_they_are_told(monkeypatch) -> None:
    for given, policy in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        with monkeypatch.context() as patch:
            patch.setenv("OMP_WAIT_POLICY", given or "")  # so that it is restored
            if given is None:
                patch.delenv("OMP_WAIT_POLICY")
            assert chosen_backends("torch") == ["torch"]
            assert os.environ["OMP_WAIT_POLICY"] == policy
