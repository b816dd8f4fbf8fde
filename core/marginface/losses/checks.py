"""What every head checks first, in words that are the same in every framework."""

from collections.abc import Sequence

from marginface.errors import MarginfaceError

WEIGHT_STD = 0.01  # class weights start from N(0, 0.01), as InsightFace's do


def check_head(embedding_size: int, num_classes: int | None) -> tuple[int, int]:
    """Return both sizes of a head, or raise naming the one that is wrong."""
    if num_classes is None:
        raise MarginfaceError("MarginHead needs num_classes, the number of identities")
    for name, value in (("embedding_size", embedding_size), ("num_classes", num_classes)):
        if value < 1:
            raise MarginfaceError(f"{name} must be at least 1, got {value}")
    return embedding_size, num_classes


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
            f"embeddings have shape {tuple(embeddings)}, expected [batch, {embedding_size}]"
        )
    if len(labels) != 1 or (None not in (labels[0], embeddings[0]) and labels[0] != embeddings[0]):
        raise MarginfaceError(
            f"labels have shape {tuple(labels)}, expected [{embeddings[0]}], one for each embedding"
        )
    if not integer_labels:
        raise MarginfaceError("labels must be integers (int32 or int64)")
