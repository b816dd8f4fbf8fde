"""Lists that are no UTF-8: they mean files of such names, else the error says how to convert."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from packing_faces import write_faces

from marginface.data.formats.folder import open_folder
from marginface.data.lookup import ImageNames
from marginface.data.photos.landmarks import read_landmarks
from marginface.data.subsets import choose
from marginface.data.verification.opening import open_verification
from marginface.errors import MarginfaceError
from marginface.evaluation.image_lists import NoUTF8Warning, read_subjects_of_images
from marginface.evaluation.listed_images import media_by_image
from marginface.evaluation.template_files import read_media
from marginface.text import as_utf8

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names that others refuse")

PEOPLE = ("José", "Müller", "ann")
LISTS = {
    "lfw": "1\nJosé\t1\t2\nann\t1\tMüller\t1\n",
    "agedb": "José/José_0001 José/José_0002.png 1\nann/ann_0001.png Müller/Müller_0001.png 0\n",
    "calfw": "José/José_0001.png 1\nJosé/José_0002.png 1\nann/ann_0001 0\nMüller/Müller_0001 0\n",
    "csv": "a,b,same\nJosé/José_0001.png,José/José_0002.png,1\nann/ann_0001,Müller/Müller_0001,0\n",
}


def latin(name: str) -> str:
    return os.fsdecode(name.encode("latin-1"))


def written(path: Path, text: str, encoding: str = "latin-1") -> Path:
    path.write_text(text, encoding=encoding)
    return path


@pytest.fixture
def in_latin(tmp_path) -> Path:
    return write_faces(tmp_path / "latin", {latin(name): 2 for name in PEOPLE}, 12)


@pytest.fixture
def in_utf8(tmp_path) -> Path:
    return write_faces(tmp_path / "utf8", dict.fromkeys(PEOPLE, 2), 12)


@pytest.mark.parametrize("form", LISTS)
def test_pairs(form, in_latin, in_utf8, tmp_path):
    path = written(tmp_path / "pairs list.txt", LISTS[form])
    read = open_verification(path, in_latin)
    expected = open_verification(written(tmp_path / "u", LISTS[form], "utf-8"), in_utf8)
    assert read.first == tuple(map(latin, expected.first))
    assert read.second == tuple(map(latin, expected.second))
    assert read.same.tolist() == expected.same.tolist() == [True, False]
    line = 2 if form in ("lfw", "csv") else 1
    command = rf"iconv -f ISO-8859-1 -t UTF-8 '{path}' > utf8\.txt"
    with pytest.raises(MarginfaceError, match=rf"txt:{line}: no image .*Jos.*{command}"):
        open_verification(path, in_utf8)


def test_galleries_and_templates(tmp_path):
    stored = ImageNames([as_utf8(latin(f"{name}/1.png")) for name in PEOPLE])
    utf8 = ImageNames([f"{name}/1.png" for name in PEOPLE])
    names = written(tmp_path / "g.txt", "".join(f"{name}/1\n" for name in PEOPLE))
    assert read_subjects_of_images(names, stored) == {
        r"Jos\xe9/1.png": r"Jos\xe9",
        r"M\xfcller/1.png": r"M\xfcller",
        "ann/1.png": "ann",
    }
    with pytest.raises(MarginfaceError, match=r"g.txt:1: no embedding of 'Jos\\xe9/1'.* iconv -f"):
        read_subjects_of_images(names, utf8)
    media = read_media(written(tmp_path / "m.txt", "José/1.png 1 1\nMüller/1.png 2 2\n"))
    assert media_by_image(media, stored).names == (r"Jos\xe9/1.png", r"M\xfcller/1.png")
    with pytest.raises(MarginfaceError, match=r"m.txt: no .* 'Jos\\xe9/1.png'.* line 1 is .*iconv"):
        media_by_image(media, utf8)
    subject = written(tmp_path / "s.txt", "ann/1.png\tJosé\n")
    with pytest.warns(NoUTF8Warning, match=r"s.txt:1: the subject 'Jos\\xe9' is no UTF-8"):
        assert read_subjects_of_images(subject, utf8) == {"ann/1.png": latin("José")}


def test_a_table_of_clean(in_latin, in_utf8, tmp_path):
    rows = "".join(f"{name}/{name}_0001.png,{name},1,1\n" for name in PEOPLE)
    table = written(tmp_path / "k.csv", f"path,identity,angle,kept\n{rows}")
    images = open_folder(in_latin)
    chosen = {images.name(number) for number in choose(images, kept=table).tolist()}
    assert chosen == {latin(f"{name}/{name}_0001.png") for name in PEOPLE}
    with pytest.raises(MarginfaceError, match=r"k.csv:2: .* no image 'Jos\\xe9/.* iconv -f"):
        choose(open_folder(in_utf8), kept=table)


POINTS = [[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]]


@pytest.mark.parametrize("name", ["l.json", "l.csv"])
def test_landmarks(name, tmp_path):
    numbers = ",".join(map(str, np.ravel(POINTS).tolist()))
    texts = {"l.json": f'{{"José/1.jpg": [1, {POINTS}]}}', "l.csv": f"José/1.jpg,{numbers}\n"}
    (entry,) = read_landmarks(written(tmp_path / name, texts[name]))
    assert entry == r"Jos\xe9/1.jpg"  # as a photo of that name is called there


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf_16_is_told(encoding, in_utf8, tmp_path):
    text = ("\ufeff" if encoding == "utf-16-le" else "") + LISTS["agedb"]
    path = written(tmp_path / "p.txt", text, encoding)
    for read in (lambda: open_verification(path, in_utf8), lambda: read_subjects_of_images(path)):
        with pytest.raises(MarginfaceError, match=r"p.txt is no UTF-8 text; .*iconv -f UTF-16"):
            read()


@pytest.mark.parametrize(
    "name",
    ["ann/1.5.jpg", "ann/1.5", "ann/1.5.PNG", r"ann\1.5.jpg", "./ann/1.5", "José/1", "José/1.png"],
)
def test_identify_finds_images_as_lists_of_pairs_do(name, tmp_path):
    there = ["ann/1.5.jpg", "Jose\u0301/1.jpg"]
    expected = ImageNames(there).find(name)
    path = written(tmp_path / "g.txt", f"{name}\n", "utf-8")
    assert read_subjects_of_images(path, ImageNames(there)) == {
        expected: "ann" if expected == there[0] else "José"
    }


def test_cfps_lists(in_latin, tmp_path):
    fold = tmp_path / "Protocol" / "Split" / "FF" / "01"
    fold.mkdir(parents=True)
    (fold / "same.txt").write_text("1,2\n")
    (fold / "diff.txt").write_text("1,3\n")
    numbered = "1 latin/José/José_0001.png\n2 latin/José/José_0002\n3 latin/ann/ann_0001\n"
    written(tmp_path / "Protocol" / "Pair_list_F.txt", numbered)
    read = open_verification(fold.parent, in_latin.parent)
    assert read.first == (f"latin/{latin('José')}/{latin('José')}_0001.png",) * 2
    (in_latin / latin("José")).rename(in_latin / "José")
    with pytest.raises(MarginfaceError, match=r"same.txt:1: .* convert the list that has it"):
        open_verification(fold.parent, in_latin.parent)
