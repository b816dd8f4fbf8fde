"""pytorch-metric-learning as another oracle, for the losses that it has too."""

import math
from typing import Any

import numpy as np
import pytest
from frameworks import DEVICE, Framework

from marginface import losses
from marginface.losses import angles_to_dominant
from marginface.parity import problem

peers = pytest.importorskip("pytorch_metric_learning.losses")


def degrees(radians: float) -> float:
    """Its margins are in degrees, but CosFace's."""
    return math.degrees(radians)


# Ours and its own; in float64, where neither rounds.
PAIRS = {
    "normface": (
        losses.get("normface", scale=20),
        lambda c, d: peers.NormalizedSoftmaxLoss(c, d, temperature=1 / 20),
    ),
    "arcface": (
        losses.get("arcface", scale=30, margin=0.4),
        lambda c, d: peers.ArcFaceLoss(c, d, margin=degrees(0.4), scale=30),
    ),
    "cosface": (
        losses.get("cosface", scale=30, margin=0.3),
        lambda c, d: peers.CosFaceLoss(c, d, margin=0.3, scale=30),
    ),
    "subcenter_arcface": (
        losses.get("subcenter_arcface", scale=30, margin=0.4, centers=3),
        lambda c, d: peers.SubCenterArcFaceLoss(
            num_classes=c, embedding_size=d, margin=degrees(0.4), scale=30, sub_centers=3
        ),
    ),
    # Its SphereFace is not annealed: lambda = 0.
    "sphereface": (
        losses.get("sphereface", margin=4, lambda_base=0, lambda_min=0),
        lambda c, d: peers.SphereFaceLoss(c, d, margin=4, scale=1),
    ),
}


def both(torch: Framework, name: str, seed: int) -> tuple[Any, Any, Any]:
    """Return ours, and the peer's loss and gradients of embeddings and weights."""
    loss, make = PAIRS[name]
    case = problem(loss, np.random.default_rng(seed), batch=8, classes=6, size=5)
    found = torch.backend.evaluate_loss(loss, case, "float64")
    peer = make(6, 5).double().to(DEVICE)
    tensor = torch.torch.tensor
    with torch.torch.no_grad():
        peer.W.copy_(tensor(case.weight.T))
    embeddings = tensor(case.embeddings, requires_grad=True)
    value = peer(embeddings, tensor(case.labels))
    value.backward()
    return found, value.item(), (torch.array(embeddings.grad), torch.array(peer.W.grad).T)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PAIRS)
def test_same_loss(torch: Framework, name: str, seed: int) -> None:
    found, value, (embeddings, weight) = both(torch, name, seed)
    assert found.loss == pytest.approx(value, rel=1e-9)
    for name, wanted in (("embeddings", embeddings), ("weight", weight)):
        allowed = 1e-7 * np.abs(wanted).max()
        np.testing.assert_allclose(found.gradients[name], wanted, rtol=0, atol=allowed)


def test_same_outliers(torch: Framework) -> None:
    """The cleaning step of sub-centres drops the same samples."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 4)), rng.integers(0, 7, 200)
    peer = (
        peers.SubCenterArcFaceLoss(num_classes=7, embedding_size=4, sub_centers=3)
        .double()
        .to(DEVICE)
    )
    weight = torch.array(peer.W).T
    tensor = torch.torch.tensor
    outliers, _ = peer.get_outliers(tensor(x), tensor(y), threshold=75)
    angles = angles_to_dominant(x, y, weight, centers=3)
    assert sorted(outliers.tolist()) == np.flatnonzero(angles > math.radians(75)).tolist()
    assert 0 < len(outliers) < 200
