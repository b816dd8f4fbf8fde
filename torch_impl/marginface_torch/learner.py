"""One model in training: backbone, head, optimizer; what the core's trainer drives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from marginface import backbones
from marginface.arrays import ArraySource, ArraySpec
from marginface.backbones.folding import inference_graph
from marginface.backbones.naming import fit_weights
from marginface.backbones.parts import arrays_of
from marginface.checks import check_labels
from marginface.heads import HeadMetrics, Shard, whole_shape
from marginface.heads.initial import InitialHead
from marginface.learner import (
    STEP,
    LearnerArray,
    LearnerSpec,
    LoadSummary,
    MicroBatch,
    StepResult,
    check_files,
    check_fits,
    check_names,
    head_name,
    micro_batches,
    name_in_head,
)
from marginface.loss_scaling import SCALE, LossScale
from marginface.model import ModelSpec
from marginface_torch.arrays import as_numpy, as_tensor, held_as, to_float32
from marginface_torch.backbones.backbone import (
    Backbone,
    channels_last,
    rest,
    still_statistics,
    synchronize,
)
from marginface_torch.compiling import compiled
from marginface_torch.devices import described, find_device, half_precision, set_up
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
        self.device = find_device(spec.device)
        self.device_name = described(self.device)
        set_up(self.device, spec.precision, deterministic=spec.deterministic)
        self.precision, self.accumulation = spec.precision, spec.accumulation
        self.scaling = LossScale() if spec.precision == "float16" else None
        self.model, self.optimizer_spec, self.tuning = model, spec.optimizer, spec.tuning
        self.dtype: torch.dtype = getattr(torch, spec.dtype)
        backbone = Backbone(model.graph(), seed=spec.seed, dtype=self.dtype)
        self.backbone = channels_last(backbone.to(self.device))
        self.backbone.recomputing = spec.recompute
        head = MarginHead(
            loss,
            model.embedding_size,
            num_classes,
            dtype=self.dtype,
            update=spec.head_update,
            sample_rate=spec.sample_rate,
            sampling=spec.sampling,
            precision=spec.head_precision,
            interclass_filter=spec.interclass_filter,
            shard=Shard(self.group.rank, self.group.size) if self.group else None,
        )
        self.head = head.to(self.device)
        self.head.checking = False  # `step` checks what it gives
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
        self._parallel: DistributedDataParallel | None = None
        if self.group and self._learns():
            # Made anew: it learns once which gradients there are.
            with warnings.catch_warnings():
                # Its new name is not in every PyTorch that we take.
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
                forward = self._parallel = DistributedDataParallel(
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
        check_labels(labels.min(), labels.max(), self.head.num_classes)
        given = {name: self._moved(as_tensor(value)) for name, value in draw.items()}
        noise, draws = backbones.split_noise(given)
        parts = micro_batches(images, noise, self.accumulation)
        with torch.set_grad_enabled(self.accumulation == 1):
            embeddings = torch.cat([self._embeddings(*part) for part in parts])
        if self.accumulation > 1:
            embeddings.requires_grad_(self._learns())
        self.head.rate = learning_rate * self.tuning.head_factor
        own = self._moved(torch.from_numpy(labels))
        # Before the loss's backward pass, which may move the class weights.
        measured = self.head.measure(embeddings, own, draws) if measure else None
        loss = self.head(embeddings, own, draws)
        self.optimizer.zero_grad(set_to_none=True)
        factor = self.scaling.factor if self.scaling else 1.0
        self.head.loss_scale = factor if self.scaling else None
        (loss * factor).backward()
        if self.accumulation > 1 and embeddings.grad is not None:
            self._go_back(parts, embeddings.grad)
        scaled = [p.grad for p in self.parameters.values() if p.grad is not None]
        if self.scaling and scaled:
            torch._foreach_mul_(scaled, 1 / factor)
        gradients = [p.grad for p in self.backbone.parameters() if p.grad is not None]
        _, norm = clip_scale(gradients, self.optimizer_spec.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        skipped = self.scaling is not None and not norm.isfinite()
        if not skipped:
            self.optimizer.step()
        self.steps += 1
        if skipped:  # it counts all the same, as after a resumption
            set_step(self.optimizer, self.optimizer_spec, self.steps)
        if self.scaling:
            self.scaling = self.scaling.after(finite=not skipped)
        loss = loss.detach()
        if self.group:
            loss = add_up(loss) / self.group.size
        reported = [loss, norm, *(measured or ())]
        wide = torch.promote_types(self.dtype, torch.float32)
        # The one time that a GPU is waited for, but for float16's overflows.
        figures = torch.stack([each.to(self.device, wide) for each in reported]).tolist()
        metrics = HeadMetrics(*figures[2:]) if measured else None
        return StepResult(figures[0], figures[1], metrics, self.scaling)

    def _embeddings(self, images: NDArray[np.uint8], noise: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings in training; the head takes them in its own precision."""
        with half_precision(self.device, self.precision):
            embeddings = self._forward(self._input(images), noise)
        return embeddings.to(self.dtype)

    def _go_back(self, parts: Sequence[MicroBatch], d_embeddings: Tensor) -> None:
        """Compute the backbone's gradients, a micro-batch at a time, by a second forward pass.

        It is the first one again, whose values were not kept: the same noise, and the running
        statistics have moved already.
        """
        with still_statistics(self.backbone):
            for part, gradient in zip(parts, d_embeddings.chunk(len(parts)), strict=True):
                last = part is parts[-1]
                waits = nullcontext() if last or not self._parallel else self._parallel.no_sync()
                with waits:
                    torch.autograd.backward(self._embeddings(*part), gradient)

    def _learns(self) -> bool:
        return any(p.requires_grad for p in self.backbone.parameters())

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
        ends = [torch.stack(torch.aminmax(v)).isfinite().all() for v in tensors.values()]
        # The one time that the device is waited for.
        finite = torch.stack([each.to(self.device) for each in ends]).tolist()
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
        self.head.before_loading(filter(None, map(name_in_head, summary.loaded)))
        for name in summary.loaded:
            if name == SCALE:
                self.scaling = LossScale.from_array(np.asarray(arrays[name]))
                continue
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
        if self.scaling:
            tensors[SCALE] = torch.from_numpy(self.scaling.to_array())
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
        return (self._moved(tensor).to(self.dtype) - mean) / std

    def _moved(self, tensor: Tensor) -> Tensor:
        """Copy a tensor to the device; to a GPU from pinned memory, without waiting for it."""
        if self.device.type != "cuda":
            return tensor.to(self.device, held_as(tensor.dtype, self.device))
        return tensor.pin_memory().to(self.device, non_blocking=True)


def create_learner(spec: LearnerSpec) -> Learner:
    """Create a learner whose initial weights come from the core's generator."""
    return Learner(spec)


def create_embedder(
    model: ModelSpec,
    weights: Mapping[str, NDArray[Any]],
    *,
    threads: int | None = None,
    device: str = "auto",
    folded: bool = True,
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function from images [N, 3, H, W], preprocessed, to embeddings [N, D].

    Folded, BatchNorms are in the weights beside them: the same but for rounding, and faster.
    """
    set_threads(threads)
    place = find_device(device)
    set_up(place, "full", deterministic=False)
    graph = model.graph()
    arrays = fit_weights(graph, weights)
    if folded:
        graph, arrays = inference_graph(graph, arrays)
    backbone = Backbone(graph, seed=0)
    backbone.set_arrays(arrays)
    network = channels_last(backbone.to(place)).eval()

    def embed(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(place, memory_format=torch.channels_last)
            return to_float32(network(batch))

    return embed
