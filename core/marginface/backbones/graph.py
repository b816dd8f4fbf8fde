"""The neutral description of a backbone: layers that torch, tf and ONNX each interpret."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from marginface.backbones.layer_names import LayerNames
from marginface.backbones.layers import (
    GELU,
    NOISE,
    Add,
    Array,
    Attention,
    BatchNorm,
    Call,
    Channels,
    Concat,
    Conv,
    CrossCovariance,
    Dropout,
    DropPath,
    Flatten,
    FourierPosition,
    GlobalPool,
    HardSigmoid,
    Images,
    Layer,
    LayerNorm,
    LayerScale,
    Linear,
    MaskTokens,
    Multiply,
    Parameter,
    Position,
    PReLU,
    ReLU,
    ReLU6,
    RestoreTokens,
    Shape,
    Sigmoid,
    Subsample,
    Tokens,
)
from marginface.errors import MarginfaceError

IMAGES = -1  # as an input position: the images themselves
WHAT = {3: "images [channels, height, width]", 2: "tokens [tokens, channels]", 1: "vectors"}


class Node(NamedTuple):
    """A layer in its place.

    Args:
        layer: the layer.
        inputs: the positions of the nodes that it reads.
        shape: of what it gives, without batch.
        flattened: the [C, H, W] of images that lie flattened in it, each framework in its own
            order, until a linear layer; empty for none.
        masked: the name of the masking that leaves out some of its tokens in training; "" for none.
    """

    layer: Layer
    inputs: tuple[int, ...]
    shape: Shape
    flattened: Shape = ()
    masked: str = ""


@dataclass
class Graph:
    """Layers in order of execution; the last one gives the embedding.

    The methods append a layer and return its position, which later layers take as input.

    Args:
        name: of the backbone.
        input_size: height and width of the images in pixels.
        embedding_size: length of the embedding.
        dropout_rate: the share to drop before the embedding layer.
        batch_norm_epsilon: of every batch normalisation, which belongs to the weights; None for
            each layer's own.
        nodes: the layers in their places.
    """

    name: str
    input_size: tuple[int, int]
    embedding_size: int
    dropout_rate: float = 0.0
    batch_norm_epsilon: float | None = None
    nodes: list[Node] = field(default_factory=list)
    _names: LayerNames = field(default_factory=LayerNames, init=False, repr=False, compare=False)

    def shape(self, position: int) -> Shape:
        """Return the shape, without batch, at a position."""
        node = self._node(position)
        return node.shape if node else (3, *self.input_size)

    def append(self, layer: Layer, *inputs: int) -> int:
        """Append a layer behind others.

        Raises:
            MarginfaceError: its name is none or taken, its numbers make no sense, or it does not
                go with what it stands behind.
        """
        label, shapes = f"backbone '{self.name}'", [self.shape(position) for position in inputs]
        try:
            self._names.take(layer.name)
        except MarginfaceError as error:
            raise MarginfaceError(f"{label}: {error}") from error
        for shape in shapes:
            if len(shape) not in layer.takes:
                taken = " or ".join(WHAT[rank] for rank in layer.takes)
                raise MarginfaceError(
                    f"{label}: '{layer.name}' ({type(layer).__name__}) takes {taken}, "
                    f"got {list(shape)}"
                )
        try:
            layer.check()
        except MarginfaceError as error:
            raise MarginfaceError(f"{label}: {error}") from error
        masked = self._masked_in(layer, inputs)
        try:
            shape = layer.shape(*shapes)
        except MarginfaceError as error:
            raise MarginfaceError(
                f"{label} cannot take images of {self.input_size[0]}x{self.input_size[1]}: {error}"
            ) from error
        flattened = self._flattened_in(layer, inputs[0])
        self.nodes.append(Node(layer, inputs, shape, flattened, masked))
        return len(self.nodes) - 1

    def conv(
        self,
        name: str,
        x: int,
        channels: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: int = 1,
        padding: int | Literal["same"] = 0,
        groups: int = 1,
        bias: bool = False,
        init_std: float | None = None,
        init_bound: float | None = None,
        truncated: bool = False,
    ) -> int:
        """Append a convolution.

        Weights start by He's fan-out rule, with a bias as PyTorch starts both, normal with
        `init_std` (if `truncated`, cut off at two of them), or uniform within `init_bound`.
        """
        kernel = kernel if isinstance(kernel, Sequence) else (kernel, kernel)
        before = self.shape(x)[0]
        start = init_std, init_bound, truncated
        layer = Conv(name, before, channels, kernel, stride, padding, groups, bias, *start)
        return self.append(layer, x)

    def batch_norm(
        self,
        name: str,
        x: int,
        *,
        affine: bool = True,
        trainable_scale: bool = True,
        epsilon: float = 1e-5,
    ) -> int:
        """Append a batch normalisation; without scale and offset unless `affine`."""
        channels = self._channels(name, x)
        if self.batch_norm_epsilon is not None:
            epsilon = self.batch_norm_epsilon
        return self.append(BatchNorm(name, channels, trainable_scale, epsilon, affine=affine), x)

    def prelu(self, name: str, x: int) -> int:
        """Append a PReLU."""
        return self.append(PReLU(name, self._channels(name, x)), x)

    def add(self, x: int, y: int) -> int:
        """Append a sum."""
        if self.shape(x) != self.shape(y):
            raise MarginfaceError(
                f"backbone '{self.name}' cannot add shapes {self.shape(x)} and {self.shape(y)}"
            )
        if self.flattened(x) != self.flattened(y):
            raise self._unordered("a sum with other vectors")
        return self.append(Add(f"add_{len(self.nodes)}"), x, y)

    def multiply(self, x: int, y: int) -> int:
        """Append a product with values of the same shape, or with a factor for each channel."""
        channel_factors = (*self.shape(x)[:1], 1, 1) if len(self.shape(x)) == 3 else self.shape(x)
        if self.shape(y) not in (self.shape(x), channel_factors):
            raise MarginfaceError(
                f"backbone '{self.name}' cannot multiply shapes {self.shape(x)} and {self.shape(y)}"
            )
        if self.flattened(x) != self.flattened(y):
            raise self._unordered("a product with other vectors")
        return self.append(Multiply(f"multiply_{len(self.nodes)}"), x, y)

    def subsample(self, x: int, stride: int) -> int:
        """Append a subsampling; nothing at stride 1."""
        return (
            x if stride == 1 else self.append(Subsample(f"subsample_{len(self.nodes)}", stride), x)
        )

    def global_pool(self, x: int) -> int:
        """Append a global average pooling."""
        return self.append(GlobalPool(f"global_pool_{len(self.nodes)}"), x)

    def flatten(self, x: int) -> int:
        """Append a flattening."""
        return self.append(Flatten(f"flatten_{len(self.nodes)}"), x)

    def dropout(self, x: int, rate: float, name: str = "dropout") -> int:
        """Append a dropout; nothing at rate 0."""
        before = self.flattened(x) or self.shape(x)
        return x if rate == 0 else self.append(Dropout(name, rate, before), x)

    def linear(
        self,
        name: str,
        x: int,
        features: int,
        *,
        bias: bool,
        init_std: float | None = None,
        truncated: bool = False,
    ) -> int:
        """Append a linear layer on vectors or on each token; weights start as `conv` says."""
        width = self.shape(x)[-1]
        before = self.flattened(x) or (width,)
        return self.append(Linear(name, width, features, bias, before, init_std, truncated), x)

    def layer_norm(self, name: str, x: int, *, epsilon: float = 1e-5) -> int:
        """Append a layer normalisation."""
        return self.append(LayerNorm(name, self._width(name, x), epsilon), x)

    def relu(self, x: int) -> int:
        """Append a ReLU."""
        return self.append(ReLU(f"relu_{len(self.nodes)}"), x)

    def relu6(self, x: int) -> int:
        """Append a ReLU6."""
        return self.append(ReLU6(f"relu6_{len(self.nodes)}"), x)

    def gelu(self, x: int) -> int:
        """Append a GELU."""
        return self.append(GELU(f"gelu_{len(self.nodes)}"), x)

    def sigmoid(self, x: int) -> int:
        """Append a sigmoid."""
        return self.append(Sigmoid(f"sigmoid_{len(self.nodes)}"), x)

    def hard_sigmoid(self, x: int) -> int:
        """Append a hard sigmoid."""
        return self.append(HardSigmoid(f"hard_sigmoid_{len(self.nodes)}"), x)

    def tokens(self, x: int) -> int:
        """Append the change from images to tokens."""
        return self.append(Tokens(f"tokens_{len(self.nodes)}"), x)

    def position(self, name: str, x: int, *, init_std: float) -> int:
        """Append a position array."""
        return self.append(Position(name, self.shape(x)[0], self.shape(x)[-1], init_std), x)

    def fourier_position(self, name: str, x: int, *, init_std: float) -> int:
        """Append a position array of sines and cosines to images."""
        channels, height, width = (*self.shape(x), 1, 1)[:3]  # `append` refuses what is no image
        return self.append(FourierPosition(name, channels, height, width, init_std), x)

    def images(self, x: int, height: int, width: int) -> int:
        """Append the change from tokens to images."""
        return self.append(Images(f"images_{len(self.nodes)}", height, width), x)

    def channels(self, x: int, start: int, count: int) -> int:
        """Append a choice of channels."""
        return self.append(Channels(f"channels_{len(self.nodes)}", start, count), x)

    def concat(self, *inputs: int) -> int:
        """Append a concatenation of the channels of images."""
        sizes = {self.shape(x)[1:] for x in inputs}
        if len(sizes) != 1:
            raise MarginfaceError(
                f"backbone '{self.name}' cannot put shapes "
                f"{[self.shape(x) for x in inputs]} side by side; all sizes must be the same"
            )
        return self.append(Concat(f"concat_{len(self.nodes)}"), *inputs)

    def layer_scale(self, name: str, x: int, *, init_scale: float) -> int:
        """Append a factor for each channel of tokens."""
        return self.append(LayerScale(name, self.shape(x)[-1], init_scale), x)

    def cross_covariance(self, name: str, x: int, heads: int) -> int:
        """Append a cross-covariance attention of tokens that are q, k and v side by side."""
        return self.append(CrossCovariance(name, self.shape(x)[-1], heads), x)

    def attention(self, name: str, x: int, heads: int, *, init_std: float) -> int:
        """Append a self-attention."""
        return self.append(Attention(name, self.shape(x)[-1], heads, init_std), x)

    def drop_path(self, name: str, x: int, rate: float) -> int:
        """Append a drop path, at the end of a branch; nothing at rate 0."""
        return x if rate == 0 else self.append(DropPath(name, rate), x)

    def mask_tokens(self, name: str, x: int, rate: float) -> int:
        """Append a masking of tokens; nothing at rate 0."""
        return x if rate == 0 else self.append(MaskTokens(name, self.shape(x)[0], rate), x)

    def restore_tokens(self, name: str, x: int, masked: str, *, init_std: float) -> int:
        """Append a layer that fills the places that the layer `masked` emptied; "" for none."""
        return self.append(RestoreTokens(name, self.shape(x)[-1], masked, init_std), x)

    def flattened(self, position: int) -> Shape:
        """Return the [C, H, W] of images that lie flattened at a position; empty for none."""
        node = self._node(position)
        return node.flattened if node else ()

    def _node(self, position: int) -> Node | None:
        """Return the layer at a position; None for the images."""
        if not isinstance(position, int) or not IMAGES <= position < len(self.nodes):
            raise MarginfaceError(
                f"backbone '{self.name}' has nothing at {position!r}; give a layer IMAGES, or what "
                "a method of the graph returned"
            )
        return None if position == IMAGES else self.nodes[position]

    def _unordered(self, layer: str) -> MarginfaceError:
        """Build the error for a layer that would depend on the order of flattened images."""
        return MarginfaceError(
            f"backbone '{self.name}': {layer} stands behind flattened images, whose order is each "
            "framework's; put a linear layer between, or flatten tokens(x) instead"
        )

    def _flattened_in(self, layer: Layer, x: int) -> Shape:
        """Return `Node.flattened` for a layer whose first input is x."""
        if isinstance(layer, Linear):
            return ()
        if isinstance(layer, Flatten):
            shape = self.shape(x)
            return shape if len(shape) == 3 and shape[1:] != (1, 1) else ()
        return self.flattened(x)

    def _masked_in(self, layer: Layer, inputs: Sequence[int]) -> str:
        """Return `Node.masked` for a layer; raise if it needs the tokens that a mask leaves out."""
        maskings = [node.masked if node else "" for node in map(self._node, inputs)]
        masked, label = max(maskings), f"backbone '{self.name}': '{layer.name}'"
        if isinstance(layer, RestoreTokens):
            if layer.masked == masked:
                return ""
            where = f"behind the masking '{masked}'" if masked else "where no tokens are masked"
            raise MarginfaceError(
                f"{label} restores masked={layer.masked!r}, but stands {where}; give "
                f"masked={masked!r}"
            )
        if len(set(maskings)) > 1 or (masked and not layer.takes_masked):
            raise MarginfaceError(
                f"{label} ({type(layer).__name__}) takes all tokens, but '{masked}' leaves some "
                "out in training; put restore_tokens between"
            )
        return layer.name if isinstance(layer, MaskTokens) else masked

    def _channels(self, name: str, x: int) -> int:
        """Return the channels of images or vectors."""
        if self.flattened(x):
            raise self._unordered(f"'{name}'")
        return self.shape(x)[0]

    def _width(self, name: str, x: int) -> int:
        """Return the channels of images, tokens or vectors."""
        return self.shape(x)[-1] if len(self.shape(x)) == 2 else self._channels(name, x)

    def check_end(self) -> None:
        """Raise unless the last layer gives embeddings."""
        shape = self.nodes[-1].shape if self.nodes else None
        if shape != (self.embedding_size,):
            problem = f"ends in shape {list(shape)}" if shape else "is empty"
            raise MarginfaceError(
                f"backbone '{self.name}' {problem}, expected [{self.embedding_size}]; let its last "
                "layer give graph.embedding_size values"
            )
        if self.nodes[-1].flattened:
            raise self._unordered("the embedding")
        if self.dropout_rate and not any(isinstance(node.layer, Dropout) for node in self.nodes):
            raise MarginfaceError(
                f"backbone '{self.name}' drops nothing, got dropout {self.dropout_rate}; leave it "
                "at 0, or append graph.dropout(x, dropout)"
            )

    def check_images(self, shape: Sequence[int | None]) -> None:
        """Raise unless images are [N, 3, height, width] of the graph's size."""
        if len(shape) != 4 or tuple(shape[1:]) != (3, *self.input_size):
            height, width = self.input_size
            raise MarginfaceError(
                f"images have shape {list(shape)}, '{self.name}' takes [N, 3, {height}, {width}]; "
                "create the backbone with their input_size, or resize them"
            )

    def parameters(self) -> dict[str, Parameter]:
        """Return every array by canonical name, in order of execution."""
        return {
            array_name(node.layer, suffix): parameter
            for node in self.nodes
            for suffix, parameter in node.layer.parameters().items()
        }

    def count_parameters(self) -> int:
        """Count the numbers of the network; running statistics are no parameters.

        >>> from marginface.backbones import describe
        >>> describe("mbf").count_parameters()
        2059520
        """
        return sum(
            math.prod(parameter.shape)
            for name, parameter in self.parameters().items()
            if name.rpartition(".")[2] not in ("running_mean", "running_var")
        )

    def multiply_adds(self) -> int:
        """Return the multiplications of one image's forward pass, but for those value by value.

        >>> from marginface.backbones import describe
        >>> round(describe("iresnet50").multiply_adds() / 1e9, 1)
        6.3
        """
        return sum(node.layer.multiply_adds(node.shape) for node in self.nodes)

    def undecayed(self) -> set[str]:
        """Return the arrays that do not decay where `decay_norm_and_bias` is false."""
        return {name for name, parameter in self.parameters().items() if not parameter.decay}

    def arrays_of_their_own(self) -> dict[str, Parameter]:
        """Return the arrays that are named as their layer is, without a part of their own."""
        return {
            node.layer.name: node.layer.parameters()[""]
            for node in self.nodes
            if "" in node.layer.parameters()
        }

    def noise(self) -> dict[str, Shape]:
        """Return the shape of the noise that each sample takes in training, by layer."""
        return {
            node.layer.name: node.layer.noise for node in self.nodes if node.layer.noise is not None
        }

    def draw(self, rng: np.random.Generator, batch: int) -> dict[str, Array]:
        """Draw what a batch takes in training: dropout, drop path, masks.

        Returns:
            int32 [batch, ...] by layer, uniform below 2**31; nothing for most networks.

        >>> from marginface.backbones import describe
        >>> drawn = describe("mbf", dropout=0.4).draw(np.random.default_rng(0), 8)
        >>> drawn["dropout"].shape
        (8, 512)
        """
        return {
            name: rng.integers(NOISE, size=(batch, *shape), dtype=np.int32)
            for name, shape in self.noise().items()
        }

    def check_draw(
        self, draw: Mapping[str, Sequence[int | None]], batch: int | None, *, training: bool
    ) -> None:
        """Raise unless `draw`, shapes by name, are the shapes that `draw` gives for a batch."""
        if not training:
            raise MarginfaceError(
                f"'{self.name}' got draw outside training, where nothing is drawn; leave it out"
            )
        expected = {name: (batch, *shape) for name, shape in self.noise().items()}
        shapes = {name: tuple(shape) for name, shape in draw.items()}
        if shapes.keys() != expected.keys() or not all(
            _fits(shapes[name], shape) for name, shape in expected.items()
        ):
            raise MarginfaceError(
                f"'{self.name}' takes draw of shapes {expected}, got {shapes}; "
                "pass backbone.graph.draw(rng, batch)"
            )

    def forward(
        self,
        arrays: Mapping[str, Array],
        images: Array,
        *,
        training: bool = False,
        draw: Mapping[str, Array] | None = None,
    ) -> Array:
        """Compute the embeddings of images [N, 3, H, W] in NumPy: the reference, slowly."""
        values, draw = {IMAGES: images}, draw or {}
        for position, (layer, inputs, *_) in enumerate(self.nodes):
            layer_arrays = {
                suffix: arrays[array_name(layer, suffix)] for suffix in layer.parameters()
            }
            call = Call(layer_arrays, training, draw.get(layer.noise_of))
            values[position] = layer.forward(call, *(values[source] for source in inputs))
        return values[len(self.nodes) - 1]

    def last_use(self) -> list[int]:
        """Return, for each node, the position of its last reader (its own position for none)."""
        last = list(range(len(self.nodes)))
        for position, node in enumerate(self.nodes):
            for source in node.inputs:
                if source != IMAGES:
                    last[source] = position
        return last

    def segments(self) -> list[range]:
        """Return the nodes in parts that hand one value on: they end where branches join or begin.

        >>> from marginface.backbones import describe
        >>> [len(part) for part in describe("iresnet18").segments()]
        [3, 9, 7, 9, 7, 9, 7, 9, 7, 4]
        """
        last, ends = self.last_use(), []
        readers = Counter(source for node in self.nodes for source in node.inputs)
        for position, node in enumerate(self.nodes):
            waiting = [source for source in range(position) if last[source] > position]
            if (len(node.inputs) > 1 or readers[position] > 1) and not waiting:
                ends.append(position + 1)
        bounds = [0, *ends, len(self.nodes)]
        return [range(*pair) for pair in pairwise(bounds) if pair[0] < pair[1]]


def _fits(shape: Sequence[int | None], expected: Sequence[int | None]) -> bool:
    """Whether two shapes may be the same; None is a length that is not known yet."""
    return len(shape) == len(expected) and all(
        None in pair or pair[0] == pair[1] for pair in zip(shape, expected, strict=True)
    )


def array_name(layer: Layer, suffix: str) -> str:
    """Return the canonical name of a layer's array.

    >>> array_name(Add("pos_embed"), ""), array_name(Add("fc"), "weight")
    ('pos_embed', 'fc.weight')
    """
    return f"{layer.name}.{suffix}" if suffix else layer.name
