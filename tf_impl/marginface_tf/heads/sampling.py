"""The classes that a process looks at in one step, of those that were drawn."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf
from tensorflow import Tensor

from marginface.errors import MarginfaceError
from marginface_tf.losses.base import Tensors


class Seen(NamedTuple):
    """Classes that a pass goes over.

    Args:
        number: how many; known when a graph is made.
        labels: [batch], places among them; outside 0 .. number - 1 for a class that is elsewhere.
        sampled: their numbers in this process, ascending; None for all.
        log_weights: [number], what is added to their logits in the sum over the others.
        used: how many of them, the first, are; the others only fill up. None for all.
    """

    number: int
    labels: Tensor
    sampled: Tensor | None = None
    log_weights: Tensor | None = None
    used: Tensor | None = None


def chosen(
    sample: Tensors, labels: Tensor, own: range, num_classes: int, batch: int | None
) -> Seen:
    """Return which of the sampled classes are here.

    Args:
        sample: `classes`, ascending, and `log_weights`, [sampled] each.
        labels: [batch], numbers among all classes.
        own: this process's classes.
        num_classes: those of all processes.
        batch: how many labels there are; None for any number.

    Raises:
        MarginfaceError: a sample of unknown length, or without the class of a label; in a graph,
            where no error can be raised, its weights are then NaN.
    """
    sampled, weights, used = sample["classes"], sample["log_weights"], None
    if sampled.shape[0] is None:
        raise MarginfaceError("draw['classes'] has an unknown length; trace for each length")
    sampled, labels = tf.cast(sampled, tf.int64) - own.start, labels - own.start
    sound = tf.reduce_all(_places(sampled, labels) >= 0)
    if tf.executing_eagerly() and not bool(sound):
        raise MarginfaceError(
            "draw['classes'] lacks the class of a label; draw it for these labels"
        )
    number: int = sampled.shape[0]
    if len(own) < num_classes:
        number = _room(sampled.shape[0], own, num_classes, batch)
        ends = tf.searchsorted(sampled, tf.constant([0, len(own)], tf.int64))
        start, stop = tf.unstack(ends)
        sound &= stop - start <= number
        used = tf.minimum(stop - start, number)
        place = tf.minimum(start + tf.range(number), sampled.shape[0] - 1)
        sampled, weights = tf.gather(sampled, place), tf.gather(weights, place)
        # What fills up counts for nothing; its number has only to be one of a class here.
        sampled = tf.where(tf.range(number) < used, sampled, len(own) - 1)
    weights = tf.where(sound, weights, math.nan)
    return Seen(number, _places(sampled, labels, used), sampled, weights, used)


def _room(sampled: int, own: range, num_classes: int, batch: int | None) -> int:
    """Return a number that a shard's part of a sample stays below.

    Eight standard deviations above the mean, and all labels here: a graph needs a number.
    """
    if batch is None:
        return min(sampled, len(own))
    share = len(own) / num_classes
    wanted = sampled * share + 8 * math.sqrt(sampled * share * (1 - share)) + batch
    return min(sampled, len(own), math.ceil(wanted))


def _places(sampled: Tensor, labels: Tensor, used: Tensor | None = None) -> Tensor:
    """Return where labels stand among the first `used` of a sample; -1 for those that do not."""
    places = tf.searchsorted(sampled, labels, out_type=tf.int64)
    number = sampled.shape[0] if used is None else tf.cast(used, tf.int64)
    at = tf.gather(sampled, tf.minimum(places, sampled.shape[0] - 1))
    return tf.where((at == labels) & (places < number), places, -1)
