"""What a loss keeps for each class, and the class vectors that it makes of that.

The order of events, beside that of `passes`:

    head.forward, in training
      ClassState.settle                  write what the step before left to its classes
      Memories                           the loss recalls shares and vectors of a block's classes
        | v = (1 - l) w + l |w| q        in place of w, in both passes: `mix`
        | d_w = (1 - l) d_v + l (q . d_v) w / |w|      `unmix`; q gets none
      ClassState.leave                   the step's own samples wait: the backward pass comes first
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marginface.errors import MarginfaceError
from marginface.heads import MOVED, recalled
from marginface.losses import MIN_NORM, MarginLoss, Memory, Sample
from marginface_torch.arrays import as_tensor
from marginface_torch.losses.base import LossOps, Tensors
from marginface_torch.processes import add_up, gather, replicas


class ClassState(nn.Module):
    """The rows that a loss keeps for this process's classes: buffers, by the loss's names.

    What a training step leaves to its classes is written when the next one begins, or before they
    are saved: the backward pass reads them as they were.

    Args:
        ops: the loss.
        rows: of these classes at first, by name.
        dtype: of those with a point.
        calls: to one optimizer step, after which the rows move.
        alone: whether all classes are here.
    """

    def __init__(
        self,
        ops: LossOps[MarginLoss],
        rows: Mapping[str, NDArray[Any]],
        dtype: torch.dtype,
        calls: int,
        *,
        alone: bool,
    ) -> None:
        super().__init__()
        self._ops, self._calls, self._alone = ops, calls, alone
        self._waiting: list[_Left] = []
        self._moves = 0
        for name, array in rows.items():
            if hasattr(self, name):
                raise MarginfaceError(
                    f"{ops.spec.name}: class_state calls an array '{name}', as something of "
                    "PyTorch's modules is called; choose another name"
                )
            given = as_tensor(array)
            kept = torch.empty(given.shape, dtype=dtype if array.dtype.kind == "f" else given.dtype)
            self.register_buffer(name, kept.copy_(given))

    def rows(self, classes: slice | Tensor) -> dict[str, Tensor]:
        """Return some classes' rows."""
        return {name: value[classes] for name, value in self.named_buffers()}

    def own_numbers(self, classes: Tensor, *, everybody: bool) -> dict[str, Tensor]:
        """Return what is one number a class, of the samples' own classes, [batch].

        Args:
            classes: of the samples, [batch]; -1 for those that are elsewhere.
            everybody: whether all processes have samples of their own here.
        """
        found = self.rows(classes.clamp(min=0))
        numbers = {name: value for name, value in found.items() if value.ndim == 1}
        if not self._alone:  # a class is in one shard
            return {n: add_up(torch.where(classes < 0, 0, v)) for n, v in numbers.items()}
        return {name: gather(value) if everybody else value for name, value in numbers.items()}

    def leave(self, classes: Tensor, samples: Sample, state: Tensors, *, everybody: bool) -> None:
        """Leave a call's samples to their classes.

        Args:
            classes: of the samples, [batch]; -1 for those that are elsewhere.
            samples: what the call knows of them.
            state: of the loss, which is read when the step is over.
            everybody: whether all processes have samples of their own here.
        """
        given = [classes, *(each.detach() for each in samples)]
        given = list(map(gather, given)) if everybody else given
        classes, *left = map(_in_order, given) if everybody or not self._alone else given
        self._waiting.append(_Left(classes, Sample(*left), state))

    @torch.inference_mode()  # which may write rows that were made in it, too
    def settle(self) -> None:
        """Write what a whole optimizer step left."""
        if not self._waiting or len(self._waiting) < self._calls:
            return
        classes = torch.cat([call.classes for call in self._waiting])
        samples = [
            torch.cat(each) for each in zip(*(c.samples for c in self._waiting), strict=True)
        ]
        state = self._waiting[-1].state
        self.forget()
        # A class may be elsewhere; and a memory that is no number would spoil every later step.
        left = Sample(*samples)
        here = (classes >= 0) & left.embedding.isfinite().all(1) & left.norm.isfinite()
        classes, samples = classes[here], [each[here] for each in samples]
        # The last sample of each class, for all of its samples: they then write the same.
        ordered, order = classes.sort(stable=True)
        last = order[torch.searchsorted(ordered, ordered, right=True) - 1]
        of_class = Sample(*(each[last] for each in samples))
        rows = self._ops.remember(self.rows(ordered), of_class, state)
        for name, value in self.named_buffers():
            value[ordered] = rows[name].to(value.dtype)

    def forget(self) -> None:
        """Drop what waits: the rows are about to move."""
        self._waiting.clear()
        self._moves += 1

    def hold(self, loss: Tensor) -> None:
        """Have the backward pass of a loss refuse rows that have moved since its call.

        Raises:
            MarginfaceError: in the backward pass, before anything is stepped.
        """
        moves = self._moves

        def check(_: Tensor) -> None:
            if self._moves != moves:
                raise MarginfaceError(MOVED)

        # PyTorch gives it no types.
        loss.register_hook(check)  # type: ignore[no-untyped-call]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ClassState:
        """Convert rows, and what waits for them, as `to`, `half` and others ask for it."""
        # PyTorch gives it no types.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._waiting = [
            _Left(fn(left.classes), Sample(*map(fn, left.samples)), _each(fn, left.state))
            for left in self._waiting
        ]
        return self

    def _save_to_state_dict(self, *given: Any) -> None:
        self.settle()
        super()._save_to_state_dict(*given)


def _each(fn: Callable[[Tensor], Tensor], tensors: Tensors) -> Tensors:
    return {name: fn(value) for name, value in tensors.items()}


def _in_order(values: Tensor) -> Tensor:
    """Return values of all processes, one process after the other, in the order of the batch."""
    return torch.stack(values.chunk(replicas()), 1).flatten(0, 1)


class _Left(NamedTuple):
    classes: Tensor
    samples: Sample
    state: Tensors


class Memories:
    """What a loss recalls of the classes of a pass, the same in its forward and backward part.

    Args:
        ops: the loss.
        class_state: its rows.
        state: of the loss, before the step.
    """

    def __init__(self, ops: LossOps[MarginLoss], class_state: ClassState, state: Tensors) -> None:
        self._ops, self._rows = ops, class_state
        # The head's own moves on before the backward pass.
        self._state = {name: value.clone() for name, value in state.items()}

    def of(self, classes: slice | Tensor) -> Memory:
        """Return shares and vectors of some classes.

        Raises:
            MarginfaceError: the loss recalls nothing.
        """
        memory = self._ops.recall(self._rows.rows(classes), self._state)
        return recalled(self._ops.spec, memory)


def mix(w: Tensor, memory: Memory | None) -> Tensor:
    """Return vectors in the direction of (1 - share) w / |w| + share q: that times |w|.

    Args:
        w: [classes, embedding_size].
        memory: of these classes; None leaves the weights as they are.
    """
    if memory is None:
        return w
    share, vectors = (each.to(w.dtype) for each in memory)
    return torch.lerp(w, vectors * torch.linalg.vector_norm(w, dim=1, keepdim=True), share[:, None])


def unmix(d_vectors: Tensor, w: Tensor, memory: Memory | None) -> Tensor:
    """Return the gradient of the weights from that of what `mix` made of them, in place."""
    if memory is None:
        return d_vectors
    share, vectors = (each.to(w.dtype) for each in memory)
    along = share * (d_vectors * vectors).sum(1)
    along /= torch.linalg.vector_norm(w, dim=1).clamp_(min=MIN_NORM)
    return d_vectors.mul_((1 - share)[:, None]).addcmul_(w, along[:, None])


def has_memories(ops: LossOps[MarginLoss]) -> bool:
    """Say if a loss makes class vectors of what it keeps."""
    return type(ops).recall is not LossOps.recall
