"""Optimizers: hyperparameters, and one NumPy step of each as the reference for both frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from marginface.checks import check_positive, check_rate, check_spread

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Base of the optimizers.

    Args:
        weight_decay: strength of the L2 penalty (SGD) or of the decoupled decay (AdamW).
        decay_norm_and_bias: False applies weight decay to weights proper alone, not to norms,
            PReLU's slopes, biases and position arrays (see `decay` of a layer's parameter).
        clip_norm: the backbone's gradients are scaled down to this global L2 norm; None for never.
    """

    name: ClassVar[str]
    slots: ClassVar[tuple[str, ...]]
    weight_decay: float = 5e-4
    decay_norm_and_bias: bool = True
    clip_norm: float | None = 5.0

    def __post_init__(self) -> None:
        check_spread("weight_decay", self.weight_decay)
        if self.clip_norm is not None:
            check_positive("clip_norm", self.clip_norm)

    def decay_for(self, *, decay: bool) -> float:
        """Return the weight decay of a parameter; `decay`: it is a weight proper."""
        return self.weight_decay if self.decay_norm_and_bias or decay else 0.0

    def update(
        self,
        weight: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        rate: float,
        step: int | Array,
        *,
        decay: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the weight and slots after step number `step` (from 1); the reference.

        Rows that have taken different numbers of steps give theirs as an array that broadcasts.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Momentum SGD as PyTorch writes it: v = momentum v + (g + decay w); w = w - rate v.

    The rate multiplies the velocity and is not stored in it (Keras stores it), so that both
    frameworks agree under a schedule.
    """

    name: ClassVar[str] = "sgd"
    slots: ClassVar[tuple[str, ...]] = ("momentum",)
    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate("momentum", self.momentum)

    def update(
        self,
        weight: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        rate: float,
        step: int | Array,
        *,
        decay: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the weight and velocity after one step; the reference."""
        del step
        strength = self.decay_for(decay=decay)
        velocity = self.momentum * slots["momentum"] + gradient + strength * weight
        return weight - rate * velocity, {"momentum": velocity}


@dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay (1711.05101 alg. 2), epsilon outside the corrected root.

    In a head with `update`, moments, decay and the step of the correction are a row's own: they
    move in the steps that look at its class. So E[first] = (1 - beta1^step) E[gradient] holds for
    every row, and its first step is as long as the rate says.
    """

    name: ClassVar[str] = "adamw"
    slots: ClassVar[tuple[str, ...]] = ("first", "second")
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate("beta1", self.beta1)
        check_rate("beta2", self.beta2)
        check_positive("epsilon", self.epsilon)

    def update(
        self,
        weight: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        rate: float,
        step: int | Array,
        *,
        decay: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the weight and both moments after step number `step`; the reference."""
        first = self.beta1 * slots["first"] + (1 - self.beta1) * gradient
        second = self.beta2 * slots["second"] + (1 - self.beta2) * gradient**2
        corrected = np.sqrt(second / (1 - self.beta2**step)) + self.epsilon
        decayed = weight * (1 - rate * self.decay_for(decay=decay))
        stepped = decayed - rate * (first / (1 - self.beta1**step)) / corrected
        return stepped, {"first": first, "second": second}


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in (SGD, AdamW)}
