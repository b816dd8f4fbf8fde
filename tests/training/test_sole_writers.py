"""Every command that writes an output for long is its only writer, and a second touches nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from packing_faces import contents
from runs import QUIET, on_processes, resumed

from marginface.data.packing.partial import LOCK, partial_path
from marginface.embeddings.files import embeddings_table
from marginface.errors import AgreedError, BusyError
from marginface.locking import sole_writer
from marginface.runs.folder import load_run
from marginface.training.trainer import train

MODEL = """<ir_version: 8, opset_import: ["": 17]>
tiny (float[N, 3, 112, 112] x) => (float[N, 12] y) {
    pooled = AveragePool<kernel_shape = [56, 56], strides = [56, 56]>(x) y = Flatten(pooled) }"""


@pytest.fixture
def second(make, fake_backend):
    """Train; in the fourth step of it, something else is tried."""

    def run(attempt, **values):
        said = []

        def prepare(learner):
            def on_step(step):
                if step == 4:
                    fake_backend.prepare = lambda _: None
                    before = contents(config.output)
                    with pytest.raises(BusyError) as caught:
                        attempt(config)
                    said.append(str(caught.value))
                    assert contents(config.output) == before

            learner.on_step = on_step

        fake_backend.prepare = prepare
        config = make(**values)
        result = train(config, console=QUIET)
        assert result.step == config.max_steps
        return said

    return run


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_has_one_writer(second, resume):
    (said,) = second(
        lambda config: train(
            resumed(config, max_steps=99) if resume else config, resume=resume, console=QUIET
        )
    )
    assert f": process {os.getpid()} on " in said


def test_a_run_s_other_names_meet(second, tmp_path, monkeypatch):
    def attempt(config):
        (tmp_path / "link").symlink_to(config.output.name)
        monkeypatch.chdir(tmp_path / "link")
        for name in (tmp_path / "link", Path(), Path("..", config.output.name)):
            with pytest.raises(BusyError):
                train(config.model_copy(update={"output": name}), console=QUIET)
        raise BusyError("all of them")

    assert second(attempt) == ["all of them"]


def test_a_run_is_read_while_it_is_written(second):
    def attempt(config):
        assert load_run(config.output).step == 2
        raise BusyError("read")

    assert second(attempt, checkpoint_every=2) == ["read"]


def test_a_run_of_several_processes_has_one_writer(make, fake_backend):
    config = make(processes=2, batch_size=6)
    with sole_writer(config.output, config.output / ".lock"):
        before = contents(config.output)
        ends = on_processes(fake_backend, 2, lambda _: train(config, console=QUIET))
        assert [type(end) for end in ends] == [AgreedError] * 2
        assert f"another process is writing {config.output}: process {os.getpid()}" in str(ends[0])
        assert contents(config.output) == before
    ends = on_processes(fake_backend, 2, lambda _: train(config, console=QUIET))
    assert [end.step for end in ends] == [config.max_steps] * 2


def test_a_refused_configuration_leaves_no_folder(make, tmp_path):
    config = make("deep/run", num_classes=77)
    with pytest.raises(ValueError, match="num_classes is 77"):
        train(config, console=QUIET)
    assert not (tmp_path / "deep").exists()


def test_a_launcher_starts_no_process_where_another_writes(cli, make):
    config = make()
    with sole_writer(config.output, config.output / ".lock"):
        code, _, said = cli(
            *("train", "--backend", "torch", "--data", config.data, "--output", config.output),
            *("--batch-size", 6, "--processes", 2),
        )
        assert (code, said.count("\n")) == (2, 1)
        assert f"another process is writing {config.output}: process {os.getpid()} on " in said


@pytest.fixture
def inputs(tmp_path, tiny_faces, pairs_file):
    """Write the files that commands read; return them by name."""
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "tiny.onnx")
    names = [path.relative_to(tiny_faces).as_posix() for path in tiny_faces.rglob("*.png")]
    values = np.random.default_rng(0).normal(size=(len(names), 8)).astype(np.float32)
    pq.write_table(embeddings_table(names, values), tmp_path / "e.parquet")
    face = [0.9, [[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]]]
    points = dict.fromkeys(names, face)
    (tmp_path / "points.json").write_text(json.dumps(points))
    for name, number in (("gallery", 1), ("probes", 2)):
        rows = [f"person_{i}/person_{i}_000{number}.png\n" for i in range(3)]
        (tmp_path / f"{name}.txt").write_text("".join(rows))
    return {
        "faces": tiny_faces,
        "pairs": pairs_file,
        "model": tmp_path / "tiny.onnx",
        "embeddings": tmp_path / "e.parquet",
        "points": tmp_path / "points.json",
        "gallery": tmp_path / "gallery.txt",
        "probes": tmp_path / "probes.txt",
    }


COMMANDS = {
    "embed e.npz": "embed --model {model} --images {faces} --output {out}",
    "pack a.rec": "data pack {faces} {out}",
    "pack a.tfrecord": "data pack {faces} {out}",
    "pack a": "data pack {faces} {out}",
    "pack a.bin": "data pack {faces} {out} --pairs {pairs}",
    "pack a.zip": "data pack {faces} {out} --pairs {pairs}",
    "subset b.rec": "data subset {faces} {out}",
    "split parts": "data split {faces} --output {out} --fraction 0.5",
    "align crops": "data align {faces} {out} --landmarks {points}",
    "evaluate results": "evaluate --model {model} --images {faces} --pairs {pairs} --output {out}",
    "identify results": "identify --embeddings {embeddings} --gallery {gallery} --probes {probes} "
    "--output {out}",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_has_one_writer(cli, inputs, tmp_path, command):
    out = tmp_path / "out" / command.split()[1]
    written = out / "metrics.json" if out.name == "results" else out
    lock = None
    if command.startswith(("pack", "subset")) and out.suffix not in (".bin", ".zip"):
        lock = partial_path(out) / LOCK
    arguments = COMMANDS[command].format(out=out, **inputs).split()
    with sole_writer(written, lock):
        before = contents(tmp_path)
        code, _, said = cli(*arguments)
        line = said.splitlines()[-1]
        assert code == 2
        assert f"another process is writing {written}: process {os.getpid()} on " in line
        assert "run the same command" not in line
        assert contents(tmp_path) == before
    assert cli(*arguments)[0] == 0
    assert written.exists()
    assert not [path for path in out.parent.rglob("*") if path.name.endswith("lock")]


def test_two_real_runs_at_the_same_moment_then_a_kill(tiny_faces, tmp_path):
    pytest.importorskip("torch")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "marginface.cli.main", "train", "--backend", "torch"]
    command += ["--data", str(tiny_faces), "--output", str(run), "--backbone", "mobilefacenet"]
    command += ["--embedding-size", "16", "--batch-size", "6", "--log-every", "1"]
    both = [
        subprocess.Popen([*command, "--max-steps", "90000"], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        deadline = time.monotonic() + 60
        while all(each.poll() is None for each in both):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        both.sort(key=lambda each: each.poll() is None)
        refused, writer = both
        assert refused.returncode == 2
        assert (
            f"another process is writing {run}: process {writer.pid} on " in refused.stderr.read()
        )
        while not (run / "metrics.jsonl").is_file():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    finally:
        for each in both:
            each.kill()
            each.wait()
            each.stderr.close()
    with sole_writer(run, run / ".lock"):
        pass
