"""Identification against a loop over probes and subjects."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from marginface import MarginfaceError
from marginface.evaluation.identification import galleries_json, identify, search
from marginface.evaluation.image_lists import read_subjects_of_images
from marginface.evaluation.rates import wilson
from marginface.tables.identification import identification_table

GRID = st.integers(-3, 3).map(float)


def oracle_search(gallery, gallery_subjects, probe, subject):
    """Return (score, rank) of one probe; rank 0 where its subject is not in the gallery."""
    best: dict[object, float] = {}
    for entry, name in zip(gallery, gallery_subjects, strict=True):
        score = np.float32(
            math.fsum(a * b for a, b in zip(entry, probe, strict=True))
            / math.sqrt(math.fsum(a * a for a in entry))
            / math.sqrt(math.fsum(b * b for b in probe))
        )
        best[name] = max(best.get(name, -2), score)
    if subject not in best:
        return max(best.values()), 0
    rank = 1 + sum(score >= best[subject] for name, score in best.items() if name != subject)
    return best[subject], rank


@st.composite
def searches(draw):
    vectors = st.lists(GRID, min_size=3, max_size=3).filter(any)
    gallery = draw(st.lists(vectors, min_size=1, max_size=12))
    probes = draw(st.lists(vectors, min_size=1, max_size=12))
    names = st.sampled_from(["ann", "bo", "cy", "di", "eve"])
    of_gallery = draw(st.lists(names, min_size=len(gallery), max_size=len(gallery)))
    of_probes = draw(st.lists(names, min_size=len(probes), max_size=len(probes)))
    return gallery, of_gallery, probes, of_probes


@settings(max_examples=200, deadline=None, derandomize=True)
@given(searches(), st.sampled_from([1, 7, 1000]))
def test_searches_agree_with_the_literal_oracle(given_, scores_at_once):
    gallery, of_gallery, probes, of_probes = given_
    # Few directions, so that entries of one subject and of several tie with the mate.
    found = search(gallery, of_gallery, probes, of_probes, scores_at_once=scores_at_once)
    for at, (probe, subject) in enumerate(zip(probes, of_probes, strict=True)):
        score, rank = oracle_search(gallery, of_gallery, probe, subject)
        assert found.mated[at] == (subject in of_gallery)
        assert found.score[at] == pytest.approx(score, abs=1e-7)
        assert found.rank[at] == rank
    assert found.subjects == len(set(of_gallery))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(searches(), st.sampled_from([1, 7, 1000]), st.integers(1, 6))
def test_the_best_subjects_agree_with_sorting_them_all(given_, scores_at_once, top):
    gallery, of_gallery, probes, of_probes = given_
    found = search(gallery, of_gallery, probes, of_probes, top=top, scores_at_once=scores_at_once)
    subjects = sorted(set(of_gallery))
    assert found.names.tolist() == subjects
    assert found.best.shape == found.best_score.shape == (len(probes), min(top, len(subjects)))
    for at, (probe, subject) in enumerate(zip(probes, of_probes, strict=True)):
        scores = {name: search(gallery, of_gallery, [probe], [name]).score[0] for name in subjects}
        ordered = sorted(subjects, key=lambda name: (-scores[name], name == subject, name))
        assert [subjects[best] for best in found.best[at]] == ordered[:top]
        assert found.best_score[at].tolist() == [scores[name] for name in ordered[:top]]
        if found.mated[at] and found.rank[at] <= top:
            assert subjects[found.best[at, found.rank[at] - 1]] == subject


def test_strangers_alone_have_their_rates(people):
    gallery, subjects, probes, of_probes = people
    result = identify(gallery, subjects, probes[200:], of_probes[200:])
    both = identify(*people)
    best = search(gallery, subjects, probes[200:], of_probes[200:]).score.astype(float)
    assert (result.mated, result.non_mated, result.hits.tolist()) == (0, 200, [])
    assert (result.tpir, result.dir, result.ranks) == ({}, {}, {})
    for text, share in result.fpir.items():
        assert share.rate == np.mean(best >= float(text))
        assert share.low <= share.rate <= share.high
    assert 0 < result.fpir["0.6"].rate < result.fpir["0.4"].rate
    for target, threshold in result.threshold.items():
        assert np.sum(best >= threshold) == float(target) * 200
        assert threshold == both.tpir[target].threshold
    assert result.fpir == both.fpir
    values = result.to_json()
    assert (values["rank"], values["cmc"], values["tpir_at_fpir"]) == ({}, [], {})
    assert values["threshold_at_fpir"] == result.threshold
    labels = [str(label) for label in identification_table({"all": result}).columns[0].cells]
    assert labels[0] == "FPIR at score 0.1"
    assert not any(label.startswith(("rank", "TPIR", "DIR")) for label in labels)


def test_a_gallery_of_strangers_beside_another_leaves_a_gap(people):
    gallery, subjects, probes, of_probes = people
    results = {
        "ours": identify(gallery[:5], subjects[:5], probes, of_probes),
        "strange": identify(gallery[:5], subjects[:5] + 100, probes, of_probes),
    }
    rows = list(
        zip(*(column.cells for column in identification_table(results).columns), strict=True)
    )
    assert {row[2] for row in rows if row[0].startswith(("rank", "TPIR", "DIR"))} == {"-"}
    assert {row[3] for row in rows} == {""}  # no mean of one
    found = galleries_json(results)
    assert found["mean"]["rank"] == found["mean"]["tpir_at_fpir"] == {}
    assert found["cmc"] == []


def test_every_rate_of_the_table_has_its_interval(people):
    for chosen in (slice(0, 200), slice(200, 400), slice(0, 400)):
        result = identify(*people[:2], people[2][chosen], people[3][chosen])
        shown = identification_table({"all": result})
        assert "with 95 % intervals" in str(shown.title)
        for label, text in zip(*(column.cells for column in shown.columns), strict=True):
            if str(label).startswith(("rank", "TPIR", "DIR", "FPIR")):
                rate, low, high = (float(part) for part in re.findall(r"\d+\.\d+", text))
                assert low <= rate <= high
                assert low < high
    assert result.to_json()["rank_interval"]["1"] == list(wilson(int(result.hits[0]), 200))


def test_a_gallery_of_one_person():
    result = identify([[1.0, 0.0], [0.6, 0.8]], ["ann", "ann"], [[0.0, 1.0]], ["ann"])
    assert (result.subjects, result.at_rank(1), result.at_rank(5)) == (1, 1.0, 1.0)
    assert [str(label) for label in identification_table({"one": result}).columns[0].cells][:2] == [
        "rank 1",
        "subjects",
    ]


def test_equal_embeddings_tie_whatever_the_block():
    # With these sizes the columns of a float64 product differ in their last bits.
    rng = np.random.default_rng(0)
    faces = rng.normal(size=(301, 16))
    gallery = np.concatenate([faces, faces])  # everybody has a twin
    probes = gallery + rng.normal(size=gallery.shape) * 0.1
    for probes_at_once in (1, 2, 33, 602):
        found = search(
            gallery, np.arange(602), probes, np.arange(602), scores_at_once=602 * probes_at_once
        )
        assert set(found.rank.tolist()) == {2}


@pytest.fixture(scope="module")
def people():
    """Noisy views of 40 people; half of the probes' people are strangers."""
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(40, 16))
    gallery = centers[:20] + rng.normal(size=(20, 16)) * 0.7
    subjects = np.repeat(np.arange(40), 10)
    return gallery, np.arange(20), centers[subjects] + rng.normal(size=(400, 16)) * 0.7, subjects


def test_open_set_figures_agree_with_trying_every_threshold(people):
    result = identify(*people)
    rows = [oracle_search(*people[:2], p, s) for p, s in zip(*people[2:], strict=True)]
    mated = [row for row in rows if row[1]]
    strangers = [score for score, rank in rows if not rank]
    assert (result.mated, result.non_mated, result.subjects) == (200, 200, 20)
    for rank in range(1, 21):
        assert result.cmc[rank - 1] == sum(found <= rank for _, found in mated) / 200
    for target in ("1e-2", "1e-1"):
        tpir = dir_ = 0.0
        for threshold in [*(score for score, _ in rows), np.inf]:
            if sum(score >= threshold for score in strangers) / 200 <= float(target):
                over = [rank for score, rank in mated if score >= threshold]
                tpir, dir_ = max(tpir, len(over) / 200), max(dir_, over.count(1) / 200)
        assert result.tpir[target].rate == tpir
        assert result.dir[target].rate == dir_
    assert result.dir["1e-1"].rate < result.tpir["1e-1"].rate
    assert result.tpir["1e-1"].low < result.tpir["1e-1"].rate < result.tpir["1e-1"].high


def test_ranks_agree_with_scikit_learn_where_nothing_ties(people):
    gallery, subjects, probes, of_probes = people
    mated = of_probes < 20
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    scores = probes[mated] @ unit.T
    result = identify(gallery, subjects, probes, of_probes)
    for rank in (1, 5, 10):
        expected = top_k_accuracy_score(of_probes[mated], scores, k=rank, labels=subjects)
        assert result.at_rank(rank) == expected


def test_several_galleries_are_averaged(people):
    gallery, subjects, probes, of_probes = people
    halves = {
        "G1": identify(gallery[:12], subjects[:12], probes, of_probes),
        "G2": identify(gallery[12:], subjects[12:], probes, of_probes),
    }
    found = galleries_json(halves)
    one, two = found["galleries"]["G1"], found["galleries"]["G2"]
    for key, name in (("rank", "5"), ("tpir_at_fpir", "1e-1"), ("dir_at_fpir", "1e-2")):
        assert found["mean"][key][name] == pytest.approx((one[key][name] + two[key][name]) / 2)
    assert len(found["cmc"]) == 8
    assert found["cmc"][0] == pytest.approx((one["cmc"][0] + two["cmc"][0]) / 2)
    assert [column.header for column in identification_table(halves).columns] == [
        "metric",
        "G1",
        "G2",
        "mean",
    ]


def test_without_strangers_there_is_no_open_set(people):
    gallery, subjects, probes, of_probes = people
    result = identify(gallery, subjects, probes[:200], of_probes[:200])
    assert (result.tpir, result.dir, result.non_mated) == ({}, {}, 0)
    assert result.to_json()["roc"] == {"far": [], "tar": []}
    assert "FPIR" not in "".join(map(str, identification_table({"all": result}).columns[0].cells))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gallery": [[1.0, 0.0], [np.nan, 1.0]]}, "no direction"),
        ({"probes": [[0.0, 0.0], [1.0, 1.0]]}, "no direction"),
        ({"gallery_subjects": ["a"]}, r"gallery: 2 embeddings and subjects of shape \(1,\)"),
        ({"probes": [[1.0, 0.0, 0.0]] * 2}, "embeddings have 2 numbers, the probes' 3"),
    ],
)
def test_bad_input_is_refused(change, words):
    plain = {
        "gallery": [[1.0, 0.0], [0.0, 1.0]],
        "gallery_subjects": ["a", "b"],
        "probes": [[1.0, 0.0], [0.0, 1.0]],
        "probe_subjects": ["a", "b"],
    }
    assert identify(**plain).at_rank(1) == 1.0
    with pytest.raises(MarginfaceError, match=words):
        identify(**{**plain, **change})


def test_lists_name_subjects_or_imply_them(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("\ufeffann/1.jpg\r\n\nphotos/2.jpg\tbo\n", encoding="utf-8")
    assert read_subjects_of_images(path) == {"ann/1.jpg": "ann", "photos/2.jpg": "bo"}
    (tmp_path / "faces" / "cy").mkdir(parents=True)
    (tmp_path / "faces" / "cy" / "3.png").write_bytes(b"")
    assert read_subjects_of_images(tmp_path / "faces") == {"cy/3.png": "cy"}
    path.write_text("ann/1.jpg\n2.jpg\n")
    assert read_subjects_of_images(path, all_known=False) == {"ann/1.jpg": "ann", "2.jpg": ""}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"1.jpg\n", "list.txt:1: no subject"),
        (b"ann/1.jpg\nann/1.jpg\tbo\n", "list.txt:2: image ann/1.jpg is listed already"),
        (b"\xff\xfe", "no UTF-8 text"),
        (None, "cannot read"),
    ],
)
def test_bad_lists_are_refused(tmp_path, content, words):
    path: Path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MarginfaceError, match=words):
        read_subjects_of_images(path)
