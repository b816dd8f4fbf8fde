"""The classes that a process looks at in one step, of those that were drawn."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from marginface.errors import MarginfaceError
from marginface_torch.losses.base import Tensors


class Seen(NamedTuple):
    """Classes that a pass goes over.

    Args:
        number: how many.
        labels: [batch], places among them; outside 0 .. number - 1 for a class that is elsewhere.
        sampled: their numbers in this process, ascending; None for all.
        log_weights: [number], what is added to their logits in the sum over the others.
    """

    number: int
    labels: Tensor
    sampled: Tensor | None = None
    log_weights: Tensor | None = None


def chosen(sample: Tensors, labels: Tensor, own: range) -> Seen:
    """Return which of the sampled classes are here.

    Args:
        sample: `classes`, ascending, and `log_weights`, [sampled] each.
        labels: [batch], numbers among all classes.
        own: this process's classes.

    Raises:
        MarginfaceError: a sample without the class of a label.
    """
    sampled = sample["classes"]
    if (_places(sampled, labels) < 0).any():
        raise MarginfaceError(
            "draw['classes'] lacks the class of a label; draw it for these labels"
        )
    ends = torch.tensor([own.start, own.stop], device=sampled.device)
    here = slice(*torch.searchsorted(sampled, ends).tolist())
    sampled, weights = sampled[here] - own.start, sample["log_weights"][here]
    return Seen(len(sampled), _places(sampled, labels - own.start), sampled, weights)


def _places(sampled: Tensor, labels: Tensor) -> Tensor:
    """Return where labels stand in an ascending sample; -1 for those that are not in it."""
    places = torch.searchsorted(sampled, labels)
    return torch.where(torch.searchsorted(sampled, labels, right=True) > places, places, -1)
