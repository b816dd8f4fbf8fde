"""The one seam: what the core asks of a framework, and `load_backend`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError, unknown_name

if TYPE_CHECKING:
    from marginface.heads import Precision, Sampling
    from marginface.losses import Evaluation, MarginLoss
    from marginface.losses.problems import Problem
    from marginface.model import ModelSpec
    from marginface.optimizers import Optimizer

Arrays = Mapping[str, NDArray[Any]]

MODULES = {"tf": "tensorflow", "torch": "torch"}  # what a backend's framework is imported as


class StepResult(NamedTuple):
    """What one training step reports; equal on all processes."""

    loss: float  # mean over the images of all processes
    gradient_norm: float  # of the backbone, before clipping


class Group(Protocol):
    """The processes of a run, as one of them sees them; every process calls its methods together.

    Args:
        rank: which process this is, from 0.
        size: how many there are.
    """

    rank: int
    size: int

    def exchange(self, text: str) -> list[str]:
        """Return what every process gave, by rank."""


class Learner(Protocol):
    """Backbone, head and optimizer in one framework; the trainer drives it with NumPy arrays.

    With a group, all processes call `step`, `state` and `load_state` together; `embed` is local.
    A learner whose step can be compiled has `compile() -> None` as well.
    """

    def step(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        learning_rate: float,
        draw: Arrays,
    ) -> StepResult:
        """Take one optimizer step on `images` [batch, height, width, 3] (RGB).

        With a group, images, labels and what is drawn for each of them are this process's; drawn
        classes and their weights are of all processes.
        """

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings [batch, embedding_size] in inference mode, not normalised."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return weights, statistics, loss state and optimizer slots under canonical names.

        `backbone.<name>`, `head.weight`, `head.bias`, `head.state.<name>`,
        `optimizer.<slot>.<backbone or head name>`, `optimizer.step`. Every process returns the
        whole, as one process alone would.
        """

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array that `state` returns."""

    def load_state(self, state: Arrays) -> None:
        """Set everything that `state` returns; names and shapes must be the same."""


class Backend(Protocol):
    """A framework: the same names and signatures in `marginface_torch` and `marginface_tf`."""

    name: str
    MarginHead: Any

    def version(self) -> str:
        """Return the framework's name and version."""

    def join(self, *, threads: int | None = None) -> Group:
        """Join the other processes that the environment names, before anything else is computed.

        Args:
            threads: CPU threads to use from now on.
        """

    def create_backbone(
        self,
        name: str,
        embedding_size: int = 512,
        *,
        input_size: tuple[int, int] = (112, 112),
        dropout: float = 0.0,
        seed: int | None = None,
        dtype: Any = None,
    ) -> Any:
        """Return a freshly initialised backbone: images [batch, 3, height, width] to embeddings."""

    def load_weights(self, backbone: Any, source: str | Path | Arrays) -> None:
        """Set a backbone's weights from a file or from arrays under canonical names."""

    def save_weights(self, backbone: Any, path: str | Path) -> None:
        """Write a backbone's weights to a safetensors file under canonical names."""

    def backbone_arrays(self, backbone: Any) -> dict[str, NDArray[Any]]:
        """Return a backbone's weights and statistics under canonical names and layouts."""

    def export_onnx(self, backbone: Any, path: str | Path, **options: Any) -> Path:
        """Write the ONNX contract and check it against this framework in ONNX Runtime."""

    def create_learner(
        self,
        model: ModelSpec,
        loss: MarginLoss,
        num_classes: int,
        optimizer: Optimizer,
        *,
        seed: int,
        threads: int | None = None,
        dtype: str = "float32",
        group: Group | None = None,
        sample_rate: float = 1.0,
        sampling: Sampling = "partial_fc",
        precision: Precision = "full",
    ) -> Learner:
        """Return a learner whose initial weights come from the core's generator and `seed`.

        Args:
            model: what the backbone is.
            loss: what the head computes.
            num_classes: of all processes.
            optimizer: of backbone and head.
            seed: of the initial weights.
            threads: CPU threads; None for the framework's default.
            dtype: of weights and computation.
            group: the processes that share each step; None for this one alone.
            sample_rate: share of the classes that the head looks at in a step.
            sampling: how it weighs them.
            precision: of the head's matrix products.
        """

    def create_embedder(
        self, model: ModelSpec, weights: Arrays, *, threads: int | None = None
    ) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """Return a function from preprocessed images [N, 3, H, W] to embeddings [N, D]."""

    def evaluate_loss(self, loss: MarginLoss, problem: Problem, dtype: str) -> Evaluation:
        """Return loss, gradients and next state on embeddings of `dtype`, as the spec does."""

    def loss_step(
        self,
        loss: MarginLoss,
        embeddings: NDArray[Any],
        labels: NDArray[Any],
        num_classes: int,
        draw: Arrays,
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
    found = [name for name in backend_names() if name in MODULES and find_spec(MODULES[name])]
    if not found:
        raise MarginfaceError(
            "no backend is installed; run: pip install 'marginface[torch]', or 'marginface[tf]'"
        )
    return found


def load_backend(name: str) -> Backend:
    """Return the backend called `name`, importing its framework.

    Raises:
        MarginfaceError: no backend has that name.
        MissingPackageError: its framework is not installed; the message has the command.
    """
    found = [entry for entry in entry_points(group="marginface.backends") if entry.name == name]
    if not found:
        raise unknown_name("backend", name, backend_names())
    return cast(Backend, found[0].load())
