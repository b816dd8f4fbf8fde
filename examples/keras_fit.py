"""Plain Keras: `compile`, `fit` in mixed precision, and the backbone as a SavedModel.

python examples/keras_fit.py [FOLDER]      # where the SavedModel goes; a temporary one without
"""

import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf
from drawn_faces import SIDE, draw_faces

from marginface_tf import MarginHead, create_backbone

PEOPLE = 8


def main(folder: str | None = None, epochs: int = 6) -> dict[str, float]:
    """Train, measure and export; return the first and the last loss and what was measured."""
    keras.utils.set_random_seed(0)
    images, labels = draw_faces(PEOPLE, pictures=12)

    # The policy of the backbone: it computes in half precision, its weights stay in float32.
    # The head needs none: it takes half precision embeddings and goes on in float32.
    backbone = create_backbone("mobilefacenet", 64, input_size=(SIDE, SIDE), dtype="mixed_float16")
    # A small scale suits few people; 64 is usual with thousands and 512-d embeddings.
    head = MarginHead("arcface", embedding_size=64, num_classes=PEOPLE, scale=16)

    # The head is a layer whose output is the loss, so labels are an input of the model.
    pixels = keras.Input((3, SIDE, SIDE))
    people = keras.Input((), dtype="int32")
    model = keras.Model([pixels, people], head(backbone(pixels), people))
    steps = epochs * len(images) // 16
    optimizer = keras.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(0.05, steps), momentum=0.9
    )
    # float16 overflows easily: the loss is scaled on its way back, the gradients unscaled.
    optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2**10)
    model.compile(optimizer, loss=lambda _, loss: loss)
    nothing = np.zeros(len(images))  # Keras wants a target; the loss needs no other
    history = model.fit([images, labels], nothing, batch_size=16, epochs=epochs, verbose=2)

    # Without margins: is the nearest class the right one, and how near?
    metrics = head.measure(backbone.predict(images, verbose=0), labels)
    print(f"accuracy {metrics.accuracy:.3f}, angle {metrics.target_angle:.3f}")

    # What is deployed is the backbone alone. `model.save("faces.keras")` keeps the head, too.
    with tempfile.TemporaryDirectory() as scratch:
        target = folder or f"{scratch}/backbone"
        backbone.export(target, verbose=False)
        loaded = tf.saved_model.load(target)  # needs no marginface
        served = loaded.serve(tf.constant(images[:4]))
    difference = np.abs(np.asarray(served) - np.asarray(backbone(images[:4]))).max()
    losses = history.history["loss"]
    return {
        "first_loss": losses[0],
        "loss": losses[-1],
        "accuracy": float(metrics.accuracy),
        "angle": float(metrics.target_angle),
        "served_difference": float(difference),
    }


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
