from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_faces import FACES, needs_faces

from marginface.data.formats.folder import open_folder
from marginface.data.image_files import PassedOverWarning
from marginface.data.sources import OpenOptions
from marginface.errors import MarginfaceError


def save(path: Path, size: tuple[int, int] = (112, 112), value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three identities with 3, 2 and 1 images."""
    for identity, count in [("carol", 1), ("alice", 3), ("bob", 2)]:
        for number in range(count):
            save(tmp_path / "faces" / identity / f"{number}.png", value=10 * count + number)
    return tmp_path / "faces"


def refusal(root: Path, **options: bool) -> str:
    with pytest.raises(MarginfaceError) as caught:
        open_folder(root, OpenOptions(check=True, **options))
    message = str(caught.value)
    assert "\n" not in message
    assert str(root) in message
    return message


def test_identities_paths_and_labels_are_sorted(root: Path) -> None:
    folder = open_folder(root, OpenOptions(check=True))
    assert folder.identities == ("alice", "bob", "carol")
    assert folder.paths[2:5] == ("alice/2.png", "bob/0.png", "bob/1.png")
    np.testing.assert_array_equal(folder.labels, [0, 0, 0, 1, 1, 2])
    assert folder.labels.dtype == np.int64
    assert len(folder) == 6
    assert folder.skipped == ()
    image, label = folder[4]
    assert (image == 21).all()
    assert label == 1


def test_progress_ends_at_the_number_of_images(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    open_folder(
        root, OpenOptions(check=True, on_progress=lambda done, total: seen.append((done, total)))
    )
    assert seen[-1] == (6, 6)


def test_hidden_folders_and_other_files_are_passed_over(root: Path) -> None:
    save(root / ".ipynb_checkpoints" / "0.png")
    (root / "README.txt").write_text("")
    (root / "alice" / "notes.txt").write_text("")
    assert open_folder(root, OpenOptions(check=True)).identities == ("alice", "bob", "carol")


def test_missing_root_and_file_as_root(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(tmp_path / "file")


def test_empty_root_tells_the_layout(tmp_path: Path) -> None:
    assert "no images" in refusal(tmp_path)
    assert "ROOT/IDENTITY/IMAGE" in refusal(tmp_path)


def test_images_in_the_root_tell_the_layout(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    message = refusal(tmp_path)
    assert "not in an identity's folder, such as a.png; expected ROOT/IDENTITY/IMAGE" in message


def test_a_root_one_level_too_high_is_refused(root: Path) -> None:
    message = refusal(root.parent)
    assert "6 of 6 images" in message
    assert "too deep, such as faces/alice/0.png" in message


def test_one_identity_is_not_enough(tmp_path: Path) -> None:
    save(tmp_path / "alice" / "0.png")
    assert "is 1, need at least 2" in refusal(tmp_path)


def test_an_identity_without_images(root: Path) -> None:
    (root / "dave").mkdir()
    with pytest.warns(PassedOverWarning, match="1 folder without images in .*, such as dave"):
        folder = open_folder(root, OpenOptions(check=True))
    assert (folder.empty, folder.skipped) == (("dave",), ())
    assert folder.identities == ("alice", "bob", "carol")


def test_bad_images_are_refused_with_the_first_one_and_the_count(root: Path) -> None:
    whole = (root / "alice" / "1.png").read_bytes()
    (root / "alice" / "1.png").write_bytes(whole[: len(whole) // 2])
    (root / "carol" / "0.png").write_text("not an image")
    save(root / "bob" / "1.png", size=(90, 80))
    message = refusal(root)
    assert "3 of 6 images" in message
    assert "the first is alice/1.png: cannot read the image" in message
    assert message.count("alice/1.png") == 1
    assert "--skip-bad" in message


def test_skipping_leaves_out_bad_images_and_identities_that_lose_all(root: Path) -> None:
    (root / "carol" / "0.png").write_text("not an image")
    save(root / "bob" / "1.png", size=(90, 80))
    folder = open_folder(root, OpenOptions(check=True, skip_bad=True))
    assert [path for path, _ in folder.skipped] == ["bob/1.png", "carol/0.png"]
    assert "90x80" in folder.skipped[0][1]
    assert folder.identities == ("alice", "bob")
    np.testing.assert_array_equal(folder.labels, [0, 0, 0, 1])


def test_skipping_down_to_one_identity_is_refused(root: Path) -> None:
    for path in ["bob/0.png", "bob/1.png", "carol/0.png"]:
        (root / path).write_text("not an image")
    message = refusal(root, skip_bad=True)
    assert "is 1 after leaving out 3 bad images" in message
    assert "bob/0.png" in message


def test_other_sizes_are_resized_only_when_asked(root: Path) -> None:
    save(root / "bob" / "1.png", size=(90, 80))
    assert "90x80" in refusal(root)
    folder = open_folder(root, OpenOptions(check=True, resize=True))
    assert folder[4][0].shape == (112, 112, 3)


@needs_faces
def test_grey_real_faces_of_another_size() -> None:
    folder = open_folder(FACES / "orl", OpenOptions(check=True, resize=True))
    assert len(folder.identities) == 40
    assert len(folder) == 400
    image, _ = folder[0]
    assert image.shape == (112, 112, 3)
    assert (image[..., 0] == image[..., 2]).all()
    assert 60 < image.mean() < 200
