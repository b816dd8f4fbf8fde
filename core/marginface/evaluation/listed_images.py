"""Match the image names in lists to those of the embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from marginface.data.lines import how_to_convert
from marginface.data.lookup import ImageNames
from marginface.errors import MarginfaceError
from marginface.text import as_utf8, in_quotes

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
        image = find_embedded(name, images, str(path))
        if image in entries:
            raise MarginfaceError(
                f"{path}: {named[image]!a} and {name!a} are both image {image}; remove one"
            )
        entries[image], named[image] = value, name
    return entries


def media_by_image(media: TemplateMedia, images: ImageNames) -> TemplateMedia:
    """Rename the images of template media to the embeddings' names; raises as `by_image`."""
    where = str(media.path)
    image_of = {name: find_embedded(name, images, where) for name in dict.fromkeys(media.names)}
    names = tuple(map(image_of.__getitem__, media.names))
    seen: set[tuple[str, int]] = set()
    for row in zip(names, media.template.tolist(), strict=True):
        if row in seen:
            raise MarginfaceError(
                f"{media.path}: image {row[0]} is in template {row[1]} under two names; remove one"
            )
        seen.add(row)
    return replace(media, names=names)


def find_embedded(name: str, images: ImageNames, where: str) -> str:
    """Return the image that a list names, or the name where there is none.

    Args:
        name: as in the list.
        images: that have embeddings; of this list alone.
        where: the list, for messages.

    Raises:
        MarginfaceError: it means two images, or none and is no UTF-8.
    """
    written = as_utf8(name)  # as stores of embeddings have it
    image = images.find(written, f"{where}: ")
    if image is None and written != name:
        raise MarginfaceError(
            f"{where}: no embedding of {in_quotes(name)}, where there is one of "
            f"{in_quotes(images.example)}{how_to_convert(name, where)}"
        )
    return image or name
