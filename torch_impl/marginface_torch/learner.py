"""One model in training: backbone, head, optimizer; what the core's trainer drives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from marginface import backbones
from marginface.arrays import ArraySource, ArraySpec
from marginface.backbones.parts import arrays_of
from marginface.heads import HeadMetrics, Shard, whole_shape
from marginface.heads.initial import InitialHead
from marginface.learner import (
    STEP,
    LearnerArray,
    LearnerSpec,
    LoadSummary,
    StepResult,
    check_files,
    check_fits,
    check_names,
    head_name,
    name_in_head,
)
from marginface.model import ModelSpec
from marginface.optimizers import SGD
from marginface_torch.arrays import as_numpy, as_tensor, to_float32
from marginface_torch.backbones.backbone import channels_last, create_backbone, rest, synchronize
from marginface_torch.backbones.weights import load_weights
from marginface_torch.compiling import compiled
from marginface_torch.heads.head import MarginHead
from marginface_torch.optimizers import clip_scale, create_optimizer, read_slots, set_step
from marginface_torch.processes import PATIENCE, add_up, gather_rows, set_threads

Forward = Callable[[Tensor, Mapping[str, Tensor]], Tensor]


class Learner:
    """Backbone, head and optimizer in PyTorch; NumPy arrays in and out."""

    def __init__(self, spec: LearnerSpec) -> None:
        model, loss, num_classes, group = spec.model, spec.loss, spec.num_classes, spec.group
        set_threads(spec.threads)
        self.group = group if group is not None and group.size > 1 else None
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, self.optimizer_spec, self.tuning = model, spec.optimizer, spec.tuning
        self.dtype: torch.dtype = getattr(torch, spec.dtype)
        backbone = create_backbone(
            model.backbone,
            model.embedding_size,
            input_size=model.input_size,
            dropout=model.dropout,
            seed=spec.seed,
            dtype=self.dtype,
        )
        self.backbone = channels_last(backbone.to(self.device))
        head = MarginHead(
            loss,
            model.embedding_size,
            num_classes,
            dtype=self.dtype,
            update=spec.optimizer if isinstance(spec.optimizer, SGD) else None,
            sample_rate=spec.sample_rate,
            sampling=spec.sampling,
            precision=spec.precision,
            shard=Shard(self.group.rank, self.group.size) if self.group else None,
        )
        self.head = head.to(self.device)
        graph = self.backbone.graph
        never_trained = self.tuning.never_trained(graph)
        named = {f"backbone.{name}": p for name, p in self.backbone.named_parameters()}
        named |= {f"head.{name}": p for name, p in self.head.named_parameters()}
        self.parameters = {
            name: p for name, p in named.items() if p.requires_grad and name not in never_trained
        }
        undecayed = {f"backbone.{name}" for name in graph.undecayed()}
        undecayed.add("head.bias")
        self.optimizer = create_optimizer(
            spec.optimizer,
            self.parameters,
            undecayed,
            factors=self.tuning.factors(graph),
            first_steps=self.tuning.first_steps(graph),
        )
        self.steps = 0
        self._forward: Forward = self.backbone
        self._compiling = False
        self._gradients_of: Any = None  # processes that average the gradients of the backbone
        if self.group:
            # As for the whole batch: then any number of processes gives the same run.
            synchronize(self.backbone)
            if distributed.get_backend() == "gloo":
                # Of its own: `_leave` in processes.py says why. NCCL's would take GPU memory.
                self._gradients_of = distributed.new_group(timeout=PATIENCE)
        self._freeze(frozen=self.tuning.frozen_at(0))
        self._scaling = [
            torch.tensor(values, dtype=self.dtype, device=self.device)[:, None, None]
            for values in (model.preprocessing.mean, model.preprocessing.std)
        ]
        rows = num_classes * loss.num_centers
        self.head.load_weight(InitialHead((rows, model.embedding_size), spec.seed))

    def compile(self) -> None:
        """Compile the backbone's forward and backward; costs a minute or two at the next step."""
        self._compiling = True
        self._forward = compiled(self._forward)

    def _freeze(self, *, frozen: bool) -> None:
        """Hold the frozen parts still from now on, or let them learn."""
        self._frozen, graph = frozen, self.backbone.graph
        layers = self.tuning.frozen_layers(graph) if frozen else []
        rest(self.backbone, self.tuning.still_norms(graph, frozen=frozen))
        resting = set(arrays_of(graph, layers))
        trainable = {name for name, array in graph.parameters().items() if array.trainable}
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad = name in trainable and f"backbone.{name}" not in resting
        forward: Forward = self.backbone
        if self.group and any(p.requires_grad for p in self.backbone.parameters()):
            # Made anew: it learns once which gradients there are.
            with warnings.catch_warnings():
                # Its new name is not in every PyTorch that we take.
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
                forward = DistributedDataParallel(
                    self.backbone,
                    broadcast_buffers=False,
                    gradient_as_bucket_view=True,
                    process_group=self._gradients_of,
                )
        self._forward = compiled(forward) if self._compiling else forward

    def step(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        learning_rate: float,
        draw: Mapping[str, NDArray[Any]],
        *,
        measure: bool = False,
    ) -> StepResult:
        """Take one optimizer step on RGB images [batch, height, width, 3]."""
        if self.tuning.frozen_at(self.steps) != self._frozen:
            self._freeze(frozen=not self._frozen)
        self.backbone.train()
        self.head.train()
        given = {name: torch.tensor(value, device=self.device) for name, value in draw.items()}
        noise, draws = backbones.split_noise(given)
        embeddings = self._forward(self._input(images), noise)
        self.head.rate = learning_rate * self.tuning.head_factor
        own = torch.from_numpy(labels).to(self.device)
        # Before the loss's backward pass, which may move the class weights.
        measured = self.head.measure(embeddings, own, draws) if measure else None
        loss = self.head(embeddings, own, draws)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in self.backbone.parameters() if p.grad is not None]
        _, norm = clip_scale(gradients, self.optimizer_spec.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        self.optimizer.step()
        self.steps += 1
        loss = loss.detach()
        if self.group:
            loss = add_up(loss) / self.group.size
        metrics = HeadMetrics(*(each.item() for each in measured)) if measured else None
        return StepResult(loss.item(), norm.item(), metrics)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings [batch, embedding_size] in inference mode, not normalised."""
        self.backbone.eval()
        with torch.inference_mode():
            return to_float32(self.backbone(self._input(images)))

    def array_specs(self) -> dict[str, LearnerArray]:
        """Describe every array that training goes on from."""
        specs = {}
        for name, value in self._tensors().items():
            rows, dtype = self._rows(name), as_numpy(value.new_empty(0)).dtype
            specs[name] = LearnerArray(ArraySpec(dtype, whole_shape(value.shape, rows)), rows)
        return specs

    def arrays(
        self, names: Iterable[str] | None = None, *, gather: bool = True
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Give the arrays one at a time, each good until the next step: copy what is kept longer.

        Args:
            names: which, in which order; None for all.
            gather: give the rows of all processes, which then call it together and take every
                array; else this process's.

        Raises:
            MarginfaceError: there is no array of such a name.
        """
        tensors = self._tensors()
        for name in check_names(names, tensors):
            value, rows = tensors[name], self._rows(name)
            yield name, as_numpy(gather_rows(value, rows) if gather and rows else value)

    def first_not_finite(self) -> str | None:
        """Name an array of this process that holds NaN or infinite values; None without one."""
        tensors = {name: v for name, v in self._tensors().items() if v.is_floating_point()}
        # Smallest and largest are NaN where anything is; torch.isfinite would take a copy.
        ends = torch.stack([torch.stack(torch.aminmax(v)).double() for v in tensors.values()])
        finite = ends.isfinite().all(1).tolist()  # the one time that the device is waited for
        return next((name for name, good in zip(tensors, finite, strict=True) if not good), None)

    @torch.no_grad()
    def load_arrays(self, arrays: Mapping[str, ArraySource], *, strict: bool = True) -> LoadSummary:
        """Set arrays from those of all classes; a process takes its own rows.

        Args:
            arrays: by canonical name.
            strict: refuse names that are missing or unexpected.

        Raises:
            MarginfaceError: they do not fit, or are in a file that is damaged; nothing has been
                set then.
        """
        specs, tensors = self.array_specs(), self._tensors()
        summary = check_fits(arrays, specs, "the given state", strict=strict)
        rank = self.group.rank if self.group else 0
        check_files(arrays, specs, rank)
        for name in summary.loaded:
            # In one expression: an array that had a name would stay while the next one is read.
            tensors[name].copy_(as_tensor(specs[name].read_part(arrays[name], rank)))
        if STEP in summary.loaded:
            self.steps = int(np.asarray(arrays[STEP]))
            set_step(self.optimizer, self.optimizer_spec, self.steps)
        return summary

    def _tensors(self) -> dict[str, Tensor]:
        """Every tensor that training goes on from, by canonical name, in place."""
        backbone = self.backbone.state_dict()
        tensors = {f"backbone.{name}": backbone[name] for name in self.backbone.graph.parameters()}
        tensors |= {head_name(name): value for name, value in self.head.saved().items()}
        slots = read_slots(self.optimizer, self.parameters, self.optimizer_spec)
        tensors |= {f"optimizer.{name}": value for name, value in slots.items()}
        return tensors | {STEP: torch.tensor(self.steps)}

    def _rows(self, name: str) -> list[range]:
        """Return each process's rows of an array of the head; nothing where all have all."""
        own = name_in_head(name)
        return [] if own is None else self.head.rows(own)

    def _input(self, images: NDArray[np.uint8]) -> Tensor:
        pixels = self.model.preprocessing.pixels(images)
        # [N, H, W, 3] seen as [N, 3, H, W] is channels-last memory already: no copy.
        tensor = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
        mean, std = self._scaling
        return (tensor.to(self.device).to(self.dtype) - mean) / std


def create_learner(spec: LearnerSpec) -> Learner:
    """Create a learner whose initial weights come from the core's generator."""
    return Learner(spec)


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
