"""Models of a hub: by name and commit alone, from its own cache, held to their checksums."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from marginface import backbones
from marginface.cards import Card, write_model_folder
from marginface.cards.hub import fetched, is_address
from marginface.errors import MarginfaceError
from marginface.model import ModelSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ADDRESS = f"hf://someone/faces@{COMMIT}"
SPEC = ModelSpec("mobilefacenet", 8, (32, 32))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache as huggingface_hub keeps it, with one model of one commit."""
    folder = tmp_path_factory.mktemp("hub")
    snapshot = folder / "models--someone--faces" / "snapshots" / COMMIT
    write_model_folder(
        snapshot, SPEC, backbones.initial_weights(SPEC.graph(), 0), Card(origin="me")
    )
    return folder


def run(cache: Path, *arguments: object, offline: str = "1") -> subprocess.CompletedProcess[str]:
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": offline}
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), **nobody}
    command = [sys.executable, "-m", "marginface", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_model_comes_from_the_cache(cache):
    pytest.importorskip("huggingface_hub")
    done = run(cache, "info", ADDRESS, offline="0")
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # nobody was asked
    assert "mobilefacenet" in done.stdout
    assert "from" in done.stdout


def test_it_embeds_and_exports(cache, tiny_faces, tmp_path):
    pytest.importorskip("huggingface_hub")
    found = tmp_path / "found.npz"
    done = run(
        cache, "embed", "--model", ADDRESS, "--images", tiny_faces, "--output", found, "--resize"
    )
    assert done.returncode == 0, done.stderr
    assert found.stat().st_size > 0
    done = run(cache, "calibrate", "--model", ADDRESS, "--val", tiny_faces, "--far", "0.1")
    assert done.returncode == 2
    assert "a hub's stays as it is" in done.stderr


def test_one_that_is_not_there(cache):
    pytest.importorskip("huggingface_hub")
    done = run(cache, "info", ADDRESS.replace("faces", "none"))
    assert done.returncode == 2
    assert "hf://someone/none@0123456789ab... is not in the cache" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://someone/faces", "names no commit; give all 40 digits"),
        ("hf://someone/faces@main", "has 'main' for a commit"),
        ("hf://faces", "is no address; expected hf://OWNER/NAME@COMMIT"),
        ("hf://a/b/c@main", "is no address"),
    ],
)
def test_what_is_no_commit(address, message):
    with pytest.raises(MarginfaceError, match=message):
        fetched(address)
    assert is_address(Path(address))


def test_a_path_is_a_path(tmp_path):
    assert fetched(tmp_path) == tmp_path
