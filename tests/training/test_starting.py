"""What a new run starts from: weights that fit or not, and class weights of the same people."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest
import record_files
import torch
from real_faces import FACES, needs_faces
from runs import save_checkpoint

from marginface import MarginfaceError, backbones
from marginface.backbones.naming import find_naming, write_state_dict
from marginface.data.joined import join_sets
from marginface.data.opening import open_images
from marginface.heads.initial import InitialHead
from marginface.onnx.writer import build_onnx
from marginface.runs.checkpoints import Checkpoint
from marginface.training.config.files import config_text, read_config_file
from marginface.training.config.keys import TrainConfig
from marginface.training.starting import read_start

PEOPLE = ("zoe", "person_2", "person_0")  # of the run; the images have person_0, _1 and _2
SIZE = 16
WEIGHTS = backbones.initial_weights(backbones.describe("mbf", SIZE), 7)


@pytest.fixture
def settings(tiny_faces, tmp_path):
    def made(**values):
        defaults = {"data": tiny_faces, "output": tmp_path / "new", "backend": "torch"}
        return TrainConfig(**{**defaults, "backbone": "mbf", "embedding_size": SIZE, **values})

    return made


@pytest.fixture
def run(tmp_path, settings):
    """Return a function that leaves a run whose class weights are 100 for the first, 101, ..."""

    def left(loss="curricularface", people=PEOPLE, centers=1):
        folder = tmp_path / "run"
        rows = np.repeat(np.arange(100, 100 + len(people)), centers)
        head = {
            "head.weight": np.repeat(rows[:, None], SIZE, 1).astype(np.float32),
            "head.state.t": np.float32(0.5),
        }
        state = {f"backbone.{name}": value for name, value in WEIGHTS.items()} | head
        save_checkpoint(folder / "checkpoints", Checkpoint(3, state, {}))
        (folder / "identities.txt").write_text("".join(f"{name}\n" for name in people))
        (folder / "config.yaml").write_text(config_text(settings(loss=loss)))
        return folder

    return left


def started(config):
    return read_start(config, config.model_spec().graph(), open_images(config.data[0]))


def refusal(config):
    with pytest.raises(MarginfaceError) as caught:
        started(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_of_a_network_is_taken_and_it_is_said(settings, run):
    start = started(settings(init=run()))
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(start.arrays[f"backbone.{name}"], value)
    assert "head.weight" not in start.arrays
    said = "\n".join(start.lines)
    assert f"(step 3): all {len(WEIGHTS)} arrays of mbf taken" in said
    assert "class weights of 3 identities are new; the run's are left (--init-head run" in said
    assert "loss arcface (was curricularface)" in said
    assert "optimizer starts anew" in said


def test_another_size_is_refused_with_what_differs_and_both_ways_out_work(settings, run):
    other = settings(init=run(), embedding_size=32)
    said = refusal(other)
    assert re.search(r"\d+ of 283 arrays \(features.* is \[16.*\] instead of \[32", said)
    assert "--init-partial" in said
    options = shlex.split(re.search(r"give (--backbone .*), or", said)[1])
    assert options == ["--backbone", "mbf", "--embedding-size", "16"]
    start = started(other.model_copy(update={"init_partial": True}))
    graph = other.model_spec().graph().parameters()
    assert all(each.shape == graph[name[9:]].shape for name, each in start.arrays.items())
    taken = len(start.arrays)
    assert 250 < taken < 283
    assert f"{taken} of 283 arrays of mbf taken" in start.lines[0]
    assert start.lines[1].startswith("new: features.")


def test_weights_of_another_network_name_it(settings, tmp_path):
    path = tmp_path / "w.safetensors"
    graph = backbones.describe("iresnet18", 64, (112, 96))
    weights = backbones.initial_weights(graph, 0)
    backbones.write_weights(path, {f"module.{name}": each for name, each in weights.items()})
    said = refusal(settings(init=path))
    assert f"0 of {len(backbones.describe('mbf').parameters())} arrays" in said
    assert said.endswith("give --backbone iresnet18 --embedding-size 64 --crop 0,8,112,96")
    as_told = settings(init=path, backbone="iresnet18", embedding_size=64, crop="0,8,112,96")
    assert len(started(as_told).arrays) == len(weights)
    partial = refusal(settings(init=path, init_partial=True))
    assert "the nearest is iresnet18" in partial


def test_another_projects_weights_say_what_they_take(settings, tmp_path):
    config = settings(init=tmp_path / "w.pt", backbone="iresnet18")
    graph = config.model_spec().graph()
    weights = backbones.initial_weights(graph, 0)
    write_state_dict(tmp_path / "w.pt", graph, weights, find_naming("magface"))
    start = started(config)
    for name, value in weights.items():  # with the epsilon of this network
        np.testing.assert_array_equal(start.arrays[f"backbone.{name}"], value)
    said = "\n".join(start.lines)
    assert "named as by magface (channels bgr, mean 0, std 255, BatchNorm epsilon 2e-05)" in said
    assert (
        "other than what magface states: mean 127.5,127.5,127.5 (was 0.0,0.0,0.0), "
        "std 127.5,127.5,127.5 (was 255.0,255.0,255.0), channels rgb (was bgr)" in said
    )
    as_told = config.model_copy(
        update={"mean": (0.0,) * 3, "std": (255.0,) * 3, "channels": "bgr", "init_partial": True}
    )
    assert not any("other than" in line for line in started(as_told).lines)


@pytest.fixture
def records(tmp_path):
    return record_files.insightface(tmp_path / "people.rec", [0, 1, 3])


def shards(folder, rows):
    """Write what arcface_torch leaves of processes that have so many class weights each."""
    backbone = {name: torch.from_numpy(value) for name, value in WEIGHTS.items()}
    first = 0
    for rank, count in enumerate(rows):
        weight = torch.arange(first, first + count)[:, None].repeat(1, SIZE).float()
        state = {"state_dict_backbone": backbone, "state_dict_softmax_fc": {"weight": weight}}
        torch.save(state, folder / f"checkpoint_gpu_{rank}.pt")
        first += count
    return folder / "checkpoint_gpu_0.pt"


def test_class_weights_of_a_checkpoint_of_several_processes(settings, records, tmp_path):
    init = shards(tmp_path, [2, 2])
    start = started(settings(data=records, init=init, init_head="run"))
    np.testing.assert_array_equal(start.arrays["head.weight"][:, 0], [0, 1, 3])
    assert "class weights: those of 3 labels in 2 files such as" in "\n".join(start.lines)
    (tmp_path / "checkpoint_gpu_1.pt").unlink()
    said = refusal(settings(data=records, init=init, init_head="run"))
    assert "are of 2 labels" in said
    assert "has label 3; put the files of all processes in one folder" in said
    assert "by label, and identities of" in refusal(settings(init=init, init_head="run"))
    shards(tmp_path, [2, 1, 3])
    (tmp_path / "checkpoint_gpu_1.pt").unlink()
    said = refusal(settings(data=records, init=init, init_head="run"))
    assert "but none of 16 numbers of process 1; put the files of all" in said


def test_weights_of_whole_crops_say_so_where_a_part_is_asked_for(settings, tmp_path):
    path = tmp_path / "w.safetensors"
    graph = backbones.describe("iresnet18", 64)
    backbones.write_weights(path, backbones.initial_weights(graph, 0))
    asked = {"backbone": "iresnet18", "embedding_size": 64, "init": path}
    said = refusal(settings(**asked, crop="0,8,112,96"))
    assert (
        "give --backbone iresnet18 --embedding-size 64 --input-size 112,112, without --crop" in said
    )
    assert len(started(settings(**asked, input_size="112,112")).arrays) == len(graph.parameters())


def test_weights_of_no_network_are_told_as_such(settings, tmp_path):
    path = tmp_path / "w.safetensors"
    backbones.write_weights(path, {"encoder.weight": np.zeros((2, 2), np.float32)})
    assert "no network that marginface has is near it" in refusal(settings(init=path))


def test_half_a_file_is_one_line(settings, tmp_path):
    path = tmp_path / "w.safetensors"
    backbones.write_weights(path, WEIGHTS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "not a whole safetensors file" in refusal(settings(init=path))


@pytest.mark.parametrize("partial", [False, True])
def test_two_networks_in_a_file_are_refused(settings, tmp_path, partial):
    path = tmp_path / "w.safetensors"
    both = ((f"{who}.{name}", a) for name, a in WEIGHTS.items() for who in ("ema", "now"))
    backbones.write_weights(path, dict(both))
    said = refusal(settings(init=path, init_partial=partial))
    assert said.startswith(f"{path} holds several backbones, 'ema.' and 'now.'")


def test_what_is_broken_is_named(settings, tmp_path):
    path = tmp_path / "w.safetensors"
    name = list(WEIGHTS)[3]
    backbones.write_weights(path, WEIGHTS | {name: np.full_like(WEIGHTS[name], np.nan)})
    assert f"{name} has numbers that are NaN or infinite" in refusal(settings(init=path))


def test_an_export_of_other_pixels_or_another_loss_is_told(settings, tmp_path):
    path = tmp_path / "m.onnx"
    before = settings(std=128, channels="bgr", resize="fit")
    about = {"loss": "cosface", "loss_parameters": '{"scale": 64.0, "margin": 0.35}'}
    model = build_onnx(before.model_spec(), WEIGHTS, metadata=about)
    path.write_bytes(model.SerializeToString())
    assert started(settings(init=path)).lines[-1] == (
        f"other than in {path}: loss arcface (was cosface), margin 0.5 (was 0.35), "
        "std 127.5,127.5,127.5 (was 128.0,128.0,128.0), channels rgb (was bgr), "
        "resize no (was fit)"
    )
    same = {"std": 128, "channels": "bgr", "resize": "fit", "loss": "cosface", "margin": 0.35}
    assert "other than" not in "".join(started(settings(init=path, **same)).lines)


def test_people_of_several_sets_can_go_by_their_own_names(settings, run, tiny_faces):
    config = settings(init=run(), init_head="run")
    sets = ("a", "b")

    def start(*, joined):
        images = join_sets([open_images(tiny_faces)] * 2, sets, join_identities=joined)
        return read_start(config, config.model_spec().graph(), images)

    with pytest.raises(MarginfaceError, match=r"such as 'a/person_0'.*; --join-ident"):
        start(joined=False)
    assert "those of 2 people are the run's" in "".join(start(joined=True).lines)


def test_class_weights_of_the_same_people_are_kept(settings, run):
    config = settings(init=run(), init_head="run", loss="curricularface", seed=5)
    start = started(config)
    head = np.asarray(start.arrays["head.weight"])
    np.testing.assert_array_equal(head[:, 0][[0, 2]], [102, 101])
    np.testing.assert_array_equal(head[1], InitialHead((3, SIZE), 5)[1:2][0])
    np.testing.assert_array_equal(start.arrays["head.weight"][1:3], head[1:3])
    assert np.asarray(start.arrays["head.state.t"]) == 0.5
    said = "\n".join(start.lines)
    assert "those of 2 people are the run's, of 1 new; the 1 others of the run are left" in said
    assert "kept of curricularface: head.state.t" in said


def test_all_the_people_of_a_run_are_kept_without_a_word_of_others(settings, run):
    start = started(
        settings(init=run(people=("person_0", "person_1", "person_2")), init_head="run")
    )
    assert "class weights: those of 3 people are the run's" in start.lines


def test_the_state_of_another_loss_is_left_and_it_is_said(settings, run):
    start = started(settings(init=run(), init_head="run", loss="cosface"))
    assert "head.state.t" not in start.arrays
    assert "left of curricularface: head.state.t" in start.lines


def test_several_centers_follow_their_person(settings, run):
    folder = run("subcenter_arcface", centers=3)
    config = settings(init=folder, init_head="run", loss="subcenter_arcface")
    head = np.asarray(started(config).arrays["head.weight"])
    np.testing.assert_array_equal(head[:, 0][[0, 1, 2, 6, 7, 8]], [102] * 3 + [101] * 3)
    said = refusal(settings(init=folder, init_head="run"))
    assert "are 3 for each person (subcenter_arcface)" in said
    assert "arcface has 1" in said
    assert "--init-head centers" in said


@pytest.mark.parametrize(
    ("people", "words"),
    [
        (("zoe", "yan"), "none of the 3 people of .*'person_0', is among the 2 of .*'zoe'"),
        (("zoe", "person_0", "person_0"), "none of the 3 people"),
    ],
)
def test_a_run_of_other_people_is_refused(settings, run, people, words):
    assert re.search(words, refusal(settings(init=run(people=people), init_head="run")))


def test_what_has_no_names_is_refused(settings, run, tmp_path):
    folder = run()
    (folder / "identities.txt").unlink()
    assert "no run with an identities.txt" in refusal(settings(init=folder, init_head="run"))
    path = tmp_path / "w.safetensors"
    backbones.write_weights(path, WEIGHTS)
    assert "needs a run as --init" in refusal(settings(init=path, init_head="run"))


@pytest.mark.parametrize("key", [{"init_head": "centers"}, {"init_partial": True}])
def test_options_about_weights_need_weights(settings, key):
    with pytest.raises(MarginfaceError, match="has no effect without weights to start from"):
        settings(**key)


def test_frozen_statistics_are_those_of_whole_weights(settings):
    with pytest.raises(
        MarginfaceError, match="of every BatchNorm; give --init, or leave frozen_st"
    ):
        settings(frozen_statistics=True)
    with pytest.raises(MarginfaceError, match="of every BatchNorm; leave init_partial out, or"):
        settings(frozen_statistics=True, init="w.pt", init_partial=True)
    assert settings(frozen_statistics=True, init="w.pt").tuning().frozen_statistics


def test_the_old_name_of_init_is_read_and_never_beside_it(tmp_path, settings):
    path = tmp_path / "config.yaml"
    path.write_text(config_text(settings()).replace("init: null", "init_weights: w.pt"))
    assert str(read_config_file(path)["init"]) == "w.pt"
    path.write_text("init: a.pt\ninit_weights: b.pt\n")
    with pytest.raises(MarginfaceError, match="init is given twice: init_weights is its old name"):
        read_config_file(path)


def test_init_does_not_go_with_resume(cli, run, tmp_path):
    folder = run()
    given = ["train", "--output", str(folder), "--resume", "--init-weights", "w.pt"]
    done = cli(*given)
    assert done.status == 2
    assert "--init gives a new run its first weights, and --resume goes on" in done.stderr
    assert not (tmp_path / "new").exists()


@needs_faces
def test_a_public_checkpoint_starts_where_it_stands(tmp_path):
    torch = pytest.importorskip("marginface_torch.learner")
    path = FACES / "weights" / "mobilefacenet_casia_112x96.ckpt"
    values = {"data": FACES / "lfw112" / "train", "output": tmp_path / "r", "init": path}
    values |= {"backbone": "mobilefacenet", "embedding_size": 128, "std": 128}
    config = TrainConfig(**values, crop="0,8,112,96", backend="torch")
    people = sorted((FACES / "lfw112" / "train").iterdir())[:2]
    for each in people:
        (tmp_path / "few").mkdir(exist_ok=True)
        (tmp_path / "few" / each.name).symlink_to(each)
    images = open_images(tmp_path / "few")
    with pytest.warns(UserWarning, match="took 'net_state_dict'"):
        start = read_start(config, config.model_spec().graph(), images)
    weights = {name.removeprefix("backbone."): each for name, each in start.arrays.items()}
    learner = torch.create_learner(config.learner_spec(2, group=None, threads=1))
    learner.load_arrays(start.arrays, strict=False)
    batch = np.stack([images[number][0] for number in range(2)])
    preprocessing = config.model_spec().preprocessing
    embed = torch.create_embedder(config.model_spec(), weights, folded=False)
    expected = embed(preprocessing(batch))
    np.testing.assert_allclose(learner.embed(preprocessing.cut(batch)), expected, atol=1e-6)
