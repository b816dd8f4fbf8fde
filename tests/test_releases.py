"""What a release needs beside its archives: one version, metadata, workflows, hooks, checks."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import marginface

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

if not WORKFLOWS:
    pytest.skip("no .github here: a source distribution", allow_module_level=True)


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def test_the_citation_is_of_this_version_and_whole() -> None:
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what the format asks
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == marginface.__version__
    assert citation["authors"] == [{"name": "marginface contributors"}]
    assert citation["license"] == "Apache-2.0"


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    version, state = re.findall(r"^## (\S+) \((.+)\)$", text, re.MULTILINE)[0]
    assert version == marginface.__version__
    assert state == "unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", state)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_what_there_is(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands
    for step in steps:
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/checkout@v4"))
    for command in commands:
        named = re.findall(r"\.ci/run|releasing/\w+\.py|requirements\.lock", command)
        assert all((ROOT / each).exists() for each in named)
        assert set(re.findall(r"\bmake ([\w-]+)", command)) <= TARGETS


def test_wheels_are_tried_with_every_python_that_is_promised() -> None:
    matrix = read(".github/workflows/wheels.yml")["jobs"]["smoke"]["strategy"]["matrix"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    prefix = "Programming Language :: Python :: 3."
    promised = [c.rpartition(" ")[2] for c in project["classifiers"] if c.startswith(prefix)]
    assert matrix["python"] == promised
    asked = subprocess.run(
        [sys.executable, ROOT / "releasing" / "smoke.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{{{','.join(matrix['extras'])}}}" in asked.stdout


def test_hooks_run_programs_of_the_environment() -> None:
    hooks = [hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}  # nothing is downloaded
    for hook in hooks:
        program, *arguments = hook["entry"].split()
        assert program.startswith(".venv/bin/")
        name = Path(program).name
        if name == "ruff":
            subprocess.run(
                [Path(sys.executable).with_name(name), *arguments, "--quiet", __file__], check=True
            )
        else:
            assert Path(sys.executable).with_name(name).exists()


@pytest.mark.slow  # both frameworks, from their import on
def test_an_installation_passes_its_checks(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    checks = ROOT / "releasing" / "checks.py"
    command = [sys.executable, "-I", checks, "torch", "tf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
