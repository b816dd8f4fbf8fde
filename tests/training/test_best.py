"""The best checkpoint stays beside the newest, and a run ends where nothing better comes."""

import io
import json
import signal

import pytest
from rich.console import Console
from runs import QUIET, STEPS, die_at, final_state, on_processes, record, resumed, stop_at

from marginface import backbones
from marginface.errors import MarginfaceError
from marginface.runs import checkpoint_writer
from marginface.runs.checkpoints import list_checkpoints, read_record
from marginface.runs.chosen import find_best
from marginface.runs.folder import RunFolder, load_run
from marginface.training import verifying
from marginface.training.best import METRICS
from marginface.training.trainer import train

ACCURACIES = {0: 0.8, 5: 0.6, 10: 0.9, 15: 0.7, 20: 0.9, STEPS: 0.8}


@pytest.fixture
def scripted(make, fake_backend, monkeypatch, pairs_file, tiny_faces):
    """Return how to configure a run whose verifications find what `ACCURACIES` says."""
    measured = verifying.figures_to_record

    def figures(results):
        accuracy = ACCURACIES[fake_backend.learner.steps]
        real = measured(results) if results else {}  # process 0 alone has some
        return real | {"accuracy": accuracy, "eer": 1 - accuracy}

    monkeypatch.setattr(verifying, "figures_to_record", figures)

    def config(name="run", **values):
        verification = {"val_images": tiny_faces, "val_pairs": pairs_file, "val_every": 5}
        kept = {"keep_best": "accuracy", "keep_checkpoints": 1}
        return make(name, **{**verification, **kept, **values})

    return config


def steps(config):
    return [read_record(path).step for path in list_checkpoints(config.output / "checkpoints")]


def said(config, **how):
    console = Console(file=io.StringIO(), width=1000)
    result = train(config, console=console, **how)
    return result, console.file.getvalue()


@pytest.mark.parametrize("metric", ["accuracy", "eer", "pairs:accuracy"])
def test_the_best_stays_beside_the_newest_of_two_alike_the_earlier(scripted, metric):
    config = scripted(keep_best=metric)
    result, text = said(config)
    assert (result.best_step, steps(config)) == (10, [10, STEPS])
    best = find_best(config.output / "checkpoints")
    assert (best.step, best.since) == (10, 3)
    assert best.metric == f"pairs:{metric.removeprefix('pairs:')}"
    assert "0.9000 at step 10" in text or "0.1000 at step 10" in text
    assert "--checkpoint best --pairs" in text
    assert [load_run(config.output, each).step for each in ("best", "last", 10, None)] == [
        *(10, STEPS, 10, STEPS)
    ]
    with pytest.raises(MarginfaceError, match="no checkpoint of step 15; expected one of 10, 23,"):
        load_run(config.output, "15")


def test_without_it_none_is_kept(scripted):
    config = scripted(keep_best=None)
    assert train(config, console=QUIET).best_step is None
    assert steps(config) == [STEPS]
    with pytest.raises(MarginfaceError, match="has kept no best checkpoint; give last or a step"):
        load_run(config.output, "best")


def test_it_ends_after_so_many_verifications_without_a_better_one(scripted):
    config = scripted(stop_after=2)
    result, text = said(config)
    assert (result.step, result.signal, steps(config)) == (20, None, [10, 20])
    why = "as 2 verifications found none better than pairs:accuracy 0.9000 at step 10"
    assert f"ended after 20 steps, {why}; model: " in text
    before = record(config.output)

    result, text = said(resumed(config), resume=True)
    assert (result.step, result.best_step, record(config.output)) == (20, 10, before)
    assert text.startswith(f"nothing left to do: {config.output} has ended at step 20, {why}")
    assert "to train further give --stop-after 3 or more" in text
    with pytest.raises(MarginfaceError, match="another lr would change nothing; give --stop-after"):
        train(resumed(config, lr=0.5), resume=True, console=QUIET)

    whole = scripted("whole", stop_after=3)
    assert train(whole, console=QUIET).step == STEPS
    assert train(resumed(config, stop_after=3), resume=True, console=QUIET).step == STEPS
    assert final_state(config.output) == final_state(whole.output)
    assert record(config.output) == record(whole.output)


@pytest.mark.parametrize(
    ("end", "step"),
    [("stopped", 4), ("stopped", 5), ("stopped", 10), ("stopped", 20), ("killed", 12)],
)
def test_it_goes_on_as_if_it_had_not_been_stopped(scripted, fake_backend, step, end):
    whole = scripted("whole", stop_after=3)
    train(whole, console=QUIET)
    config = scripted(stop_after=3)
    if end == "stopped":
        fake_backend.prepare = stop_at(step, signal.SIGTERM)
        assert train(config, console=QUIET).signal == signal.SIGTERM
        fake_backend.prepare = die_at(step + 1)  # once again, behind a verification of that step
        if step + 1 < STEPS:
            with pytest.raises(RuntimeError, match="power cut"):
                train(resumed(config), resume=True, console=QUIET)
            best = find_best(config.output / "checkpoints")
            assert (best and best.step) == {4: None, 5: 5}.get(step, 10)
    else:
        fake_backend.prepare = die_at(step)
        with pytest.raises(RuntimeError, match="power cut"):
            train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    train(resumed(config), resume=True, console=QUIET)
    assert final_state(config.output) == final_state(whole.output)
    assert record(config.output) == record(whole.output)
    assert steps(config) == steps(whole) == [10, STEPS]
    ends = [read_record(list_checkpoints(c.output / "checkpoints")[-1]) for c in (config, whole)]
    assert ends[0].extra == ends[1].extra


@pytest.fixture
def weights(scripted, tmp_path):
    """Return a file of weights that `scripted` runs can start from."""
    graph = scripted().model_spec().graph()
    backbones.write_weights(tmp_path / "weights.safetensors", backbones.initial_weights(graph, 7))
    return tmp_path / "weights.safetensors"


def verified(config):
    return [each["step"] for each in record(config.output) if each["kind"] == "verification"]


def test_weights_that_a_run_starts_from_are_the_first_to_beat(scripted, weights):
    config = scripted(init=weights)
    result, text = said(config)
    assert (result.best_step, steps(config)) == (10, [10, STEPS])
    assert verified(config) == [0, *list(ACCURACIES)[1:]]
    assert "the best: pairs:accuracy 0.9000 at step 10 (0.8000 at step 0)" in text
    assert verified(scripted("random")) == []


@pytest.mark.parametrize("init_head", ["random", "centers"])
def test_no_run_keeps_worse_ones_than_it_started_from(scripted, weights, monkeypatch, init_head):
    monkeypatch.setitem(ACCURACIES, 0, 0.95)
    config = scripted(init=weights, init_head=init_head, stop_after=2)
    result, text = said(config)
    assert (result.best_step, result.step, steps(config)) == (0, 10, [0, 10])
    why = "as 2 verifications found none better than pairs:accuracy 0.9500 at step 0"
    assert f"ended after 10 steps, {why}, with the weights it started from; model: " in text
    assert load_run(config.output, "best").step == 0


@pytest.mark.parametrize("at_first", [0.8, 0.95])
@pytest.mark.parametrize("keep_best", ["accuracy", None])
@pytest.mark.parametrize("step", [1, 4, 5, 6, 11])
def test_step_0_is_verified_once(
    scripted, weights, fake_backend, monkeypatch, step, keep_best, at_first
):
    monkeypatch.setitem(ACCURACIES, 0, at_first)
    whole = scripted("whole", init=weights, keep_best=keep_best)
    train(whole, console=QUIET)
    config = scripted(init=weights, keep_best=keep_best)
    fake_backend.prepare = die_at(step)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    train(resumed(config), resume=True, console=QUIET)
    assert verified(config) == verified(whole) == list(ACCURACIES)
    assert final_state(config.output) == final_state(whole.output)
    assert record(config.output) == record(whole.output)
    assert steps(config) == steps(whole)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_start_that_fails_leaves_no_step_0_behind(scripted, weights, fake_backend, overwrite):
    config = scripted(init=weights)
    if overwrite:
        train(scripted(), console=QUIET)
    before = overwrite and final_state(config.output)
    fake_backend.prepare = die_at(1, OSError("the disk is full"))
    with pytest.raises(OSError, match="the disk is full"):
        train(config, overwrite=overwrite, console=QUIET)
    assert config.output.exists() == overwrite
    assert not overwrite or final_state(config.output) == before
    assert not RunFolder(config.output).replaced.exists()


def test_a_run_stopped_before_its_first_step_has_kept_what_it_started_from(
    scripted, weights, fake_backend
):
    config = scripted(init=weights, freeze=["stem"])
    fake_backend.prepare = die_at(1)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, console=QUIET)
    assert steps(config) == [0]
    with pytest.raises(MarginfaceError, match="freeze"):
        train(resumed(config, freeze=[]), resume=True, console=QUIET)


def test_a_kill_between_a_new_best_and_the_end_of_the_old_loses_neither(scripted, monkeypatch):
    config = scripted()

    def cut(path):
        raise RuntimeError(f"power cut before {path.name} goes")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_writer, "remove", cut)
        with pytest.raises(RuntimeError, match="power cut before step-00000005"):
            train(config, console=QUIET)
    assert steps(config) == [5, 10]
    assert load_run(config.output, "best").step == 10
    train(resumed(config), resume=True, console=QUIET)
    assert steps(config) == [10, STEPS]


def test_processes_agree(scripted, fake_backend):
    alone = scripted("alone", stop_after=2, batch_size=6)
    train(alone, console=QUIET)
    shared = scripted("shared", stop_after=2, batch_size=6, processes=2)
    results = on_processes(fake_backend, 2, lambda _: train(shared, console=QUIET))
    assert [(each.step, each.best_step) for each in results] == [(20, 10)] * 2
    assert steps(shared) == steps(alone) == [10, 20]


def test_another_metric_starts_anew(scripted, fake_backend):
    config = scripted()
    fake_backend.prepare = stop_at(17, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    result = train(resumed(config, keep_best="eer"), resume=True, console=QUIET)
    assert result.best_step == 20
    assert find_best(config.output / "checkpoints").metric == "pairs:eer"


def test_a_damaged_best_is_stood_in_for_and_stops_no_run(scripted, fake_backend):
    config = scripted()
    fake_backend.prepare = stop_at(17, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    (config.output / "checkpoints" / "step-00000010" / "state.safetensors").write_bytes(b"")
    told = "step-00000010 is damaged .*, the best: took step-00000017 in its place"
    with pytest.warns(match=told):
        assert load_run(config.output, "best").step == 17
    assert train(resumed(config), resume=True, console=QUIET).step == STEPS


def test_what_a_checkpoint_says_of_the_best_is_checked(scripted, fake_backend):
    config = scripted()
    fake_backend.prepare = stop_at(12, signal.SIGINT)
    train(config, console=QUIET)
    (newest,) = list_checkpoints(config.output / "checkpoints")[-1:]
    written = json.loads((newest / "state.json").read_text())
    for best in ({"step": -1}, {"step": "10"}, {"metric": 3}, {"since": 0.5}, {"value": None}):
        changed = json.loads(json.dumps(written))
        changed["extra"]["progress"]["best"] |= best
        (newest / "state.json").write_text(json.dumps(changed))
        with pytest.raises(MarginfaceError, match="kept no best checkpoint"):
            load_run(config.output, "best")
        with pytest.raises(MarginfaceError, match="is damaged"):
            train(resumed(config, refuse_damaged=True), resume=True, console=QUIET)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"keep_best": "acuracy"}, "no 'acuracy'; expected accuracy, .*auc, eer, tar@1e-1, .*SET:"),
        ({"keep_best": "lfw:tar@1e-9"}, "no 'tar@1e-9'; expected accuracy"),
        ({"keep_best": "lfw:auc"}, "no verification set is called 'lfw'; expected pairs:auc$"),
        ({"keep_best": "auc", "val_images": None, "val_pairs": None, "val_every": None}, "needs a"),
        ({"keep_best": None, "stop_after": 2}, "stop_after 2 needs the metric .*--keep-best acc"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_training(scripted, values, message):
    with pytest.raises(MarginfaceError, match=message):
        train(scripted(**values), console=QUIET)


@pytest.mark.usefixtures("fake_backend")
def test_a_verification_gives_every_metric(make, pairs_file, tiny_faces):
    config = make(val_images=tiny_faces, val_pairs=pairs_file)
    train(config, console=QUIET)
    last = record(config.output)[-1]
    assert set(METRICS) <= set(last)
