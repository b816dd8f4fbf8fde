"""`marginface.embed`: the embeddings of many images, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from marginface.api.progress import image_progress, saying_how_to_go_on
from marginface.data.opening import open_by_name
from marginface.embeddings.embedder import open_embedder
from marginface.embeddings.store import EmbedSummary, check_output, embed_folder


def embed(
    model: str | Path,
    images: str | Path,
    output: str | Path,
    *,
    backend: str = "onnx",
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: Sequence[int] | None = None,
    output_name: str | None = None,
    batch_size: int = 64,
    resize: bool = False,
    skip_bad: bool = False,
    flip: bool = False,
    overwrite: bool = False,
    rebuild_index: bool = False,
    threads: int | None = None,
) -> EmbedSummary:
    """Write path, identity, norm and embedding of every image to a Parquet or NumPy file.

    After an interruption the same call goes on. The options are those of `marginface embed`.

    Raises:
        MarginfaceError: the model, the images or the output cannot be used.
    """
    model, images, output = Path(model), Path(images), Path(output)
    check_output(output, overwrite=overwrite, inputs=[model, images])
    # Report faults of the images before a model is loaded.
    open_by_name(images, rebuild_index=rebuild_index)
    embedder = open_embedder(
        model,
        backend=backend,
        mean=mean,  # type: ignore[arg-type]  # text, from the command, is read alike
        std=std,  # type: ignore[arg-type]
        channels=channels,
        crop=crop,
        threads=threads,
        output_name=output_name,
    )
    with saying_how_to_go_on(), image_progress("Embedding") as on_progress:
        return embed_folder(
            embedder,
            images,
            output,
            batch_size=batch_size,
            resize=resize,
            skip_bad=skip_bad,
            rebuild_index=rebuild_index,
            flip=flip,
            overwrite=overwrite,
            on_progress=on_progress,
        )
