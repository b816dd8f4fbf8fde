"""`marginface.embed`: the embeddings of many images, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from marginface.api.calling import public
from marginface.api.models import Model, open_model
from marginface.api.progress import image_progress, saying_how_to_go_on
from marginface.checks import as_path, check_count
from marginface.data.opening import open_by_name
from marginface.embeddings.store import EmbedSummary, check_output, embed_folder
from marginface.errors import MarginfaceError
from marginface.model import Resize


@public
def embed(
    model: str | Path | Model,
    images: str | Path,
    output: str | Path,
    *,
    backend: str = "onnx",
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: str | Sequence[int] | None = None,
    output_name: str | None = None,
    checkpoint: str | int | None = None,
    batch_size: int = 64,
    resize: Resize = False,
    skip_bad: bool = False,
    flip: bool = False,
    overwrite: bool = False,
    rebuild_index: bool = False,
    threads: int | None = None,
) -> EmbedSummary:
    """Write path, identity, norm and embedding of every image to a Parquet or NumPy file.

    After an interruption the same call goes on; at most 1,024 images are done again.

    Args:
        model: a run folder or an ONNX file, or what `load` returned.
        images: a folder of aligned face images, or a .rec or .tfrecord.
        output: the .parquet or .npz file to write.
        backend: what runs the network: "onnx", or for a run "torch" or "tf".
        mean: subtracted from pixels (0..255), one number or three; the model's own for None.
        std: divides pixels after the mean; the model's own for None.
        channels: channel order of the network, "rgb" or "bgr"; the model's own for None.
        crop: (top, left, height, width) in pixels that is cut out of each image.
        output_name: output of an ONNX file that is the embedding; by its shape for None.
        checkpoint: of a run: "best" (of `keep_best`), "last" or a step; the last for None.
        batch_size: images in one batch.
        resize: scale images of another size instead of refusing them: True as in training, else
            "fit", "letterbox" or "squeeze".
        skip_bad: skip images that are unreadable or of another size; count them.
        flip: sum the embeddings of an image and of its mirror image.
        overwrite: replace an existing file, or parts of other work.
        rebuild_index: write the .idx of a .rec anew where it is missing or stale.
        threads: CPU threads; all for None.

    Raises:
        MarginfaceError: the model, the images or the output cannot be used.
    """
    if not isinstance(images, (str, Path)):
        raise MarginfaceError(
            "images must be the path of a folder, a .rec or a .tfrecord, got "
            f"{type(images).__name__}; mf.load(model).embed(images) takes images at hand"
        )
    read, target = as_path("images", images), as_path("output", output)
    check_count("batch_size", batch_size)
    source = model.path if isinstance(model, Model) else as_path("model", model)
    check_output(target, overwrite=overwrite, inputs=[source, read])
    # Report faults of the images before a model is loaded.
    open_by_name(read, rebuild_index=rebuild_index)
    opened = open_model(
        model,
        backend=backend,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        threads=threads,
        output_name=output_name,
        checkpoint=checkpoint,
    )
    with saying_how_to_go_on(), image_progress("Embedding") as on_progress:
        return embed_folder(
            opened.embedder,
            read,
            target,
            batch_size=batch_size,
            resize=resize,
            skip_bad=skip_bad,
            rebuild_index=rebuild_index,
            flip=flip,
            overwrite=overwrite,
            on_progress=on_progress,
        )
