"""Values of a wrong type in a configuration file are told in plain words, whatever the key."""

from __future__ import annotations

import re

import pytest

from marginface.errors import MarginfaceError
from marginface.training.config.files import read_config_file, resolve_config
from marginface.training.config.keys import TrainConfig

WRONG = [
    *("abc", "[1, 2]", "[a, b]", "[[1]]", "[]", "{a: 1}", "{a: {b: [1]}}", "2024-01-02", "1e-3"),
    *("null", "yes", "-1", "1.5", ".inf", ".nan", "9" * 30, "0o17", "'5'", "!!binary aGk="),
]
FOREIGN = re.compile(r"pydantic|valid (str|int|num|bool|list|tup|dict)|unable|Input should|None")


def refusal(path, text):
    path.write_text(text)
    missing = {key: "x" for key in ("data", "output") if not text.startswith(f"{key}:")}
    try:
        resolve_config(read_config_file(path), missing)
    except MarginfaceError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("value", WRONG)
def test_no_key_is_told_in_a_librarys_words(tmp_path, value):
    for name in TrainConfig.model_fields:
        said = refusal(tmp_path / "config.yaml", f"{name}: {value}")
        assert not FOREIGN.search(said), said
        assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("output: 2024-01-02", "output must be a path, got 2024-01-02; put it in quotes"),
        ("loss: off", "loss must be a text, got no; put it in quotes"),
        ("compile:", "compile must be one of auto, on, off, got nothing"),
        ("val: {lfw: lfw.bin}", "val must be a list, got {lfw: lfw.bin}"),
        ("skip_bad: 2", "skip_bad must be true or false, got 2"),
        ("resize: 2", "resize must be one of fit, letterbox, squeeze, or true or false, got 2"),
        ("epochs: 1e1", "epochs must be a whole number, got '1e1'"),
        ("mean:", "mean must be one number or three, got nothing"),
        ("input_size: 0", "input_size must be greater than or equal to 1, got 0"),
    ],
)
def test_what_was_expected_is_said(tmp_path, text, words):
    assert words in refusal(tmp_path / "config.yaml", text)


def test_one_milestone_is_a_list_of_it(tmp_path):
    (tmp_path / "config.yaml").write_text("milestones: 1000")
    assert read_config_file(tmp_path / "config.yaml") == {"milestones": (1000,)}
