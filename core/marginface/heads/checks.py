"""What every head checks first, in words that are the same in every framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from marginface import losses
from marginface.checks import check_count
from marginface.errors import MarginfaceError, unknown_name
from marginface.losses import MarginLoss

# What a head takes beside its loss and sizes: all other names are parameters of the loss.
OPTIONS = (
    *("dtype", "accumulation", "block", "update", "sample_rate", "sampling", "precision"),
    *("interclass_filter", "shard"),
)


def head_loss(loss: MarginLoss | str, parameters: Mapping[str, Any]) -> MarginLoss:
    """Return a head's loss; a name that it does not have may be a mistyped option of the head.

    >>> head_loss("cosface", {"block_size": 8})
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: unknown cosface parameter or head option 'block_size'; did \
you mean 'block'? (nearest of 11: block, precision, interclass_filter, sample_rate, scale)
    """
    name = loss.name if isinstance(loss, MarginLoss) else loss
    known = losses.parameters(name) if parameters and isinstance(name, str) else parameters
    for given in parameters:
        if given not in known:
            raise unknown_name(f"{name} parameter or head option", given, [*known, *OPTIONS])
    return losses.as_loss(loss, parameters)


def check_head(loss: MarginLoss, embedding_size: int, num_classes: int | None) -> tuple[int, int]:
    """Return both sizes of a head, or raise naming the one that is wrong."""
    if num_classes is None:
        raise MarginfaceError("MarginHead needs num_classes, the number of identities")
    sizes = check_count("embedding_size", embedding_size), check_count("num_classes", num_classes)
    if sizes[1] < loss.min_classes:
        raise MarginfaceError(
            f"{loss.name} needs at least {loss.min_classes} classes, got num_classes {sizes[1]}; "
            "take another loss, such as arcface"
        )
    return sizes


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


def check_logits(loss: str, method: Literal["target", "negatives"], logits: Any, like: Any) -> None:
    """Raise unless what tensor code returns has its cosines' shape: another would be broadcast.

    Where a graph is made, a length that is not known yet fits any.
    """
    shape = getattr(logits, "shape", None)
    if shape is None or not _compatible(tuple(shape), tuple(like.shape)):
        received = f"a {type(logits).__name__}" if shape is None else f"shape {tuple(shape)}"
        expected = {"target": "[batch]", "negatives": "[batch, classes]"}[method]
        raise MarginfaceError(
            f"{loss}: {method} returns {received}, expected {expected}, one logit for each cosine; "
            "mend its tensor code"
        )


def _compatible(shape: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    return len(shape) == len(other) and all(
        None in pair or pair[0] == pair[1] for pair in zip(shape, other, strict=True)
    )
