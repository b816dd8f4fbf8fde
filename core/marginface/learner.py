"""A model in training: what it is made of, and what the core asks of it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from marginface.arrays import ArraySource, ArraySpec, StoredSource
from marginface.backbones.parts import Tuning
from marginface.errors import MarginfaceError
from marginface.heads.stepping import COUNT
from marginface.loss_scaling import SCALE, LossScale
from marginface.optimizers import SGD
from marginface.text import brief

if TYPE_CHECKING:
    from marginface.devices import Precision
    from marginface.heads import HeadMetrics, Sampling
    from marginface.heads import Precision as HeadPrecision
    from marginface.losses import MarginLoss
    from marginface.model import ModelSpec
    from marginface.optimizers import Optimizer

STEP = "optimizer.step"  # the array that counts the steps taken


class Group(Protocol):
    """The processes of a run, as one of them sees them; every process calls its methods together.

    Args:
        rank: which process this is, from 0.
        size: how many there are.
    """

    rank: int
    size: int

    def exchange(self, text: str) -> list[str]:
        """Give a text to all processes; return what every one gave, by rank."""


@dataclass(frozen=True)
class LearnerSpec:
    """The parts of a learner; its first weights follow from the core's generator and `seed`.

    Args:
        model: the backbone.
        loss: the head's loss.
        num_classes: of all processes.
        optimizer: of backbone and head.
        seed: of the initial weights.
        threads: CPU threads; None for the framework's default.
        dtype: of weights and computation.
        group: the processes that share each step; None for this one alone.
        sample_rate: share of the classes that the head looks at in a step.
        sampling: how it weights the sampled classes.
        head_precision: of the head's matrix products.
        interclass_filter: cosines with other classes above it count as 0; None for no filter.
        tuning: what rests, and the rates of the parts.
        device: what computes, as `marginface.devices` names it.
        precision: of the backbone; BatchNorm, attention, norms and the optimizer keep float32.
        accumulation: micro-batches whose embeddings the head sees at once, as one large batch.
        recompute: keep little of the forward pass, and compute it again for the backward pass.
        deterministic: the same bits from run to run on a GPU, too, where that is slower.
    """

    model: ModelSpec
    loss: MarginLoss
    num_classes: int
    optimizer: Optimizer
    seed: int
    threads: int | None = None
    dtype: str = "float32"
    group: Group | None = None
    sample_rate: float = 1.0
    sampling: Sampling = "partial_fc"
    head_precision: HeadPrecision = "full"
    interclass_filter: float | None = None
    tuning: Tuning = field(default_factory=Tuning)
    device: str = "auto"
    precision: Precision = "full"
    deterministic: bool = False
    accumulation: int = 1
    recompute: bool = False

    @property
    def head_update(self) -> Optimizer | None:
        """Return what the head steps itself by; None leaves its weights to the optimizer.

        AdamW does that where all classes are looked at, as in runs of earlier versions.
        """
        steps_itself = self.sample_rate < 1 or isinstance(self.optimizer, SGD)
        return self.optimizer if steps_itself else None


class StepResult(NamedTuple):
    """Report of one training step; equal on all processes."""

    loss: float  # mean over the images of all processes
    gradient_norm: float  # of the backbone, before clipping
    metrics: HeadMetrics[float] | None = None  # before the step, of all images, if asked for
    scaling: LossScale | None = None  # after it, in float16

    @property
    def left_out(self) -> bool:
        """Whether a gradient overflowed, so that the backbone was not stepped."""
        return self.scaling is not None and not math.isfinite(self.gradient_norm)


class LearnerArray(NamedTuple):
    """Name, type and shape of one of a learner's arrays.

    Args:
        whole: of all classes.
        rows: each process's, by rank, where the processes share them; empty where all have all.
    """

    whole: ArraySpec
    rows: Sequence[range] = ()

    def part(self, rank: int) -> ArraySpec:
        """Describe the part of the array that one process holds."""
        if not self.rows:
            return self.whole
        return ArraySpec(self.whole.dtype, (len(self.rows[rank]), *self.whole.shape[1:]))

    def read_part(self, source: ArraySource, rank: int) -> NDArray[Any]:
        """Read one process's part from an array of all classes, in this array's type."""
        part = source[self.own(rank)] if self.rows else np.asarray(source)
        return np.asarray(part, self.whole.dtype)

    def own(self, rank: int) -> slice:
        """Return the rows of all classes that one process holds."""
        return slice(self.rows[rank].start, self.rows[rank].stop) if self.rows else slice(None)


class MicroBatch(NamedTuple):
    """A part of a step's batch, which the backbone computes by itself.

    Args:
        images: [batch, height, width, 3].
        noise: the backbone's, for these images.
    """

    images: NDArray[np.uint8]
    noise: Mapping[str, Any]


def micro_batches(
    images: NDArray[np.uint8], noise: Mapping[str, Any], count: int
) -> list[MicroBatch]:
    """Cut a batch into so many micro-batches of one size.

    Raises:
        MarginfaceError: they cannot be of one size.
    """
    if len(images) % count:
        raise MarginfaceError(
            f"a batch of {len(images)} images cannot be cut into {count} micro-batches of one "
            "size; choose a batch size that accumulation divides"
        )
    size = len(images) // count
    parts = [slice(start, start + size) for start in range(0, len(images), size)]
    return [
        MicroBatch(images[part], {name: value[part] for name, value in noise.items()})
        for part in parts
    ]


class LoadSummary(NamedTuple):
    """Result of loading arrays into a learner: names with their shapes.

    Args:
        loaded: arrays that were set.
        missing: arrays of the learner that were not given; they stay as they were.
        unexpected: arrays that were given and that the learner lacks.
    """

    loaded: dict[str, tuple[int, ...]]
    missing: dict[str, tuple[int, ...]]
    unexpected: dict[str, tuple[int, ...]]


class Learner(Protocol):
    """Backbone, head and optimizer in one framework; the trainer drives it with NumPy arrays.

    Its arrays have canonical names: `backbone.<name>`, `head.weight`, `head.bias`,
    `head.state.<name>`, `head.class_state.<name>`, `optimizer.<slot>.<backbone or head name>`,
    `optimizer.step`. With a group,
    all processes call `step` together; a learner whose step can be compiled has
    `compile() -> None` as well.

    Attributes:
        device_name: what computes, with its make where it has one: "cpu", "cuda:0 (NVIDIA H200)".
    """

    device_name: str

    def step(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        learning_rate: float,
        draw: Mapping[str, NDArray[Any]],
        *,
        measure: bool = False,
    ) -> StepResult:
        """Take one optimizer step on `images` [batch, height, width, 3] (RGB).

        `draw` holds what the head takes (`draw_step`) and the backbone's noise (`draw_backbone`).
        With a group, images, labels and what is drawn for each of them are this process's; drawn
        classes and their weights are of all processes. `measure` adds the head's metrics of the
        batch, over the classes that the step looks at and before it moves them, and changes
        nothing else.
        """

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute embeddings [batch, embedding_size] in inference mode, not normalised."""

    def array_specs(self) -> dict[str, LearnerArray]:
        """Describe every array that training goes on from."""

    def arrays(
        self, names: Iterable[str] | None = None, *, gather: bool = True
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Give the arrays one at a time, each good until the next step: copy what is kept longer.

        Args:
            names: which, in which order; None for all.
            gather: give the rows of all processes, which then call it together and take every
                array; else this process's.

        Raises:
            MarginfaceError: there is no array of such a name.
        """

    def first_not_finite(self) -> str | None:
        """Name an array of this process that holds NaN or infinite values; None without one."""

    def load_arrays(self, arrays: Mapping[str, ArraySource], *, strict: bool = True) -> LoadSummary:
        """Set arrays from those of all classes; a process takes its own rows.

        Args:
            arrays: by canonical name.
            strict: refuse names that are missing or unexpected.

        Raises:
            MarginfaceError: they do not fit, or are in a file that is damaged; nothing has been
                set then.
        """


def head_name(name: str) -> str:
    """Return the canonical name of a head's array `name`; slots belong to the optimizer.

    >>> [head_name(name) for name in ("weight", "state.mean", "momentum.weight")]
    ['head.weight', 'head.state.mean', 'optimizer.momentum.head.weight']
    """
    first, _, rest = name.partition(".")
    carried = first in ("state", "class_state")
    return f"head.{name}" if not rest or carried else f"optimizer.{first}.head.{rest}"


def name_in_head(name: str) -> str | None:
    """Return a head's own name for a canonical name; None for an array that is not the head's.

    >>> [name_in_head(name) for name in ("head.bias", "optimizer.first.head.weight", STEP)]
    ['bias', 'weight', None]
    """
    _, _, of_slot = name.partition(".")[2].partition(".")
    parameter = of_slot if name.startswith("optimizer.") else name
    return parameter.removeprefix("head.") if parameter.startswith("head.") else None


def check_fits(
    given: Mapping[str, ArraySource],
    specs: Mapping[str, LearnerArray],
    source: str,
    *,
    strict: bool = True,
) -> LoadSummary:
    """Raise if arrays do not fit a learner; else say which will be set.

    Args:
        given: arrays that were read.
        specs: of the learner that was configured.
        source: what they come from, for the message.
        strict: refuse names that are missing or unexpected.

    Raises:
        MarginfaceError: with the name and both shapes, or what is no real number.
    """
    shapes = {name: each.whole.shape for name, each in specs.items()}
    summary = LoadSummary(
        {name: shape for name, shape in shapes.items() if name in given},
        {name: shape for name, shape in shapes.items() if name not in given},
        {name: np.shape(given[name]) for name in sorted(set(given) - set(shapes))},
    )
    for name, wanted in shapes.items():
        if strict and name in summary.missing:
            raise MarginfaceError(
                f"{source} has no parameter {name}, shape {list(wanted)}; it is not whole, or was "
                "made with another backbone, loss or optimizer: use the one before it, or those"
            )
        if name in summary.loaded and np.shape(given[name]) != wanted:
            advice = "use the backbone, embedding size and identities that it was made with"
            if name_in_head(name) and np.shape(given[name])[1:] == wanted[1:]:
                advice = (
                    "rows are of the classes (num_classes): it is not whole, or of other "
                    "identities; use the one before it, or those"
                )
            raise MarginfaceError(
                f"parameter {name} has shape {list(np.shape(given[name]))} in {source}, but "
                f"{list(wanted)} in the model; {advice}"
            )
        if name in summary.loaded:
            _check_numbers(name, given[name], source)
    if strict and summary.unexpected:
        name, shape = next(iter(summary.unexpected.items()))
        raise MarginfaceError(
            f"{source} has {len(summary.unexpected)} parameters that the model lacks, such as "
            f"{brief(name)}, shape {list(shape)}; use the backbone that it was made with"
        )
    return summary


def check_files(
    arrays: Mapping[str, ArraySource], specs: Mapping[str, LearnerArray], rank: int
) -> None:
    """Raise if a file that one process will read from is damaged.

    Args:
        arrays: those that fit.
        specs: of the learner.
        rank: of the process.

    Raises:
        MarginfaceError: with the file.
    """
    for name, array in specs.items():
        source = arrays.get(name)
        if isinstance(source, StoredSource):
            source.check(array.own(rank))


def check_names(names: Iterable[str] | None, known: Collection[str]) -> list[str]:
    """Return the requested names; all known ones for None.

    >>> check_names(["head.wieght"], ["head.weight", "head.bias"])
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: the learner has no array 'head.wieght'; did you mean \
'head.weight'? (array_specs() names all 2)
    """
    asked = list(known if names is None else names)
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise MarginfaceError(
                f"the learner has no array '{name}'{hint} (array_specs() names all {len(known)})"
            )
    return asked


def _check_numbers(name: str, array: ArraySource, source: str) -> None:
    """Raise unless an array is of real numbers; the count of steps, a whole one."""
    dtype = getattr(array, "dtype", type(array).__name__)
    if not isinstance(dtype, np.dtype) or dtype.kind not in "iuf":
        raise MarginfaceError(
            f"parameter {name} is of type {dtype} in {source}, expected a NumPy array of real "
            "numbers; convert it"
        )
    if name == SCALE:
        LossScale.from_array(np.asarray(array))
    if name.startswith(f"optimizer.{COUNT}.") and (np.asarray(array) < 0).any():
        raise MarginfaceError(
            f"{name} has negative numbers of steps in {source}; use the checkpoint before it"
        )
    if name == STEP and not (0 <= (step := np.asarray(array).item()) < 2**63 and step % 1 == 0):
        raise MarginfaceError(
            f"{name} is {step} in {source}, expected the number of steps taken, 0 or more"
        )
