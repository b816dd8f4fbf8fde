"""No file imports one that imports it, by whatever way: each can be read after what it uses."""

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

PACKAGES = ("marginface", "marginface_torch", "marginface_tf")


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each module imports: anywhere in it, for types alone, too."""
    graph = grimp.build_graph(*PACKAGES)
    return {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}


def test_no_imports_run_in_a_circle(imports: dict[str, set[str]]) -> None:
    assert len(imports) > 300
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_a_circle_is_found(imports: dict[str, set[str]]) -> None:
    """Errors, which all import, must import nothing of ours."""
    assert "marginface.errors" in imports["marginface.checks"]
    broken = imports | {"marginface.errors": {"marginface.checks"}}
    with pytest.raises(CycleError):
        TopologicalSorter(broken).prepare()
