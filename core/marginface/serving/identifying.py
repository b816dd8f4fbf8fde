"""Enrol the people of a folder of photos, and ask who the faces of others are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from marginface.data.image_files import list_images
from marginface.data.names import image_path
from marginface.data.sources import OnProgress, or_left_out, silent
from marginface.errors import MarginfaceError
from marginface.regular import real_path
from marginface.serving.faces import NO_FACE, UNREADABLE, Face, largest
from marginface.serving.gallery import Answer, Gallery
from marginface.serving.recogniser import Recogniser

NO_PERSON = "not in the folder of a person"
FACES_AT_ONCE = 256  # that are searched for together
CROPS_KEPT = 1000  # of a part: 38 MB of 112 x 112


@dataclass(frozen=True)
class LeftOut:
    """A photo, or a face of it, that was not used.

    Attributes:
        part: "gallery" or "probes".
        photo: its name.
        face: its number in the photo; None where the photo has none, or cannot be read.
        reason: in words that many share, such as "no face".
        detail: more of it, or empty.
    """

    part: str
    photo: str
    face: int | None
    reason: str
    detail: str = ""


@dataclass
class Source:
    """Photos of one part of a search: a folder, or a .parquet of `marginface embed`.

    Args:
        part: "gallery" or "probes".
        path: of either.
        skip_bad: leave out photos that cannot be read instead of stopping at them.
        names: of a folder's photos.
        left_out: what was not used, so far.
        crops_left: how many more faces keep their crop.
    """

    part: str
    path: Path
    skip_bad: bool = False
    names: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    crops_left: int = CROPS_KEPT

    def __post_init__(self) -> None:
        if self.is_folder:
            self.names = list_images(self.path)

    @property
    def is_folder(self) -> bool:
        """Whether faces have to be found."""
        return self.path.is_dir()

    def leave_out(self, photo: str, face: int | None, reason: str, detail: str = "") -> None:
        """Note what was not used."""
        self.left_out.append(LeftOut(self.part, photo, face, reason, detail))

    def photos(
        self, recogniser: Recogniser, on_progress: OnProgress = silent
    ) -> Iterator[tuple[str, list[tuple[int, Face]]]]:
        """Yield each photo with its numbered faces.

        Raises:
            MarginfaceError: a photo cannot be read.
        """
        if not self.is_folder:
            from marginface.serving.stored_faces import stored_faces  # needs Arrow

            yield from stored_faces(self.path)
            return
        paths = ((name, image_path(self.path, name)) for name in self.names)
        on_progress(0, len(self.names))
        with closing(recogniser.attempts(paths)) as outcomes:
            for done, (name, outcome) in enumerate(zip(self.names, outcomes, strict=True), 1):
                on_progress(done, len(self.names))
                if isinstance(outcome, MarginfaceError):
                    if not self.skip_bad:
                        raise or_left_out(outcome) from outcome
                    self.leave_out(name, None, UNREADABLE, str(outcome))
                    continue
                yield name, [(at, self._kept(face)) for at, face in enumerate(outcome)]

    def _kept(self, face: Face) -> Face:
        """Return a face without its crop, but for the first: a contact sheet reads others again."""
        self.crops_left -= 1
        return face if self.crops_left >= 0 else face.without_crop()


@dataclass(frozen=True)
class Enrolment:
    """Who was enrolled.

    Attributes:
        people: how many.
        faces: how many of them.
        several: photos with several faces, of which the largest is enrolled.
        without: people with photos, but without a face that can be enrolled.
    """

    people: int
    faces: int
    several: int
    without: tuple[str, ...]


def check_apart(gallery: Source, probes: Source) -> None:
    """Raise if a photo is both enrolled and searched for: it would find itself.

    Raises:
        MarginfaceError: one folder lies in the other, or a photo is in both, by a link.
    """
    if real_path(gallery.path) == real_path(probes.path):
        raise MarginfaceError(
            f"gallery and probes are both {gallery.path}: every face would find itself; give two"
        )
    if not (gallery.is_folder and probes.is_folder):
        return
    for outer, inner in ((gallery, probes), (probes, gallery)):
        if real_path(inner.path).is_relative_to(real_path(outer.path)):
            raise MarginfaceError(
                f"the {inner.part} {inner.path} lies in the {outer.part} {outer.path}, so that "
                "its photos belong to both and would find themselves; move it out"
            )
    enrolled = {real_path(image_path(gallery.path, name)) for name in gallery.names}
    for name in probes.names:
        if real_path(image_path(probes.path, name)) in enrolled:
            raise MarginfaceError(
                f"photo {name} of the probes {probes.path} leads to one in the gallery "
                f"{gallery.path} and would find itself; leave it out of one"
            )


def enrol_people(
    gallery: Gallery, source: Source, recogniser: Recogniser, on_progress: OnProgress = silent
) -> Enrolment:
    """Enrol each photo's largest face, under the name of the folder that it lies in.

    Raises:
        MarginfaceError: no face can be enrolled, or a photo cannot be read.
    """
    seen: set[str] = set()
    several = 0
    nowhere = [name for name in source.names if "/" not in name]
    source.names = [name for name in source.names if "/" in name]
    for name in nowhere:
        source.leave_out(name, None, NO_PERSON)
    for name, faces in source.photos(recogniser, on_progress):
        person, slash, _ = name.partition("/")
        if not slash:
            source.leave_out(name, None, NO_PERSON)
            continue
        seen.add(person)
        several += len(faces) > 1
        if not faces:
            source.leave_out(name, None, NO_FACE)
            continue
        number, face = faces[largest([each for _, each in faces])]
        if face.problem:
            source.leave_out(name, number, face.problem)
        else:
            gallery.enrol(person, face)
    if not len(gallery):
        reasons = Counter(each.reason for each in source.left_out)
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        raise MarginfaceError(
            f"nobody can be enrolled from the gallery {source.path}: {told or 'it is empty'}; it "
            "needs a folder for each person, such as ann/1.jpg, with a face in a photo"
        )
    known = gallery.people
    return Enrolment(len(known), len(gallery), several, tuple(sorted(seen - {*known})))


def ask(
    gallery: Gallery,
    source: Source,
    recogniser: Recogniser,
    top: int,
    on_progress: OnProgress = silent,
) -> Iterator[Answer]:
    """Yield who each face of the photos is; those that were not embedded are left out, noted."""
    waiting: list[tuple[int, Face]] = []

    def answered() -> Iterator[Answer]:
        answers = gallery.search([face for _, face in waiting], top)
        for (number, _), answer in zip(waiting, answers, strict=True):
            yield replace(answer, number=number)
        waiting.clear()

    for name, faces in source.photos(recogniser, on_progress):
        if not faces:
            source.leave_out(name, None, NO_FACE)
        for number, face in faces:
            if face.problem:
                source.leave_out(name, number, face.problem)
            else:
                waiting.append((number, face))
        if len(waiting) >= FACES_AT_ONCE:
            yield from answered()
    yield from answered()
