"""The nearest of a gallery by cosine: exact, with faiss where it is installed, else with NumPy.

Both find candidates by cosines in float32, a few more than were asked for. These are scored anew in
float64, each pair by itself, so that both give the same answer to the last bit. What float32 may
have got wrong is bounded: where the bound cannot rule out that an entry was missed, as with many
copies of one embedding, every entry that comes near is scored anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.vectors import embedding_norms

PROBES_AT_ONCE = 512
ENTRIES_AT_ONCE = 8192  # with the probes, 16 MB of cosines
FAISS_ENTRIES_AT_ONCE = 16_384  # 1,024 by default
PAIRS_AT_ONCE = 256  # scored anew
MORE = 32  # candidates than are asked for

Singles = NDArray[np.float32]
Places = NDArray[np.int64]
Engine = Literal["faiss", "numpy"]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest entries of a gallery for each probe, the nearest first.

    Attributes:
        index: places in the gallery, [probes, top].
        score: their cosines, [probes, top]; of equal ones the first in the gallery comes first.
    """

    index: Places
    score: Singles


class NearestSearch:
    """A gallery that is searched exactly, any number of times.

    It holds the embeddings in float32, scaled to length 1; a search takes some megabytes more.

    >>> search = NearestSearch([[3.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    >>> search.nearest([[1.0, 0.0], [0.0, 1.0]], top=2).index
    array([[0, 2],
           [1, 0]])
    """

    def __init__(
        self, gallery: ArrayLike, *, threads: int | None = None, engine: Engine | None = None
    ) -> None:
        """Take embeddings [entries, size].

        Args:
            gallery: embeddings; their lengths do not count.
            threads: of faiss, by default one for each core that this process may use. NumPy's
                follow from what its BLAS reads as it is loaded, such as OMP_NUM_THREADS.
            engine: by default faiss where it is installed.

        Raises:
            MarginfaceError: no embeddings, or one that has no direction.
        """
        self._unit = _unit(np.asarray(gallery))
        if not len(self._unit):
            raise MarginfaceError("the gallery is empty; a search needs at least one embedding")
        # A sum of products of unit vectors in float32, in any order, is no farther off than this.
        self._error = 1.01 * (self._unit.shape[1] + 4) * 2.0**-24
        engine = engine or ("faiss" if find_spec("faiss") else "numpy")
        self._candidates = {"faiss": self._with_faiss, "numpy": self._with_numpy}[engine]
        self._threads = threads or _cores()

    @property
    def unit(self) -> Singles:
        """Return the embeddings, scaled to length 1, [entries, size]."""
        return self._unit

    def nearest(self, probes: ArrayLike, top: int = 1) -> Neighbours:
        """Return the `top` nearest entries, or all where there are fewer, of probes [probes, size].

        Raises:
            MarginfaceError: `top` is not 1 or more; probes of another size, or without direction.
        """
        if top < 1:
            raise MarginfaceError(f"top must be 1 or more, got {top}")
        values = np.asarray(probes)
        if values.ndim == 2 and values.shape[1] != self._unit.shape[1]:
            raise MarginfaceError(
                f"the gallery's embeddings have {self._unit.shape[1]} numbers, the probes' "
                f"{values.shape[1]}; one model must have made both"
            )
        unit = _unit(values)
        top = min(top, len(self._unit))
        found = Neighbours(
            np.empty((len(unit), top), np.int64), np.empty((len(unit), top), np.float32)
        )
        for at in range(0, len(unit), PROBES_AT_ONCE):
            here = slice(at, at + PROBES_AT_ONCE)
            found.index[here], found.score[here] = self._of_chunk(unit[here], top)
        return found

    def _of_chunk(self, probes: Singles, top: int) -> tuple[Places, Singles]:
        count = min(top + MORE, len(self._unit))
        rough, index = self._candidates(probes, count)
        rows = np.repeat(np.arange(len(probes)), count)
        score = self._rescored(probes, rows, index.ravel()).reshape(index.shape)
        order = np.lexsort((index, -score), axis=1)[:, :top]
        index = np.take_along_axis(index, order, axis=1)
        score = np.take_along_axis(score, order, axis=1)
        if count < len(self._unit):
            missed = np.flatnonzero(score[:, -1] <= rough.min(axis=1) + 2 * self._error)
            index[missed], score[missed] = self._near(probes[missed], score[missed])
        return index, score

    def _with_faiss(self, probes: Singles, count: int) -> tuple[Singles, Places]:
        with needs("search"):
            import faiss
        # Its threads wait for each other after each block, in loops: larger blocks wait less often.
        before = faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_database_bs
        faiss.omp_set_num_threads(self._threads)
        faiss.cvar.distance_compute_blas_database_bs = FAISS_ENTRIES_AT_ONCE
        try:
            rough, index = faiss.knn(probes, self._unit, count, faiss.METRIC_INNER_PRODUCT)
        finally:
            faiss.omp_set_num_threads(before[0])
            faiss.cvar.distance_compute_blas_database_bs = before[1]
        return rough, index

    def _with_numpy(self, probes: Singles, count: int) -> tuple[Singles, Places]:
        rough = np.full((len(probes), count), -np.inf, np.float32)
        index = np.zeros((len(probes), count), np.int64)
        for at in range(0, len(self._unit), ENTRIES_AT_ONCE):
            cosines = probes @ self._unit[at : at + ENTRIES_AT_ONCE].T
            above = cosines > rough.min(axis=1, keepdims=True)
            for row in np.flatnonzero(above.any(axis=1)):
                columns = np.flatnonzero(above[row])
                scores = np.append(rough[row], cosines[row, columns])
                places = np.append(index[row], at + columns)
                best = np.argpartition(-scores, count - 1)[:count]
                rough[row], index[row] = scores[best], places[best]
        return rough, index

    def _near(self, probes: Singles, found: Singles) -> tuple[Places, Singles]:
        """Return index and score of the best, of all entries that may score as those found."""
        top = found.shape[1]
        scores = [np.empty(0, np.float32) for _ in probes]
        places = [np.empty(0, np.int64) for _ in probes]
        least = found[:, -1] - 2 * self._error
        for at in range(0, len(self._unit) if len(probes) else 0, ENTRIES_AT_ONCE):
            cosines = probes @ self._unit[at : at + ENTRIES_AT_ONCE].T
            above = cosines >= least[:, None]
            for row in np.flatnonzero(above.any(axis=1)):
                new = at + np.flatnonzero(above[row])
                of_new = self._rescored(probes, np.full(len(new), row), new)
                place, score = np.append(places[row], new), np.append(scores[row], of_new)
                order = np.lexsort((place, -score))[:top]
                places[row], scores[row] = place[order], score[order]
        return np.array(places).reshape(found.shape), np.array(scores).reshape(found.shape)

    def _rescored(self, probes: Singles, rows: NDArray[Any], index: Places) -> Singles:
        """Return cosines of probes at `rows` [pairs] and entries at `index` [pairs].

        They are summed in float64 and rounded to float32, so that equal embeddings tie.
        """
        score = np.empty(len(index), np.float32)
        for at in range(0, len(index), PAIRS_AT_ONCE):
            here = slice(at, at + PAIRS_AT_ONCE)
            left, right = probes[rows[here]], self._unit[index[here]]
            score[here] = np.einsum("nd,nd->n", left.astype(np.float64), right.astype(np.float64))
        return np.clip(score, -1, 1)


def _unit(values: NDArray[Any]) -> Singles:
    """Return embeddings scaled to length 1, in float32, block by block."""
    norms = embedding_norms(values)
    unit = np.empty(values.shape, np.float32)
    for at in range(0, len(values), ENTRIES_AT_ONCE):
        here = slice(at, at + ENTRIES_AT_ONCE)
        unit[here] = values[here] / norms[here, None]
    return unit


def _cores() -> int:
    usable: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1
