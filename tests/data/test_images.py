import os
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from marginface.data import images
from marginface.data.image_files import list_images
from marginface.data.images import decode_image, decoded_size, read_image, upright_pixels
from marginface.errors import MarginfaceError

GRADIENT = np.arange(112 * 112 * 3).reshape(112, 112, 3).astype(np.uint8)


def save(path: Path, image: np.ndarray = GRADIENT, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


@pytest.mark.parametrize("extension", ["png", "bmp", "ppm", "tif"])
def test_lossless_files_come_back_as_they_were(tmp_path: Path, extension: str) -> None:
    image = read_image(save(tmp_path / f"a.{extension}"))
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, GRADIENT)


@pytest.mark.parametrize("extension", ["pgm", "png"])
def test_grey_becomes_rgb(tmp_path: Path, extension: str) -> None:
    grey = GRADIENT[..., 0]
    image = read_image(save(tmp_path / f"a.{extension}", grey))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_in_the_header_is_that_of_the_upright_image(
    tmp_path: Path, extension: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{extension}", GRADIENT[:60], exif=exif)
    assert decoded_size(path.read_bytes(), path) == read_image(path, None).shape[:2]


def test_exif_orientation_turns_the_image_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that upright is a quarter turn clockwise
    path = save(tmp_path / "a.png", GRADIENT[:60], exif=exif)
    np.testing.assert_array_equal(read_image(path, (112, 60)), np.rot90(GRADIENT[:60], -1))


def by_pillow(encoded: bytes, size: tuple[int, int]) -> np.ndarray | str:
    """Decode without the fast way for JPEG files; return the image, or the error's message."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_plain_jpeg", lambda *_: None)
        return decoded(encoded, size)


def decoded(encoded: bytes, size: tuple[int, int]) -> np.ndarray | str:
    try:
        return decode_image(encoded, "it", size)
    except MarginfaceError as error:
        return str(error)


def jpeg(pixels: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@settings(deadline=None, max_examples=10, derandomize=True)
@given(
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 100),
)
def test_jpeg_pixels_are_pillows(
    mode: str, subsampling: str, progressive: bool, size: tuple[int, int], seed: int, quality: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    encoded = jpeg(pixels, mode, quality=quality, subsampling=subsampling, progressive=progressive)
    image = decoded(encoded, size)
    assert isinstance(image, np.ndarray)
    assert image.flags.writeable
    np.testing.assert_array_equal(image, by_pillow(encoded, size))


def test_plain_jpegs_take_the_fast_way_and_turned_ones_do_not() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert images._plain_jpeg(jpeg(GRADIENT), (112, 112)) is not None
    assert images._plain_jpeg(jpeg(GRADIENT), (112, 96)) is None
    assert images._plain_jpeg(jpeg(GRADIENT, exif=exif), (112, 112)) is None
    turned = decode_image(jpeg(GRADIENT, exif=exif), "it")
    np.testing.assert_array_equal(turned, np.rot90(decode_image(jpeg(GRADIENT), "it"), -1))


def test_a_cut_or_changed_jpeg_is_what_it_is_to_pillow() -> None:
    encoded = jpeg(GRADIENT[:16, :16], quality=50)
    rng = np.random.default_rng(0)
    broken = [encoded[:length] for length in range(0, len(encoded), 3)]
    for _ in range(200):
        changed = bytearray(encoded)
        changed[rng.integers(len(changed))] = rng.integers(256)
        broken.append(bytes(changed))
    refused = 0
    for each in broken:
        ours, theirs = decoded(each, (16, 16)), by_pillow(each, (16, 16))
        refused += isinstance(ours, str)
        assert isinstance(ours, str) == isinstance(theirs, str)
        np.testing.assert_array_equal(ours, theirs)
    assert len(broken) / 2 < refused < len(broken) - 20


def test_another_size_is_an_error_unless_resize(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((100, 90, 3), 7, np.uint8))
    with pytest.raises(MarginfaceError, match=r"a\.png: .* 100x90 .* expected 112x96; .*resize"):
        read_image(path, (112, 96))
    np.testing.assert_array_equal(
        read_image(path, (112, 96), resize=True), np.full((112, 96, 3), 7, np.uint8)
    )
    assert read_image(path, None).shape == (100, 90, 3)


def test_broken_files_are_named_with_the_reason(tmp_path: Path) -> None:
    jpeg = save(tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    save(tmp_path / "deep.tif", GRADIENT[..., 0].astype(np.float32))
    for name, reason in {
        "cut.jpg": "truncated",
        "text.jpg": "not an image",
        "empty.jpg": "not an image",
        "folder.jpg": "directory",
        "gone.jpg": "No such file",
        "deep.tif": "more than 16 bits",
    }.items():
        with pytest.raises(MarginfaceError) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: cannot read the image: ")
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.sampled_from(["png", "jpg", "bmp", "tif", "webp", "ppm"]), st.data())
def test_damaged_bytes_give_an_image_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, extension: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    path = save(folder / f"a.{extension}", GRADIENT[:16, :16])
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    with suppress(MarginfaceError):
        decoded_size(path.read_bytes(), path)
    try:
        image = read_image(path, (16, 16))
    except MarginfaceError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
    else:
        assert image.shape == (16, 16, 3)


def test_listing_is_sorted_recursive_and_passes_over_hidden_files(tmp_path: Path) -> None:
    for name in ["b/2.JPG", "b/1.png", "a.jpeg", "c/d/e.webp", ".cache/x.png", "b/._1.png"]:
        save(tmp_path / name, format="png")
    (tmp_path / "b" / "notes.txt").write_text("")
    assert list_images(tmp_path) == ["a.jpeg", "b/1.png", "b/2.JPG", "c/d/e.webp"]


def test_listing_follows_links_to_folders(tmp_path: Path) -> None:
    save(tmp_path / "real" / "1.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    assert list_images(tmp_path / "root") == ["linked/1.png"]


def test_listing_refuses_what_holds_no_images(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MarginfaceError, match="no such folder"):
        list_images(tmp_path / "gone")
    with pytest.raises(MarginfaceError, match="is a file"):
        list_images(tmp_path / "file")
    with pytest.raises(MarginfaceError, match=r"no images .*file \(no image\).* expected JPEG"):
        list_images(tmp_path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every folder")
def test_listing_names_a_folder_it_may_not_read(tmp_path: Path) -> None:
    save(tmp_path / "locked" / "1.png")
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(MarginfaceError, match=r"cannot list the folder .*locked"):
            list_images(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_16_bits_become_8(tmp_path: Path) -> None:
    """Rounded down to 8; Pillow alone would clip them to white."""
    grey = np.arange(0, 65536, 7, dtype=np.uint16)[:9216].reshape(96, 96)
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(grey).save(tmp_path / name)
        pixels = read_image(tmp_path / name, None)
        np.testing.assert_array_equal(pixels, np.repeat(grey[..., None] // 257, 3, axis=2))
    np.testing.assert_array_equal(upright_pixels(Image.open(tmp_path / "deep.png")), pixels)
    with pytest.raises(MarginfaceError, match="more than 16 bits a channel"):
        upright_pixels(Image.fromarray(grey.astype(np.int32)))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(2**30 + 1)  # takes no room
    with pytest.raises(MarginfaceError, match=r"huge\.jpg: .* larger than 1 GB"):
        read_image(path, None)


def test_a_file_that_comes_in_parts_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network drive may give less than is asked for; line ends and ^Z are data."""
    read, data = os.read, b"\r\n\x1a\n\0" * 1000
    (tmp_path / "a.jpg").write_bytes(data)
    monkeypatch.setattr(os, "read", lambda file, length: read(file, min(length, 999)))
    assert images.read_file(tmp_path / "a.jpg") == data
