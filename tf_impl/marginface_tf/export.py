"""Export to the ONNX contract, checked against TensorFlow before it is reported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from marginface.model import ModelSpec, Preprocessing
from marginface_tf.backbones.backbone import Backbone
from marginface_tf.backbones.weights import backbone_arrays


def export_onnx(
    backbone: Backbone,
    path: str | Path,
    *,
    preprocessing: Preprocessing | None = None,
    opset: int = 17,
    preprocess: bool = False,
    normalize: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a backbone to an ONNX file and return its path.

    Args:
        backbone: from `create_backbone`; its running statistics are used, as in inference.
        path: a .onnx file.
        preprocessing: how images enter the model, for its metadata.
        opset: 13 to 23.
        preprocess: `images` are uint8 [N, H, W, 3] and the graph scales them.
        normalize: embeddings have length 1.
        metadata: more key-value pairs for the file, such as the loss.

    Raises:
        MarginfaceError: ONNX Runtime disagrees with TensorFlow; nothing is written then.
    """
    from marginface.onnx.export import export_model  # ONNX is for who exports

    arrays = backbone_arrays(backbone)

    def reference(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(backbone(images, training=False), np.float32)

    return export_model(
        ModelSpec.of(backbone.graph, preprocessing),
        arrays,
        path,
        reference=reference,
        opset=opset,
        preprocess=preprocess,
        normalize=normalize,
        metadata={"source": f"tensorflow {tf.__version__}", **(metadata or {})},
    )
