"""What a release carries: wheel and source distribution."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import marginface

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both, without a network; return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "-o", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_the_wheel_has_the_packages_and_their_files(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"marginface-{marginface.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.partition("/")[0] for name in names}
    assert top == {
        *("marginface", "marginface_torch", "marginface_tf"),
        f"marginface-{marginface.__version__}.dist-info",
    }
    sources = {
        path.relative_to(root).as_posix()
        for root in (ROOT / "core", ROOT / "torch_impl", ROOT / "tf_impl")
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= names


def test_the_source_distribution_can_run_its_tests(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    wanted = {name for name in tracked if not name.startswith((".ci", ".github", ".pre"))}
    if not tracked:
        pytest.skip("no git here: what is tracked cannot be listed")
    assert wanted - names == set()


def test_the_page_of_a_package_index_leads_to_the_repository(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    page = str(metadata.get_payload())
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", page)
    assert len(links) > 20
    for picture, link in links:
        assert link.startswith(("https://", "#")), link
        if "/marginface/marginface/" in link:
            kind, path = ("raw", "/main/") if picture else ("", "/blob/main/")
            assert kind in link
            assert (ROOT / link.partition(path)[2].partition("#")[0]).exists(), link
    assert metadata["Author"] == "marginface contributors"
    assert {"Documentation", "Changelog", "Issues", "Homepage"} == {
        value.partition(",")[0] for value in metadata.get_all("Project-URL")
    }
