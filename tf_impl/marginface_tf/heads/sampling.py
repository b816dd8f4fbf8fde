"""The classes that a process looks at in one step, of those that were drawn."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf
from tensorflow import Tensor

from marginface.errors import MarginfaceError
from marginface_tf.losses.base import Tensors


class LocalClasses(NamedTuple):
    """The classes that this process's pass goes over.

    Args:
        number: of these classes; known when a graph is made.
        labels: [batch], places of the samples' classes among them; outside 0 .. number - 1 for a
            class that is elsewhere.
        sampled: their numbers in this process, ascending; None for all classes.
        log_weights: [number], added to their logits in the sum over the others; None for 0.
        used: number of classes that count, the first of them; the others only fill up. None for
            all.
    """

    number: int
    labels: Tensor
    sampled: Tensor | None = None
    log_weights: Tensor | None = None
    used: Tensor | None = None


def local_classes(
    sample: Tensors, labels: Tensor, own: range, num_classes: int, batch: int | None
) -> LocalClasses:
    """Return this process's part of a sample of classes.

    Args:
        sample: `classes`, ascending, and `log_weights`, [sampled] each.
        labels: [batch], numbers among all classes.
        own: this process's classes.
        num_classes: those of all processes.
        batch: number of labels; None for any number.

    Raises:
        MarginfaceError: a sample of unknown length, or without the class of a label; in a graph,
            where no error can be raised, its weights are then NaN.
    """
    sampled, log_weights, used = sample["classes"], sample["log_weights"], None
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
        sampled, log_weights = tf.gather(sampled, place), tf.gather(log_weights, place)
        # What fills up counts for nothing; its number has only to be one of a class here.
        sampled = tf.where(tf.range(number) < used, sampled, len(own) - 1)
    log_weights = tf.where(sound, log_weights, math.nan)
    return LocalClasses(number, _places(sampled, labels, used), sampled, log_weights, used)


def _room(sampled: int, own: range, num_classes: int, batch: int | None) -> int:
    """Return an upper bound of the sampled classes in a shard: a graph needs a fixed number.

    The bound is eight standard deviations above the mean, plus all labels.
    """
    if batch is None:
        return min(sampled, len(own))
    share = len(own) / num_classes
    wanted = sampled * share + 8 * math.sqrt(sampled * share * (1 - share)) + batch
    return min(sampled, len(own), math.ceil(wanted))


def _places(sampled: Tensor, labels: Tensor, used: Tensor | None = None) -> Tensor:
    """Return the places of labels in the first `used` of a sample; -1 for those not in it."""
    places = tf.searchsorted(sampled, labels, out_type=tf.int64)
    number = sampled.shape[0] if used is None else tf.cast(used, tf.int64)
    at = tf.gather(sampled, tf.minimum(places, sampled.shape[0] - 1))
    return tf.where((at == labels) & (places < number), places, -1)
