"""Labels of files: never one for two of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginface.errors import MarginfaceError
from marginface.labels import distinct_labels

parts = st.sampled_from(["a", "b", "a_b", "a_2", "a_bin"])
files = st.builds(
    lambda folders, stem, suffix: Path("/", *folders, stem + suffix),
    st.lists(parts, max_size=3),
    parts,
    st.sampled_from(["", ".a", ".bin", ".zip"]),
)


@given(st.lists(files, unique=True, max_size=8))
def test_labels_differ_and_end_as_the_files_are_called(paths):
    labels = distinct_labels(paths, "set")
    assert len(set(labels)) == len(labels) == len(paths)
    assert all(path.stem in label for path, label in zip(paths, labels, strict=True))
    assert not any("/" in label for label in labels)


def test_a_path_that_is_given_twice_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MarginfaceError, match=r"set .*a\.bin is given 2 times; give it once"):
        distinct_labels([Path("a.bin"), tmp_path / "a.bin"], "set")
