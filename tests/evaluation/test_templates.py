"""Templates and their pairs against loops over images; IJB's files, whole and broken."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from marginface import MarginfaceError
from marginface.evaluation import template_files as files
from marginface.evaluation.template_search import search_galleries
from marginface.evaluation.template_verification import (
    FAR_TARGETS,
    score_pairs,
    verify_templates,
)
from marginface.evaluation.templates import Templates, pool
from marginface.vectors import dot_products

SIZE = 5
READERS = (
    files.read_media,
    files.read_detector_scores,
    lambda path: list(files.read_template_pairs(path)),
    files.read_subjects,
)


def media_of(rows: list[tuple[str, int, int]]) -> files.TemplateMedia:
    names, template, medium = zip(*rows, strict=True)
    return files.TemplateMedia(Path("media.txt"), names, np.array(template), np.array(medium))


def oracle_template(template, rows, embeddings, weights):
    """Return (unit vector, quality): mean over each medium, sum over media, length 1."""
    media: dict[int, list[str]] = {}
    for name, of, medium in rows:
        if of == template:
            media.setdefault(medium, []).append(name)
    total, quality = np.zeros(SIZE), 0.0
    for names in media.values():
        weighted = [weights.get(name, 1.0) * embeddings[name].astype(float) for name in names]
        total += sum(weighted) / len(names)
        quality += sum(math.hypot(*embeddings[name].tolist()) for name in names) / len(names)
    return total / math.hypot(*total), quality / len(media)


def batches_of(embeddings, size):
    names = list(embeddings)
    for at in range(0, len(names), size):
        chosen = names[at : at + size]
        yield chosen, np.stack([embeddings[name] for name in chosen])


@st.composite
def benchmarks(draw):
    """Rows, embeddings and weights; images may be in several templates, media have several."""
    images = draw(st.integers(1, 20))
    cell = st.tuples(st.integers(0, images - 1), st.integers(1, 4), st.integers(7, 9))
    cells = draw(st.lists(cell, min_size=1, max_size=40, unique_by=lambda each: each[:2]))
    rows = [(f"{image}.jpg", template, medium) for image, template, medium in cells]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.normal(size=(images, SIZE)).astype(np.float32)
    embeddings = {f"{image}.jpg": value for image, value in enumerate(values)}
    pairs = zip(embeddings, rng.random(images) + 0.1, strict=True)
    weights = {name: float(weight) for name, weight in pairs}
    return rows, embeddings, draw(st.sampled_from([None, weights]))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(benchmarks(), st.integers(1, 30))
def test_templates_agree_with_the_literal_oracle_whatever_the_batch(benchmark, batch):
    rows, embeddings, weights = benchmark
    found = pool(media_of(rows), batches_of(embeddings, batch), weights)
    assert found.ids.tolist() == sorted({template for _, template, _ in rows})
    for at, template in enumerate(found.ids.tolist()):
        unit, quality = oracle_template(template, rows, embeddings, weights or {})
        np.testing.assert_allclose(found.unit[at], unit, rtol=0, atol=1e-12)
        assert found.quality[at] == pytest.approx(quality, rel=1e-6)
    other = pool(media_of(rows), batches_of(embeddings, 1), weights)
    np.testing.assert_array_equal(found.unit, other.unit)
    np.testing.assert_array_equal(found.quality, other.quality)


def test_frames_of_a_video_count_once_and_norms_weigh():
    rows = [("a", 1, 1), ("b", 1, 2), ("c", 1, 2), ("d", 1, 2)]
    embeddings = {"a": np.eye(SIZE, dtype=np.float32)[0] * 4}
    embeddings |= {name: np.eye(SIZE, dtype=np.float32)[1] * 3 for name in "bcd"}
    found = pool(media_of(rows), batches_of(embeddings, 2), None)
    np.testing.assert_allclose(found.unit[0, :2], [0.8, 0.6])  # not of 4 against 3 * 3
    assert found.quality[0] == pytest.approx(3.5)
    halved = pool(media_of(rows), batches_of(embeddings, 2), {"a": 0.5, "b": 1, "c": 1, "d": 1})
    np.testing.assert_allclose(halved.unit[0, :2], [2 / 13**0.5, 3 / 13**0.5])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"b": None}, r"1 of 3 images in media.txt have no embedding, first b"),
        ({"b": [np.nan] * SIZE}, "embedding of image b is of length zero, NaN or infinite"),
        ({"c": [0.0] * SIZE}, "embedding of image c is of length zero"),
        ({"b": [-1.0] * SIZE}, "template 1 adds up to length zero"),
    ],
)
def test_embeddings_that_make_no_template_are_refused(change, words):
    values = {name: [1.0] * SIZE for name in "abc"} | change
    embeddings = {k: np.array(v, np.float32) for k, v in values.items() if v is not None}
    rows = [("a", 1, 1), ("b", 1, 2), ("c", 2, 3)]
    with pytest.raises(MarginfaceError, match=words):
        pool(media_of(rows), batches_of(embeddings, 2), None)


def test_an_image_with_two_embeddings_or_no_score_is_refused():
    embeddings = {"a": np.ones(SIZE, np.float32), "b": np.ones(SIZE, np.float32)}
    twice = [*batches_of(embeddings, 2), *batches_of(embeddings, 1)]
    with pytest.raises(MarginfaceError, match="image a has two embeddings"):
        pool(media_of([("a", 1, 1)]), twice, None)
    with pytest.raises(
        MarginfaceError, match=r"1 of 1 images in media\.txt have no detector score"
    ):
        pool(media_of([("a", 1, 1)]), batches_of(embeddings, 2), {"b": 1.0})
    with pytest.raises(MarginfaceError, match="have no embedding"):
        pool(media_of([("a", 1, 1)]), [], None)


@pytest.fixture(scope="module")
def templates() -> Templates:
    """Templates 10, 20, ... of 12 people, some of them equal."""
    rng = np.random.default_rng(3)
    unit = rng.normal(size=(12, SIZE)).repeat(5, 0) + rng.normal(size=(60, SIZE)) * 0.8
    unit[7], unit[31] = unit[2], unit[3]
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return Templates(np.arange(10, 610, 10), unit, rng.random(60).astype(np.float32))


def pairs_file(path: Path, templates: Templates) -> Path:
    ids = templates.ids
    lines = [
        f"{a} {b} {int(at // 5 == other // 5)}"
        for at, a in enumerate(ids)
        for other, b in enumerate(ids)
        if other > at
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_pairs_agree_with_scikit_learn_and_blocks_change_no_bit(templates, tmp_path, monkeypatch):
    path = pairs_file(tmp_path / "pairs.txt", templates)
    whole = score_pairs(templates, files.read_template_pairs(path), "pairs")
    monkeypatch.setattr(files, "BYTES_AT_ONCE", 200)
    monkeypatch.setattr("marginface.vectors.PAIRS_AT_ONCE", 7)
    blocks = list(files.read_template_pairs(path))
    assert len(blocks) > 50
    found = score_pairs(templates, blocks, "pairs")
    for name in ("score", "same", "quality"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    first, second = np.triu_indices(60, 1)
    expected = [math.fsum(a * b) for a, b in zip(*templates.unit[[first, second]], strict=True)]
    np.testing.assert_allclose(found.score, expected, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(found.same, first // 5 == second // 5)
    np.testing.assert_array_equal(
        found.quality, np.minimum(templates.quality[first], templates.quality[second])
    )
    result = verify_templates(templates, found)
    far, tar, _ = roc_curve(found.same, found.score, drop_intermediate=False)
    for target in FAR_TARGETS:
        assert result.tar_at_far[target].rate == tar[far <= float(target)].max()
    assert result.same_pairs + result.different_pairs == len(first)
    values = result.to_json()
    assert len(values["roc"]["far"]) == len(values["roc"]["tar"]) <= 2_000
    assert values["tar_at_far"]["1e-1"] == result.tar_at_far["1e-1"].rate


def test_equal_templates_tie_with_any_other(templates):
    others = np.repeat(templates.ids, 2)
    twins = np.tile(np.array([30, 80]), 60)  # rows 2 and 7
    block = files.TemplatePairs(twins, others, np.arange(120) % 2 == 0)
    score = score_pairs(templates, [block], "pairs").score
    np.testing.assert_array_equal(score[::2], score[1::2])


@pytest.mark.parametrize("size", [1, 3, 128, 513])
def test_a_score_has_the_same_bits_in_any_block_and_order(size, monkeypatch):
    rng = np.random.default_rng(size)
    unit = rng.normal(size=(30, size))
    first, second = rng.integers(0, 30, (2, 1_200))
    whole = dot_products(unit, first, second)
    for block in (1, 2, 7, 100):
        monkeypatch.setattr("marginface.vectors.PAIRS_AT_ONCE", block)
        np.testing.assert_array_equal(dot_products(unit, first, second), whole)
        np.testing.assert_array_equal(dot_products(unit, second, first), whole)


def test_unknown_templates_and_pairs_of_one_kind_are_refused(templates):
    def pairs(first, second, same):
        return [files.TemplatePairs(np.array(first), np.array(second), np.array(same))]

    for unknown in (15, 0, 9999, -1):
        with pytest.raises(MarginfaceError, match=f"pairs names template {unknown}, which no"):
            score_pairs(templates, pairs([10], [unknown], [True]), "pairs")
    with pytest.raises(MarginfaceError, match="holds no pairs"):
        score_pairs(templates, [], "pairs")
    same = score_pairs(templates, pairs([10], [20], [True]), "pairs")
    with pytest.raises(MarginfaceError, match="all 1 pairs are 'same' pairs"):
        verify_templates(templates, same)


def test_a_probe_of_the_other_gallery_is_a_stranger(templates):
    subjects = {int(each): int(each) // 51 for each in templates.ids}
    first = {10: subjects[10], 60: subjects[60]}
    second = {110: subjects[110]}
    probes = {each: subjects[each] for each in (20, 70, 120, 130)}
    found = search_galleries(templates, {"G1": first, "G2": second}, probes)
    assert [(each.mated, each.non_mated) for each in found.values()] == [(2, 2), (2, 2)]
    with pytest.raises(MarginfaceError, match="gallery G1 names template 11"):
        search_galleries(templates, {"G1": {11: 1}}, probes)


def test_the_published_files_are_read(tmp_path):
    path = tmp_path / "file"
    path.write_text("1.jpg 1 69544\r\n2.jpg 1 69544\n\n1.jpg 2 5")
    media = files.read_media(path)
    assert media.names == ("1.jpg", "2.jpg", "1.jpg")
    assert (media.template.tolist(), media.medium.tolist()) == ([1, 1, 2], [69544, 69544, 5])
    path.write_text("1.jpg 46 60.5 87 60 68 85 50 102 87 102 0.99\n")
    assert files.read_detector_scores(path) == {"1.jpg": 0.99}
    path.write_text("1 11065 1\n1 11066 0\n")
    (block,) = files.read_template_pairs(path)
    assert block.first.tolist() == [1, 1]
    assert (block.second.tolist(), block.same.tolist()) == ([11065, 11066], [True, False])
    path.write_text('TEMPLATE_ID,SUBJECT_ID,FILENAME\n1,3,"img/1,1.jpg"\n1,3,img/2.jpg\n2,4,x\n')
    assert files.read_subjects(path) == {1: 3, 2: 4}


@pytest.mark.parametrize(
    ("reader", "content", "words"),
    [
        (0, "1.jpg 1\n", r"file:1: expected 'name template_id media_id', got '1.jpg 1'"),
        (0, "1.jpg 1 2\n\n1.jpg x 2\n", r"file:3: expected"),
        (0, "1.jpg 1 2\n1.jpg 1 3\n", r"file:2: image 1.jpg is in template 1 already"),
        (0, "1.jpg 1 " + "9" * 30, "file:1: expected"),
        (0, "\n\n", "is empty"),
        (1, "1.jpg 1 2 3 4 5 6 7 8 9 0.5\n", "file:1: expected 'name x1 y1"),
        (1, "1.jpg 1 2 3 4 5 6 7 8 9 10 nan\n", r"file:1: score 'nan' of 1.jpg, expected 0 or"),
        (1, "1.jpg 1 2 3 4 5 6 7 8 9 10 -1\n", r"score '-1'"),
        (1, "1.jpg 1 2 3 4 5 6 7 8 9 10 inf\n", r"score 'inf'"),
        (1, "1.jpg 1 2 3 4 5 6 7 8 9 10 .5\n" * 2, r"file:2: image 1.jpg has a score already"),
        (2, "1 2 1\n1 x 0\n", "invalid value 'x'; expected lines 'template_id template_id 1|0'"),
        (2, "1 2\n", "Expected 3 columns, got 2: 1 2"),
        (2, "1 2 7\n", r"label 7, expected 1 \(same\) or 0"),
        (2, "", "is empty; expected lines"),
        (3, "A,B\n1,2\n", "has the columns A, B; expected TEMPLATE_ID and SUBJECT_ID"),
        (3, "TEMPLATE_ID,SUBJECT_ID\n1\n", "file:2: expected 'TEMPLATE_ID,SUBJECT_ID,...'"),
        (3, "TEMPLATE_ID,SUBJECT_ID\n1,2\n1,3\n", "file:3: template 1 is of subject 3 here and"),
        (3, "TEMPLATE_ID,SUBJECT_ID\n", "has a header alone"),
        (3, "TEMPLATE_ID,SUBJECT_ID\n1," + "9" * 200_000, "file:2: expected 'TEMPLATE_ID"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path, reader, content, words):
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(MarginfaceError, match=words) as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("reader", READERS)
def test_missing_files_folders_and_binary_are_refused(tmp_path, reader):
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 9)
    for name in ("absent", ".", "binary"):
        with pytest.raises(MarginfaceError):
            reader(tmp_path / name)


FRAGMENTS = st.sampled_from(
    [" ", "\n", "\t", ",", '"', "1", "22", "1.jpg", "0.5", "-1", "x", "TEMPLATE_ID", "SUBJECT_ID"]
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from(READERS),
    st.binary(max_size=60) | st.lists(FRAGMENTS, max_size=30).map(lambda p: "".join(p).encode()),
)
def test_whatever_a_file_holds_is_read_or_refused(tmp_path_factory, reader, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(content)
    message = ""
    try:
        reader(path)
    except MarginfaceError as error:
        message = str(error)
    assert "\n" not in message
