import json
import os
import signal

import numpy as np
import pytest
from rich.console import Console
from runs import QUIET, STEPS, record, resumed, stop_at

from marginface.errors import MarginfaceError
from marginface.learner import LearnerSpec
from marginface.runs.checkpoints import list_checkpoints
from marginface.runs.folder import load_run
from marginface.runs.metrics import read_metrics
from marginface.training.config.files import read_config_file
from marginface.training.config.keys import TrainConfig
from marginface.training.processes.groups import ALONE
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")


def test_a_run_learns_and_leaves_its_folder(make, fake_backend, pairs_file, tiny_faces):
    config = make(val_images=tiny_faces, val_pairs=pairs_file, val_every=10)
    result = train(config, console=QUIET)
    assert (result.step, result.signal) == (STEPS, None)
    run = config.output
    lines = record(run)
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses[-1] < 0.8 * losses[0]
    assert losses[1] == pytest.approx(np.mean(fake_backend.learner.losses[5:10]))
    assert [line["step"] for line in lines if line["kind"] == "train"] == [5, 10, 15, 20, 23]
    verified = [line for line in lines if line["kind"] == "verification"]
    assert [line["step"] for line in verified] == [10, 20, 23]
    assert result.best_accuracy == max(line["accuracy"] for line in verified)
    assert [path.name for path in list_checkpoints(run / "checkpoints")] == [
        "step-00000010",
        "step-00000020",
        "step-00000023",
    ]
    assert (run / "identities.txt").read_text() == "person_0\nperson_1\nperson_2\n"
    assert TrainConfig(**read_config_file(run / "config.yaml")) == config
    assert list((run / "tensorboard").iterdir())


def test_the_learner_gets_the_schedule_and_the_configuration(make, fake_backend):
    config = make(
        optimizer="adamw",
        threads=1,
        seed=7,
        head_precision="bfloat16",
        precision="float16",
        interclass_filter=0.4,
    )
    train(config, console=QUIET)
    schedule = config.make_schedule(STEPS)
    assert fake_backend.learner.rates == [schedule(step) for step in range(STEPS)]
    assert fake_backend.created == LearnerSpec(
        config.model_spec(),
        config.make_loss(),
        3,
        config.make_optimizer(),
        seed=7,
        threads=1,
        group=ALONE,
        sample_rate=1.0,
        sampling="partial_fc",
        head_precision="bfloat16",
        precision="float16",
        interclass_filter=0.4,
    )


def test_the_environment_names_no_host_or_user(make):
    config = make()
    train(config, console=QUIET)
    text = (config.output / "environment.json").read_text()
    (session,) = json.loads(text)["sessions"]
    assert (session["framework"], session["processes"]) == ("fake 1.0", 1)
    assert session["packages"]["numpy"] == np.__version__
    assert os.uname().nodename not in text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_classes": 5}, "num_classes is 5, but .* has 3 identities"),
        ({"data": "nowhere"}, "nowhere"),
        ({"backbone": "mobilfacenet"}, "unknown backbone 'mobilfacenet'; did you mean"),
        ({"batch_size": 100}, "batch size 100"),
        ({"init_weights": "none.safetensors"}, "none.safetensors"),
        ({"warmup_steps": STEPS}, "warmup_steps is 23, but the run has 23 steps"),
        ({"schedule": "step", "milestones": "5,30"}, "milestone 30 is never reached"),
        ({"compile": "on"}, "compile is on, but backend torch has nothing to compile"),
    ],
)
def test_nothing_is_created_for_a_run_that_cannot_work(make, values, message):
    config = make(**values)
    with pytest.raises(MarginfaceError, match=message):
        train(config, console=QUIET)
    assert not config.output.exists()


def test_a_folder_that_holds_a_run_is_not_used_again(make):
    config = make()
    train(config, console=QUIET)
    before = (config.output / "metrics.jsonl").read_bytes()
    with pytest.raises(MarginfaceError, match="already holds a run; continue it with --resume, or"):
        train(config, console=QUIET)
    assert (config.output / "metrics.jsonl").read_bytes() == before


def test_a_start_that_was_cut_short_is_no_run(make, monkeypatch):
    def write(path, text):
        if path.name == "config.yaml":
            raise RuntimeError("power cut")
        path.write_text(text)

    config = make()
    with monkeypatch.context() as patch:
        patch.setattr("marginface.training.recording.write_text", write)
        with pytest.raises(RuntimeError, match="power cut"):
            train(config, console=QUIET)
    assert (config.output / "model.json").exists()
    train(config, console=QUIET)
    assert load_run(config.output).step == STEPS


def test_the_trained_backbone_is_read_from_the_newest_or_a_chosen_checkpoint(make, fake_backend):
    config = make()
    train(config, console=QUIET)
    run = load_run(config.output)
    assert (run.step, run.spec) == (STEPS, config.model_spec())
    assert list(run.weights) == ["weight"]
    assert (run.weights["weight"] == fake_backend.learner.values["backbone.weight"]).all()
    assert run.config["batch_size"] == 4
    earlier = load_run(config.output / "checkpoints" / "step-00000010")
    assert earlier.step == 10
    assert (earlier.weights["weight"] != run.weights["weight"]).any()
    (config.output / "config.yaml").unlink()
    assert load_run(config.output).config == {}


def test_what_is_no_run_cannot_be_loaded(make, fake_backend, tmp_path):
    with pytest.raises(MarginfaceError, match="holds no run"):
        load_run(tmp_path)
    with pytest.raises(MarginfaceError, match="nowhere does not exist"):
        load_run(tmp_path / "nowhere")
    config = make()
    fake_backend.prepare = stop_at(5, signal.SIGINT)
    train(config, console=QUIET)
    for path in list_checkpoints(config.output / "checkpoints"):
        path.rename(tmp_path / path.name)
    with pytest.raises(MarginfaceError, match="has no checkpoint yet"):
        load_run(config.output)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", b"- a\n- list", "config.yaml is no configuration in YAML; restore it"),
        ("config.yaml", b"lr: \xff", "config.yaml is no configuration in YAML; restore it"),
        ("config.yaml", b"lr: [", "config.yaml is no configuration in YAML; restore it"),
        ("model.json", b'"\xff"', "model.json is no model specification; restore it"),
        ("model.json", b"[]", "model.json is no model specification; restore it"),
        ("model.json", b"[" * 200_000, "model.json is no model specification; restore it"),
        ("config.yaml", b"[" * 20_000, "config.yaml is no configuration in YAML; restore it"),
    ],
)
def test_a_damaged_description_of_a_run_is_named(make, name, content, message):
    config = make(max_steps=4, checkpoint_every=4)
    train(config, console=QUIET)
    (config.output / name).write_bytes(content)
    with pytest.raises(MarginfaceError, match=message):
        load_run(config.output)


def test_plain_lines_are_printed_where_there_is_no_terminal(make, capsys):
    train(make(), console=Console(stderr=True))
    printed = capsys.readouterr().err
    assert "step 20/23  loss " in printed
    assert "images/s  left 0:00:0" in printed
    assert "finished 23 steps" in printed


def test_a_wide_terminal_shows_how_the_last_batch_did(make, tmp_path):
    for width, shown in ((119, False), (120, True)):
        with (tmp_path / f"{width}.txt").open("w") as file:
            terminal = Console(file=file, force_terminal=True, width=width)
            train(make(output=tmp_path / str(width)), console=terminal)
        assert ("angle" in (tmp_path / f"{width}.txt").read_text()) == shown


def test_tensorboard_reads_what_is_recorded(make, fake_backend):
    tf = pytest.importorskip("tensorflow")
    config = make()
    fake_backend.prepare = stop_at(12, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    train(resumed(config), resume=True, console=QUIET)
    first, second = sorted((config.output / "tensorboard").iterdir(), key=lambda p: p.suffix)
    events = [list(tf.compat.v1.train.summary_iterator(str(path))) for path in (first, second)]
    assert events[0][0].file_version == "brain.Event:2"
    assert [event.step for event in events[1] if event.HasField("session_log")] == [13]
    scalars = {
        (event.step, value.tag): value.simple_value
        for event in events[0] + events[1]
        for value in event.summary.value
    }
    for line in read_metrics(config.output / "metrics.jsonl"):
        assert scalars[line["step"], "train/loss"] == pytest.approx(line["loss"], rel=1e-6)
