"""Export to the ONNX contract, checked against PyTorch before it is reported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.model import ModelSpec, Preprocessing
from marginface_torch.arrays import to_float32
from marginface_torch.backbones.backbone import Backbone
from marginface_torch.backbones.weights import backbone_arrays


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
        MarginfaceError: ONNX Runtime disagrees with PyTorch; nothing is written then.
    """
    from marginface.onnx.export import export_model  # ONNX is for who exports

    arrays = backbone_arrays(backbone)

    def reference(images: NDArray[np.float32]) -> NDArray[np.float32]:
        first = next(backbone.parameters())
        training = backbone.training
        try:
            with torch.inference_mode():
                batch = torch.from_numpy(images).to(first.device, first.dtype)
                return to_float32(backbone.eval()(batch))
        finally:
            backbone.train(training)

    return export_model(
        ModelSpec.of(backbone.graph, preprocessing),
        arrays,
        path,
        reference=reference,
        opset=opset,
        preprocess=preprocess,
        normalize=normalize,
        metadata={"source": f"torch {torch.__version__}", **(metadata or {})},
    )
