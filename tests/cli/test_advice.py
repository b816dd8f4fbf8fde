"""What errors advise is done, and works: for every error that names an option or a command."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from record_files import insightface

import marginface
from marginface.cli.app import app

CORE = Path(marginface.__file__).parent
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


LENGTH = ["--max-steps", "2"]


def training(data: Path, output: Path) -> list[str]:
    network = ["--backbone", "mobilefacenet", "--embedding-size", "4"]
    places = ["--data", str(data), "--output", str(output)]
    return ["train", *places, *network, "--batch-size", "4"]


# Of training: what is typed, what the error says, what is typed then.
TRAINING = {
    "warm-up": ("--warmup-steps 9", "give --warmup-steps 0 or so", "--warmup-steps 0"),
    "length": ("--warmup-steps 9", "(--epochs, --max-steps)", "--warmup-steps 9 --max-steps 12"),
    "milestones": (
        "--schedule step",
        "such as --milestones 1000,2000",
        "--schedule step --milestones 1",
    ),
    "compile": ("--compile on", "use --compile auto or off", "--compile off"),
    "size": ("--input-size 64", "scale it with --resize", "--input-size 64 --resize"),
}


@pytest.mark.usefixtures("fake_backend")
@pytest.mark.parametrize("name", TRAINING)
def test_the_options_that_training_advises(
    name: str, tiny_faces: Path, tmp_path: Path, cli, refusal
) -> None:
    typed, advice, followed = TRAINING[name]
    command = training(tiny_faces, tmp_path / "run")
    assert advice in refusal(*command, *typed.split(), *LENGTH)
    length = [] if "--max-steps" in followed else LENGTH
    assert cli(*command, *followed.split(), *length).status == 0


@pytest.mark.usefixtures("fake_backend")
def test_a_broken_image_is_left_out_of_training(
    tiny_faces: Path, tmp_path: Path, cli, refusal
) -> None:
    faces = tmp_path / "faces"
    shutil.copytree(tiny_faces, faces)
    next(iter(sorted(faces.rglob("*.png")))).write_bytes(b"broken")
    command = [*training(faces, tmp_path / "run"), *LENGTH]
    assert "or leave such out with --skip-bad" in refusal(*command)
    assert cli(*command, "--skip-bad").status == 0


@pytest.mark.usefixtures("fake_backend")
def test_a_run_that_is_there_is_resumed(tiny_faces: Path, tmp_path: Path, cli, refusal) -> None:
    command = [*training(tiny_faces, tmp_path / "run"), *LENGTH]
    assert cli(*command).status == 0
    assert "continue it with --resume" in refusal(*command)
    assert cli("train", "--output", tmp_path / "run", "--resume").status == 0
    assert cli(*training(tiny_faces, tmp_path / "another"), *LENGTH).status == 0


def test_options_that_sets_of_images_want(
    tiny_faces: Path, pairs_file: Path, tmp_path: Path, cli, refusal
) -> None:
    split = ["data", "split", tiny_faces, "--output", tmp_path / "parts", "--pairs", 20]
    assert "split with --by identity" in refusal(*split, "--by", "image")
    pack = ["data", "pack", tiny_faces, tmp_path / "set.zip"]
    assert "name a list of them with --pairs" in refusal(*pack)
    assert cli(*pack, "--pairs", pairs_file).status == 0
    evaluate = ["evaluate", "--model", tmp_path / "m.onnx"]
    assert "give --val lfw.bin, or --pairs pairs.txt and --images" in refusal(*evaluate)
    listed = [*evaluate, "--val", pairs_file]
    assert "give them, too (--images" in refusal(*listed)
    for opened in (["--val", tmp_path / "set.zip"], ["--val", pairs_file, "--images", tiny_faces]):
        assert "m.onnx" in refusal(*evaluate, *opened)  # the set opens; the model is not there
    inspect = ["data", "inspect", tiny_faces]
    assert "leave it out" in refusal(*inspect, "--rebuild-index")
    assert cli(*inspect).status == 0


def options(command: Any) -> Iterator[str]:
    if hasattr(command, "resolve_command"):
        context = command.make_context("marginface", [], resilient_parsing=True)
        for name in command.list_commands(context):
            yield from options(command.resolve_command(context, [name])[1])
    yield from (name for each in command.params for name in [*each.opts, *each.secondary_opts])


def named_in_messages() -> Iterator[tuple[str, str]]:
    """Yield each option in the text of an error, with its file."""
    for path in sorted(CORE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error"):
                text = " ".join(
                    str(part.value) for part in ast.walk(node) if isinstance(part, ast.Constant)
                )
                yield from (
                    (path.name, name) for name in re.findall(r"(?<!\S)--[a-z][a-z-]+", text)
                )


def test_every_option_that_an_error_names_is_there() -> None:
    known = set(options(typer.main.get_command(app)))
    named = list(named_in_messages())
    assert len(named) > 30
    assert [each for each in named if each[1] not in known] == []
