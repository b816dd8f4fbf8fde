"""What errors advise is done, and works: for every error that names an option or a command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from record_files import insightface

ADVISED = re.compile(r"`marginface (.*?)`")

READERS = {  # commands that open a .rec; what they want besides is not there, or is made
    "inspect": ["data", "inspect", "{rec}"],
    "pack": ["data", "pack", "{rec}", "{out}"],
    "split": ["data", "split", "{rec}", "--output", "{out}"],
    "subset": ["data", "subset", "{rec}", "{out}"],
    "preview": ["data", "preview", "{rec}", "{out}.png"],
    "embed": ["embed", "--model", "m.onnx", "--images", "{rec}", "--output", "{out}.npz"],
    "train": ["train", "--data", "{rec}", "--output", "{out}", "--backbone", "mobilefacenet"],
    "evaluate": ["evaluate", "--model", "m.onnx", "--val", "{pairs}", "--images", "{rec}"],
}
OWN_OPTION = [name for name in READERS if name != "evaluate"]


def command(name: str, path: Path, tmp_path: Path) -> list[str]:
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("0/0.jpg 0/1.jpg 1\n0/0.jpg 1/2.jpg 0\n")
    places = {"rec": path, "out": tmp_path / "out", "pairs": pairs}
    return [part.format(**places) for part in READERS[name]]


@pytest.fixture
def without_idx(tmp_path: Path) -> Path:
    (tmp_path / "a set").mkdir()
    path = insightface(tmp_path / "a set" / "train.rec", [0, 0, 1, 1])
    path.with_suffix(".idx").unlink()
    return path


@pytest.mark.parametrize("name", READERS)
def test_the_command_that_rebuilds_an_index(
    without_idx: Path, name: str, tmp_path: Path, cli, refusal
) -> None:
    typed = command(name, without_idx, tmp_path)
    advised = ADVISED.search(refusal(*typed))
    assert advised
    assert cli(*shlex.split(advised[1])).status == 0
    assert without_idx.with_suffix(".idx").exists()
    assert ".idx" not in cli(*typed).stderr


@pytest.mark.parametrize("name", OWN_OPTION)
def test_commands_of_sets_rebuild_an_index_themselves(
    without_idx: Path, name: str, tmp_path: Path, cli
) -> None:
    cli(*command(name, without_idx, tmp_path), "--rebuild-index")
    assert without_idx.with_suffix(".idx").exists()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("file", ["train.rec", "s.tfrecord", "s.tfrecord-00000-of-00002"])
def test_a_folder_of_records_gets_the_files_name(
    tmp_path: Path, name: str, file: str, refusal
) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / file).write_bytes(b"records")
    (folder / "property").write_text("2,112,112")
    assert f"give {folder / file} instead" in refusal(*command(name, folder, tmp_path))
