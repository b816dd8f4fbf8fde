"""Images that lists name: which one is meant, and that written lists mean what was written."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pair_sets import content, refusal
from PIL import Image

from marginface.data.formats.folder import open_folder
from marginface.data.inspection import inspect, shared
from marginface.data.listing import listing, open_set, open_training_set
from marginface.data.lookup import ImageNames
from marginface.data.packing.conversion import convert
from marginface.data.packing.encoding import Encoding
from marginface.data.photos.photos import _entries
from marginface.data.subsets import choose, split, write_split
from marginface.data.verification.folds import usual_folds
from marginface.data.verification.opening import open_verification
from marginface.data.verification.pair_drawing import draw_pairs
from marginface.data.verification.pair_folder import pair_list
from marginface.data.verification.pair_lists import read_pair_list
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError
from marginface.evaluation.image_lists import read_subjects_of_images
from marginface.evaluation.listed_images import media_by_image
from marginface.evaluation.template_files import read_media

COMPOSED, DECOMPOSED = (normalize(form, "José") for form in ("NFC", "NFD"))


def write_images(root: Path, *names: str) -> Path:
    """Write pictures that all differ, in the formats of their names' endings."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (16, 16), (number * 20 + 5, 255 - number * 20, number))
        picture.save(root / name, "PNG" if name.endswith("png") else "JPEG")
    return root


@pytest.mark.parametrize(
    ("there", "name", "meant"),
    [
        (["ann/1.jpg", "ann/1.png"], "ann/1.jpg", "ann/1.jpg"),
        (["ann/1.jpg", "ann/1.png"], "ann/1.png", "ann/1.png"),
        (["bo/1.jpg", "bo/1.5.jpg"], "bo/1.5", "bo/1.5.jpg"),
        (["bo/1.jpg", "bo/1.5.jpg"], "bo/1", "bo/1.jpg"),
        (["bo/1.jpg"], "bo/1.5", None),
        (["bo/1.5", "bo/1.5.jpg"], "bo/1.5", "bo/1.5"),
        (["J.P._Lee/J.P._Lee_0001.jpg"], "J.P._Lee/J.P._Lee_0001", "J.P._Lee/J.P._Lee_0001.jpg"),
        (["J.P._Lee/J.P._Lee_1.PNG"], "J.P._Lee/J.P._Lee_1.jpg", "J.P._Lee/J.P._Lee_1.PNG"),
        (["a/1.jpg.png", "a/1.png"], "a/1.jpg", "a/1.jpg.png"),
        (["a/1.jpg"], "a\\1.jpg", "a/1.jpg"),
        (["a\\1.jpg", "a/1.jpg"], "a\\1.jpg", "a\\1.jpg"),
        (["a/1.jpg"], "./a//1.jpg", "a/1.jpg"),
        (["a/1.jpg"], "../a/1.jpg", None),
        (["a/1.jpg"], "/a/1.jpg", None),
        (["a/1.jpg"], "", None),
        (["a/v1.final/x.jpg"], "a/v1", None),
        ([f"{DECOMPOSED}/1.jpg"], f"{COMPOSED}/1.jpg", f"{DECOMPOSED}/1.jpg"),
        ([f"{COMPOSED}/1.jpg"], f"{DECOMPOSED}/1", f"{COMPOSED}/1.jpg"),
        ([f"{DECOMPOSED}/1.png"], f"{COMPOSED}/1.jpg", f"{DECOMPOSED}/1.png"),
        ([f"{DECOMPOSED}/1.jpg", f"{COMPOSED}/1.jpg"], f"{COMPOSED}/1.jpg", f"{COMPOSED}/1.jpg"),
    ],
)  # fmt: skip
def test_a_name_means_one_image(there: list[str], name: str, meant: str | None) -> None:
    assert ImageNames(there).find(name) == meant


@pytest.mark.parametrize(
    ("there", "name", "words"),
    [
        (["a/1.jpg", "a/1.png"], "a/1", "'a/1' may be a/1.jpg or a/1.png"),
        (["a/1.jpeg", "a/1.png", "a/1.webp"], "a/1.jpg", "may be a/1.jpeg or a/1.png"),
        (["a/1.5.jpg", "a/1.5.png"], "a/1.5", "may be a/1.5.jpg or a/1.5.png"),
        (["a/é.jpg", "a/e\u0301.jpg"], "a/é", r"'a/e\\u0301.jpg' or 'a/\\xe9.jpg', which look"),
    ],
)  # fmt: skip
def test_a_name_of_two_images_is_refused(there: list[str], name: str, words: str) -> None:
    with pytest.raises(MarginfaceError, match=f"^list:3: .*{words}"):
        ImageNames(there).find(name, "list:3: ")


@pytest.mark.parametrize(
    ("there", "listed", "words"),
    [
        (["a/1.jpg"], ["a/1.jpg", "a/1.png"], "'a/1.jpg' and 'a/1.png' would both be a/1.jpg"),
        (["a/1.jpg"], ["a/1.png", "a/1", "a/1.jpg"], "'a/1.png' and 'a/1.jpg' would both be"),
        (["a/1.5.png"], ["a/1.5.jpg", "a/1.5.bmp"], "'a/1.5.jpg' and 'a/1.5.bmp' would both be"),
        ([f"{DECOMPOSED}/1.jpg"], [f"{COMPOSED}/1.png", f"{DECOMPOSED}/1.jpg"], ".* would both be"),
    ],
)
def test_an_image_that_is_gone_is_not_the_other_one_of_its_name(
    there: list[str], listed: list[str], words: str
) -> None:
    names = ImageNames(there)
    with pytest.raises(MarginfaceError, match=f"^list: {words}.* add the image that is missing"):
        [names.find(name, "list: ") for name in listed]


def test_one_image_may_be_named_with_and_without_its_ending() -> None:
    names = ImageNames(["a/1.jpg", "a/2.jpg.png"])
    listed = ["a/1", "a/1.jpg", "./a/1.jpg", "a/1", "a/2.jpg", "a/2.jpg.png", "a/2.jpg"]
    assert [names.find(name) for name in listed] == [*["a/1.jpg"] * 4, *["a/2.jpg.png"] * 3]
    assert [ImageNames(["a/1.jpg"]).find(name) for name in ("a/1.png", "a/1")] == ["a/1.jpg"] * 2


def test_every_list_tells_of_an_image_that_is_gone(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "f", "ann/1.jpg", "ann/2.jpg", "bo/1.jpg")
    for name, text in {
        "agedb": "ann/1.jpg ann/2.jpg 1\nann/1.png bo/1.jpg 0\n",
        "calfw": "ann/1.jpg 1\nann/2.jpg 1\nann/1.png 0\nbo/1.jpg 0\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert "'ann/1.jpg' and 'ann/1.png' would both be" in refusal(tmp_path / name, folder)
    table = "path,identity,angle,kept\nann/1.jpg,ann,1,1\nann/1.png,ann,2,0\n"
    (tmp_path / "kept.csv").write_text(table)
    with pytest.raises(MarginfaceError, match=r"kept.csv:3: 'ann/1.jpg' and 'ann/1.png' would"):
        choose(open_folder(folder), kept=tmp_path / "kept.csv")
    (tmp_path / "media").write_text("ann/1.jpg 1 1\nann/1.png 2 1\n")
    with pytest.raises(MarginfaceError, match=r"media: 'ann/1.jpg' and 'ann/1.png' would"):
        media_by_image(read_media(tmp_path / "media"), ImageNames(["ann/1.jpg"]))


letters = st.sampled_from(["a", "1", ".", " ", "é", "e\u0301", "jpg", ".png", "_", "ü"])
parts = st.lists(letters, min_size=1, max_size=4).map("".join).filter(lambda part: part.strip("."))
names_of_images = st.tuples(parts, parts, st.sampled_from([".jpg", ".png", "", ".JPG"])).map(
    lambda drawn: f"{drawn[0]}/{drawn[1]}{drawn[2]}"
)
lfw_names = st.tuples(parts, st.integers(0, 12345), st.sampled_from([".jpg", ".png"])).map(
    lambda drawn: f"{drawn[0]}/{drawn[0]}_{drawn[1]:04d}{drawn[2]}"
)


class Named:
    """Images of which the names alone count."""

    root = Path("somewhere")


@given(
    st.lists(names_of_images | lfw_names, min_size=2, max_size=8, unique=True),
    st.data(),
)
def test_a_written_list_means_what_was_written(tmp_path_factory, names, data) -> None:
    drawn = data.draw(st.lists(st.tuples(*[st.sampled_from(names)] * 2), min_size=1, max_size=6))
    same = np.array([data.draw(st.booleans()) for _ in drawn])
    first, second = zip(*drawn, strict=True)
    pairs = Pairs(Named(), first, second, same, usual_folds(same))
    assume(all(name == name.strip() for name in [*first, *second]))
    path = tmp_path_factory.getbasetemp() / "written.txt"
    path.write_text(pair_list(pairs, names), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patched:
        for module in ("pairs", "pair_lists"):
            opener = f"marginface.data.verification.{module}.open_by_name"
            patched.setattr(opener, lambda _: (Named(), names))
        read = read_pair_list(path, "somewhere")
    assert (read.first, read.second, read.same.tolist()) == (first, second, same.tolist())
    assert read.fold.tolist() == pairs.fold.tolist()


@pytest.mark.parametrize(
    "name",
    [
        *(" a/1.jpg", "a/1.jpg ", "a/\t1.jpg", "a/1\n.jpg", "a/1\r.jpg"),
        *("\ufeffa/1.jpg", '"a"/1.jpg', "a/\\x0a.jpg", "\u3000a/1.jpg", "a/\udce9.jpg", "a:/~.jpg"),
    ],
)
def test_a_list_tells_any_name(name: str, tmp_path, monkeypatch) -> None:
    names = [name, "b/1.jpg"]
    same = np.array([True, False] * 2)
    pairs = Pairs(Named(), (name,) * 4, ("b/1.jpg",) * 4, same, usual_folds(same))
    (tmp_path / "list").write_text(pair_list(pairs, names), encoding="utf-8")
    for module in ("pairs", "pair_lists"):
        opener = f"marginface.data.verification.{module}.open_by_name"
        monkeypatch.setattr(opener, lambda _: (Named(), names))
    read = read_pair_list(tmp_path / "list", "somewhere")
    assert (read.first, read.second) == (pairs.first, pairs.second)


@pytest.mark.parametrize("names", [("a/\udce9.jpg", r"a/\xe9.jpg"), ("a/\n.jpg", r"a/\x0a.jpg")])
def test_a_name_that_would_be_read_as_anothers_is_refused(names) -> None:
    same = np.array([True, False])
    pairs = Pairs(Named(), names[:1] * 2, ("b/1.jpg",) * 2, same, usual_folds(same))
    with pytest.raises(MarginfaceError, match=r"would have .*, which is another image's name"):
        pair_list(pairs, [*names, "b/1.jpg"])


def test_images_of_one_stem_stay_two_in_every_form(tmp_path: Path) -> None:
    # As a user meets it: another person's picture beside it under the other ending.
    folder = write_images(
        tmp_path / "f", "ann/1.jpg", "ann/1.png", "ann/2.jpg", "bo/1.5.jpg", "bo/1.jpg"
    )
    (tmp_path / "list").write_text("ann/1.jpg ann/2.jpg 1\nbo/1.5 ann/1.png 0\n")
    pairs = open_verification(tmp_path / "list", folder)
    assert pairs.first == ("ann/1.jpg", "bo/1.5.jpg")
    assert pairs.second == ("ann/2.jpg", "ann/1.png")
    for target in ("set.zip", "set.bin", "folder"):
        convert(folder, tmp_path / target, pairs=tmp_path / "list", encoding=Encoding())
        where = tmp_path / target
        read = (
            open_verification(where)
            if where.is_file()
            else open_verification(where / "pairs.txt", where)
        )
        assert content(read) == content(pairs)
    (tmp_path / "list").write_text("ann/1 ann/2.jpg 1\n")
    assert "'ann/1' may be ann/1.jpg or ann/1.png" in refusal(tmp_path / "list", folder)


def test_lfw_and_calfw_and_cfp_refuse_a_name_of_two_images(tmp_path: Path) -> None:
    folder = write_images(
        tmp_path / "f", "a/a_0001.jpg", "a/a_0001.png", "a/a_0002.jpg", "b/b_0001.jpg"
    )
    lists = {
        "lfw": "1\na\t1\t2\na\t2\tb\t1\n",
        "calfw": "a/a_0001 1\na/a_0002 1\na/a_0002.jpg 0\nb/b_0001.jpg 0\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        assert "may be a/a_0001.jpg or a/a_0001.png" in refusal(tmp_path / name, folder)
    fold = tmp_path / "Protocol" / "Split" / "FF" / "01"
    fold.mkdir(parents=True)
    (fold / "same.txt").write_text("1,2\n")
    (fold / "diff.txt").write_text("1,3\n")
    numbered = "1 ../f/a/a_0002\n2 ../f/a/a_0001\n3 ..\\f\\b\\b_0001.jpg\n"
    (tmp_path / "Protocol" / "Pair_list_F.txt").write_text(numbered.replace("../f/", "../x/"))
    above = tmp_path / "images"
    above.mkdir()
    (above / "x").symlink_to(folder)
    (above / "f").symlink_to(folder)
    assert "may be x/a/a_0001.jpg or x/a/a_0001.png" in refusal(fold.parent, above)


def test_split_writes_a_list_of_the_images_it_drew(tmp_path: Path) -> None:
    names = [f"p{n}/{stem}" for n in range(24) for stem in ("1.jpg", "1.png", "1.5.jpg", "2.jpg")]
    images = open_folder(write_images(tmp_path / "f", *names))
    parts = split(images, 0.9)
    drawn = draw_pairs(images, parts[1], 80)
    write_split(images, parts, tmp_path / "out", pairs=drawn)
    read = open_verification(tmp_path / "out" / "pairs.txt", tmp_path / "out" / "validation")
    assert (read.first, read.second) == (drawn.first, drawn.second)


def test_a_container_made_by_hand_may_name_images_without_endings(tmp_path: Path) -> None:
    import zipfile

    def container(*rows: str) -> Path:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("pairs.csv", "\n".join(["first,second,same,fold", *rows]))
            for name in ("a/1.jpg", "a/1.png", "a/1.5.jpg", f"{DECOMPOSED}/1.jpg"):
                archive.writestr(f"images/{name}", name)
        return tmp_path / "a.zip"

    read = open_verification(container("a/1.png,a/1.5,1,1", f"a/1.jpg,{COMPOSED}/1,0,1"))
    assert read.first == ("a/1.png", "a/1.jpg")
    assert read.second == ("a/1.5.jpg", f"{DECOMPOSED}/1.jpg")
    assert "may be a/1.jpg or a/1.png" in refusal(container("a/1,a/1.5,1,1", "a/1.jpg,a/1.5,0,1"))


def test_persons_in_two_unicode_forms(tmp_path: Path) -> None:
    one = write_images(tmp_path / "one", f"{COMPOSED}/1.jpg", "ann/1.jpg")
    two = write_images(tmp_path / "two", "x/0.jpg", "x/1.jpg", f"{DECOMPOSED}/1.jpg")
    found = [inspect(listing(open_set(path))) for path in (one, two)]
    assert shared(*found).identities == [COMPOSED]
    (one / DECOMPOSED).mkdir()
    write_images(one, f"{DECOMPOSED}/1.jpg")
    with pytest.raises(MarginfaceError, match=r"'Jose\\u0301' and 'Jos\\xe9', which look alike"):
        open_training_set(one)


def test_lists_of_subjects_and_templates_meet_the_embeddings(tmp_path: Path) -> None:
    there = [f"{DECOMPOSED}/1.jpg", "bo/1.5.jpg", "bo/1.jpg"]
    images = ImageNames(there)  # for the gallery; another list has its own
    (tmp_path / "gallery").write_text(f"{COMPOSED}/1.jpg\nbo/1.5\tBo\n", encoding="utf-8")
    known = read_subjects_of_images(tmp_path / "gallery", images)
    assert known == {there[0]: COMPOSED, there[1]: "Bo"}
    (tmp_path / "gallery").write_text("bo/1\nbo/1.jpg\n")
    with pytest.raises(MarginfaceError, match=r"'bo/1' and 'bo/1.jpg' are both image bo/1.jpg"):
        read_subjects_of_images(tmp_path / "gallery", images)
    images = ImageNames(there)
    (tmp_path / "media").write_text(f"{COMPOSED}/1.png 1 1\nbo/1 2 1\n", encoding="utf-8")
    assert media_by_image(read_media(tmp_path / "media"), images).names == (there[0], there[2])
    (tmp_path / "media").write_text("bo/1.png 1 1\nbo/1 1 2\n")
    with pytest.raises(MarginfaceError, match=r"image bo/1.jpg is in template 1 under two names"):
        media_by_image(read_media(tmp_path / "media"), images)


def test_landmarks_meet_their_photos() -> None:
    photos = [f"{DECOMPOSED}/1.jpg", "bo/1.5.jpg", "bo/1.jpg"]
    found, absent = _entries([f"{COMPOSED}/1.jpg", "bo/1.5", "bo/1.png", "bo/3.jpg"], photos)
    assert found == {photos[0]: f"{COMPOSED}/1.jpg", photos[1]: "bo/1.5", photos[2]: "bo/1.png"}
    assert absent == ["bo/3.jpg"]
    with pytest.raises(MarginfaceError, match=r"both mean the photo bo/1.jpg"):
        _entries(["bo/1", "bo/1.jpg"], photos)
    with pytest.raises(MarginfaceError, match=r"may be a/1.jpg or a/1.png"):
        _entries(["a/1"], ["a/1.jpg", "a/1.png"])


def test_a_table_of_clean_meets_its_images(tmp_path: Path) -> None:
    images = open_folder(write_images(tmp_path / "f", f"{DECOMPOSED}/1.jpg", "bo/1.5.jpg"))
    text = f"path,identity,angle,kept\n{COMPOSED}/1.jpg,x,1,1\nbo/1.5.jpg,bo,2,0\n"
    (tmp_path / "kept.csv").write_text(text, encoding="utf-8")
    assert choose(images, kept=tmp_path / "kept.csv").tolist() == [0]
