import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from marginface.errors import MarginfaceError, TrainingDivergedError
from marginface.losses import ArcFace
from marginface.training import compiling
from marginface.training.checkpoints import latest_checkpoint, list_checkpoints, load_checkpoint
from marginface.training.config import TrainConfig
from marginface.training.config_files import read_config_file, resume_config
from marginface.training.run import RunFolder, load_run
from marginface.training.trackers import read_metrics
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")
QUIET = Console(quiet=True)
STEPS = 23


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.txt"
    same = [f"person_{i}\t{a}\t{a + 1}" for i in range(3) for a in (1, 3, 5, 7)][:10]
    other = [f"person_{i % 3}\t{i % 8 + 1}\tperson_{(i + 1) % 3}\t{i % 8 + 1}" for i in range(10)]
    path.write_text("\n".join(["10", *same, *other]) + "\n")
    return path


@pytest.fixture
def make(tiny_faces, tmp_path):
    def config(name: str = "run", **values) -> TrainConfig:
        defaults = {
            "data": tiny_faces,
            "output": tmp_path / name,
            "backbone": "mobilefacenet",
            "embedding_size": 4,
            "batch_size": 4,
            "max_steps": STEPS,
            "log_every": 5,
            "checkpoint_every": 10,
            "warmup_steps": 3,
        }
        return TrainConfig(**{**defaults, **values})

    return config


def stop_at(step, number):
    """Return what makes a learner send this process a signal in its `step`th step."""

    def prepare(learner):
        learner.on_step = lambda taken: os.kill(os.getpid(), number) if taken == step else None

    return prepare


def record(run: Path) -> list[dict]:
    """Return the metrics without the speed, which no two runs share."""
    return [
        {name: value for name, value in line.items() if name != "images_per_second"}
        for line in read_metrics(run / "metrics.jsonl")
    ]


def final_state(run: Path) -> dict[str, bytes]:
    checkpoint = load_checkpoint(latest_checkpoint(run / "checkpoints"))
    assert checkpoint.step == STEPS
    return {name: value.tobytes() for name, value in checkpoint.state.items()}


def resumed(config, **given):
    return resume_config(TrainConfig(**read_config_file(RunFolder(config.output).config)), given)


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
    config = make(optimizer="adamw", threads=1, seed=7)
    train(config, console=QUIET)
    schedule = config.make_schedule(STEPS)
    assert fake_backend.learner.rates == [schedule(step) for step in range(STEPS)]
    assert fake_backend.created == {
        "model": config.model_spec(),
        "loss": config.make_loss(),
        "optimizer": config.make_optimizer(),
        "seed": 7,
        "threads": 1,
    }


def test_the_environment_names_no_host_or_user(make):
    config = make()
    train(config, console=QUIET)
    text = (config.output / "environment.json").read_text()
    (session,) = json.loads(text)["sessions"]
    assert session["framework"] == "fake 1.0"
    assert session["packages"]["numpy"] == np.__version__
    assert os.uname().nodename not in text


@pytest.mark.parametrize(
    ("step", "number"), [(7, signal.SIGINT), (10, signal.SIGTERM), (17, signal.SIGINT)]
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    make, fake_backend, pairs_file, tiny_faces, number, step
):
    verification = {"val_images": tiny_faces, "val_pairs": pairs_file, "val_every": 5}
    whole = make("whole", **verification)
    train(whole, console=QUIET)

    config = make("stopped", **verification)
    fake_backend.prepare = stop_at(step, number)
    result = train(config, console=QUIET)
    assert (result.step, result.signal) == (step, number)
    assert latest_checkpoint(config.output / "checkpoints").name == f"step-{step:08d}"

    fake_backend.prepare = lambda _: None
    result = train(resumed(config), resume=True, console=QUIET)
    assert (result.step, result.signal) == (STEPS, None)
    assert final_state(config.output) == final_state(whole.output)
    assert record(config.output) == record(whole.output)


def die_at(step):
    """Return what makes a learner fail in its `step`th step."""

    def prepare(learner):
        def on_step(taken):
            if taken == step:
                raise RuntimeError("power cut")

        learner.on_step = on_step

    return prepare


def test_a_killed_run_goes_on_from_its_last_checkpoint(make, fake_backend, pairs_file, tiny_faces):
    verification = {"val_images": tiny_faces, "val_pairs": pairs_file, "val_every": 5}
    whole = make("whole", **verification)
    train(whole, console=QUIET)
    config = make("killed", **verification)

    fake_backend.prepare = die_at(18)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, console=QUIET)
    with (config.output / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')  # the line that was being written
    fake_backend.prepare = lambda _: None
    train(resumed(config, backend="tf"), resume=True, console=QUIET)
    assert final_state(config.output) == final_state(whole.output)
    assert record(config.output) == record(whole.output)
    assert read_config_file(config.output / "config.yaml")["backend"] == "tf"
    sessions = json.loads((config.output / "environment.json").read_text())["sessions"]
    assert [session["first_step"] for session in sessions] == [0, 10]


def test_stopped_before_a_verification_then_killed_after_it(
    make, fake_backend, pairs_file, tiny_faces
):
    verification = {"val_images": tiny_faces, "val_pairs": pairs_file, "val_every": 5}
    whole = make("whole", **verification)
    train(whole, console=QUIET)
    config = make("unlucky", **verification)
    fake_backend.prepare = stop_at(10, signal.SIGTERM)
    train(config, console=QUIET)
    assert record(config.output)[-1]["kind"] == "train"
    fake_backend.prepare = die_at(12)
    with pytest.raises(RuntimeError, match="power cut"):
        train(resumed(config), resume=True, console=QUIET)
    assert record(config.output)[-1]["kind"] == "verification"
    fake_backend.prepare = lambda _: None
    train(resumed(config), resume=True, console=QUIET)
    assert record(config.output) == record(whole.output)


def test_random_draws_depend_on_seed_and_step_alone(make, fake_backend, monkeypatch):
    monkeypatch.setattr(ArcFace, "draw", lambda _, rng, batch: {"m": rng.normal(size=batch)})

    def draws():
        return [draw["m"].tolist() for draw in fake_backend.learner.draws]

    train(make("whole"), console=QUIET)
    whole = draws()
    assert len({tuple(draw) for draw in whole}) == STEPS
    train(make("other", seed=1), console=QUIET)
    assert draws()[0] != whole[0]
    config = make("stopped")
    fake_backend.prepare = stop_at(9, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    train(resumed(config), resume=True, console=QUIET)
    assert draws() == whole[9:]


def test_a_signal_restores_the_defaults_so_that_the_next_one_ends_the_process(make, fake_backend):
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def prepare(learner):
        def on_step(step):
            if step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
                seen.append((signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)))

        learner.on_step = on_step

    fake_backend.prepare = prepare
    train(make(), console=QUIET)
    assert seen == [(signal.SIG_DFL, signal.SIG_DFL)]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_diverged_run_stops_and_points_to_the_last_good_checkpoint(make, fake_backend, loss):
    config = make(checkpoint_every=10)
    fake_backend.prepare = lambda learner: learner.loss_at.update({13: loss})
    with pytest.raises(TrainingDivergedError) as caught:
        train(config, console=QUIET)
    message = str(caught.value)
    assert f"the loss became {loss} at step 13" in message
    assert str(config.output / "checkpoints" / "step-00000010") in message
    for cause in ("learning rate", "warm-up (3 steps)", "scale 64.0, margin 0.5", "4 dimensions"):
        assert cause in message
    assert "\n" not in message
    assert latest_checkpoint(config.output / "checkpoints").name == "step-00000010"


def test_weights_that_are_not_finite_never_reach_a_checkpoint(make, fake_backend):
    config = make()

    def prepare(learner):
        def on_step(step):
            if step == 10:
                learner.arrays["head.weight"][1, 2] = np.inf

        learner.on_step = on_step

    fake_backend.prepare = prepare
    with pytest.raises(TrainingDivergedError, match=r"head.weight holds NaN or infinite.* step 10"):
        train(config, console=QUIET)
    assert list_checkpoints(config.output / "checkpoints") == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_classes": 5}, "num_classes is 5, but .* has 3 identities"),
        ({"data": "nowhere"}, "nowhere"),
        ({"backbone": "mobilfacenet"}, "unknown backbone 'mobilfacenet'; did you mean"),
        ({"augment": "flipp"}, "flipp"),
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


def test_resuming_needs_a_run(make):
    with pytest.raises(MarginfaceError, match=r"cannot resume: .*does not exist"):
        train(make(), resume=True, console=QUIET)


def test_other_identities_are_refused_on_resuming(make, fake_backend, tiny_faces, tmp_path):
    config = make()
    fake_backend.prepare = stop_at(5, signal.SIGINT)
    train(config, console=QUIET)
    other = tmp_path / "other"
    for name in ("person_0", "person_1"):
        (other / name).mkdir(parents=True)
        for image in (tiny_faces / name).iterdir():
            (other / name / image.name).write_bytes(image.read_bytes())
    with pytest.raises(MarginfaceError, match="has 2 identities that differ from the 3"):
        train(resumed(config, data=other), resume=True, console=QUIET)


def test_a_checkpoint_of_another_shape_names_the_parameter(make, fake_backend):
    config = make()
    fake_backend.prepare = stop_at(5, signal.SIGINT)
    train(config, console=QUIET)
    path = config.output / "config.yaml"
    path.write_text(path.read_text().replace("embedding_size: 4", "embedding_size: 6"))
    with pytest.raises(MarginfaceError) as caught:
        train(resumed(config), resume=True, console=QUIET)
    assert "backbone.weight has shape [192, 4] in checkpoint" in str(caught.value)
    assert "[192, 6] in the model" in str(caught.value)


def test_a_resumed_run_may_end_before_its_milestones(make, fake_backend):
    config = make(schedule="step", milestones="5,20")
    fake_backend.prepare = stop_at(8, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    assert train(resumed(config, max_steps=10), resume=True, console=QUIET).step == 10


def test_the_trained_backbone_is_read_from_the_newest_or_a_chosen_checkpoint(make, fake_backend):
    config = make()
    train(config, console=QUIET)
    run = load_run(config.output)
    assert (run.step, run.spec) == (STEPS, config.model_spec())
    assert list(run.weights) == ["weight"]
    assert (run.weights["weight"] == fake_backend.learner.arrays["backbone.weight"]).all()
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


@pytest.mark.parametrize(("left", "compiles"), [(599.0, False), (601.0, True)])
def test_compiling_waits_for_a_measured_step_and_a_long_run(left, compiles):
    class Learner:
        compiled = 0

        def compile(self):
            self.compiled += 1

    learner = Learner()
    auto = compiling.AutoCompile(learner)
    seconds = left / 1000
    slow_start = [10.0, 10.0, seconds, seconds, seconds]
    assert [auto.observe(value, 1000) for value in slow_start] == [None] * 5
    said = auto.observe(seconds, 1000)
    assert ("not compiling" in said) is not compiles
    assert (learner.compiled, auto.compiled) == (int(compiles), compiles)
    assert auto.observe(seconds, 10**6) is None
    assert learner.compiled == int(compiles)


def test_a_run_that_compiled_compiles_at_once_when_resumed(make, fake_backend, monkeypatch):
    monkeypatch.setattr(compiling, "WORTHWHILE_SECONDS", 0.0)
    compiled = []

    def prepare(learner):
        learner.compile = lambda: compiled.append(learner.steps)
        learner.on_step = stop.__getitem__(0)

    stop = [lambda step: os.kill(os.getpid(), signal.SIGINT) if step == 9 else None]
    fake_backend.prepare = prepare
    config = make()
    train(config, console=QUIET)
    assert compiled == [6]
    stop[0] = lambda _: None
    train(resumed(config), resume=True, console=QUIET)
    assert compiled == [6, 9]


def test_plain_lines_are_printed_where_there_is_no_terminal(make, capsys):
    train(make(), console=Console(stderr=True))
    printed = capsys.readouterr().err
    assert "step 20/23  loss " in printed
    assert "images/s  left 0:00:0" in printed
    assert "finished 23 steps" in printed


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
