"""marginface in TensorFlow: the same names and signatures as `marginface_torch`."""

import os

from marginface.extras import needs
from marginface_tf.quiet import quiet_start

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read once, when TensorFlow is imported
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
with quiet_start(), needs("tf", "backend 'tf'"):
    import keras
    import tensorflow as tf

from marginface.errors import MarginfaceError
from marginface_tf.backbones.backbone import create_backbone
from marginface_tf.backbones.weights import backbone_arrays, load_weights, save_weights
from marginface_tf.bench import loss_step
from marginface_tf.export import export_onnx
from marginface_tf.heads.head import MarginHead
from marginface_tf.learner import create_embedder, create_learner
from marginface_tf.parity import evaluate_loss
from marginface_tf.processes import join

__all__ = [
    "MarginHead",
    "backbone_arrays",
    "create_backbone",
    "create_embedder",
    "create_learner",
    "evaluate_loss",
    "export_onnx",
    "join",
    "load_weights",
    "loss_step",
    "name",
    "save_weights",
    "version",
]

name = "tf"

if keras.backend.backend() != "tensorflow":
    raise MarginfaceError(
        f"backend 'tf' needs Keras on TensorFlow, but Keras runs on {keras.backend.backend()}; "
        "set KERAS_BACKEND=tensorflow"
    )


def version() -> str:
    """Return the framework's name and version."""
    return f"tensorflow {tf.__version__}"
