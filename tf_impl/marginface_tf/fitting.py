"""What Keras' `fit` makes of a head that it calls as a loss, outside the model that it trains."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import keras
import tensorflow as tf

from marginface.errors import MarginfaceError

MENDED = (
    "make the head a part of it: keras.Model([images, labels], head(backbone(images), labels)), "
    "compiled with loss=lambda _, value: value"
)


def check_moves(weight: Any, *, steps_itself: bool) -> None:
    """Raise where Keras trains a model with a head as its loss that would never move.

    `fit` takes gradients of the model's own trainable weights, and none at all where there are
    none. A `train_step` of the user's may take others.

    Args:
        weight: the head's.
        steps_itself: whether the backward pass is enough.

    Raises:
        MarginfaceError: nothing would move the weights.
    """
    if not any(part.startswith("compile_loss") for part in _scope()):
        return
    model = _trained()
    if model is None or type(model).train_step is not keras.Model.train_step:
        return
    trained = model.trainable_variables
    if steps_itself and not trained:
        raise MarginfaceError(
            "Keras calls this head as the loss of a model without trainable weights, for which "
            f"fit has no backward pass: the head would never step; {MENDED}"
        )
    if not steps_itself and all(weight is not each for each in trained):
        raise MarginfaceError(
            "Keras calls this head as the loss of a model that the head is no part of, so fit "
            f"would never move its weights; {MENDED}; or give the head update=SGD(...) and a rate"
        )


def _scope() -> list[str]:
    return str(tf.get_current_name_scope()).split("/")


def _trained() -> Any:
    """Return the model whose loss is being computed to train it; None where there is none."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != "_compute_loss":
        frame = frame.f_back  # Keras tells a loss nothing of its model
    given = {} if frame is None else frame.f_locals
    return given.get("self") if given.get("training") else None
