"""Who is it: people who are known by their faces, asked face by face."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from marginface.calling import public
from marginface.checks import check_type
from marginface.errors import MarginfaceError
from marginface.serving.faces import Face
from marginface.serving.recogniser import NOTHING
from marginface.serving.search import NearestSearch
from marginface.serving.thresholds import Calibration

DECISIONS = FOUND, UNSURE, NOBODY = "found", "unsure", "nobody"
IN_WORDS = dict(zip(("same", "unsure", "not same"), DECISIONS, strict=True))


@dataclass(frozen=True, eq=False)
class Candidate:
    """Somebody whom a face resembles.

    Attributes:
        name: of the person.
        score: the cosine with the enrolled face that resembles it most.
        face: that face, without its embedding.
    """

    name: str
    score: float
    face: Face


@dataclass(frozen=True, eq=False)
class Answer:
    """Who a face is.

    Attributes:
        face: that was asked for, without its embedding.
        candidates: people, the most similar first; none of a face with a `problem`.
        decision: "found": it is the first candidate; "unsure": it may be; "nobody": it is none of
            the gallery; empty where no threshold decides.
        number: of the face in its photo, from 0.
    """

    face: Face
    candidates: tuple[Candidate, ...]
    decision: str = ""
    number: int = 0

    @property
    def name(self) -> str | None:
        """Return whom the face shows; None where that is unsure, nobody, or not decided."""
        return self.candidates[0].name if self.decision == FOUND else None


class Gallery:
    """People with their faces.

    A person scores as the enrolled face that resembles the probe most. So each comparison is one of
    two faces, as those that thresholds are calibrated on; scores of a mean of several faces would
    need thresholds of their own.

    Args:
        calibration: of the model, for the way the faces were embedded, from `find_calibration`.
        far: false accept rate of one comparison that it decides at; both or neither.

    Raises:
        MarginfaceError: one without the other, or a rate that the calibration does not have.

    >>> from marginface.serving.recogniser import UNKNOWN
    >>> def face(photo, *embedding):
    ...     points, crop = np.zeros((5, 2), np.float32), np.zeros((0, 0, 3), np.uint8)
    ...     return Face(photo, np.zeros(4), points, 1.0, UNKNOWN, crop, np.float32(embedding))
    >>> gallery = Gallery()
    >>> gallery.enrol("ann", face("1.jpg", 1, 0), face("2.jpg", 0.8, 0.6))
    >>> gallery.enrol("bo", face("3.jpg", 0, 1))
    >>> (answer,) = gallery.search([face("new.jpg", 0.6, 0.8)])
    >>> [(each.name, round(each.score, 2)) for each in answer.candidates]
    [('ann', 0.96), ('bo', 0.8)]
    """

    @public
    def __init__(self, calibration: Calibration | None = None, far: float | None = None) -> None:
        if (calibration is None) != (far is None):
            raise MarginfaceError("a gallery decides by a calibration at a far; give both, or none")
        if calibration is not None and far is not None:
            calibration.at(far)
        self.calibration, self.far = calibration, far
        self._names: list[str] = []
        self._faces: list[Face] = []
        self._embeddings: list[NDArray[np.float32]] = []  # [faces, size], in blocks
        self._search: NearestSearch | None = None

    def __len__(self) -> int:
        """Return how many faces are enrolled."""
        return len(self._names)

    @property
    def people(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(set(self._names))

    @public
    def enrol(self, name: str, *faces: Face) -> None:
        """Add faces of a person, at any time.

        Raises:
            MarginfaceError: a face has no embedding.
        """
        check_type("name", name, str, "give the person's")
        for face in faces:
            if not len(face.embedding):
                why = face.problem or "it has no embedding"
                raise MarginfaceError(f"a face of {face.photo} cannot be enrolled: {why}")
        self._names += [name] * len(faces)
        self._faces += [replace(face, embedding=NOTHING) for face in faces]
        self._embeddings += [face.embedding[None] for face in faces]
        self._search = None

    @public
    def search(self, faces: Iterable[Face], top: int = 3) -> list[Answer]:
        """Return for each face the `top` people whom it resembles most, and the decision.

        Raises:
            MarginfaceError: nobody is enrolled, or embeddings are of another size.
        """
        asked = list(faces) if isinstance(faces, Iterable) else [faces]
        for each in asked:
            check_type("faces", each, Face, "give what a Recogniser returns of a photo")
        answers = [Answer(replace(face, embedding=NOTHING), ()) for face in asked]
        usable = [at for at, face in enumerate(asked) if len(face.embedding)]
        if usable:
            embeddings = np.stack([asked[at].embedding for at in usable])
            for at, candidates in zip(usable, self._candidates(embeddings, top), strict=True):
                decision = ""
                if self.calibration is not None and self.far is not None:
                    answer = self.calibration.decide(candidates[0].score, self.far).answer
                    decision = IN_WORDS[answer]
                answers[at] = Answer(answers[at].face, candidates, decision)
        return answers

    def false_alarms(self) -> float | None:
        """Return the share of strangers of whom somebody is found, at most; None without a FAR.

        Each is compared with every enrolled face: 1 - (1 - FAR)^faces. It is less where the faces
        of a person resemble each other.
        """
        return None if self.far is None else 1 - (1 - self.far) ** len(self)

    def _candidates(self, embeddings: NDArray[np.float32], top: int) -> list[tuple[Candidate, ...]]:
        """Return the nearest people of each embedding [probes, size]."""
        search = self._built()
        wanted = min(top, len(set(self._names)))
        best: list[dict[str, Candidate]] = [{} for _ in embeddings]
        missing, depth = np.arange(len(embeddings)), 4 * max(top, 1)
        while len(missing):  # a person with many faces can fill all the places
            near = search.nearest(embeddings[missing], depth)
            for at, places, scores in zip(missing, near.index, near.score, strict=True):
                people: dict[str, Candidate] = {}
                for place, score in zip(places.tolist(), scores.tolist(), strict=True):
                    if len(people) < wanted:
                        name = self._names[place]
                        people.setdefault(name, Candidate(name, score, self._faces[place]))
                best[at] = people
            missing = np.array([at for at in missing if len(best[at]) < wanted], np.int64)
            depth *= 4
        return [tuple(people.values()) for people in best]

    def _built(self) -> NearestSearch:
        """Return the search, built anew where faces were enrolled since."""
        if self._search is None:
            if not self._embeddings:
                raise MarginfaceError("nobody is enrolled in the gallery")
            sizes = {each.shape[1] for each in self._embeddings}
            if len(sizes) > 1:
                raise MarginfaceError(
                    f"embeddings of {' and '.join(map(str, sorted(sizes)))} numbers are enrolled; "
                    "one model must have made all"
                )
            self._search = NearestSearch(np.concatenate(self._embeddings))
            self._embeddings = [self._search.unit]  # instead of a copy: lengths do not count
        return self._search
