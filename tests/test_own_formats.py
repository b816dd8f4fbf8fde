"""Formats of one's own whose code is wrong: each is told in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from packing_faces import write_faces

from marginface import MarginfaceError, backbones
from marginface.backbones.weights import WEIGHTS
from marginface.data.formats.registry import IMAGE_SETS
from marginface.data.opening import open_images
from marginface.data.verification.opening import VERIFICATION_SETS, open_verification
from marginface.embeddings.embedder import MODELS, open_embedder
from marginface.embeddings.reader import EMBEDDINGS, embeddings_of

NAMES, VALUES = ["a/1.png", "b/1.png"], np.array([[1, 2], [3, 4]], np.float32)
DOORS = (
    (IMAGE_SETS, open_images),
    (VERIFICATION_SETS, open_verification),
    (EMBEDDINGS, lambda path: embeddings_of(path, [])),
    (WEIGHTS, backbones.read_weights),
    (MODELS, open_embedder),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """What a test registers is gone after it, and nothing else."""
    assert WEIGHTS.names  # what is installed is registered by now
    for formats, _ in DOORS:
        monkeypatch.setattr(formats, "_formats", [*formats._formats])


class Half:
    """Embeddings, or a set of images, of which most is missing."""

    root = Path()

    def origin(self) -> None:
        return None

    def names(self):
        return {}["names"]


def raises(*_: object) -> None:
    raise KeyError("header")


def takes_none() -> None:
    pass


OWN = {  # registry, opener, what is said of it
    "raises": (IMAGE_SETS, raises, f"cannot open {{}}: KeyError: 'header' ({__file__}, line "),
    "takes another number": (IMAGE_SETS, takes_none, "cannot open {}: TypeError: takes_none() tak"),
    "no images": (IMAGE_SETS, lambda *_: None, "returns None for {}; expected marginface.data."),
    "half of images": (
        IMAGE_SETS,
        lambda *_: Half(),
        "type Half for {}; expected marginface.data.sources.LabelledImages, which has identities,",
    ),
    "no pairs": (
        VERIFICATION_SETS,
        lambda _: [],
        "returns a value of type list for {}; expected marginface.",
    ),
    "no arrays": (WEIGHTS, lambda _: [], "returns a value of type list for {}; expected dict"),
    "no model": (
        MODELS,
        lambda *_: 5,
        "returns a value of type int for {}; expected marginface.embeddings.",
    ),
    "half of embeddings": (EMBEDDINGS, lambda _: Half(), "EmbeddingsFile, which has batches, too"),
}


@pytest.mark.parametrize("case", OWN)
def test_a_wrong_opener_of_ones_own_is_told_in_a_line(tmp_path, case):
    registry, opener, said = OWN[case]
    registry.register("a .mine", opener, ".mine")
    path = tmp_path / "a.mine"
    path.write_bytes(b"MINE")
    read = next(door for formats, door in DOORS if formats is registry)
    with pytest.raises(MarginfaceError) as error:
        read(path)
    assert str(error.value).startswith(f"a .mine ({__name__}.{opener.__qualname__}) ")
    assert said.format(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_function_that_recognises_nothing_is_told_in_a_line(tmp_path):
    faces = write_faces(tmp_path / "faces", {"ann": 2, "bo": 2})
    IMAGE_SETS.register("a .mine", raises, recognises=raises)
    for read in (open_images, backbones.read_weights):  # one asks, the other looks what is meant
        with pytest.raises(MarginfaceError) as error:
            read(faces)
        told = str(error.value)
        assert ("cannot say whether" in told) == (read is open_images)
    IMAGE_SETS.register("a folder of mine", takes_none, recognises=takes_none)
    with pytest.raises(
        MarginfaceError, match=r"a folder of mine \(.*takes_none\) cannot say wheth"
    ):
        open_images(faces)


def test_embeddings_of_ones_own_that_break_while_they_are_read_are_told(tmp_path):
    class Broken(Half):
        def batches(self):
            yield from [(NAMES, VALUES)]
            raise KeyError("rows")

    path = tmp_path / "a.mine"
    path.write_bytes(b"MINE")
    EMBEDDINGS.register("a .mine", lambda _: Broken(), ".mine")
    with pytest.raises(MarginfaceError) as error:
        embeddings_of(path, NAMES)
    assert str(error.value).startswith(f"a .mine {path} cannot be read: KeyError: 'rows' (")
