"""Contact sheets: what is where, pages, names of any script and length."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from marginface.serving import lettering
from marginface.serving.contact_sheet import GAP, ROW, contact_sheet, crops_in
from marginface.serving.faces import NO_CROP, Face
from marginface.serving.gallery import Answer, Candidate
from marginface.serving.recogniser import NOTHING, UNKNOWN

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def face(photo: str, colour: tuple[int, int, int] | None) -> Face:
    crop = NO_CROP if colour is None else np.full((112, 96, 3), colour, np.uint8)
    box = np.array([0, 0, 96, 112], np.float32)
    return Face(photo, box, np.full((5, 2), np.nan, np.float32), 1.0, UNKNOWN, crop, NOTHING)


def answer(number: int = 0, *names: str, decision: str = "found") -> Answer:
    colours = (GREEN, BLUE)
    candidates = [
        Candidate(name, 0.5, face(name, colours[at % 2])) for at, name in enumerate(names)
    ]
    return Answer(face(f"in/{number}.jpg", RED), tuple(candidates), decision)


def colours(picture: Image.Image) -> set[object]:
    return {colour for _, colour in picture.getcolors(10**7) or ()}


def test_crops_stand_beside_each_other() -> None:
    (sheet,) = contact_sheet([answer(0, "ann", "bo")], ["title"])
    pixels = np.asarray(sheet)
    found = {}
    for colour in (RED, GREEN, BLUE):
        rows, columns = np.nonzero((pixels == colour).all(axis=2))
        found[colour] = columns.min(), rows.min()
        assert (np.ptp(columns), np.ptp(rows)) == (95, 111)  # the whole crop, its shape kept
    assert found[RED][0] < found[GREEN][0] < found[BLUE][0]
    assert found[RED][1] == found[GREEN][1] == found[BLUE][1]
    (other,) = contact_sheet([answer(0, "ann", "bo", decision="nobody")], ["title"])
    assert not np.array_equal(pixels, other)
    (empty,) = contact_sheet([Answer(face("x.jpg", None), ())])
    assert RED not in colours(empty)


@pytest.mark.parametrize(("count", "rows"), [(1, [1]), (20, [20]), (21, [20, 1]), (250, [20] * 10)])
def test_pages_are_limited(count: int, rows: list[int]) -> None:
    pages = contact_sheet([answer(at, "ann") for at in range(count)])
    heights = [page.height for page in pages]
    one = contact_sheet([answer(0, "ann")])[0].height
    assert heights == [one + (each - 1) * (ROW + GAP) for each in rows]
    assert {page.width for page in pages} == {pages[0].width}


NAMES = {
    "long": "x" * 5000,
    "wide": "W" * 40,
    "chinese": "王小明" * 20,
    "arabic": "محمد بن عبد الله",
    "hindi": "नरेन्द्र कुमार" * 5,
    "controls": "a\nb\x1b[31m\u202ec",
    "bytes": "Jos\udce9",
    "emoji": "👩\u200d👩\u200d👧 family",
    "empty": "",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fonts", [lettering.FONTS, ()])
def test_any_name_stays_in_its_place(
    name: str, fonts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lettering, "FONTS", fonts)
    lettering._fonts.cache_clear()
    try:
        picture = Image.new("L", (600, 60))
        lettering.write(ImageDraw.Draw(picture), (100, 20), NAMES[name], 15, "white", 136)
    finally:
        lettering._fonts.cache_clear()
    ink = picture.getbbox()
    assert (ink is None) == (name == "empty")
    if ink is not None:
        left, top, right, bottom = ink
        assert left >= 98
        assert right <= 100 + 136 + 2
        assert top >= 14
        assert bottom <= 46


def test_both_ends_of_a_name_stay() -> None:
    pieces = lettering._pieces("a" * 50 + "-0017.jpg", 13)
    cut = "".join(letter for letter, _ in lettering._cut(pieces, 120, 13))
    assert cut.startswith("aaa")
    assert "…" in cut
    assert cut.endswith("17.jpg")
    assert lettering._pieces("\u0301" * 3, 13)  # marks without a letter
    (one,) = lettering._pieces("e\u0301", 13)
    assert one[0] == "e\u0301"


def test_crops_are_made_anew(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (112, 112, 3), np.uint8)).save(tmp_path / "crop.png")
    crop = crops_in(tmp_path, (112, 112))
    whole = crop(face("crop.png", None))
    assert whole is not None
    assert whole.shape == (112, 112, 3)
    assert crop(face("gone.png", None)) is None
    photo = replace(face("crop.png", None), points=np.zeros((5, 2), np.float32))
    assert crop(photo) is None  # no face follows from its points
    assert crop(face("gone.png", RED)) is not None  # its own


def test_a_long_title_is_wrapped() -> None:
    title = (
        "11 found, 1 unsure, 2 nobody against 10 people (10 faces); threshold 0.278 (0.26 to 0.3)"
    )
    lines = lettering.wrapped(title, 15, 400)
    assert " ".join(lines) == title
    assert len(lines) > 1
    assert all(lettering.font_of(15).getlength(line) <= 400 for line in lines)
    assert lettering.wrapped("", 15, 400) == []
    short, long = (contact_sheet([answer(0, "ann")], [each])[0] for each in ("title", title * 2))
    assert short.width == long.width
    assert short.height < long.height
