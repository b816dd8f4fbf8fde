from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from real_faces import FACES, needs_faces

from marginface.data.augmentation import (
    AUGMENTATIONS,
    PRESETS,
    affine,
    augmentation,
    expand_presets,
)
from marginface.data.images import read_image
from marginface.errors import MarginfaceError

X, Y = np.meshgrid(np.arange(112), np.arange(112))
NOISE = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
RAMP = np.stack([X, Y, np.full_like(X, 90)], -1).astype(np.uint8)


class Drawn:
    """A generator whose uniform draws are given."""

    def __init__(self, *values: object) -> None:
        self.values = list(values)

    def uniform(self, *_: object) -> object:
        return self.values.pop(0)


def outcomes(name: str, image: np.ndarray = RAMP) -> list[np.ndarray]:
    return [AUGMENTATIONS[name](image, np.random.default_rng(seed)) for seed in range(200)]


class Acting:
    """A generator that makes an augmentation act, and otherwise draws from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def random(self) -> float:
        return 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(self.rng, name)


def acting(name: str, image: np.ndarray, count: int = 60) -> list[np.ndarray]:
    return [AUGMENTATIONS[name](image, Acting(seed)) for seed in range(count)]


def test_names() -> None:
    assert set(AUGMENTATIONS) == {
        *("flip", "affine", "crop", "photometric", "color_jitter", "grayscale"),
        *("low_resolution", "blur", "jpeg", "erase", "mask", "sunglasses"),
    }


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


@pytest.mark.parametrize(
    ("name", "share"),
    [
        *[(name, 0.2) for name in ("crop", "color_jitter", "low_resolution", "blur", "jpeg")],
        *[(name, 0.1) for name in ("mask", "sunglasses")],
    ],
)
def test_it_acts_as_often_as_stated(name: str, share: float) -> None:
    draws = [AUGMENTATIONS[name](NOISE, np.random.default_rng(seed)) for seed in range(800)]
    changed = np.mean([not np.array_equal(image, NOISE) for image in draws])
    assert abs(changed - share) < 4 * np.sqrt(share * (1 - share) / 800)


@pytest.mark.parametrize("name", sorted({*AUGMENTATIONS} - {"flip", "grayscale"}))
def test_samples_differ(name: str) -> None:
    assert len({image.tobytes() for image in acting(name, NOISE, 20)}) > 15


def test_crop_keeps_a_rectangle_in_place() -> None:
    image = NOISE.clip(1, 255)
    shares, ratios = [], []
    for cropped in acting("crop", image, 200):
        rows, columns = np.nonzero(cropped.any(axis=-1))
        inside = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        np.testing.assert_array_equal(cropped[inside], image[inside])
        assert not np.delete(cropped.any(-1).ravel(), rows * 112 + columns).any()
        height, width = cropped[inside].shape[:2]
        shares.append(height * width / 112**2)
        ratios.append(width / height)
    assert 0.18 < min(shares) < 0.25
    assert 0.95 < max(shares) <= 1
    assert 0.73 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.36


def test_color_jitter_scales_brightness_contrast_and_saturation() -> None:
    grey = np.repeat(NOISE[..., :1] // 3 + 60, 3, axis=-1)
    changed = acting("color_jitter", grey, 200)
    assert all((image == image[..., :1]).all() for image in changed)
    levels = [image.mean() / grey.mean() for image in changed]
    assert 0.48 < min(levels) < 0.6
    assert 1.4 < max(levels) < 1.52
    spreads = [image.std() / image.mean() / (grey.std() / grey.mean()) for image in changed]
    assert 0.45 < min(spreads) < 0.7
    assert 1.3 < max(spreads) < 1.6


def detail(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image.astype(float), axis=1)).mean())


@pytest.mark.parametrize("name", ["low_resolution", "blur"])
def test_detail_is_lost_by_degrees(name: str) -> None:
    left = [detail(image) / detail(NOISE) for image in acting(name, NOISE)]
    assert min(left) < 0.1
    assert 0.3 < max(left) < 1


def test_low_resolution_brings_one_pixel_back_to_the_whole_image() -> None:
    image = np.full((3, 3, 3), 7, np.uint8)
    assert all((small == 7).all() for small in acting("low_resolution", image))


def test_blur_is_in_proportion_to_the_image() -> None:
    edge = np.zeros((448, 448, 3), np.uint8)
    edge[:, 224:] = 255
    wide = [(image[224, :, 0] % 255 > 0).sum() for image in acting("blur", edge)]
    narrow = [(image[56, :, 0] % 255 > 0).sum() for image in acting("blur", edge[::4, ::4])]
    assert 3 < np.mean(wide) / np.mean(narrow) < 5


def test_jpeg_keeps_the_picture_and_leaves_traces() -> None:
    smooth = np.repeat(np.repeat(NOISE[::16, ::16], 16, 0), 16, 1)
    errors = [np.abs(image.astype(int) - smooth).mean() for image in acting("jpeg", smooth)]
    assert 0 < 1.5 * min(errors) < max(errors) < 10


@pytest.mark.parametrize("size", [(112, 112), (160, 96)])
@pytest.mark.parametrize(
    ("name", "covered", "free"),
    [
        ("mask", [(56, 92), (41, 92), (71, 92), (56, 75)], [(38, 50), (74, 50), (56, 20)]),
        ("sunglasses", [(38, 52), (74, 52)], [(56, 72), (41, 92), (71, 92), (56, 20)]),
    ],
)
def test_what_is_worn_lies_where_an_aligned_face_has_it(
    name: str, covered: list[tuple[int, int]], free: list[tuple[int, int]], size: tuple[int, int]
) -> None:
    image = np.full((*size, 3), (13, 255, 77), np.uint8)
    for worn in acting(name, image):
        changed = (worn != image).any(axis=-1)
        assert all(changed[y * size[0] // 112, x * size[1] // 112] for x, y in covered)
        assert not any(changed[y * size[0] // 112, x * size[1] // 112] for x, y in free)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_same_from_any_thread(name: str) -> None:
    def drawn(seed: int) -> np.ndarray:
        return augmentation([name])(NOISE, np.random.default_rng(seed))

    alone = [drawn(seed) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal(list(pool.map(drawn, range(40))), alone)


def test_presets_stand_for_augmentations() -> None:
    assert set(PRESETS) == {"insightface", "adaface", "strong"}
    assert expand_presets(["insightface"]) == ("flip",)
    assert expand_presets(["blur", "adaface"]) == (
        *("blur", "crop", "low_resolution", "color_jitter", "flip"),
    )
    assert set(PRESETS["strong"]) == {*AUGMENTATIONS} - {"photometric"}  # color_jitter does that
    for seed in range(30):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        np.testing.assert_array_equal(
            augmentation(["adaface"])(NOISE, rngs[0]),
            augmentation(PRESETS["adaface"])(NOISE, rngs[1]),
        )


def test_names_are_applied_in_order_from_one_generator() -> None:
    together = augmentation(["flip", "erase"])(RAMP, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    expected = AUGMENTATIONS["erase"](AUGMENTATIONS["flip"](RAMP, rng), rng)
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(augmentation([])(RAMP, rng), RAMP)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(MarginfaceError, match="unknown augmentation 'flop'; did you mean 'flip'"):
        augmentation(["flop"])


@needs_faces
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_real_face_stays_one(name: str) -> None:
    face = read_image(next(iter(sorted((FACES / "lfw112" / "train").glob("*/*.jpg")))))
    changes = [np.abs(out.astype(int) - face).mean() for out in outcomes(name, face)]
    assert 0 < np.mean(changes) < 30
