"""The classification head: class weights and a margin loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from marginface import losses
from marginface.checks import check_type
from marginface.losses import MarginLoss
from marginface_torch.losses import loss_ops, unit
from marginface_torch.losses.base import Tensors


class MarginHead(nn.Module):
    """Mean margin loss of embeddings against learned class weights.

    Args:
        loss: a loss from `marginface.losses.get`, or its name.
        embedding_size: length of the embeddings.
        num_classes: number of identities.
        dtype: of `weight`; PyTorch's default for None.

    Attributes:
        weight: class weights [num_classes, embedding_size], not normalised.
        bias: [num_classes] for losses that are not normalised (softmax), else None.
        state: what the loss carries from step to step, by name; in the state_dict.

    Raises:
        MarginfaceError: an unknown loss, or a size that is no whole number of at least 1.

    >>> head = MarginHead("arcface", embedding_size=8, num_classes=5)
    >>> head(torch.ones(2, 8), torch.tensor([0, 4])).shape
    torch.Size([])
    """

    bias: Tensor | None

    def __init__(
        self,
        loss: MarginLoss | str,
        embedding_size: int = 512,
        num_classes: int | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.loss = losses.as_loss(loss)
        self.embedding_size, self.num_classes = losses.check_head(embedding_size, num_classes)
        self.weight = nn.Parameter(torch.empty(self.num_classes, self.embedding_size, dtype=dtype))
        nn.init.normal_(self.weight, std=losses.WEIGHT_STD)
        if self.loss.normalized:
            self.register_parameter("bias", None)
        else:
            self.bias = nn.Parameter(torch.zeros(self.num_classes, dtype=dtype))
        self.state = nn.Module()
        for name, value in self.loss.initial_state().items():
            self.state.register_buffer(name, torch.tensor(value))
        self._ops = loss_ops(self.loss)

    def forward(self, embeddings: Tensor, labels: Tensor, draw: Tensors | None = None) -> Tensor:
        """Return the mean loss.

        Args:
            embeddings: [batch, embedding_size], not normalised.
            labels: [batch], integers in 0 .. num_classes - 1.
            draw: what `loss.draw` drew for this batch, for losses with randomness.

        Raises:
            MarginfaceError: a wrong shape or type, or a label out of range, which is named. Code
                from `torch.compile` does not look at labels first; PyTorch's own bounds check
                then stops it, on CUDA as a device-side assertion.
        """
        for name, value in (("embeddings", embeddings), ("labels", labels)):
            check_type(name, value, Tensor, "torch.as_tensor makes one")
        losses.check_call(
            embeddings.shape,
            labels.shape,
            integer_labels=not (labels.is_floating_point() or labels.dtype is torch.bool),
            embedding_size=self.embedding_size,
        )
        labels = labels.long()
        if not torch.compiler.is_compiling():
            smallest, largest = torch.aminmax(labels)
            losses.check_range(int(smallest), int(largest), self.num_classes)
        # Angles need float32: half precision cannot tell cosines near 1 apart.
        compute = torch.promote_types(embeddings.dtype, torch.float32)
        compute = torch.promote_types(compute, self.weight.dtype)
        with torch.autocast(embeddings.device.type, enabled=False):
            x, w = embeddings.to(compute), self.weight.to(compute)
            units, norms = unit(x)
            if self.bias is None:
                logits = units @ unit(w)[0].T
            else:
                logits = linear(x, w, self.bias.to(compute))
            on_target = logits.gather(1, labels[:, None]).squeeze(1)
            state: dict[str, Tensor] = dict(self.state.named_buffers())
            carried, draws = _cast(state, compute), _cast(draw or {}, compute)
            prepared, after = self._ops.prepare(on_target.detach(), norms.detach(), carried, draws)
            target = self.loss.scale * self._ops.target(on_target, prepared)
            others = self.loss.scale * self._ops.negatives(logits, prepared)
            value = self._ops.reduce(target, others, labels).mean()
        if self.training:
            for name, buffer in state.items():
                buffer.copy_(after[name])
        return value

    def extra_repr(self) -> str:
        """Return the loss and the sizes."""
        return f"{self.loss}, embedding_size={self.embedding_size}, num_classes={self.num_classes}"


def _cast(values: Tensors, dtype: torch.dtype) -> dict[str, Tensor]:
    """Bring the floating-point ones of named tensors to the computation's type."""
    return {n: v.to(dtype) if v.is_floating_point() else v for n, v in values.items()}
