"""Backbones as `torch.nn.Module`s, built from the core's neutral descriptions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from marginface import backbones
from marginface.backbones.graph import IMAGES, Graph, Node
from marginface.backbones.layers import NOISE
from marginface.checks import check_floating, check_type
from marginface_torch.arrays import check_dtype
from marginface_torch.backbones.batch_norm import BatchNorm
from marginface_torch.backbones.layers import FUNCTIONS, MODULES


class Backbone(nn.Module):
    """Images [batch, 3, height, width] to embeddings [batch, embedding_size].

    Its state_dict has the published names: InsightFace's for `iresnet*` and `mbf`.

    Attributes:
        graph: the core's description.
        recomputing: whether training keeps the values between blocks alone, and computes those
            inside again for the backward pass.
    """

    recomputing = False

    def __init__(
        self, graph: Graph, *, seed: int | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.graph = graph
        self._noise = graph.noise()
        for node in graph.nodes:
            if type(node.layer) in MODULES:
                _attach(self, node.layer.name, MODULES[type(node.layer)](node.layer))
        self._own = graph.arrays_of_their_own()
        for name, parameter in self._own.items():
            _attach(self, name, nn.Parameter(torch.empty(parameter.shape), parameter.trainable))
        last_use = graph.last_use()
        # The values that no later layer reads, by layer: dropped so that memory stays flat.
        self._done = [
            [source for source in node.inputs if source != IMAGES and last_use[source] == position]
            for position, node in enumerate(graph.nodes)
        ]
        self.to(dtype)
        drawn = int(torch.randint(2**31, ()).item()) if seed is None else seed
        self.set_arrays(backbones.initial_weights(graph, drawn))

    def forward(self, images: Tensor, draw: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return embeddings, not normalised.

        Args:
            images: [batch, 3, height, width].
            draw: what `graph.draw` gives for dropout, drop path and masks in training; None draws
                it from PyTorch's global generator.
        """
        check_type("images", images, Tensor, "torch.as_tensor makes one")
        check_floating(images.is_floating_point())
        self.graph.check_images(images.shape)
        noise = self._noise_for(images, draw)
        if not (self.recomputing and self.training and torch.is_grad_enabled()):
            return self._segment(range(len(self.graph.nodes)), images, noise)
        *segments, last = self.graph.segments()
        x = images
        for segment in segments:
            x = checkpoint(
                self._segment,
                segment,
                x,
                noise,
                use_reentrant=False,
                preserve_rng_state=False,  # all noise is given
                context_fn=lambda: (nullcontext(), still_statistics(self)),
            )
        return self._segment(last, x, noise)

    def _segment(self, positions: range, x: Tensor, noise: Mapping[str, Tensor]) -> Tensor:
        """Return the last value of some nodes in a row, the first of which reads `x`."""
        values = {positions.start - 1: x}
        for position in positions:
            node = self.graph.nodes[position]
            values[position] = self._run(node, [values[source] for source in node.inputs], noise)
            for source in self._done[position]:
                del values[source]
        return values[positions.stop - 1]

    def set_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Set weights and statistics, of the right shapes, under canonical names."""
        state = self.state_dict()
        with torch.no_grad():
            for name, array in arrays.items():
                state[name].copy_(torch.tensor(array))

    def _noise_for(self, images: Tensor, draw: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """Return each layer's noise: none outside training."""
        batch = len(images)
        if draw is not None:
            shapes = {name: value.shape for name, value in draw.items()}
            self.graph.check_draw(shapes, batch, training=self.training)
            return draw
        if not self.training:
            return {}
        return {
            name: torch.randint(NOISE, (batch, *shape), dtype=torch.int32, device=images.device)
            for name, shape in self._noise.items()
        }

    def _run(self, node: Node, inputs: list[Tensor], noise: Mapping[str, Tensor]) -> Tensor:
        layer = node.layer
        function = FUNCTIONS.get(type(layer))
        if function is None:
            output: Tensor = self.get_submodule(layer.name)(*inputs)
            return output
        if layer.name in self._own:
            inputs = [*inputs, self.get_parameter(layer.name)]
        if layer.noise_of:
            return function(layer, *inputs, noise=noise.get(layer.noise_of))
        return function(layer, *inputs)


def create_backbone(
    name: str,
    embedding_size: int = 512,
    *,
    input_size: tuple[int, int] = (112, 112),
    dropout: float = 0.0,
    batch_norm_epsilon: float | None = None,
    seed: int | None = None,
    dtype: torch.dtype | None = None,
) -> Backbone:
    """Return a freshly initialised backbone.

    Args:
        name: one of `marginface.backbones.names()`.
        embedding_size: length of the embedding.
        input_size: height and width of the images in pixels.
        dropout: share of the values dropped before the embedding layer, in training.
        batch_norm_epsilon: of every batch normalisation, where weights were trained with another
            than the network's own.
        seed: of the core's generator, the same weights in every framework; None draws one from
            PyTorch's global generator, so that `torch.manual_seed` decides.
        dtype: of the weights; PyTorch's default for None.

    Raises:
        MarginfaceError: an unknown name, or a value out of range.

    >>> create_backbone("mbf", embedding_size=64)(torch.zeros(2, 3, 112, 112)).shape
    torch.Size([2, 64])
    """
    check_dtype(dtype)
    graph = backbones.describe(name, embedding_size, input_size, dropout, batch_norm_epsilon)
    return Backbone(graph, seed=seed, dtype=dtype)


def channels_last(backbone: Backbone) -> Backbone:
    """Lay a backbone's weights out channels last, in place; its activations follow.

    Convolutions on such memory are 1.4 times as fast on CPU, and cuDNN's choice for half precision.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.data
            # contiguous() would leave depthwise weights other strides than their gradients have.
            laid_out = torch.empty_like(weight, memory_format=torch.channels_last)
            module.weight.data = laid_out.copy_(weight)
    return backbone


def synchronize(backbone: Backbone) -> None:
    """Let statistics of training be those of the batch of all processes."""
    for module in backbone.modules():
        if isinstance(module, BatchNorm):
            module.synchronized = True


def rest(backbone: Backbone, layers: Collection[str]) -> None:
    """Let these layers alone normalise by their stored statistics in training; they stay."""
    for name, module in backbone.named_modules():
        if isinstance(module, BatchNorm):
            module.resting = name in layers


@contextmanager
def still_statistics(backbone: Backbone) -> Iterator[None]:
    """Leave running statistics where they are in training, inside, as batches seen before do."""
    moving = [m for m in backbone.modules() if isinstance(m, BatchNorm) and m.moving]
    for norm in moving:
        norm.moving = False
    try:
        yield
    finally:
        for norm in moving:
            norm.moving = True


def _attach(root: nn.Module, name: str, part: nn.Module | nn.Parameter) -> None:
    """Put a module or a parameter under a dotted name, making the containers on the way."""
    *path, last = name.split(".")
    for step in path:
        if step not in root._modules:
            root.add_module(step, nn.Module())
        root = root.get_submodule(step)
    if isinstance(part, nn.Module):
        root.add_module(last, part)
    else:
        root.register_parameter(last, part)
