"""Any network with a margin head on it: here one of timm's, by its name there.

pip install timm
python examples/timm_backbone.py resnet18
"""

import sys

import timm
import torch
from drawn_faces import draw_faces
from torch import nn

from marginface_torch import MarginHead

PEOPLE, EMBEDDING_SIZE = 8, 64


def main(name: str = "resnet10t", epochs: int = 10) -> dict[str, list[float]]:
    """Train; return loss of each epoch, accuracy and angle (radians) at the end."""
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(each) for each in draw_faces(PEOPLE, pictures=12))

    # num_classes=0 is timm's way to say: features, no classifier. pretrained=True starts from
    # ImageNet's weights, which saves a good part of the training.
    network = timm.create_model(name, pretrained=False, num_classes=0)
    # What faces want behind it: a projection to the embedding, and BatchNorm, so that embeddings
    # use all directions. No activation at the end: cosines are of both signs.
    backbone = nn.Sequential(
        network,
        nn.Linear(network.num_features, EMBEDDING_SIZE, bias=False),
        nn.BatchNorm1d(EMBEDDING_SIZE),
    )
    head = MarginHead("cosface", EMBEDDING_SIZE, PEOPLE, scale=16, margin=0.35)
    # timm's networks like AdamW; class weights learn faster than a network that knows much.
    optimizer = torch.optim.AdamW(
        [{"params": backbone.parameters()}, {"params": head.parameters(), "lr": 1e-2}], lr=2e-3
    )
    losses = []
    for epoch in range(epochs):
        seen = []
        for batch in torch.randperm(len(images)).split(16):
            loss = head(backbone(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        losses.append(sum(seen) / len(seen))
        print(f"epoch {epoch + 1}: loss {losses[-1]:.3f}")
    backbone.eval()
    with torch.no_grad():
        metrics = head.measure(backbone(images), labels)
    print(f"accuracy {metrics.accuracy:.3f}, angle {metrics.target_angle:.3f}")
    return {
        "loss": losses,
        "accuracy": [metrics.accuracy.item()],
        "angle": [metrics.target_angle.item()],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
