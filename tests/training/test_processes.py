import os
import re
import signal
import threading

import numpy as np
import pytest
from rich.console import Console
from runs import QUIET, Threads, on_processes, record, resumed

from marginface.errors import AgreedError, MarginfaceError, TrainingDivergedError
from marginface.losses import ArcFace
from marginface.runs.checkpoints import latest_checkpoint, list_checkpoints, load_checkpoint
from marginface.training.processes.groups import (
    Place,
    agree,
    meet,
    require_same,
    share_of_cores,
    this_process,
    together,
)
from marginface.training.trainer import train

SHARED = {"batch_size": 6, "max_steps": 12, "checkpoint_every": 4}


def run_on(backend, size, config, *, resume=False):
    """Train on `size` processes; return what each returned or raised."""
    one = config.model_copy(update={"processes": size})
    return on_processes(backend, size, lambda _: train(one, resume=resume, console=QUIET))


def assert_same_record(ours, theirs):
    for mine, other in zip(record(ours), record(theirs), strict=True):
        assert mine.pop("kind") == other.pop("kind")
        assert mine == pytest.approx(other, rel=1e-9, abs=1e-12)


def assert_same_run(ours, theirs):
    assert_same_record(ours, theirs)
    steps = [path.name for path in list_checkpoints(ours / "checkpoints")]
    assert steps == [path.name for path in list_checkpoints(theirs / "checkpoints")] != []
    for step in steps:
        one, other = (load_checkpoint(run / "checkpoints" / step) for run in (ours, theirs))
        assert set(one.state) == set(other.state)
        for name, value in one.state.items():
            np.testing.assert_allclose(value, other.state[name], rtol=1e-9, atol=1e-12)
        assert one.extra["pipeline"] == other.extra["pipeline"]
    for name in ("identities.txt", "model.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()


@pytest.fixture
def verified(make, pairs_file, tiny_faces):
    """Return how to configure a run that is verified as it goes."""

    def config(name, **values):
        verification = {"val_images": tiny_faces, "val_pairs": pairs_file, "val_every": 5}
        return make(name, **{**SHARED, **verification, **values})

    return config


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("sampling", [None, "partial_fc"])
def test_the_number_of_processes_does_not_change_a_run(verified, fake_backend, size, sampling):
    rate = {} if sampling is None else {"sample_rate": 0.7, "sampling": sampling}
    alone, shared = verified("alone", **rate), verified("shared", **rate)
    train(alone, console=QUIET)
    results = run_on(fake_backend, size, shared)
    assert [result.step for result in results] == [12] * size
    assert len({result.best_accuracy for result in results}) == 1
    assert_same_run(shared.output, alone.output)


@pytest.mark.parametrize("sizes", [(1, 3), (3, 2), (2, 1)])
def test_a_run_goes_on_with_another_number_of_processes(verified, fake_backend, sizes):
    whole, config = verified("whole"), verified("cut")
    train(whole, console=QUIET)

    def prepare(learner):
        def on_step(step):
            if step == 6:
                raise RuntimeError("power cut")

        learner.on_step = on_step

    fake_backend.prepare = prepare
    ends = run_on(fake_backend, sizes[0], config)
    assert any(str(end) == "power cut" for end in ends)
    fake_backend.prepare = lambda _: None
    ends = run_on(fake_backend, sizes[1], resumed(config), resume=True)
    assert [end.step for end in ends] == [12] * sizes[1]
    assert_same_run(config.output, whole.output)


def files(run):
    return sorted(path.name for path in latest_checkpoint(run / "checkpoints").iterdir())


def test_each_process_writes_its_classes_where_all_see_one_folder(make, fake_backend):
    config = make(**SHARED)
    run_on(fake_backend, 2, config)
    shards = [f"head-{rank}-of-2.safetensors" for rank in range(2)]
    assert files(config.output) == [*shards, "state.json", "state.safetensors"]
    assert not list(config.output.glob(".*"))


def test_process_0_writes_all_where_another_sees_no_folder_of_the_run(
    verified, fake_backend, tmp_path
):
    alone, config = verified("alone"), verified("several", processes=2)
    train(alone, console=QUIET)
    elsewhere = config.model_copy(update={"output": tmp_path / "elsewhere"})
    ends = on_processes(
        fake_backend, 2, lambda rank: train([config, elsewhere][rank], console=QUIET)
    )
    assert [end.step for end in ends] == [12, 12]
    assert files(config.output) == ["state.json", "state.safetensors"]
    assert_same_run(config.output, alone.output)
    assert not elsewhere.output.exists()


def test_draws_for_samples_are_shared_and_classes_common(make, fake_backend, monkeypatch):
    monkeypatch.setattr(ArcFace, "draw", lambda _, rng, batch: {"m": rng.normal(size=batch)})
    rate = {"sample_rate": 0.7, **SHARED}
    train(make("alone", **rate), console=QUIET)
    whole = fake_backend.learner.draws
    learners = {}
    fake_backend.prepare = lambda learner: learners.update({learner.group.rank: learner})
    run_on(fake_backend, 2, make("shared", **rate))
    assert len(whole) == 12
    for rank, learner in learners.items():
        for mine, draw in zip(learner.draws, whole, strict=True):
            assert mine["m"].tolist() == draw["m"][rank::2].tolist()
            assert mine["classes"].tolist() == draw["classes"].tolist()
            assert mine["log_weights"].tolist() == draw["log_weights"].tolist()


def test_a_batch_of_more_identities_than_are_sampled_is_said_once(make, fake_backend, capsys):
    config = make(sample_rate=0.4, processes=2, **SHARED)
    console = Console(stderr=True)
    on_processes(fake_backend, 2, lambda rank: train(config, console=[console, QUIET][rank]))
    printed = capsys.readouterr().err
    assert printed.count("takes them all, though sample_rate 0.4 of 3 is 1") == 1


def test_only_process_0_prints(make, fake_backend, capsys):
    config = make(processes=2, **SHARED)
    on_processes(fake_backend, 2, lambda _: train(config))
    assert capsys.readouterr().err.count("finished 12 steps") == 1


@pytest.mark.parametrize(
    ("mine", "theirs", "message"),
    [
        ({"batch_size": 6}, {"batch_size": 8}, "process 1 has batch_size 8, process 0 has batch_s"),
        ({}, {"data": "other"}, "process 1 has 2 identities and 16 images.* process 0 has 3 ident"),
        ({}, {"num_classes": 4}, "process 1 of 2: num_classes is 4, but .* has 3 identities"),
        ({"num_classes": 4}, {"num_classes": 4}, "^num_classes is 4, but .* has 3 identities"),
        ({"data": "nowhere"}, {}, "process 0 of 2: .*nowhere"),
    ],
)
def test_what_differs_between_processes_is_named_on_all(
    make, fake_backend, tiny_faces, tmp_path, mine, theirs, message
):
    if theirs.get("data"):
        theirs = {"data": tmp_path / theirs["data"]}
        for name in ("person_0", "person_1"):
            (theirs["data"] / name).mkdir(parents=True)
            for image in (tiny_faces / name).iterdir():
                os.link(image, theirs["data"] / name / image.name)
    configs = [make(processes=2, **values) for values in (mine, theirs)]
    ends = on_processes(fake_backend, 2, lambda rank: train(configs[rank], console=QUIET))
    for end in ends:
        assert isinstance(end, AgreedError)
        assert re.search(message, str(end))
    assert not configs[0].output.exists()


def test_processes_wait_for_the_last(tmp_path):
    came = []

    def arrive(rank):
        meet(tmp_path, Place(rank, 3))
        came.append(rank)

    threads = [threading.Thread(target=arrive, args=[rank]) for rank in range(3)]
    for thread in threads[:2]:
        thread.start()
        thread.join(0.05)
    assert came == []
    threads[2].start()
    for thread in threads:
        thread.join(5)
    assert sorted(came) == [0, 1, 2]


def test_processes_do_not_wait_for_ever(tmp_path):
    meet(tmp_path, Place(0, 2), seconds=0.02)


def test_more_processes_than_identities_are_refused(make, fake_backend):
    ends = run_on(fake_backend, 4, make(batch_size=8))
    assert len({str(end) for end in ends}) == 1
    assert "4 processes cannot share the 3 identities of" in str(ends[0])


@pytest.mark.usefixtures("fake_backend")
def test_several_processes_need_an_environment_that_names_them(make):
    with pytest.raises(
        MarginfaceError, match="processes is 2, but this process is one of 1; start"
    ):
        train(make(processes=2), console=QUIET)


def stops(monkeypatch, rank_of_signal, when):
    """Have the process of this rank receive a signal once `when` holds."""

    class Stop:
        def __init__(self, *, quiet):
            self._mine = quiet == (rank_of_signal > 0)

        @property
        def received(self):
            return signal.SIGTERM if self._mine and when() else None

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("marginface.training.trainer.StopRequest", Stop)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_stops_all_after_the_same_step(
    verified, fake_backend, monkeypatch, rank
):
    whole, config = verified("whole"), verified("stopped")
    train(whole, console=QUIET)
    taken = [0]

    def prepare(learner):
        if learner.group.rank == rank:
            learner.on_step = lambda step: taken.__setitem__(0, step)

    fake_backend.prepare = prepare
    with monkeypatch.context() as patch:
        stops(patch, rank, lambda: taken[0] >= 7)
        ends = run_on(fake_backend, 2, config)
    assert [(end.step, end.signal) for end in ends] == [(7, signal.SIGTERM)] * 2
    assert latest_checkpoint(config.output / "checkpoints").name == "step-00000007"
    fake_backend.prepare = lambda _: None
    run_on(fake_backend, 2, resumed(config), resume=True)
    assert_same_record(config.output, whole.output)


def test_a_signal_during_verification_leaves_it_for_later(verified, fake_backend, monkeypatch):
    config = verified("stopped")
    embedded = threading.Event()

    def prepare(learner):
        embed = learner.embed

        def first_embed(images):
            embedded.set()
            return embed(images)

        learner.embed = first_embed

    fake_backend.prepare = prepare
    stops(monkeypatch, 1, embedded.is_set)
    ends = run_on(fake_backend, 2, config)
    assert [(end.step, end.signal) for end in ends] == [(5, signal.SIGTERM)] * 2
    assert [line["kind"] for line in record(config.output)] == ["train"]


def test_an_image_that_one_process_cannot_read_ends_all(make, fake_backend, monkeypatch):
    from marginface.data.pipeline import TrainingPipeline

    read = TrainingPipeline.__next__

    def next_batch(pipeline):
        if pipeline.state()["next_batch"] == 5 and fake_backend.place().rank == 1:
            raise MarginfaceError("face.png: cannot read the image")
        return read(pipeline)

    monkeypatch.setattr(TrainingPipeline, "__next__", next_batch)
    ends = run_on(fake_backend, 2, make(**SHARED))
    assert [str(end) for end in ends] == ["process 1 of 2: face.png: cannot read the image"] * 2


@pytest.mark.parametrize("what", ["saving.CheckpointWriter.finish", "verifying.embed_pairs"])
def test_what_fails_on_process_0_alone_ends_all(verified, fake_backend, monkeypatch, what):
    def fail(*_, **__):
        raise MarginfaceError("the disk is full")

    monkeypatch.setattr(f"marginface.training.{what}", fail)
    ends = run_on(fake_backend, 2, verified("run"))
    assert [type(end) for end in ends] == [AgreedError] * 2
    assert [str(end) for end in ends] == ["process 0 of 2: the disk is full"] * 2


def test_divergence_ends_all(make, fake_backend):
    def prepare(learner):
        learner.loss_at = {3: float("nan")}

    fake_backend.prepare = prepare
    ends = run_on(fake_backend, 3, make(**SHARED))
    assert [type(end) for end in ends] == [TrainingDivergedError] * 3


def test_processes_that_compile_do_so_at_the_same_step(make, fake_backend, monkeypatch):
    from marginface.training import compiling

    monkeypatch.setattr(compiling, "WORTHWHILE_SECONDS", 0.0)
    compiled = {}

    def prepare(learner):
        learner.compile = lambda: compiled.update({learner.group.rank: learner.steps})

    fake_backend.prepare = prepare
    run_on(fake_backend, 2, make(**SHARED))
    assert compiled == {0: 6, 1: 6}


def test_a_block_ends_on_all_processes_at_once(fake_backend):
    def run(rank):
        with together(fake_backend.local.group):
            if rank:
                raise FileNotFoundError(2, "No such file", f"faces-{rank}")

    ends = on_processes(fake_backend, 3, run)
    assert [str(end) for end in ends] == ["process 1 of 3: faces-1: No such file"] * 3


def test_one_process_alone_keeps_its_own_error():
    with pytest.raises(FileNotFoundError), together(Threads(0, [""], None)):
        raise FileNotFoundError(2, "No such file", "faces")


def test_facts_that_differ_are_named(fake_backend):
    facts = (["2 images", "lr 1", "seed 0"], ["2 images", "lr 2", "seed 3"])
    ends = on_processes(
        fake_backend, 2, lambda rank: require_same(fake_backend.join(), facts[rank], "mend it")
    )
    message = "process 1 has lr 2 and seed 3, process 0 has lr 1 and seed 0; mend it"
    assert [str(end) for end in ends] == [message] * 2


def test_any_signal_is_that_of_all(fake_backend):
    given = (None, 15, 2)
    ends = on_processes(fake_backend, 3, lambda rank: agree(fake_backend.join(), given[rank]))
    assert ends == [15] * 3


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, Place()),
        ({"WORLD_SIZE": "4"}, Place()),
        ({"RANK": "0", "WORLD_SIZE": "1"}, Place(named=True)),
        ({"RANK": "3", "WORLD_SIZE": "4"}, Place(3, 4, 0, 1, True)),
        (
            {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
            Place(3, 4, 1, 2, True),
        ),
    ],
)
def test_the_environment_says_which_process_this_is(environment, place):
    assert this_process(environment) == place


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1"}, "RANK is 1, WORLD_SIZE is nothing"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2, WORLD_SIZE is 2"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is one"),
    ],
)
def test_an_environment_that_names_no_process_is_refused(environment, message):
    with pytest.raises(MarginfaceError, match=message):
        this_process(environment)


def test_threads_are_an_equal_share(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert Place().threads() is None
    assert Place(0, 10**6, 0, 10**6, True).threads() == 1
    assert Place(0, 2, 0, 2, True).threads() == share_of_cores(2)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert Place(0, 2, 0, 2, True).threads() == 3
