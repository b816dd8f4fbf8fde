"""`marginface data preview`, as it is called."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marginface.data.augmentation import AUGMENTATIONS, PRESETS
from marginface.data.packing.training_sets import pack
from marginface.data.preview import CELL, DRAWS, GAP


@pytest.fixture
def faces(tmp_path):
    """Twelve images of three sizes, the largest larger than a cell."""
    for number in range(12):
        path = tmp_path / "faces" / f"id{number // 4}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = [(112, 112), (60, 40), (300, 200)][number % 3]
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "faces"


def cells(path: Path) -> np.ndarray:
    """Return a sheet's cells [rows, columns, height, width, 3]."""
    sheet = np.array(Image.open(path))
    step, columns = CELL + GAP, (sheet.shape[1] - 1) // (CELL + GAP)
    while (sheet[:, sheet.shape[1] - columns * step - GAP :][:, :GAP] != 255).any():
        columns -= 1  # where the labels are
    at = [sheet.shape[1] - (columns - column) * step for column in range(columns)]
    return np.array(
        [
            [sheet[top : top + CELL, left : left + CELL] for left in at]
            for top in range(GAP, sheet.shape[0], step)
        ]
    )


def test_the_sheet_shows_all_presets_and_augmentations(cli, faces, tmp_path):
    out = tmp_path / "new" / "sheet.png"
    code, printed, error = cli("data", "preview", faces, out, "--images", 4)
    assert (code, error) == (0, "")
    assert printed == f"wrote {out}: 4 images of {faces}\n"
    found = cells(out)[:, -4:]
    assert len(found) == 1 + DRAWS * len(PRESETS) + len(AUGMENTATIONS)
    first = np.array(Image.open(faces / "id0" / "0.png"))
    np.testing.assert_array_equal(found[0, 0], first)
    for row in found[-len(AUGMENTATIONS) :]:  # each of these acts on each image
        assert all((cell != original).any() for cell, original in zip(row, found[0], strict=True))


def test_a_chosen_chain_is_drawn_by_its_seed(cli, faces, tmp_path):
    sheets = []
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / f"{number}.png"
        chosen = ("--augment", "affine, strong", "--seed", seed, "--images", 3)
        assert cli("data", "preview", faces, out, *chosen)[0] == 0
        sheets.append(out.read_bytes())
        assert len(cells(out)) == 1 + DRAWS
    assert sheets[0] == sheets[1] != sheets[2]


def test_no_augmentation_leaves_the_images(cli, faces, tmp_path):
    assert cli("data", "preview", faces, tmp_path / "a.png", "--augment", "", "--images", 3)[0] == 0
    found = cells(tmp_path / "a.png")
    for row in found[1:]:
        np.testing.assert_array_equal(row, found[0])


def test_records_are_shown_as_their_folder_is(cli, faces, tmp_path):
    from marginface.data.opening import open_images

    folder = open_images(faces, size=(112, 112), resize=True)
    (tmp_path / "packed").mkdir()
    pack(folder, tmp_path / "packed" / "faces.rec")
    assert cli("data", "preview", faces, tmp_path / "a.png")[0] == 0
    assert cli("data", "preview", tmp_path / "packed" / "faces.rec", tmp_path / "b.png")[0] == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["faces", "a.jpg"], "the sheet is a PNG file, got a.jpg; end its name in .png"),
        (["faces", "a.png", "--augment", "adafase"], "'adafase'; did you mean 'adaface'?"),
        (["nowhere", "a.png"], "no such"),
        (["faces", "a.png", "--images", "0"], "--images"),
        (["faces", "a.png", "--seed", "-1"], "--seed"),
        (["broken", "a.png"], "cannot read the image"),
    ],
)
@pytest.mark.usefixtures("faces")
def test_what_cannot_be_drawn_is_one_line(cli, tmp_path, monkeypatch, arguments, message):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    code, printed, error = cli("data", "preview", *arguments)
    assert (code, printed) == (2, "")
    assert error.startswith("marginface: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.png"))
