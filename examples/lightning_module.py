"""Lightning: a MarginHead is a module like any other, in its checkpoints, too.

pip install lightning
python examples/lightning_module.py
"""

import tempfile

import lightning
import torch
from drawn_faces import SIDE, draw_faces
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from marginface_torch import MarginHead, create_backbone


class FaceRecogniser(lightning.LightningModule):
    """A backbone, a margin head, and how they learn."""

    def __init__(self, people: int, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()  # so that a checkpoint is loaded without saying them again
        self.lr = lr
        self.backbone = create_backbone("mobilefacenet", 64, input_size=(SIDE, SIDE))
        self.head = MarginHead("arcface", embedding_size=64, num_classes=people, scale=16)

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings: after training the head has done its work."""
        return self.backbone(images)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        """Return the loss, which Lightning goes back from."""
        images, labels = batch
        loss = self.head(self(images), labels)
        self.log("loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        """Log how often the nearest class is the right one, and the mean angle to it."""
        images, labels = batch
        metrics = self.head.measure(self(images), labels)
        self.log_dict({"accuracy": metrics.accuracy, "angle": metrics.target_angle})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Let one optimizer step backbone and class weights."""
        return torch.optim.SGD(self.parameters(), self.lr, momentum=0.9, weight_decay=5e-4)


def main(epochs: int = 6) -> dict[str, float]:
    """Train and load the checkpoint again; return the last metrics."""
    torch.manual_seed(0)
    images, labels = draw_faces(people=8, pictures=12)
    faces = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    trainer = lightning.Trainer(
        max_epochs=epochs,
        precision="bf16-mixed",  # autocast: the head stays in float32 by itself
        accelerator="auto",
        devices=1,  # more, and strategy="ddp", need no other line of this file
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = FaceRecogniser(people=8)
    batches = DataLoader(faces, batch_size=16, shuffle=True, drop_last=True)
    trainer.fit(model, batches, DataLoader(faces, batch_size=32))
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    print({name: round(value, 3) for name, value in metrics.items()})

    # A checkpoint holds class weights, and what a loss such as AdaFace carries from step to step.
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/recogniser.ckpt"
        trainer.save_checkpoint(path, weights_only=False)  # all processes call, the first writes
        if not trainer.is_global_zero:
            return metrics
        again = FaceRecogniser.load_from_checkpoint(path, weights_only=True)
    same = all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    return {**metrics, "same": float(same)}


if __name__ == "__main__":
    main()
