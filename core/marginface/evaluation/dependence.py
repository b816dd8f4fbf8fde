"""How many independent pairs some pairs are worth that share people."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def independent_pairs(hits: NDArray[np.bool_], first: ArrayLike, second: ArrayLike) -> float:
    """Return how many independent pairs would know a share of hits as well as these pairs do.

    Somebody who looks like many others is in many pairs, which are hits together. With d the
    deviations of hits from their mean, the variance of the mean counts all products of two pairs
    that share a person,

        V = sum of d_p d_q over pairs p, q that share one / N^2

    and the answer is mean (1 - mean) / V, at most N.

    Args:
        hits: [N].
        first, second: the people of each pair, [N].

    >>> hits = np.array([True, True, True, False, False, False])
    >>> independent_pairs(hits, list("aaabcd"), list("efghij"))  # all hits are a's
    3.0
    >>> independent_pairs(hits, list("abcdef"), list("ghijkl"))
    6.0

    Source: P. Aronow, C. Samii, V. Assenova: Cluster-robust variance estimation for dyadic data,
    Political Analysis 23, 2015, equation 6.
    """
    both = np.concatenate([np.asarray(first), np.asarray(second)])
    people, index = np.unique(both, return_inverse=True)
    pair = np.sort(index.reshape(2, -1), axis=0)
    deviation = hits - np.mean(hits)
    alone = pair[0] == pair[1]  # a pair of one person counts once
    of_person = np.bincount(pair[0], deviation, len(people))
    of_person += np.bincount(pair[1], np.where(alone, 0, deviation), len(people))
    _, couple = np.unique(pair[0] * len(people) + pair[1], return_inverse=True)
    of_couple = np.bincount(couple, deviation)
    twice = of_couple[np.unique(couple[~alone])]  # those of two people were counted for both
    variance = np.sum(of_person**2) - np.sum(twice**2)
    least = float(np.sum(deviation**2))  # of independent pairs
    return float(len(hits) * least / variance) if variance > least else float(len(hits))
