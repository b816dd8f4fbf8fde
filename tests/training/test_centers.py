"""First class weights that point where each person's images do on average."""

from __future__ import annotations

import numpy as np
import pytest
from runs import QUIET, die_at, on_processes, resumed

from marginface import backbones, losses
from marginface.data.opening import open_images
from marginface.errors import MarginfaceError
from marginface.heads.initial import InitialHead
from marginface.runs.checkpoints import latest_checkpoint, load_checkpoint
from marginface.training import first_heads
from marginface.training.first_heads import CenterRows
from marginface.training.trainer import train

SIZE, SEED = 8, 3


def embed(images):
    """Return the mean colours, and their squares, of parts of images."""
    means = images.reshape(len(images), 4, 28, 112, 3).mean((2, 3)).reshape(len(images), -1)
    return (means[:, :SIZE] - 100).astype(np.float32)


@pytest.fixture
def rows(tiny_faces):
    def made(loss="arcface", embed=embed, images=None, batch_size=5):
        images = open_images(tiny_faces) if images is None else images
        count = len(images.identities) * losses.get(loss).num_centers
        fresh = InitialHead((count, SIZE), SEED)
        said = []
        made = CenterRows(
            embed, images, losses.get(loss), fresh, batch_size, lambda *done: said.append(done)
        )
        return made, said

    return made


def test_rows_point_to_the_mean_direction_as_long_as_fresh_ones(rows):
    centers, said = rows()
    images, head = centers.images, np.asarray(centers)
    units = [embed(images[number][0][None])[0].astype(float) for number in range(len(images))]
    units = np.array([each / np.linalg.norm(each) for each in units])
    for person in range(3):
        mean = units[images.labels == person].mean(0)
        expected = mean / np.linalg.norm(mean) * 0.01 * np.sqrt(SIZE)
        np.testing.assert_allclose(head[person], expected, rtol=1e-6)
    fresh = np.linalg.norm(InitialHead((10_000, SIZE), 0)[:], axis=1)
    np.testing.assert_allclose(np.linalg.norm(head, axis=1), np.sqrt((fresh**2).mean()), rtol=0.01)
    assert said[-1] == (24, 24)


def test_each_process_computes_its_own_people_alone(rows):
    whole, _ = rows()
    part, said = rows()
    np.testing.assert_array_equal(part[1:3], np.asarray(whole)[1:3])
    assert said[-1] == (16, 16)


def test_only_so_many_images_of_a_person_are_embedded(rows, monkeypatch):
    monkeypatch.setattr(first_heads, "IMAGES_A_PERSON", 3)
    centers, said = rows()
    labels = centers.images.labels[centers.chosen]
    assert list(labels) == [0] * 3 + [1] * 3 + [2] * 3
    np.testing.assert_array_equal(centers.chosen, rows()[0].chosen)
    assert list(centers.chosen % 8) != [0, 1, 2] * 3  # not the first of each
    assert np.asarray(centers).shape == (3, SIZE)
    assert said[-1] == (9, 9)


def test_other_sub_centres_and_people_without_a_direction_stay_fresh(rows):
    centers, _ = rows("subcenter_arcface")
    fresh, head = np.asarray(centers.fresh), np.asarray(centers)
    assert (head[::3] != fresh[::3]).all()
    np.testing.assert_array_equal(head[[1, 2, 4, 5, 7, 8]], fresh[[1, 2, 4, 5, 7, 8]])
    signs = iter(np.tile([1, -1], 100))
    opposite, _ = rows(embed=lambda x: np.array([[next(signs)] * SIZE for _ in x], np.float32))
    np.testing.assert_array_equal(np.asarray(opposite), np.asarray(opposite.fresh))


def test_weights_that_embed_nothing_are_refused(rows):
    centers, _ = rows(embed=lambda x: np.full((len(x), SIZE), np.nan, np.float32))
    with pytest.raises(MarginfaceError, match=r"NaN or infinite for person_0/person_0_0001.png"):
        np.asarray(centers)


@pytest.fixture
def started(make, tmp_path):
    """Return a run that starts from weights, of which the learner of tests has none."""
    graph = backbones.describe("mobilefacenet", 4)
    backbones.write_weights(tmp_path / "w.safetensors", backbones.initial_weights(graph, 0))
    return lambda name, **more: make(
        name, init=tmp_path / "w.safetensors", init_head="centers", **more
    )


def state(config):
    return load_checkpoint(latest_checkpoint(config.output / "checkpoints")).state


@pytest.mark.parametrize("step", [4, 14])  # before the first checkpoint, and after it
def test_a_killed_run_ends_as_without_the_kill(fake_backend, started, step):
    whole, cut = started("whole"), started("cut")
    train(whole, console=QUIET)
    fake_backend.prepare = die_at(step)
    with pytest.raises(RuntimeError, match="power cut"):
        train(cut, console=QUIET)
    fake_backend.prepare = lambda _: None
    train(resumed(cut), resume=True, console=QUIET)
    for name, array in state(whole).items():
        np.testing.assert_array_equal(state(cut)[name], array)


def test_several_processes_start_alike(fake_backend, started):
    first, heads = started("one"), []
    fake_backend.prepare = lambda learner: setattr(
        learner, "on_step", lambda _: heads.append(learner.values["head.weight"].copy())
    )
    train(first, console=QUIET)
    alone = heads[0]
    heads.clear()
    two = started("two", processes=2)
    ended = on_processes(fake_backend, 2, lambda _: train(two, console=QUIET))
    assert [each.step for each in ended] == [23, 23]
    np.testing.assert_allclose(heads[0], alone, rtol=1e-9)
