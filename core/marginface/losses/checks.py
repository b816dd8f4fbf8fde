"""What every head checks first, in words that are the same in every framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from marginface.checks import check_count
from marginface.errors import MarginfaceError

if TYPE_CHECKING:
    from marginface.losses.base import MarginLoss

WEIGHT_STD = 0.01  # class weights start from N(0, 0.01), as InsightFace's do


def check_head(embedding_size: int, num_classes: int | None) -> tuple[int, int]:
    """Return both sizes of a head, or raise naming the one that is wrong."""
    if num_classes is None:
        raise MarginfaceError("MarginHead needs num_classes, the number of identities")
    return check_count("embedding_size", embedding_size), check_count("num_classes", num_classes)


def check_call(
    embeddings: Sequence[int | None],
    labels: Sequence[int | None],
    *,
    integer_labels: bool,
    embedding_size: int,
) -> None:
    """Raise unless the shapes are [batch, embedding_size] and [batch], and labels are integers."""
    if len(embeddings) != 2 or embeddings[1] != embedding_size:
        raise MarginfaceError(
            f"embeddings have shape {tuple(embeddings)}, expected [batch, {embedding_size}]; give "
            "the head their embedding_size"
        )
    if embeddings[0] == 0:
        raise MarginfaceError(
            f"embeddings have shape {tuple(embeddings)}, expected at least one row: nothing has no "
            "mean; leave empty batches out"
        )
    if len(labels) != 1 or (None not in (labels[0], embeddings[0]) and labels[0] != embeddings[0]):
        raise MarginfaceError(
            f"labels have shape {tuple(labels)}, expected [{embeddings[0]}], one for each embedding"
        )
    if not integer_labels:
        raise MarginfaceError("labels must be integers, each the number of a class; cast them")


def check_range(smallest: int, largest: int, num_classes: int) -> None:
    """Raise unless labels from `smallest` to `largest` lie in 0 .. num_classes - 1."""
    for label in (smallest, largest):
        if not 0 <= label < num_classes:
            raise MarginfaceError(
                f"label {label} is out of range for {num_classes} classes; expected 0 to "
                f"{num_classes - 1}"
            )


def check_draw(
    loss: MarginLoss, given: Mapping[str, Sequence[int | None]], batch: int | None
) -> None:
    """Raise unless `given`, names and shapes, is what the loss draws for a batch."""
    if sorted(given) != sorted(loss.draws):
        wanted = ", ".join(loss.draws) or "nothing"
        raise MarginfaceError(
            f"{loss.name} draws {wanted} at random, got {', '.join(sorted(given)) or 'nothing'}; "
            + ("pass draw=loss.draw(rng, batch)" if loss.draws else "leave draw out")
        )
    for name, shape in given.items():
        if len(shape) != 1 or (None not in (shape[0], batch) and shape[0] != batch):
            raise MarginfaceError(
                f"draw[{name!r}] has shape {tuple(shape)}, expected [{batch}], one for each "
                "embedding"
            )
