"""Match the image names in lists to those of the embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from marginface.data.lookup import ImageNames
from marginface.errors import MarginfaceError
from marginface.text import as_utf8

if TYPE_CHECKING:  # it needs Arrow
    from marginface.evaluation.template_files import TemplateMedia

T = TypeVar("T")


def by_image(listed: Mapping[str, T], images: ImageNames, path: Path) -> dict[str, T]:
    """Key a list's entries by image; a name that matches no image stays as it is.

    Args:
        listed: by the names in the list.
        images: that have embeddings; of this list alone.
        path: the list, for messages.

    Raises:
        MarginfaceError: a name means two images, or two names mean one.
    """
    entries: dict[str, T] = {}
    named: dict[str, str] = {}
    for name, value in listed.items():
        image = _image(name, images, path)
        if image in entries:
            raise MarginfaceError(
                f"{path}: {named[image]!a} and {name!a} are both image {image}; remove one"
            )
        entries[image], named[image] = value, name
    return entries


def media_by_image(media: TemplateMedia, images: ImageNames) -> TemplateMedia:
    """Rename the images of template media to the embeddings' names; raises as `by_image`."""
    image_of = {name: _image(name, images, media.path) for name in dict.fromkeys(media.names)}
    names = tuple(map(image_of.__getitem__, media.names))
    seen: set[tuple[str, int]] = set()
    for row in zip(names, media.template.tolist(), strict=True):
        if row in seen:
            raise MarginfaceError(
                f"{media.path}: image {row[0]} is in template {row[1]} under two names; remove one"
            )
        seen.add(row)
    return replace(media, names=names)


def _image(name: str, images: ImageNames, path: Path) -> str:
    return images.find(as_utf8(name), f"{path}: ") or name
