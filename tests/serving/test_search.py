"""The nearest of a gallery: exact, and the same with faiss and with NumPy."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from marginface import MarginfaceError
from marginface.evaluation import identification
from marginface.serving import search
from marginface.serving.search import NearestSearch
from marginface.vectors import unit_embeddings

faiss = pytest.importorskip("faiss")


def plain(gallery, probes, top):
    """Score every pair in float64, from the definition."""
    unit = [
        unit_embeddings(each).astype(np.float32).astype(np.float64) for each in (gallery, probes)
    ]
    score = np.array([[each @ entry for entry in unit[0]] for each in unit[1]], np.float32)
    score = np.clip(score, -1, 1)
    index = np.argsort(-score, axis=1, kind="stable")[:, :top]
    return index, np.take_along_axis(score, index, axis=1)


@pytest.fixture(params=["faiss", "numpy"])
def engine(request, monkeypatch) -> str:
    """Each engine, in blocks so small that there are several."""
    monkeypatch.setattr(search, "ENTRIES_AT_ONCE", 64)
    monkeypatch.setattr(search, "PROBES_AT_ONCE", 7)
    return request.param


def people(seed: int, count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32) * 9


@pytest.mark.parametrize("top", [1, 5, 200, 999])
def test_the_nearest_are_those_of_all_pairs(engine, top):
    gallery, probes = people(0, 400), people(1, 20)
    found = NearestSearch(gallery, engine=engine).nearest(probes, top)
    index, score = plain(gallery, probes, top)
    assert np.array_equal(found.index, index)
    assert np.array_equal(found.score, score)
    assert found.score.shape == (20, min(top, 400))


def test_ties_come_in_the_gallerys_order(engine):
    """More copies than there are candidates, of other lengths, and others a bit away."""
    copies = np.repeat(people(0, 4), 100, axis=0)
    shuffled = np.random.default_rng(2).permutation(len(copies))
    gallery = (copies * np.float32(2) ** (shuffled % 5)[:, None])[shuffled]
    gallery[::7, 0] = np.nextafter(gallery[::7, 0], np.float32(99))
    probes = np.concatenate([people(0, 4), people(1, 3)])
    for top in (1, 3, 120):
        found = NearestSearch(gallery, engine=engine).nearest(probes, top)
        index, score = plain(gallery, probes, top)
        assert np.array_equal(found.index, index)
        assert np.array_equal(found.score, score)


def test_whatever_the_blocks_and_the_engine_the_bits_are_the_same(monkeypatch):
    gallery = np.concatenate([people(0, 700, 512)] * 2)
    probes = gallery[:50] + people(1, 50, 512) / 9
    first = NearestSearch(gallery, engine="faiss", threads=1).nearest(probes, 10)
    for engine, entries, chunk in (("numpy", 100, 3), ("numpy", 4096, 50), ("faiss", 100, 1)):
        monkeypatch.setattr(search, "ENTRIES_AT_ONCE", entries)
        monkeypatch.setattr(search, "PROBES_AT_ONCE", chunk)
        other = NearestSearch(gallery, engine=engine).nearest(probes, 10)
        assert first.index.tobytes() == other.index.tobytes()
        assert first.score.tobytes() == other.score.tobytes()
    assert np.all(first.index[:, 0] < 700)


def test_the_nearest_is_whom_identify_names(engine):
    gallery, probes = people(0, 90), people(1, 40)
    names = [f"{each:03}" for each in range(90)]
    searches = identification.search(gallery, names, probes, ["nobody"] * 40, top=4)
    found = NearestSearch(gallery, engine=engine).nearest(probes, 4)
    assert np.array_equal(searches.best, found.index)
    assert np.abs(searches.best_score - found.score).max() < 2e-7


def test_an_embedding_is_its_own_nearest_at_most_1(engine):
    gallery = people(0, 100, 3)
    found = NearestSearch(gallery, engine=engine).nearest(gallery)
    assert np.array_equal(found.index[:, 0], np.arange(100))
    assert found.score.max() <= 1


def settings() -> tuple[int, int]:
    return faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_database_bs


def test_faiss_has_its_settings_back():
    before = settings()
    NearestSearch(people(0, 9), engine="faiss", threads=before[0] + 1).nearest(people(1, 2))
    assert settings() == before


def test_without_faiss_numpy_searches(monkeypatch):
    monkeypatch.setattr(search, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert NearestSearch(people(0, 9)).nearest(people(0, 9)).index[:, 0].tolist() == [*range(9)]


def test_no_probes_have_no_neighbours(engine):
    found = NearestSearch(people(0, 9), engine=engine).nearest(np.empty((0, 32)), 2)
    assert found.index.shape == found.score.shape == (0, 2)


@pytest.mark.parametrize(
    ("gallery", "probes", "top", "message"),
    [
        (np.empty((0, 4)), np.ones((1, 4)), 1, "the gallery is empty"),
        (np.ones((2, 4)), np.ones((1, 5)), 1, "have 4 numbers, the probes' 5; one model"),
        (np.ones((2, 4)), np.ones((1, 4)), 0, "top must be 1 or more, got 0"),
        (np.ones((2, 4)), np.zeros((1, 4)), 1, "1 of 1 embeddings have no direction"),
        ([[1.0, np.nan]], np.ones((1, 2)), 1, "no direction"),
        (np.ones(4), np.ones((1, 4)), 1, "must be \\[images, size\\]"),
    ],
)
def test_what_cannot_be_searched_is_refused(gallery, probes, top, message):
    with pytest.raises(MarginfaceError, match=message):
        NearestSearch(gallery).nearest(probes, top)
