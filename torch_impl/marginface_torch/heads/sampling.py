"""The classes that a process looks at in one step, of those that were drawn."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from marginface.errors import MarginfaceError
from marginface_torch.losses.base import Tensors


class LocalClasses(NamedTuple):
    """The classes that this process's pass goes over.

    Args:
        number: of these classes.
        labels: [batch], places of the samples' classes among them; outside 0 .. number - 1 for a
            class that is elsewhere.
        sampled: their numbers in this process, ascending; None for all classes.
        log_weights: [number], added to their logits in the sum over the others; None for 0.
    """

    number: int
    labels: Tensor
    sampled: Tensor | None = None
    log_weights: Tensor | None = None


def local_classes(
    sample: Tensors, labels: Tensor, own: range, *, alone: bool, checking: bool = True
) -> LocalClasses:
    """Return this process's part of a sample of classes.

    Args:
        sample: `classes`, ascending, and `log_weights`, [sampled] each.
        labels: [batch], numbers among all classes.
        own: this process's classes.
        alone: whether these are all classes.
        checking: whether labels are looked for, which waits for a GPU.

    Raises:
        MarginfaceError: a sample without the class of a label.
    """
    sampled = sample["classes"]
    if checking and (_places(sampled, labels) < 0).any():
        raise MarginfaceError(
            "draw['classes'] lacks the class of a label; draw it for these labels"
        )
    log_weights = sample["log_weights"]
    if not alone:
        ends = torch.tensor([own.start, own.stop], device=sampled.device)
        here = slice(*torch.searchsorted(sampled, ends).tolist())
        sampled, log_weights = sampled[here] - own.start, log_weights[here]
    places = _places(sampled, labels - own.start)
    return LocalClasses(len(sampled), places, sampled, log_weights)


def _places(sampled: Tensor, labels: Tensor) -> Tensor:
    """Return the places of labels in an ascending sample; -1 for those that are not in it."""
    places = torch.searchsorted(sampled, labels)
    return torch.where(torch.searchsorted(sampled, labels, right=True) > places, places, -1)
