from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from marginface.data.augmentation import AUGMENTATIONS, affine, augmentation
from marginface.data.images import read_image
from marginface.errors import MarginfaceError

FACES = Path(__file__).parents[1].parent / "shared" / "data"

X, Y = np.meshgrid(np.arange(112), np.arange(112))
RAMP = np.stack([X, Y, np.full_like(X, 90)], -1).astype(np.uint8)


class Drawn:
    """A generator whose uniform draws are given."""

    def __init__(self, *values: object) -> None:
        self.values = list(values)

    def uniform(self, *_: object) -> object:
        return self.values.pop(0)


def outcomes(name: str, image: np.ndarray = RAMP) -> list[np.ndarray]:
    return [AUGMENTATIONS[name](image, np.random.default_rng(seed)) for seed in range(200)]


def test_names() -> None:
    assert set(AUGMENTATIONS) == {"flip", "affine", "photometric", "grayscale", "erase"}


@pytest.mark.parametrize("name", AUGMENTATIONS)
@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60), st.just(3))),
    st.integers(0, 2**32 - 1),
)
def test_shape_is_kept_input_untouched_and_the_seed_decides(
    name: str, image: np.ndarray, seed: int
) -> None:
    before = image.copy()
    once = AUGMENTATIONS[name](image, np.random.default_rng(seed))
    again = AUGMENTATIONS[name](image, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(once, again)
    assert once.shape == image.shape
    assert once.dtype == np.uint8


def test_flip_mirrors_half_of_the_time() -> None:
    flipped = [not np.array_equal(image, RAMP) for image in outcomes("flip")]
    assert 0.4 < np.mean(flipped) < 0.6
    changed = outcomes("flip")[flipped.index(True)]
    np.testing.assert_array_equal(changed, RAMP[:, ::-1])


def test_affine_without_movement_changes_nothing() -> None:
    still = affine(RAMP, Drawn(1.0, 0.0, np.zeros(2)))
    np.testing.assert_array_equal(still, RAMP)


def test_affine_shifts_right_and_down() -> None:
    moved = affine(RAMP, Drawn(1.0, 0.0, np.array([3.0, 2.0])))
    np.testing.assert_array_equal(moved[2:, 3:], RAMP[:-2, :-3])
    assert (moved[:2] == 0).all()


def test_affine_zooms_about_the_centre() -> None:
    zoomed = affine(RAMP, Drawn(2.0, 0.0, np.zeros(2)))
    assert abs(int(zoomed[56, 56, 0]) - 56) <= 1
    assert abs(int(zoomed[56, 111, 0]) - 83) <= 1  # half as far from the centre


def test_affine_rotates_about_the_centre() -> None:
    turned = affine(RAMP, Drawn(1.0, np.pi / 2, np.zeros(2)))
    np.testing.assert_allclose(turned[1:-1, 1:-1], np.rot90(RAMP, -1)[1:-1, 1:-1], atol=1)


def test_photometric_moves_the_mean_by_the_brightness() -> None:
    image = np.random.default_rng(0).integers(90, 160, (112, 112, 3), np.uint8)
    changes = [out.mean() - image.mean() for out in outcomes("photometric", image)]
    ratios = [out.std() / image.std() for out in outcomes("photometric", image)]
    assert -25.5 <= min(changes) < -20
    assert 20 < max(changes) <= 25.5
    assert 0.69 <= min(ratios) < 0.75
    assert 1.25 < max(ratios) <= 1.31


def test_grayscale_removes_colour_in_a_fifth() -> None:
    grey = [bool((image == image[..., :1]).all()) for image in outcomes("grayscale")]
    assert 0.12 < np.mean(grey) < 0.28


def test_erase_covers_one_rectangle_half_of_the_time() -> None:
    image = np.zeros((112, 112, 3), np.uint8)
    covered = [np.argwhere(out[..., 0]) for out in outcomes("erase", image)]
    sizes = np.array([np.ptp(where, axis=0) + 1 for where in covered if len(where)])
    areas = np.array([len(where) for where in covered if len(where)])
    np.testing.assert_array_equal(areas, sizes.prod(axis=1))
    assert 0.4 < len(areas) / len(covered) < 0.6
    assert 10 <= sizes.min() < 15
    assert 40 < sizes.max() <= 45


def test_names_are_applied_in_order_from_one_generator() -> None:
    together = augmentation(["flip", "erase"])(RAMP, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    expected = AUGMENTATIONS["erase"](AUGMENTATIONS["flip"](RAMP, rng), rng)
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(augmentation([])(RAMP, rng), RAMP)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(MarginfaceError, match="unknown augmentation 'flop'; did you mean 'flip'"):
        augmentation(["flop"])


@pytest.mark.skipif(not FACES.is_dir(), reason="real faces are absent: ../shared/data")
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_real_face_stays_one(name: str) -> None:
    face = read_image(next(iter(sorted((FACES / "lfw112" / "train").glob("*/*.jpg")))))
    similar = [np.abs(out.astype(int) - face).mean() for out in outcomes(name, face)]
    assert 0 < max(similar) < 80
