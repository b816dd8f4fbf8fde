"""Names that are no UTF-8, or that the system gives as bytes: what one command writes, all read."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from marginface.data.lookup import ImageNames
from marginface.data.verification.opening import open_verification
from marginface.text import as_utf8, from_utf8

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names that others refuse")

NAMES = {
    "latin-1": b"Jos\xe9",
    "greek": "Νίκος".encode("iso-8859-7"),
    "cut short": "José".encode()[:-1],
    "both": "José".encode() + b"\xff",
    "utf-8": "José".encode(),
}


@pytest.fixture(params=NAMES.values(), ids=NAMES)
def photos(request, tmp_path):
    """Four people of four images, the name in folders and files."""
    root = os.fsencode(tmp_path / "photos")
    rng = np.random.default_rng(0)
    for person in range(4):
        folder = root + b"/%s%d" % (request.param, person)
        os.makedirs(folder)  # noqa: PTH103 - paths of bytes
        for number in range(5):
            image = Image.fromarray(rng.integers(0, 256, (112, 112, 3), np.uint8))
            with open(folder + b"/%s%d.png" % (request.param, number), "wb") as file:  # noqa: PTH123
                image.save(file, "PNG")
    return tmp_path / "photos"


@pytest.mark.parametrize("suffix", ["", ".rec", ".tfrecord"])
def test_pairs_that_split_draws_are_read_and_packed(photos, suffix, tmp_path, cli):
    data = photos
    if suffix:
        data = tmp_path / f"set{suffix}"
        assert cli("data", "pack", photos, data)[0] == 0
    out = tmp_path / "out"
    split = ("--output", out, "--fraction", 0.5, "--pairs", 20)
    assert cli("data", "split", data, *split)[0] == 0
    if suffix:
        pairs = open_verification(out / "pairs.zip")
    else:
        made = ("data", "pack", out / "validation", tmp_path / "v.zip")
        assert cli(*made, "--pairs", out / "pairs.txt")[0] == 0
        pairs = open_verification(tmp_path / "v.zip")
    assert len(pairs) == 20
    names = {*pairs.first, *pairs.second}
    written = {path.relative_to(photos).as_posix() for path in photos.glob("*/*")}
    assert names <= written
    for name in names:
        assert pairs.images.encoded(name) == (photos / name).read_bytes()


@pytest.mark.parametrize("name", [*map(os.fsdecode, NAMES.values())], ids=NAMES)
def test_an_escaped_name_is_found(name):
    assert from_utf8(as_utf8(name)) == name
    images = ImageNames([f"{name}/1.jpg", "a/xe9.jpg"])
    assert images.find(as_utf8(f"{name}/1")) == f"{name}/1.jpg"
    assert images.find(r"a\xe9.jpg") == "a/xe9.jpg"  # a Windows path stays one
