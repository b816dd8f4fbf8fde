"""A model's description, read back from JSON."""

import json

import pytest

from marginface.errors import MarginfaceError
from marginface.model import ModelSpec

WRITTEN = json.loads(json.dumps(ModelSpec("mobilefacenet", 16, (112, 96)).to_json()))


def test_what_is_written_comes_back():
    assert ModelSpec.from_json(WRITTEN) == ModelSpec("mobilefacenet", 16, (112, 96))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        *[({"backbone": value}, TypeError) for value in (3, None, ["mbf"])],
        *[({"embedding_size": value}, TypeError) for value in ("x", 2.5, True, -4, float("inf"))],
        *[({"input_size": value}, TypeError) for value in (5, "32", [32], ["a", "b"], [32, 1e9])],
        *[({"dropout": value}, TypeError) for value in (None, "0.5")],
        *[({"preprocessing": value}, TypeError) for value in (None, [])],
        ({"preprocessing": WRITTEN["preprocessing"] | {"mean": [1]}}, TypeError),
        ({"preprocessing": WRITTEN["preprocessing"] | {"std": [1, 2, 0]}}, MarginfaceError),
        *[
            ({"preprocessing": WRITTEN["preprocessing"] | {"crop": crop}}, TypeError)
            for crop in ([0.5, 0, 112, 96], [10**400] * 4, "0,0", 5)
        ],
        ({"input_size": [112, 10**30]}, TypeError),
        ({"gamma": 1}, MarginfaceError),
        ({"preprocessing": WRITTEN["preprocessing"] | {"gamma": 1}}, MarginfaceError),
    ],
)
def test_values_of_another_kind_are_refused(change, error):
    with pytest.raises(error):
        ModelSpec.from_json(WRITTEN | change)
