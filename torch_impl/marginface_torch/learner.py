"""One model in training: backbone, head, optimizer; what the core's trainer drives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from marginface import backbones
from marginface.backend import StepResult
from marginface.heads import Precision, Sampling, Shard
from marginface.heads.initial import initial_head
from marginface.losses import MarginLoss
from marginface.model import ModelSpec
from marginface.optimizers import SGD, Optimizer
from marginface.runs.checkpoints import check_fits, head_name
from marginface_torch.backbones.backbone import channels_last, create_backbone, synchronize
from marginface_torch.backbones.weights import load_weights, to_float32, to_numpy
from marginface_torch.compiling import compiled
from marginface_torch.heads.head import MarginHead
from marginface_torch.optimizers import clip_scale, create_optimizer, read_slots, write_slots
from marginface_torch.processes import Group, add_up, set_threads


class Learner:
    """Backbone, head and optimizer in PyTorch; NumPy arrays in and out."""

    def __init__(
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
    ) -> None:
        set_threads(threads)
        self.group = group if group is not None and group.size > 1 else None
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, self.optimizer_spec = model, optimizer
        self.dtype: torch.dtype = getattr(torch, dtype)
        backbone = create_backbone(
            model.backbone,
            model.embedding_size,
            input_size=model.input_size,
            dropout=model.dropout,
            seed=seed,
            dtype=self.dtype,
        )
        self.backbone = channels_last(backbone.to(self.device))
        head = MarginHead(
            loss,
            model.embedding_size,
            num_classes,
            dtype=self.dtype,
            update=optimizer if isinstance(optimizer, SGD) else None,
            sample_rate=sample_rate,
            sampling=sampling,
            precision=precision,
            shard=Shard(self.group.rank, self.group.size) if self.group else None,
        )
        self.head = head.to(self.device)
        named = {f"backbone.{name}": p for name, p in self.backbone.named_parameters()}
        named |= {f"head.{name}": p for name, p in self.head.named_parameters()}
        self.parameters = {name: p for name, p in named.items() if p.requires_grad}
        undecayed = {f"backbone.{name}" for name in self.backbone.graph.undecayed()}
        self.optimizer = create_optimizer(optimizer, self.parameters, undecayed | {"head.bias"})
        self.steps = 0
        self._forward: Callable[[Tensor, Mapping[str, Tensor]], Tensor] = self.backbone
        if self.group:
            # As for the whole batch: then any number of processes gives the same run.
            synchronize(self.backbone)
            with warnings.catch_warnings():
                # Its new name is not in every PyTorch that we take.
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
                self._forward = DistributedDataParallel(
                    self.backbone, broadcast_buffers=False, gradient_as_bucket_view=True
                )
        self._scaling = [
            torch.tensor(values, dtype=self.dtype, device=self.device)[:, None, None]
            for values in (model.preprocessing.mean, model.preprocessing.std)
        ]
        rows = num_classes * loss.num_centers
        self.head.load_weight(initial_head((rows, model.embedding_size), seed))

    def compile(self) -> None:
        """Compile the backbone's forward and backward; costs a minute or two at the next step."""
        self._forward = compiled(self._forward)

    def step(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        learning_rate: float,
        draw: Mapping[str, NDArray[Any]],
    ) -> StepResult:
        """Take one optimizer step on RGB images [batch, height, width, 3]."""
        self.backbone.train()
        self.head.train()
        given = {name: torch.tensor(value, device=self.device) for name, value in draw.items()}
        noise, draws = backbones.split_draw(given)
        embeddings = self._forward(self._input(images), noise)
        self.head.rate = learning_rate
        loss = self.head(embeddings, torch.from_numpy(labels).to(self.device), draws)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in self.backbone.parameters() if p.grad is not None]
        _, norm = clip_scale(gradients, self.optimizer_spec.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.steps += 1
        loss = loss.detach()
        if self.group:
            loss = add_up(loss) / self.group.size
        return StepResult(loss.item(), norm.item())

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings [batch, embedding_size] in inference mode, not normalised."""
        self.backbone.eval()
        with torch.inference_mode():
            return to_float32(self.backbone(self._input(images)))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that training goes on from, under canonical names.

        That of all classes, whatever the number of processes, which call it together.
        """
        found = {name: to_numpy(value) for name, value in self._alike().items()}
        for name, value in self.head.arrays(self._head_slots()).items():
            found[head_name(name)] = value
        return found | {"optimizer.step": np.array(self.steps, np.int64)}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array that `state` returns."""
        found = {name: tuple(value.shape) for name, value in self._alike().items()}
        for name, shape in self.head.shapes(self._head_slots()).items():
            found[head_name(name)] = shape
        return found | {"optimizer.step": ()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Set everything that `state` returns; names and shapes must be the same."""
        check_fits(state, self.shapes(), "the given state")
        self.steps = int(state["optimizer.step"])
        slots = read_slots(self.optimizer, self.parameters, self.optimizer_spec)
        write_slots(self.optimizer, self.parameters, self.optimizer_spec, slots, self.steps)
        with torch.no_grad():
            for name, value in self._alike().items():
                value.copy_(torch.tensor(state[name]))
        given = {name: state[head_name(name)] for name in self.head.shapes(self._head_slots())}
        self.head.load_arrays(given, self._head_slots())

    def _alike(self) -> dict[str, Tensor]:
        """Every tensor that all processes have alike, by canonical name, in place."""
        backbone = self.backbone.state_dict()
        found = {f"backbone.{name}": backbone[name] for name in self.backbone.graph.parameters()}
        slots = read_slots(self.optimizer, self.parameters, self.optimizer_spec)
        return found | {
            f"optimizer.{name}": value for name, value in slots.items() if ".head." not in name
        }

    def _head_slots(self) -> dict[str, Tensor]:
        """The optimizer's slots of the head, as `<slot>.weight`; none where it steps itself."""
        slots = read_slots(self.optimizer, self.parameters, self.optimizer_spec)
        return {k.replace(".head.", "."): v for k, v in slots.items() if ".head." in k}

    def _input(self, images: NDArray[np.uint8]) -> Tensor:
        pixels = self.model.preprocessing.pixels(images)
        # [N, H, W, 3] seen as [N, 3, H, W] is channels-last memory already: no copy.
        tensor = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
        mean, std = self._scaling
        return (tensor.to(self.device).to(self.dtype) - mean) / std


def create_learner(
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
    """Return a learner whose initial weights come from the core's generator and `seed`."""
    return Learner(
        model,
        loss,
        num_classes,
        optimizer,
        seed=seed,
        threads=threads,
        dtype=dtype,
        group=group,
        sample_rate=sample_rate,
        sampling=sampling,
        precision=precision,
    )


def create_embedder(
    model: ModelSpec, weights: Mapping[str, NDArray[Any]], *, threads: int | None = None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function from images [N, 3, H, W], preprocessed, to embeddings [N, D]."""
    set_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = create_backbone(
        model.backbone, model.embedding_size, input_size=model.input_size, seed=0
    )
    load_weights(backbone, weights)
    network = channels_last(backbone.to(device)).eval()

    def embed(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
            return to_float32(network(batch))

    return embed
