"""Lists of pairs, galleries and probes name images in every format that is registered."""

from __future__ import annotations

from pathlib import Path

import pytest
from packing_faces import write_faces
from pair_sets import content
from record_files import pack
from tar_faces import open_tar, tarred

from marginface import MarginfaceError
from marginface.data.formats.registry import IMAGE_SETS
from marginface.data.opening import open_by_name
from marginface.data.verification.opening import open_verification
from marginface.evaluation.image_lists import read_subjects_of_images


@pytest.mark.parametrize("name", ["faces.rec", "faces.tfrecord", "faces.tar"])
def test_lists_name_images_in_any_format(name, tmp_path, monkeypatch):
    monkeypatch.setattr(IMAGE_SETS, "_formats", [*IMAGE_SETS._formats])
    faces = write_faces(tmp_path / "faces", {"ann": 2, "bo": 2})
    path, listed = tmp_path / name, tmp_path / "list.txt"
    if path.suffix == ".tar":
        IMAGE_SETS.register("a .tar", open_tar, ".tar")
        tarred(faces, path)
    else:
        pack(faces, path, (12, 12))
    names = open_by_name(faces)[1]
    listed.write_text(f"{names[0]} {names[1]} 1\n{names[0]} {Path(names[-1]).with_suffix('')} 0\n")
    of_file, of_folder = (open_verification(listed, root) for root in (path, faces))
    assert content(of_file) == content(of_folder)
    assert of_file.images.root == path
    assert read_subjects_of_images(path) == read_subjects_of_images(faces)
    listed.write_text(f"{names[0]} nobody/1 1\n")
    with pytest.raises(MarginfaceError, match=f"no image 'nobody/1' in {path} .* is '{names[0]}'"):
        open_verification(listed, path)


def test_pairs_of_lfws_form_name_records(tmp_path):
    faces = write_faces(tmp_path / "faces", {"ann": 2, "bo": 1})
    packed, listed = pack(faces, tmp_path / "faces.rec", (12, 12)), tmp_path / "pairs.txt"
    listed.write_text("1\nann\t1\t2\nann\t1\tbo\t1\n")
    assert content(open_verification(listed, packed)) == content(open_verification(listed, faces))
    listed.write_text("1\nann\t1\t3\nann\t1\tbo\t1\n")
    with pytest.raises(MarginfaceError, match=r"no image .*ann_0003\.\* .*, where there is 'ann/"):
        open_verification(listed, packed)


def test_what_is_neither_a_set_nor_a_list(tmp_path):
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x00\x01")
    for path in (tmp_path / "noise", tmp_path / "gone"):
        with pytest.raises(MarginfaceError, match=r"a list of images, or a set of them: .*\.rec"):
            read_subjects_of_images(path)
