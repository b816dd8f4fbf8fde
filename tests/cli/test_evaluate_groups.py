"""`marginface evaluate --groups`: figures by group of people, and across groups."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from command import printed, refusal
from PIL import Image
from tiny_model import save_model

import marginface as mf
from marginface.evaluation.groups import ACROSS

PEOPLE, EACH = 20, 3  # half of them red, half blue, one of the blue in no group


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with crops, whose reds look more alike, a list of all pairs and groups."""
    folder = tmp_path_factory.mktemp("groups")
    rng = np.random.default_rng(0)
    names = []
    alike = rng.integers(-60, 61, (4, 4, 3))
    for person in range(PEOPLE):
        colours = 128 + rng.integers(-60, 61, (4, 4, 3))
        if person < PEOPLE // 2:
            colours += alike
        (folder / "crops" / f"p{person}").mkdir(parents=True)
        for number in range(EACH):
            names.append(f"p{person}/{number}.png")
            noisy = (colours + rng.integers(-30, 31, (4, 4, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy.repeat(28, 0).repeat(28, 1)).save(folder / "crops" / names[-1])
    rows = [f"{a} {b} {int(a.split('/')[0] == b.split('/')[0])}" for a, b in combinations(names, 2)]
    (folder / "list.txt").write_text("\n".join(rows) + "\n")
    lines = [f"p{n},{'red' if n < PEOPLE // 2 else 'blue'}" for n in range(PEOPLE - 1)]
    (folder / "groups.csv").write_text("\n".join(["person,group", *lines]) + "\n")
    save_model(folder / "m.onnx")
    return folder


def arguments(place: Path, groups: Path, *more: object) -> list[object]:
    data = ("--images", place / "crops", "--pairs", place / "list.txt", "--groups", groups)
    return ["evaluate", "--model", place / "m.onnx", *data, *more]


def test_each_group_has_its_errors_at_the_threshold_of_all(place, tmp_path):
    text = printed(*arguments(place, place / "groups.csv", "--output", tmp_path / "out"))
    assert "By group" in text
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    groups = {each["name"]: each for each in metrics["groups"]}
    assert list(groups) == ["blue", "red", ACROSS]
    counts = {name: (each["same_pairs"], each["different_pairs"]) for name, each in groups.items()}
    assert counts == {"blue": (27, 9 * 36), "red": (30, 9 * 45), ACROSS: (0, 9 * 90)}
    for name, each in groups.items():
        rates = each["rates"][0]
        assert rates["far"] == 0.1
        assert rates["threshold"] == metrics["tar_at_far_threshold"]["1e-1"]
        assert (rates["true_accepts"] is None) == (name == ACROSS) == (each["auc"] is None)
    red, blue = (groups[name]["rates"][0] for name in ("red", "blue"))
    assert red["false_accepts"][0] > 2 * blue["false_accepts"][0]  # one FAR hides it
    assert red["own"]["value"] > red["threshold"] > blue["own"]["value"]


def test_images_may_be_grouped_too(place, tmp_path):
    lines = [f"p{n}/{i}.png,{'ab'[i % 2]}" for n in range(PEOPLE) for i in range(EACH)]
    (tmp_path / "g.csv").write_text("\n".join(["image,group", *lines]) + "\n")
    given = {"images": place / "crops", "pairs": place / "list.txt"}
    results = mf.evaluate(place / "m.onnx", groups=tmp_path / "g.csv", **given)
    a, b, across = results[0].groups
    assert (a.same_pairs, b.same_pairs, across.same_pairs) == (PEOPLE, 0, 2 * PEOPLE)
    assert b.auc is None
    assert results.group_table().row_count == sum(len(each.rates) for each in (a, b, across))
    assert mf.evaluate(place / "m.onnx", **given)[0].groups == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("who,group\np1,red\n", "has columns who, group; expected person,group or image,group"),
        ("", "has columns none; expected person,group"),
        ("person,image,group\np1,a,red\n", "expected person,group or image,group"),
        ("person,group\n", "names nobody; expected lines of person,group"),
        ("person,group\np1\n", ":2: expected a person and the name of a group, got 'p1' and ''"),
        ("person,group\np1,red\np2,blue\np1,blue\n", ":4: 'p1' is in 'red' and in 'blue'; keep"),
        ("person,group\nann,red\n", "has no person of list: it names 'ann', the pairs 'p0'"),
        (b"person,group\n\xff,red\n", "is no table in UTF-8 with commas"),
        (None, "no such file: "),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(place, tmp_path, text, message):
    path = tmp_path / "groups.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message in refusal(*arguments(place, path, "--output", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
