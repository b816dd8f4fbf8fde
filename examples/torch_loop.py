"""A training loop of your own in PyTorch: DataLoader, autocast, torch.compile, one process or more.

python examples/torch_loop.py
python examples/torch_loop.py --compile
python examples/torch_loop.py --float16
torchrun --standalone --nproc-per-node 2 examples/torch_loop.py
"""

import argparse
import os

import torch
import torch.distributed as dist
from drawn_faces import SIDE, draw_faces
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from marginface_torch import MarginHead, create_backbone

PEOPLE = 8


class Recogniser(nn.Module):
    """Backbone and head in one module, so that DDP averages the gradients of both."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = create_backbone("mobilefacenet", 64, input_size=(SIDE, SIDE))
        # A small scale suits few people; 64 is usual with thousands and 512-d embeddings.
        self.head = MarginHead("arcface", embedding_size=64, num_classes=PEOPLE, scale=16)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss: the head takes embeddings as they are, and normalises them itself."""
        return self.head(self.backbone(images), labels)


def main(
    epochs: int = 8, compiled: bool = False, dtype: torch.dtype = torch.bfloat16
) -> dict[str, list[float]]:
    """Train; return loss, accuracy and target angle (radians) of each epoch."""
    if "RANK" in os.environ and not dist.is_initialized():  # torchrun sets it
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    device = device if torch.cuda.is_available() else torch.device("cpu")
    torch.manual_seed(0)  # the same weights in every process

    images, labels = draw_faces(PEOPLE, pictures=12)
    dataset = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    sampler = DistributedSampler(dataset, drop_last=True) if dist.is_initialized() else None
    loader = DataLoader(dataset, 16, shuffle=sampler is None, sampler=sampler, drop_last=True)

    model = Recogniser().to(device)
    if compiled:
        # In place: names in the state_dict stay. The head is fast as it is, and is not compiled.
        model.backbone.compile()
    wrapped = nn.parallel.DistributedDataParallel(model) if dist.is_initialized() else model
    # Class weights are parameters like others, and learn in the same optimizer.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.05, total_steps=epochs * len(loader)
    )
    # Small gradients are 0 in float16, so the loss is multiplied; bfloat16 needs none of this.
    # The usual first factor, 2**16, overflows here, and the first steps would be left out.
    scaler = torch.amp.GradScaler(device.type, 2**10, enabled=dtype is torch.float16)
    history: dict[str, list[float]] = {"loss": [], "accuracy": [], "angle": []}
    for epoch in range(epochs):
        if sampler is not None:
            sampler.set_epoch(epoch)
        seen = []
        for batch in loader:
            faces, people = (each.to(device) for each in batch)
            # Half precision in the backbone; the head goes on in float32, which angles need.
            with torch.autocast(device.type, dtype):
                loss = wrapped(faces, people)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)  # left out where a gradient is infinite
            scaler.update()
            schedule.step()
            seen.append(loss.item())
        # Without margins, and nothing moves: is the nearest class the right one, and how near?
        model.eval()
        with torch.no_grad():
            faces, people = (each.to(device) for each in dataset.tensors)
            metrics = model.head.measure(model.backbone(faces), people)
        model.train()
        for name, value in zip(history, (sum(seen) / len(seen), *metrics), strict=True):
            history[name].append(float(value))
        if not dist.is_initialized() or dist.get_rank() == 0:
            print(f"epoch {epoch + 1}:", *(f"{k} {v[-1]:.3f}" for k, v in history.items()))
    return history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compile", action="store_true", help="compile the backbone")
    parser.add_argument("--float16", action="store_true", help="instead of bfloat16")
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    main(given.epochs, given.compile, torch.float16 if given.float16 else torch.bfloat16)
    if dist.is_initialized():
        dist.destroy_process_group()
