"""The one seam: what the core asks of a framework, and `load_backend`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError, unknown_name
from marginface.own_code import in_one_line

if TYPE_CHECKING:
    from marginface.backbones import Graph
    from marginface.heads import HeadMetrics, HeadPlan, Precision, Sampling, Shard
    from marginface.learner import Group, Learner, LearnerSpec
    from marginface.losses import Evaluation, MarginLoss
    from marginface.losses.keywords import LossParameters
    from marginface.losses.problems import Problem
    from marginface.model import ModelSpec, Preprocessing
    from marginface.optimizers import Optimizer

Arrays = Mapping[str, NDArray[Any]]

MODULES = {"tf": "tensorflow", "torch": "torch"}  # what a backend's framework is imported as


class Backbone(Protocol):
    """A network, a `torch.nn.Module` or `keras.Model`, and all of that."""

    graph: Graph

    def __call__(self, images: Any, draw: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Return embeddings [batch, embedding_size] of images [batch, 3, height, width]."""

    def __getattr__(self, name: str) -> Any: ...


class Head(Protocol):
    """A margin loss with its class weights, a `torch.nn.Module` or `keras.Layer`, and all of that.

    Attributes:
        weight: class weights [num_classes * loss.num_centers, embedding_size], not normalised.
        bias: [num_classes], [1] or None.
        state: what the loss carries from step to step, by name.
        rate: the learning rate of `update`, to be set before the backward pass.
        loss_scale: what a gradient scaler multiplies the loss by; None for nothing.
    """

    loss: MarginLoss
    embedding_size: int
    num_classes: int
    weight: Any
    bias: Any
    state: Any
    rate: Any
    loss_scale: Any

    def __call__(
        self, embeddings: Any, labels: Any, draw: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Return the mean loss of embeddings [batch, embedding_size] and labels [batch]."""

    def draw(self, rng: np.random.Generator, labels: NDArray[Any]) -> dict[str, Any]:
        """Draw all that a call on a batch with these labels [batch] takes."""

    def cosines(self, embeddings: Any) -> Any:
        """Return the cosine of each embedding with each class, [batch, num_classes]."""

    def logits(
        self, embeddings: Any, labels: Any = None, draw: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the logits of all classes, [batch, num_classes]; with labels, with margins."""

    def measure(
        self, embeddings: Any, labels: Any, draw: Mapping[str, Any] | None = None
    ) -> HeadMetrics[Any]:
        """Measure accuracy and mean target angle of a batch, without margins; nothing moves."""

    def plan(self, batch: int, itemsize: int = 4, classes: int | None = None) -> HeadPlan:
        """Plan the computation of a batch: its blocks and its memory. The plan prints as text."""

    def __getattr__(self, name: str) -> Any: ...


class HeadClass(Protocol):
    """The class `MarginHead`, whose docstring says what its arguments are."""

    def __call__(
        self,
        loss: MarginLoss | str,
        embedding_size: int = 512,
        num_classes: int | None = None,
        *,
        dtype: Any = None,
        accumulation: int = 1,
        block: int | None = None,
        update: Optimizer | None = None,
        sample_rate: float = 1.0,
        sampling: Sampling = "partial_fc",
        precision: Precision = "full",
        interclass_filter: float | None = None,
        shard: Shard | None = None,
        **parameters: Unpack[LossParameters],
    ) -> Head:
        """Create a head."""


class Backend(Protocol):
    """A framework: the same names and signatures in `marginface_torch` and `marginface_tf`."""

    name: str

    @property
    def MarginHead(self) -> HeadClass:
        """The class of heads."""

    def version(self) -> str:
        """Return the framework's name and version."""

    def join(self, *, threads: int | None = None, device: str = "auto") -> Group:
        """Join the other processes that the environment names, before anything else is computed.

        Args:
            threads: CPU threads to use from now on.
            device: what computes: "auto", "cpu" or "cuda", of which each process has its own.
        """

    def create_backbone(
        self,
        name: str,
        embedding_size: int = 512,
        *,
        input_size: tuple[int, int] = (112, 112),
        dropout: float = 0.0,
        batch_norm_epsilon: float | None = None,
        seed: int | None = None,
        dtype: Any = None,
    ) -> Backbone:
        """Return a freshly initialised backbone: images [batch, 3, height, width] to embeddings."""

    def load_weights(self, backbone: Backbone, source: str | Path | Arrays) -> None:
        """Set a backbone's weights from a file or from arrays under canonical names."""

    def save_weights(self, backbone: Backbone, path: str | Path) -> None:
        """Write a backbone's weights to a safetensors file under canonical names."""

    def backbone_arrays(self, backbone: Backbone) -> dict[str, NDArray[Any]]:
        """Return a backbone's weights and statistics under canonical names and layouts."""

    def export_onnx(
        self,
        backbone: Backbone,
        path: str | Path,
        *,
        preprocessing: Preprocessing | None = None,
        opset: int = 17,
        preprocess: bool = False,
        normalize: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        """Write the ONNX contract and check it against this framework in ONNX Runtime."""

    def create_learner(self, spec: LearnerSpec) -> Learner:
        """Create a learner whose initial weights come from the core's generator."""

    def create_embedder(
        self,
        model: ModelSpec,
        weights: Arrays,
        *,
        threads: int | None = None,
        device: str = "auto",
        folded: bool = True,
    ) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """Return a function from preprocessed images [N, 3, H, W] to embeddings [N, D].

        Folded, BatchNorms are in the weights beside them: the same but for rounding, and faster.
        """

    def evaluate_loss(
        self, loss: MarginLoss, problem: Problem, dtype: str, *, device: str = "auto"
    ) -> Evaluation:
        """Return loss, gradients and next state on embeddings of `dtype`, as the spec does."""

    def loss_step(
        self,
        loss: MarginLoss,
        embeddings: NDArray[Any],
        labels: NDArray[Any],
        num_classes: int,
        draw: Arrays,
        *,
        threads: int | None = None,
        device: str = "auto",
        **options: Any,
    ) -> Callable[[], float]:
        """Return a function that computes the loss and the gradients of embeddings and weights."""


def backend_names() -> list[str]:
    """Return the names that `load_backend` accepts."""
    return sorted({entry.name for entry in entry_points(group="marginface.backends")})


def installed_backends() -> list[str]:
    """Return the names of the backends whose frameworks are installed.

    Raises:
        MarginfaceError: none is.
    """
    names = [name for name in backend_names() if name in MODULES and find_spec(MODULES[name])]
    if not names:
        raise MarginfaceError(
            "no backend is installed; run: pip install 'marginface[torch]', or 'marginface[tf]'"
        )
    return names


def default_backend() -> str:
    """Return the backend for those who name none: torch where it is installed.

    Raises:
        MarginfaceError: neither is.
    """
    names = installed_backends()
    return "torch" if "torch" in names else names[0]


def load_backend(name: str) -> Backend:
    """Return the backend called `name`, importing its framework.

    Raises:
        MarginfaceError: no backend has that name.
        MissingPackageError: its framework is not installed; the message has the command.
    """
    backends = entry_points(group="marginface.backends")
    if name not in backends.names:
        raise unknown_name("backend", name, backend_names())
    with in_one_line(f"backend '{name}' ({backends[name].value}) cannot be imported"):
        return cast(Backend, backends[name].load())
