"""The classification head: class weights and a margin loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marginface.arrays import ArraySource
from marginface.checks import check_count, check_labels, check_type
from marginface.errors import MarginfaceError
from marginface.heads import (
    COUNT,
    UPDATE_APART,
    WEIGHT_STD,
    HeadMetrics,
    HeadPlan,
    Precision,
    Sampling,
    Shard,
    check_call,
    check_head,
    check_logits,
    check_precision,
    check_unshared,
    check_update,
    class_rows,
    draw_step,
    head_loss,
    own_draw,
    own_rows,
    plan_head,
    shard_rows,
    split_sample,
    update_slots,
)
from marginface.losses import MarginLoss, Sample
from marginface.optimizers import Optimizer
from marginface_torch.arrays import check_dtype, held_as, to_numpy
from marginface_torch.heads.blocks import PassInputs, TargetClasses, Terms, unit_vectors
from marginface_torch.heads.classes import class_terms, target_cosines
from marginface_torch.heads.companion import companion_losses
from marginface_torch.heads.margins import class_margins
from marginface_torch.heads.measuring import (
    add_margin,
    dense_cosines,
    metrics_of,
    nearest_classes,
    nearest_of_all,
)
from marginface_torch.heads.memory import ClassState, Memories, has_memories, mix
from marginface_torch.heads.sampling import LocalClasses, local_classes
from marginface_torch.heads.sharding import added_gradient, combine, embeddings_of_all
from marginface_torch.heads.state import PreparedStep, carry_state, finish_step, prepare_step
from marginface_torch.heads.stepping import StepSettings, Update, with_gradient_check
from marginface_torch.losses import loss_ops
from marginface_torch.losses.base import Tensors
from marginface_torch.processes import check_processes, gather, gather_rows, replicas

# Logits of a block: what stays in a processor's cache; on a GPU, what keeps it busy.
BLOCK_LOGITS = defaultdict(lambda: 2**24, cpu=2**18)

P = ParamSpec("P")
T = TypeVar("T")


class MarginHead(nn.Module):
    """Mean margin loss of embeddings against learned class weights.

    Args:
        loss: a loss from `marginface.losses.get`, or its name.
        embedding_size: length of the embeddings.
        num_classes: number of identities.
        dtype: of `weight`; PyTorch's default for None.
        accumulation: calls to one optimizer step. The state moves with the last of them, to the
            mean of what each would have made it.
        block: classes whose logits are computed at a time; for None what is fastest. It changes
            memory and time, and nothing else.
        update: `marginface.SGD` or `AdamW`, which steps class weights and bias in the backward
            pass, block by block, at the learning rate `rate`, so that they need no gradient; for
            None that is an optimizer's work.
        sample_rate: how many of the classes a step looks at; below 1 it needs `update`, which
            leaves weights, momentum or moments, and decay of all others as they are. `draw` draws
            them. In evaluation all classes count.
        sampling: what the sample stands for, see `marginface.heads.draw_classes`.
        precision: what embeddings, class weights and slopes are rounded to for the three matrix
            products: "full" (not at all), "bfloat16" or "float16". Sums, target cosines and all
            else stay as they are.
        interclass_filter: cosines with other classes above it count as 0 and have no gradient: such
            classes are likely to be the sample's own person under another label. None for no
            filter.
        shard: which of the classes this process owns; None for all. The loss is the mean over this
            process's samples, over all classes. A drawn sample is of all classes, the same on every
            process, and `draw` takes the labels of all.
        parameters: of a loss that is given by name, such as `margin` and `scale`.

    Where torch.distributed runs on several processes, a call in training gathers target cosines,
    norms and draws, so that state and margins are those of the whole batch. All processes call
    together, with batches of one size. A shard's gradients are final; those of embeddings, and of
    what all processes have alike, are to be averaged, as DistributedDataParallel does.

    Attributes:
        weight: class weights [num_classes * loss.num_centers, embedding_size], not normalised; of
            a shard, its classes' alone.
        bias: [num_classes] (softmax; adaptiveface's margins), [1] (sphereface2, uniface) or None.
        state: what the loss carries from step to step, by name; in the state_dict.
        class_state: what the loss keeps for each class, by name, with a row a class; of a shard,
            its classes' alone. What a step leaves is written when the next begins, or in saving.
        momentum: what SGD as `update` carries for `weight` and `bias`, by name; in the state_dict.
        first, second, count: what AdamW carries instead: moments, and each row's number of steps.
        rate: the learning rate of `update`, to be set before the backward pass.
        checking: whether labels, samples and the factor on the loss are looked at, for which a GPU
            is waited for; False is for who has checked them. A head with `update` and no
            `loss_scale` then takes steps that are not finite, too.
        loss_scale: what a gradient scaler multiplies the loss by, to be set before the backward
            pass; steps are by the gradient divided by it. None for nothing.

    Raises:
        MarginfaceError: an unknown loss or parameter, or a size that is no whole number of at
            least 1.

    >>> head = MarginHead("arcface", embedding_size=8, num_classes=5, margin=0.3)
    >>> head(torch.ones(2, 8), torch.tensor([0, 4])).shape
    torch.Size([])
    """

    bias: Tensor | None
    _calls: Tensor

    def __init__(
        self,
        loss: MarginLoss | str,
        embedding_size: int = 512,
        num_classes: int | None = None,
        *,
        dtype: torch.dtype | None = None,
        accumulation: int = 1,
        block: int | None = None,
        update: Optimizer | None = None,
        sample_rate: float = 1.0,
        sampling: Sampling = "partial_fc",
        precision: Precision = "full",
        interclass_filter: float | None = None,
        shard: Shard | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__()
        check_dtype(dtype)
        self.loss = head_loss(loss, parameters)
        self._ops = loss_ops(self.loss)
        self.embedding_size, self.num_classes = check_head(self.loss, embedding_size, num_classes)
        companion = self.loss.companion
        self._companion = None if companion is None else loss_ops(companion)
        self.accumulation = check_count("accumulation", accumulation)
        self.block = None if block is None else check_count("block", block)
        self.shard = shard
        self.classes = (shard or Shard(0, 1)).classes(self.num_classes)
        # Running statistics would not move in half precision, and some devices have no float64.
        wide = torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)
        sizes = self.num_classes, self.embedding_size
        kept = class_rows(self.loss, *sizes, self.classes, wide.itemsize)
        self._remembers = bool(kept)
        rows = len(self.classes) * self.loss.num_centers
        self.weight = nn.Parameter(torch.empty(rows, self.embedding_size, dtype=dtype))
        source = None
        if shard is not None:  # under one seed for all processes, their shards must still differ
            drawn = int(torch.randint(2**62, ())) + shard.index
            source = torch.Generator(self.weight.device).manual_seed(drawn)
        nn.init.normal_(self.weight, std=WEIGHT_STD, generator=source)
        bias = self.loss.initial_bias(self.num_classes)
        # One bias of all classes, or the companion's.
        self._one_bias = bias is not None and len(bias) == 1 and self.loss.margin_pull is None
        self.register_parameter("bias", None)
        if bias is not None:
            own = bias if self._one_bias else bias[self.classes.start : self.classes.stop]
            self.bias = nn.Parameter(torch.tensor(own, dtype=self.weight.dtype))
        initial = self.loss.initial_state(self.num_classes)
        start = {name: torch.tensor(value) for name, value in initial.items()}
        self.state, self._sums = nn.Module(), nn.Module()
        for name, value in _cast(start, wide).items():
            self.state.register_buffer(name, value)
            if self.accumulation > 1:  # not saved, for neither are the gradients summed so far
                zero = torch.zeros_like(value)
                self._sums.register_buffer(name, zero, persistent=False)
        self.class_state = ClassState(self._ops, kept, wide, self.accumulation, alone=shard is None)
        self.register_buffer("_calls", torch.tensor(0), persistent=False)
        self.sample_rate, self.sampling = sample_rate, sampling
        self.update = update
        self._settings = StepSettings()
        check_update(update, sample_rate, sampling, self.accumulation)
        check_precision(precision)
        self.precision = precision
        self.loss.check_filter(interclass_filter)
        self.interclass_filter = interclass_filter
        self._slots = update_slots(update, str(self.weight.dtype).removeprefix("torch."))
        for slot in self._slots:
            self.add_module(slot, nn.Module())
            for name, value in self.named_parameters():
                value.requires_grad = False
                zeros = torch.zeros_like(value)
                if slot == COUNT:
                    zeros = torch.zeros(len(value), dtype=torch.int64)
                self.get_submodule(slot).register_buffer(name, zeros)

    @property
    def rate(self) -> float | None:
        """Learning rate of `update`; None until it was set."""
        return self._settings.rate

    @rate.setter
    def rate(self, value: float | None) -> None:
        self._settings.set_rate(value)

    @property
    def checking(self) -> bool:
        """Whether what is given is looked at, which waits for a GPU."""
        return self._settings.checking

    @checking.setter
    def checking(self, value: bool) -> None:
        self._settings.checking = value

    @property
    def loss_scale(self) -> float | None:
        """Factor on the loss before the backward pass; None for none."""
        return self._settings.loss_scale

    @loss_scale.setter
    def loss_scale(self, value: float | Tensor | None) -> None:
        self._settings.set_loss_scale(value)

    def forward(self, embeddings: Tensor, labels: Tensor, draw: Tensors | None = None) -> Tensor:
        """Return the mean loss.

        Args:
            embeddings: [batch, embedding_size], not normalised.
            labels: [batch], integers in 0 .. num_classes - 1.
            draw: what `loss.draw` drew for this batch, for losses with randomness; else nothing.

        Raises:
            MarginfaceError: a wrong shape or type, or a label out of range, which is named.
        """
        return _uncompiled(self._mean)(embeddings, labels, draw)

    def _mean(self, embeddings: Tensor, labels: Tensor, draw: Tensors | None) -> Tensor:
        sample, draws = self._check(embeddings, labels, draw)
        with torch.autocast(embeddings.device.type, enabled=False):
            x, norms, all_norms, inputs = self._inputs(embeddings, labels, sample)
            compute = x.dtype
            logit_norms = all_norms if self.loss.norm_scaled else None
            state: dict[str, Tensor] = dict(self.state.named_buffers())
            if self.loss.margin_pull is not None and self.bias is not None and self.training:
                self.bias.data.clamp_(0, 1)
            inputs, classes, own_numbers = self._recalled(inputs, state, compute)

            def pass_over(step: PreparedStep, inputs: PassInputs) -> Terms:
                inputs = replace(inputs, prepared=step.of_all, radius=step.radius)
                return self._terms(x, logit_norms, inputs)

            # From the target cosines alone the loss prepares margins and its next state; one that
            # looks ahead has a pass before, which nobody goes back through.
            ahead = replace(inputs.plan, kept=0, in_gradient=False)
            cosines = target_cosines(x, self.weight, inputs)
            step = prepare_step(
                self._ops,
                cosines,
                all_norms.detach(),
                # Copies: the state moves on before the backward pass asks what it was.
                _cast({name: value.clone() for name, value in state.items()}, compute)
                | own_numbers,
                _cast(draws, compute),
                self.shard,
                lambda step: pass_over(step, replace(inputs, plan=ahead, update=None)).others,
                training=self.training,
            )
            # The pass over all classes.
            terms = pass_over(step, inputs)
            # The margin, on each sample's own logit.
            step, pull = self._learned_margins(step, inputs, compute)
            target = self._target_logits(terms, norms, step)
            sample_losses = self._ops.reduce(target, terms.others) + self._ops.penalty(norms)
            if self._companion is not None and self.bias is not None:
                memory = Memories(self._ops, self.class_state, state).of(slice(None))
                sample_losses = sample_losses + companion_losses(
                    self._companion, x, memory, self.bias, inputs, self.shard
                )
        if self.training:
            next_state = finish_step(self._ops, terms.cosines, terms.others, step.state)
            sums = dict(self._sums.named_buffers())
            carry_state(state, next_state, sums, self._calls, self.accumulation)
            if self._remembers:
                samples = Sample(unit_vectors(x.detach())[0], all_norms, cosines)
                self.class_state.leave(classes, samples, state, everybody=self._everybody)
        loss = sample_losses.mean() + pull
        if inputs.update is not None:
            loss = with_gradient_check(loss, inputs.update)
        if self._remembers and loss.requires_grad:
            self.class_state.hold(loss)
        return loss

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Return the cosine of each embedding with each class, [batch, num_classes].

        Of several centres the nearest counts.

        Args:
            embeddings: [batch, embedding_size], not normalised.

        Raises:
            MarginfaceError: a wrong shape or type, or a head in shards.

        >>> head = MarginHead("arcface", embedding_size=8, num_classes=5)
        >>> head.cosines(torch.ones(2, 8)).shape
        torch.Size([2, 5])
        """
        self._check_batch(embeddings)
        check_unshared(self.shard)
        with torch.autocast(embeddings.device.type, enabled=False):
            return dense_cosines(self._wide(embeddings), self.weight, self.loss.num_centers)

    def logits(
        self, embeddings: Tensor, labels: Tensor | None = None, draw: Tensors | None = None
    ) -> Tensor:
        """Return the logits of all classes, [batch, num_classes]; a call never makes this array.

        With labels, those that the loss is made of: the margin is on each sample's own class. The
        loss's state stays as it is.

        Args:
            embeddings: [batch, embedding_size], not normalised.
            labels: [batch], integers in 0 .. num_classes - 1; None for no margins.
            draw: with labels, as in a call.

        Raises:
            MarginfaceError: as a call does, or for a head in shards.

        >>> head = MarginHead("arcface", embedding_size=8, num_classes=5)
        >>> x, labels = torch.ones(2, 8), torch.tensor([0, 4])
        >>> mean = torch.nn.functional.cross_entropy(head.logits(x, labels), labels)
        >>> torch.allclose(mean, head(x, labels))
        True
        """
        cosines = self.cosines(embeddings)
        with torch.autocast(embeddings.device.type, enabled=False):
            x = self._wide(embeddings)
            norms, state = unit_vectors(x)[1], dict(self.state.named_buffers())
            wide_state = _cast(state, x.dtype)
            plain = cosines if self.loss.normalized else x @ self.weight.to(x.dtype).T
            if labels is None:
                radius = self._ops.radius(wide_state)
                return self._logits(plain, norms[:, None], self._class_bias, radius)
            self._check_batch(embeddings, labels)
            draws = {n: v for n, v in (draw or {}).items() if n in self.loss.draws}
            self.loss.check_draw({n: v.shape for n, v in draws.items()}, len(labels))
            labels = _uncompiled(self._check_range)(labels.long())
            is_own = torch.arange(self.num_classes, device=labels.device) == labels[:, None]
            inputs = self._pass_inputs(labels, {}, x.dtype)
            inputs, _, own_numbers = self._recalled(inputs, state, x.dtype)
            if inputs.memories is not None:
                vectors = mix(self.weight.to(x.dtype), inputs.recall(slice(None)))
                plain = dense_cosines(x, vectors, self.loss.num_centers)

            def with_margin(step: PreparedStep) -> Tensor:
                step, _ = self._learned_margins(step, inputs, x.dtype)
                values = add_margin(
                    self._ops, plain, norms, is_own, step.own, self.interclass_filter
                )
                return self._logits(values, norms[:, None], self._class_bias, step.radius)

            step = prepare_step(
                self._ops,
                plain.detach().gather(1, labels[:, None])[:, 0],
                norms.detach(),
                wide_state | own_numbers,
                _cast(draws, x.dtype),
                None,
                lambda step: torch.where(is_own, -torch.inf, with_margin(step)).logsumexp(1),
                training=self.training,
            )
            return with_margin(step)

    @torch.no_grad()
    def measure(
        self, embeddings: Tensor, labels: Tensor, draw: Tensors | None = None
    ) -> HeadMetrics[Tensor]:
        """Measure accuracy and mean target angle of a batch, without margins; nothing moves.

        It goes over the classes in blocks, as a call does. With shards all processes call it
        together, and each gets the metrics of the whole batch.

        Args:
            embeddings: [batch, embedding_size], not normalised.
            labels: [batch], integers in 0 .. num_classes - 1.
            draw: from `draw`, to look at the classes that it sampled; None for all classes.

        Raises:
            MarginfaceError: as a call does.

        >>> head = MarginHead("arcface", embedding_size=8, num_classes=5)
        >>> metrics = head.measure(head.weight, torch.arange(5))
        >>> metrics.accuracy.item(), round(metrics.target_angle.item(), 2)
        (1.0, 0.0)
        """
        return _uncompiled(self._metrics)(embeddings, labels, draw)

    def _metrics(
        self, embeddings: Tensor, labels: Tensor, draw: Tensors | None
    ) -> HeadMetrics[Tensor]:
        self._check_batch(embeddings, labels)
        sample = split_sample(draw, self.sample_rate)[0] if draw else {}
        with torch.autocast(embeddings.device.type, enabled=False):
            x, _, _, inputs = self._inputs(embeddings, labels, sample)
            bias = None if self._one_bias else self._class_bias
            nearest = nearest_classes(x, self.weight, bias, inputs)
            return metrics_of(nearest if self.shard is None else nearest_of_all(nearest))

    def _check(
        self, embeddings: Tensor, labels: Tensor, draw: Tensors | None
    ) -> tuple[Tensors, Tensors]:
        """Check a call; split its draw into the sampled classes and the loss's part."""
        self._check_batch(embeddings, labels)
        sample, draws = split_sample(draw or {}, self.sample_rate if self.training else 1)
        self.loss.check_draw({k: v.shape for k, v in draws.items()}, len(labels))
        if self.shard is None and self.update is not None and self.training and replicas() > 1:
            raise MarginfaceError(UPDATE_APART)
        return sample, draws

    def _check_batch(self, embeddings: Tensor, labels: Tensor | None = None) -> None:
        """Raise unless the types, shapes and processes are those that the head takes."""
        given = {"embeddings": embeddings} | ({} if labels is None else {"labels": labels})
        for name, value in given.items():
            check_type(name, value, Tensor, "torch.as_tensor makes one")
        whole = labels is None or not (labels.is_floating_point() or labels.dtype is torch.bool)
        check_call(
            embeddings.shape,
            embeddings.shape[:1] if labels is None else labels.shape,
            integer_labels=whole,
            embedding_size=self.embedding_size,
        )
        if self.shard is not None and labels is not None:
            check_processes(self.shard)

    def _check_range(self, labels: Tensor) -> Tensor:
        if self.checking:
            smallest, largest = torch.stack(torch.aminmax(labels)).tolist()
            check_labels(smallest, largest, self.num_classes)
        return labels

    def _wide(self, embeddings: Tensor) -> Tensor:
        """Return embeddings in the type of the computation.

        Angles need float32: half precision cannot tell cosines near 1 apart.
        """
        compute = torch.promote_types(embeddings.dtype, torch.float32)
        return embeddings.to(torch.promote_types(compute, self.weight.dtype))

    def _inputs(
        self, embeddings: Tensor, labels: Tensor, sample: Tensors
    ) -> tuple[Tensor, Tensor, Tensor, PassInputs]:
        """Begin a pass: embeddings as the loss takes them, norms, everybody's norms, the rest."""
        labels = labels.long() if self.shard is None else gather(labels.long())
        self._check_range(labels)
        x = self._wide(embeddings)
        if x.is_inference():  # autograd keeps no such tensor for the way back
            x = x.clone()
        units, norms = unit_vectors(x)
        all_norms = norms
        if self.shard is not None:  # every process sees the whole batch
            x = embeddings_of_all(x, self.shard)
            units, all_norms = unit_vectors(x)
        x = units if self.loss.normalized else x
        return x, norms, all_norms, self._pass_inputs(labels, sample, x.dtype)

    def _recalled(
        self, inputs: PassInputs, state: Tensors, compute: torch.dtype
    ) -> tuple[PassInputs, Tensor, dict[str, Tensor]]:
        """Return a pass with what the loss recalls of its classes; the samples' own, their numbers.

        The numbers are those that the loss keeps for these classes, one for each.
        """
        if not self._remembers:
            return inputs, inputs.labels, {}
        self.class_state.settle()
        if has_memories(self._ops) and self._companion is None:
            memories = Memories(self._ops, self.class_state, state)
            inputs = replace(inputs, memories=memories)
        target = TargetClasses(inputs, compute)
        classes = torch.where(target.here, inputs.class_numbers(target.places), -1)
        numbers = self.class_state.own_numbers(classes, everybody=self._everybody)
        return inputs, classes, _cast(numbers, compute)

    def _learned_margins(
        self, step: PreparedStep, inputs: PassInputs, compute: torch.dtype
    ) -> tuple[PreparedStep, Tensor | float]:
        """Return the step with the samples' learned margins, and the pull on them all."""
        margins, pull = self.bias, self.loss.margin_pull
        if margins is None or pull is None:
            return step, 0.0
        own, mean = class_margins(margins, inputs, self.shard, compute)
        return step._replace(own={**step.own, "margin": own}), pull * (1 - mean)

    @property
    def _class_bias(self) -> Tensor | None:
        """The bias of the classes' logits: not a companion's, and no learned margins."""
        return None if self.loss.bias_apart else self.bias

    @property
    def _everybody(self) -> bool:
        """Whether other processes have all classes, too, and samples of their own."""
        return self.shard is None and self.training and replicas() > 1

    def _target_logits(self, terms: Terms, norms: Tensor, step: PreparedStep) -> Tensor:
        """Return the logits of this process's samples' own classes [batch], with the margin."""
        tally = dict(zip(self.loss.tallies, terms.tally, strict=True))
        target = self._ops.target(terms.cosines, norms, {**step.own, **tally})
        check_logits(self.loss.name, "target", target, terms.cosines)
        return self._logits(target, norms, terms.bias, step.radius)

    def _logits(
        self, values: Tensor, norms: Tensor, bias: Tensor | None, radius: Tensor | float
    ) -> Tensor:
        """Return logits of cosines, or of values with a margin: scaled, with bias and limit."""
        logits = values * radius
        if self.loss.norm_scaled:
            logits = logits * norms
        if bias is not None:
            logits = logits + bias
        limit = self.loss.logit_limit
        return logits if limit is None else logits.clamp(-limit, limit)

    def _terms(self, embeddings: Tensor, norms: Tensor | None, inputs: PassInputs) -> Terms:
        """Return the terms of this process's samples, over the classes of all processes."""
        bias = self._class_bias
        if self.shard is None:
            return class_terms(embeddings, norms, self.weight, bias, inputs)
        if bias is not None and self._one_bias:
            bias = added_gradient(bias)
        shard_terms = class_terms(embeddings, norms, self.weight, bias, inputs)
        return combine(shard_terms, self.shard, self.loss.adds)

    def draw(self, rng: np.random.Generator, labels: NDArray[Any]) -> dict[str, Tensor]:
        """Draw all that a call on a batch with these labels [batch] takes: margins and classes."""
        draw = draw_step(self.loss, rng, labels, self.num_classes, self.sample_rate, self.sampling)
        draw = own_draw(draw, self.loss, self.shard)
        device = self.weight.device
        tensors = {name: torch.as_tensor(value) for name, value in draw.items()}
        return {n: each.to(device, held_as(each.dtype, device)) for n, each in tensors.items()}

    def _pass_inputs(self, labels: Tensor, sample: Tensors, compute: torch.dtype) -> PassInputs:
        """Build the inputs of a pass over this process's classes; `prepared` comes later."""
        if sample:
            local = local_classes(
                sample,
                labels,
                self.classes,
                alone=self.shard is None,
                checking=self.checking,
            )
        else:
            local = LocalClasses(len(self.classes), labels - self.classes.start)
        plan = self.plan(len(labels), compute.itemsize, local.number)
        return PassInputs(
            self._ops,
            {},
            self.loss.scale,
            plan,
            *local[1:],
            interclass_filter=self.interclass_filter,
            one_bias=self._one_bias,
            update=self._update(),
        )

    def _update(self) -> Update | None:
        """Build the in-backward update; None without one, and in evaluation."""
        if self.update is None or not self.training:
            return None
        return Update(
            self.update,
            dict(self.named_parameters()),
            {slot: dict(self.get_submodule(slot).named_buffers()) for slot in self._slots},
            self._settings,
            shared_bias=self._one_bias and self.shard is not None,
        )

    def plan(self, batch: int, itemsize: int = 4, classes: int | None = None) -> HeadPlan:
        """Plan the computation of a batch: its blocks and its memory. The plan prints as text.

        Args:
            batch: embeddings.
            itemsize: bytes of a logit.
            classes: number of classes that it looks at; for None as many as it samples.
        """
        if classes is None:
            rate = self.sample_rate if self.training else 1
            classes = max(1, int(rate * len(self.classes)))
        limit = BLOCK_LOGITS[self.weight.device.type]
        learning = torch.is_grad_enabled() and self.weight.requires_grad and self.update is None
        same = learning and self.weight.dtype.itemsize == itemsize
        return plan_head(
            batch,
            classes,
            itemsize=itemsize,
            block_logits=limit,
            block=self.block,
            centers=self.loss.num_centers,
            precision=self.precision,
            gradient_room=self.embedding_size if same else 0,
            ahead=self.loss.looks_ahead and self.training,
            companion=self._companion is not None,
            class_state=sum(each.nbytes for each in self.class_state.buffers()),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that there is to save, of all classes, as NumPy arrays.

        `weight`, `bias`, `state.<name>`, `class_state.<name>`, and `momentum.<name>` or what else
        `update` carries; how many processes share the classes changes neither names nor shapes.
        With shards, all processes call it together.
        """
        return {name: to_numpy(self.whole(name, v)) for name, v in self.saved().items()}

    @torch.no_grad()
    def load_arrays(self, arrays: Mapping[str, ArraySource]) -> None:
        """Set what `arrays` returns; of a shard, its part of it."""
        values = {name: self._own(arrays, name, value) for name, value in self.saved().items()}
        self.before_loading(values)
        for name, value in self.saved().items():
            value.copy_(values[name])

    @torch.no_grad()
    def load_weight(self, weight: ArraySource) -> None:
        """Set the weights alone, of all classes; of a shard, its part of them."""
        self.weight.copy_(self._own({"weight": weight}, "weight", self.weight))

    def _own(self, arrays: Mapping[str, ArraySource], name: str, value: Tensor) -> Tensor:
        own = own_rows(arrays, name, value.shape, self.rows(name), self.shard)
        return torch.as_tensor(own)

    def saved(self) -> dict[str, Tensor]:
        """Return this process's part of what `arrays` returns, in place."""
        return dict(self.state_dict())

    @torch.no_grad()
    def before_loading(self, names: Iterable[str]) -> None:
        """Write what a step left; where arrays of the loss come, drop what calls to the next did.

        Args:
            names: those of `saved` that are loaded then. With the loss's state or rows an optimizer
                step begins anew for the head; gradients that were added up are the optimizer's.
        """
        self.class_state.settle()
        if any(name.startswith(("state.", "class_state.")) for name in names):
            self.class_state.forget()
            for value in (self._calls, *self._sums.buffers()):
                value.zero_()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        self.before_loading(
            name.removeprefix(prefix) for name in state_dict if name.startswith(prefix)
        )
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def carried(self) -> dict[str, Tensor]:
        """Return what the loss carries, in place: its state, and the rows of its classes."""
        self.class_state.settle()
        return dict(self.state.named_buffers()) | dict(self.class_state.named_buffers())

    def rows(self, name: str) -> list[range]:
        """Return each shard's rows of what `arrays` names; nothing where all have all."""
        return shard_rows(self.loss, self.num_classes, self.shard, name)

    def whole(self, name: str, value: Tensor) -> Tensor:
        """Gather what has the rows of what `arrays` names; all processes call it together."""
        rows = self.rows(name)
        return gather_rows(value, rows) if rows else value

    def extra_repr(self) -> str:
        """Return the loss and the sizes, for `repr`."""
        return f"{self.loss}, embedding_size={self.embedding_size}, num_classes={self.num_classes}"


def _uncompiled(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that the compiler leaves as it is.

    A head has loops and gradients of its own: there is nothing to fuse.
    """
    if not torch.compiler.is_compiling():
        return function  # the decorator would load the compiler for everybody
    plain: Callable[P, T] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return plain


def _cast(values: Tensors, dtype: torch.dtype) -> dict[str, Tensor]:
    """Bring the floating-point ones of named tensors to the computation's type."""
    return {n: v.to(dtype) if v.is_floating_point() else v for n, v in values.items()}
