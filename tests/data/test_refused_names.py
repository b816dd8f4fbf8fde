"""Names that become files: any that stays in the folder, and on Windows what that system has."""

from pathlib import Path

import pytest

from marginface.data import names
from marginface.data.names import inner_path, split_name
from marginface.errors import MarginfaceError

ANY = [
    *("~1.jpg", "1:2.jpg", "C:", "a\nb.jpg", "tab\t.jpg", 'q"x".jpg', "a\\..\\b.jpg"),
    *("1.jpg ", "a,b.jpg"),
]
REFUSED = [
    *("ann/.1.jpg", "../1.jpg", ".../1.jpg", "ann//1.jpg", f"{'a' * 256}/1"),
    *("a/\ud83d.jpg", "a/\0.jpg"),
]


@pytest.mark.parametrize("name", ANY)
def test_any_name_becomes_a_file_in_the_folder(name):
    for parts in (("ann", name), (name, "1.jpg")):
        assert inner_path(Path("faces"), "/".join(parts)) == Path("faces", *parts)
        assert split_name("/".join(parts)) == parts


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_name_is_told_what_is_taken(name):
    for use in (split_name, lambda name: inner_path(Path("faces"), name)):
        with pytest.raises(MarginfaceError, match=r"at most 255 bytes and without a leading dot"):
            use(name)


@pytest.mark.parametrize("name", [each for each in ANY if each not in ("~1.jpg", "a,b.jpg")])
def test_windows_refuses_what_it_has_not(name, monkeypatch):
    monkeypatch.setattr(names, "WINDOWS", True)
    assert split_name(f"ann/{name}")  # a record file may hold it
    for given in (f"ann/{name}", f"{name}/1.jpg"):
        with pytest.raises(MarginfaceError, match=r"on Windows; pack to a \.rec or \.tfrecord"):
            inner_path(Path("faces"), given)
