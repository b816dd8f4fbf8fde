"""What errors advise about models, embeddings, cleaning and processes is done, and works."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
GRAPH = """<ir_version: 8, opset_import: ["": 17]>
tiny (float[N, 3, %d, %d] x) => (float[N, 6] y) {
    pooled = AveragePool<kernel_shape = [%d, %d], strides = [%d, %d]>(x) y = Flatten(pooled) }"""


def network(path: Path, height: int, width: int) -> Path:
    half = (height, width // 2)
    onnx.save(onnx.parser.parse_model(GRAPH % (height, width, *half, *half)), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return network(tmp_path / "m.onnx", 112, 112)


def embed(model: Path, images: Path, output: Path) -> list[object]:
    return ["embed", "--model", model, "--images", images, "--output", output]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_embeddings_that_are_there(model, tiny_faces, tmp_path, cli, refusal, suffix) -> None:
    command = embed(model, tiny_faces, tmp_path / f"e{suffix}")
    assert cli(*command).status == 0
    assert "pass --overwrite to replace it, or give another name" in refusal(*command)
    assert cli(*command, "--overwrite").status == 0
    assert cli(*embed(model, tiny_faces, tmp_path / f"other{suffix}")).status == 0


@pytest.mark.parametrize("followed", ["--overwrite", "restored"])
def test_unfinished_embeddings_of_other_options(
    model, tiny_faces, tmp_path, cli, refusal, monkeypatch, followed
) -> None:
    from marginface.embeddings import store

    command = embed(model, tiny_faces, tmp_path / "e.npz")
    write, written = store._embed_part, []

    def stopped(*given, **more):
        if written:
            raise KeyboardInterrupt
        written.append(write(*given, **more))
        return written[-1]

    with monkeypatch.context() as patch:
        patch.setattr(store, "PART_SIZE", 8)
        patch.setattr(store, "_embed_part", stopped)
        assert cli(*command).status == 130
    assert "the choice of --flip changed since; restore it" in refusal(*command, "--flip")
    given = ["--flip", "--overwrite"] if followed == "--overwrite" else []
    assert cli(*command, *given).status == 0


def test_embeddings_of_images_and_of_both_sides(model, tiny_faces, tmp_path, cli, refusal) -> None:
    lists = []
    for name in ("gallery", "probes"):
        (tmp_path / f"{name}.txt").write_text(
            "".join(f"person_{n}/person_{n}_000{1 + len(lists)}.png person_{n}\n" for n in range(3))
        )
        lists += [f"--{name}", tmp_path / f"{name}.txt"]
    both, one = tmp_path / "both.npz", tmp_path / "one.npz"
    assert cli(*embed(model, tiny_faces, both), "--flip").status == 0
    assert cli(*embed(model, tiny_faces, one)).status == 0
    identify = ["identify", *lists, "--embeddings"]
    advice = "embed both again, with --flip or without"
    assert advice in refusal(*identify, both, "--embeddings", one)
    for flip in (["--flip"], []):
        for path in (both, one):
            assert cli(*embed(model, tiny_faces, path), *flip, "--overwrite").status == 0
        assert advice not in cli(*identify, both, "--embeddings", one).stderr


@pytest.mark.parametrize("option", [["--crop", "0,8,112,96"], ["--resize"]])
def test_images_larger_than_a_model_takes(
    tiny_faces, pairs_file, tmp_path, cli, refusal, option
) -> None:
    narrow = network(tmp_path / "narrow.onnx", 112, 96)
    pairs = ["--pairs", pairs_file, "--images", tiny_faces]
    commands = (
        embed(narrow, tiny_faces, tmp_path / "e.npz"),
        ["evaluate", "--model", narrow, *pairs],
        ["report", narrow, *pairs, "--output", tmp_path / "page"],
    )
    for command in commands:
        assert re.search(r"scale (it|them) .*--resize.*, or cut .*--crop\)", refusal(*command))
        assert cli(*command, *option).status == 0


@pytest.fixture
def trained(tmp_path, cli) -> tuple[Path, Path]:
    """A record file, and a run on it with several centres a class."""
    rng, data = np.random.default_rng(0), tmp_path / "my faces"
    for name in "ab":
        (data / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(data / name / f"{number}.png")
    rec = tmp_path / "my set.rec"
    assert cli("data", "pack", data, rec).status == 0
    network = ["--backbone", "mobilefacenet", "--embedding-size", 4, "--input-size", 32]
    length = ["--batch-size", 4, "--max-steps", 1, "--loss", "subcenter_arcface"]
    run = tmp_path / "run"
    assert cli("train", "--data", rec, "--output", run, *network, *length).status == 0
    return rec, run


def test_what_is_kept_of_one_file_is_written_by_subset(trained, tmp_path, cli, refusal) -> None:
    rec, run = trained
    table, new = tmp_path / "the table.csv", tmp_path / "new.rec"
    clean = ["clean", "--run", run, "--data", rec, "--output", table, "--max-angle", 180]
    told = refusal(*clean, "--link-to", tmp_path / "kept")
    advised = re.search(r"leave it out, and then .*`marginface (.*?)`", told)
    assert advised
    assert cli(*clean).status == 0
    typed = [str(new) if part == "NEW" else part for part in shlex.split(advised[1])]
    assert cli(*typed).status == 0
    assert new.exists()


def test_links_are_made_outside(trained, tmp_path, cli, refusal) -> None:
    _, run = trained
    data, table = tmp_path / "my faces", tmp_path / "table.csv"
    clean = ["clean", "--run", run, "--data", data, "--output", table, "--link-to"]
    assert "choose a folder outside" in refusal(*clean, data / "kept")
    assert cli(*clean, tmp_path / "kept").status == 0


def test_a_run_whose_checkpoints_are_all_damaged_is_trained_again(
    trained, tmp_path, cli, refusal
) -> None:
    _, run = trained
    shutil.copytree(run, tmp_path / "copy")
    arrays = next(run.glob("checkpoints/*/state.safetensors"))
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:-1])
    export = ["export", "--output", tmp_path / "x.onnx", "--run"]
    told = refusal(*export, run)
    advised = re.search(r"there is no other; restore one .*`marginface (.*?)`", told)
    assert advised
    new = str(tmp_path / "new")
    assert cli(*(new if part == "NEW" else part for part in shlex.split(advised[1]))).status == 0
    assert cli(*export, new).status == 0
    arrays.write_bytes(whole)  # restored from a copy
    assert cli(*export, run, "--overwrite").status == 0


def training(data: Path, output: Path) -> list[object]:
    network = ["--backbone", "mobilefacenet", "--embedding-size", "4", "--max-steps", "2"]
    return ["train", "--data", data, "--output", output, *network, "--batch-size", "4"]


@pytest.mark.usefixtures("fake_backend")
def test_processes_that_the_environment_names(
    tiny_faces, tmp_path, cli, refusal, monkeypatch
) -> None:
    command = training(tiny_faces, tmp_path / "run")
    monkeypatch.setenv("RANK", "0")
    assert "unset RANK to train with one process" in refusal(*command)
    for name, value in zip(NAMES, "0101", strict=True):  # the only one
        monkeypatch.setenv(name, value)
    assert "leave processes out under torchrun" in refusal(*command, "--processes", "3")
    assert cli(*command).status == 0
    for name in NAMES:
        monkeypatch.delenv(name)  # "unset"
    assert cli(*training(tiny_faces, tmp_path / "alone")).status == 0


@pytest.mark.usefixtures("fake_backend")
def test_a_batch_larger_than_the_set(tiny_faces, tmp_path, cli, refusal) -> None:
    command = training(tiny_faces, tmp_path / "run")
    assert "with 24 images; expected 1 to 24: choose a smaller batch (--batch-size)" in refusal(
        *command[:-1], "25"
    )
    assert cli(*command[:-1], "24").status == 0


@pytest.mark.slow
def test_several_processes_are_started_by_torchrun(tiny_faces, tmp_path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*training(tiny_faces, tmp_path / "run"), "--input-size", "32", "--resize"]
    started = [*torchrun, "--nproc-per-node", "2", "-m", "marginface.cli.main", *command]
    done = subprocess.run([str(each) for each in started], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert b"finished 2 steps" in done.stderr
