"""The graph of inference: BatchNorms in the weights beside them."""

from __future__ import annotations

import numpy as np
import pytest
from frameworks import lively_weights

from marginface.backbones import describe
from marginface.backbones.folding import inference_graph
from marginface.backbones.layers import BatchNorm

# BatchNorms that stay stand before a padded convolution.
LEFT = {"mobilefacenet": 0, "ir18": 8, "ghostfacenet_v1_s1": 0}


@pytest.mark.parametrize("name", LEFT)
def test_the_same_embeddings_from_fewer_layers(name: str) -> None:
    graph = describe(name, 8, (32, 32))
    weights, rng = lively_weights(graph, 0), np.random.default_rng(0)
    lean, arrays = inference_graph(graph, weights)
    assert sum(isinstance(node.layer, BatchNorm) for node in lean.nodes) == LEFT[name]
    images = rng.normal(size=(1, 3, 32, 32))
    expected = graph.forward({n: a.astype("float64") for n, a in weights.items()}, images)
    np.testing.assert_allclose(lean.forward(arrays, images), expected, rtol=1e-9, atol=1e-12)
