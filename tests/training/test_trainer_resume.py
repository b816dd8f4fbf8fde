import json
import shutil
import signal
from unicodedata import normalize

import pytest
from record_files import pack
from rich.console import Console
from runs import QUIET, STEPS, die_at, final_state, on_processes, record, resumed, stop_at

from marginface.errors import MarginfaceError
from marginface.losses import ArcFace
from marginface.runs.checkpoints import latest_checkpoint
from marginface.training.config.files import read_config_file
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")


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


@pytest.mark.parametrize("name", ["faces.rec", "faces.tfrecord"])
def test_a_run_on_a_folder_goes_on_with_the_file_packed_from_it(
    make, fake_backend, tiny_faces, tmp_path, name
):
    whole = make("whole")
    train(whole, console=QUIET)
    packed = pack(tiny_faces, tmp_path / name)
    entire = make("entire", data=packed)
    train(entire, console=QUIET)
    assert final_state(entire.output) == final_state(whole.output)
    assert record(entire.output) == record(whole.output)

    config = make("stopped")
    fake_backend.prepare = stop_at(7, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    train(resumed(config, data=packed), resume=True, console=QUIET)
    assert final_state(config.output) == final_state(whole.output)


def test_a_run_goes_on_where_names_have_another_unicode_form(
    make, fake_backend, tiny_faces, tmp_path
):
    for form in ("NFC", "NFD"):  # taken apart, the first name sorts before the second
        for number, person in enumerate(["Jos\u00e9", "Josf", "\uac00\ub098"]):
            folder = tmp_path / form / normalize(form, person)
            shutil.copytree(tiny_faces / f"person_{number}", folder)
    whole = make("whole", data=tmp_path / "NFC")
    train(whole, console=QUIET)
    config = make("stopped", data=tmp_path / "NFC")
    fake_backend.prepare = stop_at(7, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    train(resumed(config, data=tmp_path / "NFD"), resume=True, console=QUIET)
    assert final_state(config.output) == final_state(whole.output)


def test_a_missing_index_keeps_a_run_from_beginning(make, tiny_faces, tmp_path):
    packed = pack(tiny_faces, tmp_path / "faces.rec")
    packed.with_suffix(".idx").unlink()
    with pytest.raises(MarginfaceError, match="--rebuild-index"):
        train(make(data=packed), console=QUIET)
    assert not (tmp_path / "run").exists()
    train(make(data=packed, rebuild_index=True), console=QUIET)
    assert packed.with_suffix(".idx").exists()


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


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.jsonl", '{"kind"\n', "metrics.jsonl:1: not a line of metrics"),
        ("metrics.jsonl", "[" * 200_000 + "\n", "metrics.jsonl:1: not a line of metrics"),
        ("metrics.jsonl", '{"kind": "train"}\n', "metrics.jsonl:1: not a line of metrics"),
        ("metrics.jsonl", "3\n", "metrics.jsonl:1: not a line of metrics"),
        ("environment.json", "{", "environment.json is not what was written"),
        ("environment.json", "[" * 200_000, "environment.json is not what was written"),
        ("environment.json", '{"sessions": 3}', "environment.json is not what was written"),
        ("config.yaml", "[" * 20_000, "nested too deeply"),
    ],
)
def test_a_damaged_record_is_named(make, fake_backend, name, text, message):
    config = make()
    fake_backend.prepare = stop_at(5, signal.SIGINT)
    train(config, console=QUIET)
    (config.output / name).write_text(text)
    with pytest.raises(MarginfaceError, match=message):
        train(resumed(config), resume=True, console=QUIET)
    assert (config.output / name).read_text() == text


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("progress", None),
        ("progress", {"step": "x"}),
        ("progress", {"step": 4}),
        ("progress", {"other": 1}),
        ("progress", {"losses": None}),
        ("progress", {"verified_step": 6}),
        ("pipeline", None),
        ("pipeline", "x"),
        ("pipeline", {"batch_size": 0}),
        ("pipeline", {"images": 3}),
        ("pipeline", {"next_batch": 4}),
        ("pipeline", {"images_sha256": "\x1b[31m"}),
    ],
)
def test_a_checkpoint_that_a_run_did_not_write_is_damaged(make, fake_backend, part, change):
    config = make()
    fake_backend.prepare = stop_at(5, signal.SIGINT)
    train(config, console=QUIET)
    path = config.output / "checkpoints" / "step-00000005"
    record = json.loads((path / "state.json").read_text())
    extra = record["extra"]
    if isinstance(change, dict):
        extra[part] |= change
    elif change:
        extra[part] = change
    else:
        del extra[part]
    (path / "state.json").write_text(json.dumps(record))
    with pytest.raises(MarginfaceError) as caught:
        train(resumed(config), resume=True, console=QUIET)
    assert str(caught.value) == (
        f"checkpoint {path} is damaged (state.json is not what was written), and there is no "
        "other; restore one from a copy, or train again: `marginface train --config "
        f"{config.output}/config.yaml --output NEW`"
    )


def test_balanced_batches_go_on_in_any_number_of_processes(make, fake_backend):
    balanced = {"people_per_batch": 3, "images_per_person": 2, "batch_size": 6}
    whole = make("whole", **balanced)
    train(whole, console=QUIET)
    config = make("stopped", **balanced)
    fake_backend.prepare = stop_at(7, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    with pytest.raises(MarginfaceError, match=r"cannot change people_per_batch \(3 to 2\)"):
        resumed(config, people_per_batch=2)
    more = resumed(config, processes=2)
    on_processes(fake_backend, 2, lambda _: train(more, resume=True, console=QUIET))
    for ours, theirs in zip(record(config.output), record(whole.output), strict=True):
        assert ours.pop("kind") == theirs.pop("kind")
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_few_images_for_balanced_batches_are_counted(make, capsys):
    train(
        make(people_per_batch=2, images_per_person=12, batch_size=24), console=Console(stderr=True)
    )
    said = " ".join(capsys.readouterr().err.split())
    assert "3 of 3 people have fewer than 12 images; a batch has theirs several times" in said
