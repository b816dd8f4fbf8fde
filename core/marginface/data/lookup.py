"""Find the images that a list names."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from marginface.data.images import without_ending
from marginface.errors import MarginfaceError
from marginface.text import from_utf8


def same_form(name: str) -> str:
    """Return a name in the one Unicode form (NFC) in which names are compared.

    Systems write José with one character for the last letter, or with two: as bytes these differ.

    >>> same_form("Jose\\u0301") == "Jos\\u00e9"
    True
    """
    return name if name.isascii() else normalize("NFC", name)


def by_form(name: str) -> tuple[str, str]:
    """Return a sort key that orders names alike, whatever Unicode form they are in.

    >>> sorted(["Jose\\u0301", "Josf"], key=by_form) == ["Josf", "Jose\\u0301"]
    True
    """
    return same_form(name), name


def look_alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pair names that are one in different Unicode forms: (the first of them, another)."""
    first: dict[str, str] = {}
    pairs = [(first.setdefault(same_form(name), name), name) for name in names]
    return [(one, other) for one, other in pairs if one != other]


def require_one_form(identities: Iterable[str], root: Path) -> None:
    """Raise if two identities have one name in two Unicode forms: a person would count as two."""
    for one, other in look_alike(identities):
        raise MarginfaceError(
            f"{root} has the identities {one!a} and {other!a}, which look alike (Unicode forms of "
            "one name); join them in one folder, or rename one (of a record file, in the folder "
            "that `marginface data pack` makes of it)"
        )


class ImageNames:
    """The names of a set's images, to find those that a list names.

    >>> names = ImageNames(["ann/1.jpg", "ann/1.png", "bo/1.5.jpg"])
    >>> names.find("ann/1.jpg"), names.find("bo/1.5"), names.find("bo/1.5.png"), names.find("bo/1")
    ('ann/1.jpg', 'bo/1.5.jpg', 'bo/1.5.jpg', None)
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._called: dict[str, str] = {}  # images by what the list called them, with an ending

    @property
    def example(self) -> str:
        """The first of the names, to show in a message what they are like; '' of none."""
        return min(self._names, default="")

    def find(self, name: str, where: str = "") -> str | None:
        """Return the image that a name means, or None.

        Candidates in this order: the image of this very name, in any Unicode form; that of the
        name plus an ending of an image's format; that of the name with another such ending, since
        folders of aligned copies keep the lists of their photos. Names with two endings never mean
        one image: where a list has 1.jpg and 1.png, one of the images is missing.

        Args:
            name: parts between slashes of either kind.
            where: the list and line, for the message, with a colon and a blank.

        Raises:
            MarginfaceError: two images are meant alike, or one by names with two endings.
        """
        meant, name_with_ending = self._meant(name)
        if len(meant) > 1:
            raise _several(where, name, sorted(meant))
        if not meant:
            return None
        if name_with_ending is not None:
            called = self._called.setdefault(meant[0], name_with_ending)
            if called != name_with_ending:
                raise MarginfaceError(
                    f"{where}{called[:80]!r} and {name[:80]!r} would both be {meant[0]}; add the "
                    "image that is missing, or remove what names it"
                )
        return meant[0]

    def means(self, name: str, image: str) -> bool:
        """Return whether a name means this image, and no other."""
        return self._meant(name)[0] == [image]

    def _meant(self, name: str) -> tuple[list[str], str | None]:
        """Return the images that a name may mean, and the name in NFC; None if it has no ending."""
        if name in self._names:
            return [name], same_form(name)
        for path in dict.fromkeys((name, name.replace("\\", "/"))):
            full_name = same_form(str(PurePosixPath(path)))
            if meant := self._by_form.get(full_name):
                return meant, full_name
            if meant := self._by_stem.get(full_name):
                return meant, None
            if meant := self._by_stem.get(without_ending(full_name)):
                return meant, full_name
            if meant := self._without_blanks.get(full_name):
                return meant, None
        unescaped = from_utf8(name)
        return ([], full_name) if unescaped == name else self._meant(unescaped)

    @cached_property
    def _by_form(self) -> dict[str, list[str]]:
        return _grouped((same_form(name), name) for name in self._names)

    @cached_property
    def _without_blanks(self) -> dict[str, list[str]]:
        """Names by what is left of them in a table, whose fields have no blanks at their ends."""
        stripped = ((form.strip(), form) for form in self._by_form)
        return _grouped(
            (short, name)
            for short, form in stripped
            if short != form
            for name in self._by_form[form]
        )

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        stems = ((without_ending(form), form) for form in self._by_form)
        return _grouped(
            (stem, name) for stem, form in stems if stem != form for name in self._by_form[form]
        )


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, name in pairs:
        groups.setdefault(key, []).append(name)
    return groups


def _several(where: str, name: str, meant: list[str]) -> MarginfaceError:
    one, other = meant[:2]
    if same_form(one) == same_form(other):
        return MarginfaceError(
            f"{where}{name[:80]!r} may be {one!a} or {other!a}, which look alike "
            "(Unicode forms of one name); rename or remove one of them"
        )
    return MarginfaceError(
        f"{where}{name[:80]!r} may be {one} or {other}; give the name with its ending, or rename "
        "one of them"
    )
