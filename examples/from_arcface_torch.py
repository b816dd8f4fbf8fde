"""From InsightFace's arcface_torch: its loss and marginface's side by side, and weights loaded.

python examples/from_arcface_torch.py                 # shows that both are the same
python examples/from_arcface_torch.py backbone.pth    # an r50 that arcface_torch trained
"""

import sys

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize

from marginface_torch import MarginHead, create_backbone, load_weights

EMBEDDING_SIZE, PEOPLE, SCALE, MARGIN = 512, 1000, 64.0, 0.5


class Before(nn.Module):
    """What arcface_torch does on one GPU: all logits, the margin, cross-entropy."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.normal(0, 0.01, (PEOPLE, EMBEDDING_SIZE)))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss, by way of an array of batch x classes."""
        logits = linear(normalize(embeddings), normalize(self.weight)).clamp(-1, 1)
        rows = torch.arange(len(labels))
        with torch.no_grad():  # so the gradient does not see the margin: straight through
            moved = (logits[rows, labels].arccos() + MARGIN).cos()
        shifted = logits.clone()
        shifted[rows, labels] += moved - logits[rows, labels].detach()
        return cross_entropy(shifted * SCALE, labels)


def after() -> MarginHead:
    """Return the head that does the same in blocks, without the array."""
    return MarginHead(
        "arcface",
        EMBEDDING_SIZE,
        PEOPLE,
        margin=MARGIN,
        scale=SCALE,
        # As released, arcface_torch's own: the paper's gradient is the default.
        gradient="straight_through",
        past_pi="none",
    )


def main(weights: str | None = None) -> dict[str, float]:
    """Compare loss and gradients; load weights. Return the largest differences."""
    torch.manual_seed(0)
    before, head = Before(), after()
    # Class weights have the same shape and meaning: a `PartialFC.weight` goes in as it is.
    head.load_weight(before.weight.detach().numpy())
    embeddings = torch.randn(16, EMBEDDING_SIZE)
    labels = torch.randint(PEOPLE, (16,))
    losses, gradients = [], []
    for module in (before, head):
        inputs = embeddings.clone().requires_grad_()
        loss = module(inputs, labels)
        loss.backward()
        losses.append(loss.item())
        gradients.append((inputs.grad, module.weight.grad))
    found = {
        "loss": abs(losses[0] - losses[1]),
        "embeddings' gradient": (gradients[0][0] - gradients[1][0]).abs().max().item(),
        "weights' gradient": (gradients[0][1] - gradients[1][1]).abs().max().item(),
    }
    print(f"loss before {losses[0]:.6f}, after {losses[1]:.6f}; largest differences:")
    print(*(f"  {name}: {value:.1e}" for name, value in found.items()), sep="\n")

    if weights:
        # get_model("r50") is create_backbone("iresnet50"), with the same names of parameters.
        # The file is read as data: nothing of a pickle is run.
        backbone = create_backbone("iresnet50", EMBEDDING_SIZE)
        load_weights(backbone, weights)
        norm = backbone.eval()(torch.zeros(1, 3, 112, 112)).norm().item()
        print(f"loaded {weights}; the embedding of a grey image has length {norm:.3f}")
        found["norm"] = norm
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
