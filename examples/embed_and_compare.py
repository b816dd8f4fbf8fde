"""Two photos, one person or two: embeddings, their cosine, and a decision.

    python examples/embed_and_compare.py MODEL one.jpg other.jpg 0.3
    python examples/embed_and_compare.py       # trains a small model, and draws the photos

MODEL is what `marginface export` writes, or the folder of a run. Photos are aligned crops, as
`marginface data align` makes them. The number is the threshold; `marginface evaluate` finds it.
"""

import sys
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
from drawn_faces import SIDE, draw_faces, draw_photos
from numpy.typing import NDArray
from PIL import Image

from marginface.embeddings.embedder import Embedder, open_embedder
from marginface.evaluation.verification import verify


def embed(model: Embedder, photos: list[Path]) -> NDArray[np.float32]:
    """Return embeddings [photos, size] of length 1; the model's file says how it takes images."""
    pixels = np.stack([np.asarray(Image.open(photo).convert("RGB")) for photo in photos])
    embeddings = model(pixels)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def compare(model: Embedder, one: Path, other: Path, threshold: float) -> bool:
    """Say whether two photos show the same person."""
    first, second = embed(model, [one, other])
    cosine = float(first @ second)  # 1 for the same photo, about 0 for strangers
    same = cosine >= threshold
    answer = "the same person" if same else "different people"
    print(f"{one.name} and {other.name}: {answer}, cosine {cosine:.2f}")
    return same


def score_pairs(model: Embedder, photos: list[Path]) -> tuple[NDArray[np.float32], list[bool]]:
    """Return the cosine of every two photos, and which show the same person, by their names."""
    embeddings = embed(model, photos)
    pairs = list(combinations(range(len(photos)), 2))
    same = [photos[i].name.split("_")[0] == photos[j].name.split("_")[0] for i, j in pairs]
    return np.array([embeddings[i] @ embeddings[j] for i, j in pairs]), same


def train_small_model(path: Path) -> Path:
    """Train a few seconds, and export the backbone to ONNX; this alone needs PyTorch."""
    import torch

    from marginface_torch import MarginHead, create_backbone, export_onnx

    torch.manual_seed(0)
    images, labels = (torch.from_numpy(each) for each in draw_faces(people=20, pictures=8))
    backbone = create_backbone("mobilefacenet", 64, input_size=(SIDE, SIDE))
    head = MarginHead("arcface", embedding_size=64, num_classes=20, scale=16, margin=0.3)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(6):
        for batch in torch.randperm(len(images)).split(16):
            optimizer.zero_grad()
            head(backbone(images[batch]), labels[batch]).backward()
            optimizer.step()
    export_onnx(backbone, path)
    return path


def main(*given: str) -> dict[str, float]:
    """Compare the photos that were given, or drawn ones of people whom the model never saw."""
    if given:
        model, one, other, threshold = given
        return {"same": compare(open_embedder(model), Path(one), Path(other), float(threshold))}
    with tempfile.TemporaryDirectory() as folder:
        model = open_embedder(train_small_model(Path(folder, "small.onnx")))
        sets = {}
        for seed in (1, 2):
            sets[seed] = [Path(folder, f"{seed}{i // 6}_{i % 6}.png") for i in range(48)]
            for path, photo in zip(sets[seed], draw_photos(8, 6, seed), strict=True):
                Image.fromarray(photo).save(path)
        # A threshold is chosen on some people, and judged on others.
        threshold = verify(*score_pairs(model, sets[1])).threshold
        result = verify(*score_pairs(model, sets[2]))
        same = compare(model, sets[2][0], sets[2][3], threshold)
        different = compare(model, sets[2][0], sets[2][-1], threshold)
    print(f"over all pairs of these people: {result.auc:.1%} area under the ROC")
    return {"same": same, "different": different, "auc": result.auc, "threshold": threshold}


if __name__ == "__main__":
    if len(sys.argv) not in (1, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])
