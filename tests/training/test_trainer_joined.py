"""Training on several sets: what a run records, and which data it goes on with."""

import shutil
import signal

import pytest
import yaml
from record_files import pack
from rich.console import Console
from runs import QUIET, final_state, on_processes, record, resumed, stop_at

from marginface.errors import MarginfaceError
from marginface.runs.folder import RunFolder
from marginface.training.config.files import read_config_file, resolve_config
from marginface.training.config.keys import TrainConfig
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")


@pytest.fixture
def sets(tiny_faces, tmp_path):
    """A set of three people, and one of two of the same names."""
    for name in ("person_1", "person_2"):
        shutil.copytree(tiny_faces / name, tmp_path / "more" / name)
    return [tiny_faces, tmp_path / "more"]


NAMES = ("faces/person_0", "faces/person_1", "faces/person_2", "more/person_1", "more/person_2")


def stopped(config, fake_backend):
    fake_backend.prepare = stop_at(7, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    return config


def test_a_run_on_two_sets_goes_on_as_if_it_had_not_been_stopped(make, fake_backend, sets, capsys):
    whole = make("whole", data=sets)
    train(whole, console=Console(stderr=True, width=200))
    said = capsys.readouterr().err
    assert "2 training sets: faces (3 identities, 24 images), more (2 identities, 16 i" in said
    assert "names in several sets: 2, of another identity in each (--join-identities " in said
    assert "40 images of 5 identities" in said
    run = RunFolder(whole.output)
    assert run.read_identities() == NAMES
    assert yaml.safe_load(run.config.read_text())["data"] == list(map(str, sets))
    assert TrainConfig(**read_config_file(run.config)) == whole

    config = stopped(make("stopped", data=sets), fake_backend)
    train(resumed(config), resume=True, console=QUIET)
    assert final_state(config.output) == final_state(whole.output)
    assert record(config.output) == record(whole.output)


def test_a_run_goes_on_where_its_sets_have_moved_or_been_packed(make, fake_backend, sets, tmp_path):
    whole = make("whole", data=sets)
    train(whole, console=QUIET)
    config = stopped(make("stopped", data=sets), fake_backend)
    moved = [pack(sets[0], tmp_path / "first.rec"), pack(sets[1], tmp_path / "second.tfrecord")]
    train(resumed(config, data=moved), resume=True, console=QUIET)
    assert final_state(config.output) == final_state(whole.output)
    assert RunFolder(config.output).read_identities() == NAMES
    assert read_config_file(RunFolder(config.output).config)["data"] == tuple(moved)


def test_other_sets_are_refused_and_nothing_is_written(make, fake_backend, sets, tmp_path):
    config = stopped(make(data=sets), fake_backend)
    before = RunFolder(config.output).config.read_bytes()
    shutil.copytree(sets[1], tmp_path / "less")
    (tmp_path / "less" / "person_1" / "person_1_0001.png").unlink()
    for data, message in (
        (sets[::-1], "the set of .*more and .*faces has 5 identities .* in the same order"),
        (sets[:1], "faces has 3 identities that differ from the 5"),
        ([*sets, tmp_path / "less"], "has 7 identities that differ from the 5"),
        ([sets[0], tmp_path / "less"], "saved input pipeline has images 40, this one 39"),
        ([sets[0], sets[0]], "is given twice"),
        ([sets[0], tmp_path / "gone"], "no such file or folder: .*gone"),
    ):
        with pytest.raises(MarginfaceError, match=message):
            train(resumed(config, data=data), resume=True, console=QUIET)
    with pytest.raises(MarginfaceError, match=r"cannot change join_identities \(False to True\)"):
        resumed(config, join_identities=True)
    assert RunFolder(config.output).config.read_bytes() == before


def test_joined_identities_have_their_own_names(make, fake_backend, sets, capsys):
    whole = make("whole", data=sets, join_identities=True, num_classes=3)
    train(whole, console=Console(stderr=True, width=200))
    assert "names in several sets: 2, each of one identity" in capsys.readouterr().err
    assert RunFolder(whole.output).read_identities() == ("person_0", "person_1", "person_2")
    config = stopped(make("stopped", data=sets, join_identities=True), fake_backend)
    train(resumed(config), resume=True, console=QUIET)
    assert final_state(config.output) == final_state(whole.output)
    with pytest.raises(MarginfaceError, match=r"num_classes is 3, but the set of .* has 5 identit"):
        train(make("other", data=sets, num_classes=3), console=QUIET)


def test_processes_share_several_sets(make, fake_backend, sets):
    alone, config = make("alone", data=sets), make("several", data=sets, processes=2)
    train(alone, console=QUIET)
    on_processes(fake_backend, 2, lambda _: train(config, console=QUIET))
    assert [line["loss"] for line in record(config.output)] == pytest.approx(
        [line["loss"] for line in record(alone.output)]
    )
    assert RunFolder(config.output).read_identities() == NAMES


def test_a_file_names_one_set_or_several(tmp_path):
    def read(text):
        path = tmp_path / "train.yaml"
        path.write_text(f"output: run\n{text}\n")
        return resolve_config(read_config_file(path), {})

    several = read("data: [a, b.rec]\njoin_identities: true")
    assert (list(map(str, several.data)), several.join_identities) == (["a", "b.rec"], True)
    assert list(map(str, read("data: a,b").data)) == ["a,b"]  # a path may have a comma
    for text, message in (
        ("data: []", "data is an empty list; give at least one"),
        ("data: [a, '']", "expected a folder, got an empty name"),
        ("data: a\ndata: b", "line 3: not valid YAML: 'data' is given twice"),
        ("data: [a]\njoin_identities: true", "join_identities has no effect with one set"),
    ):
        with pytest.raises(MarginfaceError, match=message):
            read(text)


def test_a_run_among_the_images_of_any_set_is_refused(make, sets):
    with pytest.raises(MarginfaceError, match=r"lies in data .*more, among the images"):
        train(make(data=sets, output=sets[1] / "run"), console=QUIET)
