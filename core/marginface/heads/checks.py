"""What every head checks first, in words that are the same in every framework."""

from __future__ import annotations

from collections.abc import Sequence

from marginface.checks import check_count
from marginface.errors import MarginfaceError


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


def wrong_target(loss: str, found: object) -> MarginfaceError:
    """Return the error for tensor code whose target logits are no tensor [batch]."""
    shape = getattr(found, "shape", None)
    what = f"a {type(found).__name__}" if shape is None else f"shape {(*shape,)}"
    return MarginfaceError(
        f"{loss}: target returns {what}, expected [batch], one logit for each cosine; mend "
        "its tensor code"
    )
