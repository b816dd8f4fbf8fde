"""First class weights that are not drawn: those of a run's same people, or mean directions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from marginface.arrays import ArraySource
from marginface.bars import counting
from marginface.data.formats.record_images import RecordImages
from marginface.data.image_batches import THREADS
from marginface.data.joined import JoinedImages
from marginface.data.lookup import same_form
from marginface.data.ordered import in_order
from marginface.data.sources import LabelledImages, OnProgress
from marginface.embeddings.embed import Embed
from marginface.errors import MarginfaceError
from marginface.heads.initial import WEIGHT_STD, InitialHead
from marginface.learner import Learner
from marginface.losses import MarginLoss
from marginface.runs.weights import Trained
from marginface.terminal import say
from marginface.text import printable
from marginface.training.config.keys import TrainConfig
from marginface.vectors import directionless, unit_embeddings

BLOCK_ROWS = 1 << 16  # of a stored array, read at a time
IMAGES_A_PERSON = 16  # whose embeddings give a mean direction: more would move it little


def head_of_run(
    config: TrainConfig, trained: Trained, recorded: Mapping[str, Any], images: LabelledImages
) -> tuple[dict[str, ArraySource], list[str]]:
    """Return the arrays of a run's head for the people of `images`, and what to say of them.

    Raises:
        MarginfaceError: the run has no names of people or none of these, or other sub-centres.
    """
    state, loss = trained.checkpoint.state, config.make_loss()
    if trained.run is None or "head.weight" not in state:
        raise MarginfaceError(
            f"init_head run needs the names of the run's people, but {config.init} lies in no run "
            "with an identities.txt; give the run's folder, or --init-head centers"
        )
    names = trained.run.read_identities()
    rows = _rows_by_name(names, images, trained, str(config.init))
    stored = state["head.weight"]
    centers = stored.shape[0] // max(1, len(names))
    if stored.shape != (len(names) * centers, stored.shape[1]) or not centers:
        raise MarginfaceError(
            f"{config.init} has {stored.shape[0]} class weights for the {len(names)} names of its "
            "identities.txt; restore that file, or take --init-head centers"
        )
    before = str(recorded.get("loss", config.loss))
    if (centers, stored.shape[1]) != (loss.num_centers, config.embedding_size):
        raise MarginfaceError(
            f"class weights of {config.init} are {centers} for each person ({before}) of "
            f"{stored.shape[1]} numbers, {config.loss} has {loss.num_centers} of "
            f"{config.embedding_size}; take --init-head centers or random"
        )
    fresh = InitialHead((len(rows) * centers, config.embedding_size), config.seed)
    arrays: dict[str, ArraySource] = {"head.weight": KeptRows(stored, rows, centers, fresh)}
    kept, new = int((rows >= 0).sum()), int((rows < 0).sum())
    line = f"class weights: those of {kept} people are the run's"
    if new:
        line += f", of {new} new"
    if left := len(names) - kept:
        line += f"; the {left} others of the run are left"
    told = [line]
    carried = "head.bias", "head.state.", "head.class_state."
    others = {name: state[name] for name in state if name.startswith(carried)}
    if others and before == config.loss:
        starts = {"head.bias": loss.initial_bias(len(rows))}
        class_state = loss.class_state(len(rows), config.embedding_size)
        starts |= {f"head.class_state.{name}": start for name, start in class_state.items()}
        for name, each in others.items():
            start = starts.get(name)
            if start is not None and len(start) == len(rows):
                arrays[name] = KeptRows(each, rows, 1, start)
            else:
                arrays[name] = each
        told.append(f"kept of {config.loss}: {', '.join(sorted(others))}")
    elif others:
        told.append(f"left of {before}: {', '.join(sorted(others))}")
    return arrays, told


def _rows_by_name(
    names: tuple[str, ...], images: LabelledImages, trained: Trained, source: str
) -> NDArray[np.int64]:
    """Return the run's row of each person, -1 for a person that it lacks."""
    pipeline = trained.checkpoint.extra.get("pipeline")
    known = pipeline.get("images_sha256") if isinstance(pipeline, dict) else None
    if _numbered(images) and known != images.fingerprint():
        raise MarginfaceError(
            f"{images.root} has numbers for identities, no names by which to find them in "
            f"{source}; take --init-head centers, or pack it anew from a folder with names"
        )
    forms = [same_form(name) for name in names]
    times = Counter(forms)  # a name that two had would be nobody's
    row_of = {form: row for row, form in enumerate(forms) if times[form] == 1}
    wanted = [row_of.get(same_form(printable(name)), -1) for name in images.identities]
    if max(wanted) < 0:
        apart = isinstance(images, JoinedImages) and "/" in images.identities[0]
        joined = "--join-identities leaves out the set's name; or " if apart else ""
        raise MarginfaceError(
            f"none of the {len(wanted)} people of {images.root}, such as {images.identities[0]!a}, "
            f"is among the {len(names)} of {source}, such as {names[0]!a}; {joined}take "
            "--init-head centers"
        )
    return np.array(wanted, np.int64)


def _numbered(images: LabelledImages) -> bool:
    if isinstance(images, JoinedImages):
        return any(map(_numbered, images.sets))
    return isinstance(images, RecordImages) and images.numbered


@dataclass(frozen=True, eq=False)
class KeptRows:
    """An array with a row, or several, for each person: those of another array, or fresh ones.

    Args:
        stored: of the run.
        rows: the person's place in it, -1 for none.
        each: rows of a person.
        fresh: the array where nothing is kept.
    """

    stored: ArraySource
    rows: NDArray[np.int64]
    each: int
    fresh: ArraySource

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return (len(self.rows) * self.each, *self.stored.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.stored.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read some rows; of the run's array, a block at a time."""
        start, stop, _ = rows.indices(self.shape[0])
        array = np.array(self.fresh[start:stop], self.dtype)
        places = np.arange(start, stop)
        wanted = self.rows[places // self.each]
        wanted = np.where(wanted < 0, -1, wanted * self.each + places % self.each)
        for first in range(0, self.stored.shape[0], BLOCK_ROWS):
            inside = (wanted >= first) & (wanted < first + BLOCK_ROWS)
            if inside.any():
                block = self.stored[first : first + BLOCK_ROWS]
                array[inside] = block[wanted[inside] - first]
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole array."""
        del copy  # what was read is nobody else's
        return np.asarray(self[:], dtype)


def load_centers(
    config: TrainConfig, images: LabelledImages, learner: Learner, console: Console
) -> None:
    """Set a learner's class weights to the mean directions of people's images, and say so."""
    loss, preprocessing = config.make_loss(), config.model_spec().preprocessing
    shape = (len(images.identities) * loss.num_centers, config.embedding_size)
    with counting("embedding people", console) as on_progress:
        rows = CenterRows(
            lambda batch: learner.embed(preprocessing.cut(batch)),
            images,
            loss,
            InitialHead(shape, config.seed),
            config.batch_size,
            on_progress,
        )
        learner.load_arrays({"head.weight": rows}, strict=False)
    say(
        console,
        f"class weights are mean directions of {len(images.identities)} people, from "
        f"{len(rows.chosen)} images",
    )


@dataclass(frozen=True, eq=False)
class CenterRows:
    """Class weights that point where a person's images do on average, as long as fresh ones.

    A person's first sub-centre is the mean direction; others, and those of a person whose images
    have none, stay fresh: equal ones would move alike for ever.

    Args:
        embed: the network.
        images: of the people; a seeded choice of at most `IMAGES_A_PERSON` of each is embedded.
        loss: says how many rows a person has.
        fresh: rows that are drawn.
        batch_size: images for one call of `embed`.
        on_progress: called with (images done, images in all).
    """

    embed: Embed
    images: LabelledImages
    loss: MarginLoss
    fresh: InitialHead
    batch_size: int
    on_progress: OnProgress
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return self.fresh.shape

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Compute some rows, of whole people: no process embeds the images of another's."""
        start, stop, _ = rows.indices(self.shape[0])
        each = self.loss.num_centers
        array = self.fresh[rows]
        length = WEIGHT_STD * math.sqrt(self.shape[1])
        sums = self._sums(range(start // each, stop // each))
        has_one = np.setdiff1d(np.arange(len(sums)), directionless(sums))
        array[has_one * each] = unit_embeddings(sums[has_one]) * length
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Compute all."""
        del copy  # what was computed is nobody else's
        return np.asarray(self[:], dtype)

    def _sums(self, people: range) -> NDArray[np.float64]:
        """Return the sum of some people's unit embeddings, in the order of the images."""
        own = self.images.labels[self.chosen]
        numbers = self.chosen[(own >= people.start) & (own < people.stop)].tolist()
        labels = self.images.labels[numbers] - people.start
        sums = np.zeros((len(people), self.shape[1]))
        ahead = 2 * self.batch_size
        read = in_order(lambda n: self.images[n][0], numbers, threads=THREADS, ahead=ahead)
        with closing(read):
            for at in range(0, len(numbers), self.batch_size):
                among = labels[at : at + self.batch_size]
                embeddings = self.embed(np.stack([next(read) for _ in among]))
                if len(bad := directionless(embeddings)):
                    name = self.images.name(numbers[at + int(bad[0])])
                    raise MarginfaceError(
                        f"the weights give an embedding of length zero, NaN or infinite for {name}"
                        "; they are broken: take others, or --init-head random"
                    )
                np.add.at(sums, among, unit_embeddings(embeddings))
                self.on_progress(at + len(among), len(numbers))
        return sums

    @cached_property
    def chosen(self) -> NDArray[np.int64]:
        """The numbers of the images that are embedded, in order, of all processes' people."""
        labels = self.images.labels
        order = np.random.default_rng([self.fresh.seed, 0, 1]).permutation(len(labels))
        order = order[np.argsort(labels[order], kind="stable")]  # a person's, in random order
        among = labels[order]
        place = np.arange(len(order)) - np.searchsorted(among, among)  # of the person's images
        return np.sort(order[place < IMAGES_A_PERSON])
