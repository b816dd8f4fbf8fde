"""Reading image files, strictly: what cannot be decoded whole is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from marginface.errors import MarginfaceError

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_image(
    path: str | Path, size: tuple[int, int] | None = (112, 112), *, resize: bool = False
) -> NDArray[np.uint8]:
    """Return an image as RGB [height, width, 3], turned upright as its EXIF says.

    Args:
        path: an image file; grey, palette and CMYK ones become RGB, transparency is dropped.
        size: expected (height, width) in pixels; None takes any.
        resize: stretch an image of another size instead of refusing it.

    Raises:
        MarginfaceError: the file is missing, truncated, no image, of more than 8 bits a channel,
            or of another size; the message begins with its path.
    """
    image = _decode(path)
    if size is not None and (image.height, image.width) != size:
        if not resize:
            raise MarginfaceError(
                f"{path}: the image is {image.height}x{image.width} (height x width), expected "
                f"{size[0]}x{size[1]}; align and crop it, or resize it (--resize, resize=True)"
            )
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(image)


def _decode(path: str | Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            # 16-bit and float pixels would be clipped to white on the way to RGB.
            if file.mode.startswith("I") or file.mode == "F":
                raise ValueError(f"pixel mode {file.mode} has more than 8 bits a channel")
            return ImageOps.exif_transpose(file).convert("RGB")
    except UnidentifiedImageError:
        reason = "not an image in a known format"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        reason = str(error) or type(error).__name__
    raise MarginfaceError(f"{path}: cannot read the image: {' '.join(reason.split())}; replace it")


def list_images(root: str | Path) -> list[str]:
    """Return the images under a folder: sorted paths relative to it, with forward slashes.

    Hidden files and folders (a leading dot) are no images: macOS and notebooks leave such behind.

    Raises:
        MarginfaceError: no such folder, not a folder, an unreadable one, or no image in it.
    """
    root = Path(root)
    require_folder(root)
    found: list[str] = []
    for folder, subfolders, names in os.walk(root, onerror=_refuse, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        found += [
            prefix + name
            for name in names
            if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
        ]
    if not found:
        raise MarginfaceError(
            f"no images under {root}; expected files that end in {', '.join(EXTENSIONS)}"
        )
    return sorted(found)


def require_folder(path: Path) -> None:
    """Refuse a path that is no folder of images."""
    if not path.exists():
        raise MarginfaceError(f"no such folder: {path}; expected a folder of images")
    if not path.is_dir():
        raise MarginfaceError(f"{path} is a file, expected a folder of images")


def _refuse(error: OSError) -> None:
    raise MarginfaceError(
        f"cannot list the folder {error.filename}: {error.strerror}; make it readable"
    ) from error
