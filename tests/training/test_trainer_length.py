"""A resumed run that asks for less, for nothing, for more, or for another learning rate."""

import json
import signal

import pytest
from rich.console import Console
from runs import QUIET, STEPS, final_state, on_processes, record, resumed, stop_at

from marginface.errors import MarginfaceError
from marginface.runs.folder import RunFolder
from marginface.training.config.files import read_config_file
from marginface.training.config.keys import TrainConfig
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")
EPOCH = 6  # steps: 24 images in batches of 4


@pytest.fixture
def done(make):
    """A run with all of its steps."""
    config = make()
    train(config, console=QUIET)
    return config


@pytest.fixture
def cut(make, fake_backend):
    """A run stopped at step 10."""
    config = make("cut")
    fake_backend.prepare = stop_at(10, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    return config


def files(config):
    """Return everything in a run folder."""
    paths = sorted(path for path in config.output.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in paths}


def refused(config, message, **given):
    """Resume a run with what is refused, and see that nothing is written."""
    before = files(config)
    with pytest.raises(MarginfaceError, match=message) as caught:
        train(resumed(config, **given), resume=True, console=QUIET)
    assert "\n" not in str(caught.value)
    assert files(config) == before
    return str(caught.value)


def rates(config):
    return {line["step"]: line["lr"] for line in record(config.output) if line["kind"] == "train"}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"max_steps": 3}, "max_steps 3 is 3 steps"),
        ({"max_steps": STEPS - 1}, "max_steps 22 is 22 steps"),
        ({"epochs": 1}, "epochs 1 is 6 steps"),
        ({"epochs": 3}, "epochs 3 is 18 steps"),
        ({"epochs": 9, "max_steps": 5}, "epochs 9 and max_steps 5 is 5 steps"),
        ({"max_steps": 3, "lr": 0.5}, "max_steps 3 is 3 steps"),
    ],
)
def test_less_than_is_done_is_refused(done, given, asked):
    text = refused(done, rf"has taken 23 steps already, but {asked}; give", **given)
    assert "--max-steps 24 or more, or --epochs 4 or more, or leave the length out to keep" in text
    assert text.endswith("(max_steps 23)")


def test_less_than_a_stopped_run_has_done_is_refused_and_the_advice_works(cut):
    text = refused(cut, "has taken 10 steps already, but epochs 1 is 6 steps", epochs=1)
    assert "--max-steps 11 or more, or --epochs 2 or more" in text
    assert train(resumed(cut, max_steps=11), resume=True, console=QUIET).step == 11
    assert train(resumed(cut, epochs=2), resume=True, console=QUIET).step == 2 * EPOCH


def test_a_length_that_was_recorded_too_short_is_not_called_the_way_out(done):
    file = RunFolder(done.output).config
    file.write_text(file.read_text().replace("max_steps: 23", "max_steps: 3"))
    assert "leave" not in refused(done, "but max_steps 3 is 3 steps; give --max-steps 24 or more")
    assert train(resumed(done, max_steps=25), resume=True, console=QUIET).step == 25


@pytest.mark.parametrize(
    "given",
    [
        *({}, {"max_steps": STEPS}, {"max_steps": STEPS, "epochs": 9}, {"lr": 0.1}),
        *({"threads": 1}, {"backend": "tf", "processes": 2}, {"data": "moved"}),
    ],
)
def test_a_run_that_is_done_says_so_and_stays_as_it_is(done, fake_backend, capsys, given):
    before, fake_backend.learner = files(done), None
    result = train(resumed(done, **given), resume=True, console=Console(stderr=True, width=300))
    assert (result.run, result.step, result.signal) == (done.output, STEPS, None)
    assert files(done) == before
    assert fake_backend.learner is None
    said = capsys.readouterr().err
    assert said.startswith("nothing left to do: all 23 steps of ")
    assert said.endswith("to train further give --max-steps 24 or more, or --epochs 4 or more\n")


def test_a_stopped_run_is_done_when_no_more_is_asked_for(cut):
    before = files(cut)
    assert train(resumed(cut, max_steps=10), resume=True, console=QUIET).step == 10
    assert files(cut) == before


@pytest.mark.parametrize(
    "given", [{"lr": 0.5}, {"schedule": "cosine"}, {"power": 2.0}, {"log_every": 1}]
)
def test_a_change_for_which_no_step_is_left_is_refused(done, given):
    (name,) = given
    text = refused(done, f"all of its 23 steps, so another {name}.* would change nothing", **given)
    assert "give --max-steps 24 or more, or --epochs 4 or more with it" in text


def test_a_run_that_is_done_is_still_verified_where_it_never_was(done, pairs_file, tiny_faces):
    given = {"val_images": tiny_faces, "val_pairs": pairs_file}
    train(resumed(done, **given), resume=True, console=QUIET)
    assert record(done.output)[-1]["kind"] == "verification"


def test_a_longer_run_says_what_becomes_of_its_rate(done, capsys):
    train(resumed(done, max_steps=46), resume=True, console=Console(stderr=True, width=300))
    planned, before = done.make_schedule(46), done.make_schedule(23)
    assert (
        f"learning rate at step 23: {planned(23):.3g}, was {before(22):.3g} at step 22, the last; "
        "now polynomial, 0.1 to 0 at step 46, 3 steps of warm-up, was polynomial, "
        "0.1 to 0 at step 23, 3 steps of warm-up"
    ) in capsys.readouterr().err
    assert rates(done)[30] == planned(29)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lr": 0.01}, "was 0.065; now polynomial, 0.01 to 0 at step 23"),
        ({"schedule": "cosine"}, "now cosine, 0.1 to 0 at step 23, 3 steps of warm-up, was polyn"),
        ({"power": 2.0}, "now polynomial, 0.1 to 0 at step 23, power 2, 3 steps of warm-up"),
        ({"schedule": "step", "milestones": "12,20"}, "now step, 0.1 times 0.1 at 12, 20, end at "),
        ({"schedule": "step", "milestones": "4", "gamma": "0.5", "lr": "0.2"}, "10: 0.1, was 0.0"),
        ({"warmup_steps": 20}, "learning rate at step 10: 0.055, was 0.065"),
    ],
)
def test_a_resumed_run_takes_the_rate_that_it_is_given(cut, capsys, given, said):
    config = resumed(cut, **given)
    train(config, resume=True, console=Console(stderr=True, width=300))
    assert said in capsys.readouterr().err
    schedule = config.make_schedule(STEPS)
    assert [rates(cut)[step] for step in (15, 20, 23)] == [schedule(14), schedule(19), schedule(22)]
    recorded = TrainConfig(**read_config_file(RunFolder(cut.output).config))
    assert (recorded, recorded.make_schedule(STEPS)) == (config, schedule)
    sessions = json.loads(RunFolder(cut.output).environment.read_text())["sessions"]
    assert [session["first_step"] for session in sessions] == [0, 10]
    assert [session["schedule"]["lr"] for session in sessions] == [0.1, config.lr]
    assert sessions[1]["schedule"]["kind"] == config.schedule


def test_nothing_is_said_of_a_rate_that_stays(make, cut, capsys):
    train(resumed(cut, lr="0.1", log_every=5), resume=True, console=Console(stderr=True, width=300))
    assert "learning rate" not in capsys.readouterr().err
    whole = make("whole")
    train(whole, console=QUIET)
    assert final_state(cut.output) == final_state(whole.output)
    assert record(cut.output) == record(whole.output)


def test_a_run_killed_after_a_change_goes_on_with_the_change(make, cut, fake_backend):
    fake_backend.prepare = stop_at(15, signal.SIGINT)
    train(resumed(cut, lr=0.02, max_steps=30), resume=True, console=QUIET)
    fake_backend.prepare = lambda _: None
    config = resumed(cut)
    assert (config.lr, config.max_steps) == (0.02, 30)
    train(config, resume=True, console=QUIET)
    assert rates(cut)[30] == make(lr=0.02, max_steps=30).make_schedule(30)(29)


def test_what_fails_before_a_run_goes_on_leaves_it_as_it_is(cut, tmp_path, monkeypatch):
    for given, message in (
        ({"data": tmp_path / "gone", "lr": 0.5}, "no such file or folder"),
        ({"schedule": "step", "milestones": "12,40"}, "milestone 40 is never reached"),
        ({"warmup_steps": 23}, "warmup_steps is 23, but the run has 23 steps"),
        ({"processes": 3, "lr": 0.5}, "batch_size 4 cannot be shared evenly by 3 processes"),
        ({"processes": 2}, "processes is 2, but this process is one of 1"),
        ({"batch_size": 400}, r"cannot change batch_size \(4 to 400\)"),
        ({"optimizer": "adamw", "lr": 0.5}, r"cannot change optimizer \(sgd to adamw\)"),
        ({"schedule": "step"}, "schedule step needs milestones"),
        ({"schedule": "cosine", "power": 2}, "power has no effect with schedule cosine"),
        ({"lr": -1}, "lr must be greater than 0"),
        ({"compile": "on", "lr": 0.5}, "has nothing to compile"),
        ({"val": str(tmp_path / "gone.bin"), "lr": 0.5}, "no such file or folder: .*gone.bin"),
    ):
        refused(cut, message, **given)

    def unknown(name):
        raise MarginfaceError(f"unknown backend '{name}'")

    monkeypatch.setattr("marginface.training.preparation.load_backend", unknown)
    refused(cut, "unknown backend 'tff'", backend="tff", lr=0.5)


def test_processes_refuse_less_as_one(make, fake_backend):
    config = make(processes=2)
    on_processes(fake_backend, 2, lambda _: train(config, console=QUIET))
    before = files(config)
    again = resumed(config, max_steps=3)
    said = on_processes(fake_backend, 2, lambda _: train(again, resume=True, console=QUIET))
    assert len({str(each) for each in said}) == 1
    assert "has taken 23 steps already, but max_steps 3" in str(said[0])
    done = on_processes(fake_backend, 2, lambda _: train(config, resume=True, console=QUIET))
    assert [each.step for each in done] == [STEPS, STEPS]
    assert files(config) == before
