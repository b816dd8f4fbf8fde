"""Both notebooks run from top to bottom, and end with a network that tells people apart."""

import re
from pathlib import Path
from typing import Any

import pytest
import small_network

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = {"train_torch": "torch", "train_tf": "tensorflow"}


def read(name: str) -> Any:
    return nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)


def with_a_small_network(notebook: Any) -> None:
    """Let it train a network that takes less time."""
    for cell in notebook.cells:
        cell.source = cell.source.replace('"mobilefacenet"', f'"{small_network.NAME}"')
    folder = str(Path(small_network.__file__).parent)
    start = f"import sys; sys.path.append({folder!r}); import small_network"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(start))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("train_torch", True),
        pytest.param("train_torch", False, marks=SLOW),
        pytest.param("train_tf", False, marks=SLOW),
    ],
)
def test_it_runs_and_its_network_has_learned(name: str, small: bool) -> None:
    pytest.importorskip(NOTEBOOKS[name])
    notebook = read(name)
    if small:
        with_a_small_network(notebook)
    resources = {"metadata": {"path": str(EXAMPLES)}}  # as where Jupyter opens it
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    genuine, impostor = re.findall(r"(?:same person|different people) (-?[\d.]+)", printed)
    assert float(genuine) > 0.5
    assert float(genuine) > float(impostor) + 0.4


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_kept_without_its_output(name: str) -> None:
    for cell in read(name).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
