"""`marginface.embed`: the embeddings of many images, or of the faces of photos, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marginface.api.models import Model, open_model, providers
from marginface.api.progress import image_progress, saying_how_to_go_on
from marginface.calling import public
from marginface.cards.hub import fetched
from marginface.checks import as_path
from marginface.data.image_files import require_folder
from marginface.data.images import MAX_PIXELS
from marginface.data.opening import open_by_name
from marginface.embeddings.shards import read_shard
from marginface.embeddings.store import EmbedSummary, check_output, embed_folder
from marginface.errors import MarginfaceError
from marginface.model import Resize
from marginface.serving.photo_store import check_photo_output, embed_photos
from marginface.serving.recogniser import MAX_FACES, PHOTOS_AT_ONCE, Detector, Recogniser

IMAGES_AT_ONCE = 64


@public
def embed(
    model: str | Path | Model,
    images: str | Path | None = None,
    output: str | Path | None = None,
    *,
    photos: str | Path | None = None,
    detector: str | Path | Detector | None = None,
    backend: str = "onnx",
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: str | Sequence[int] | None = None,
    output_name: str | None = None,
    checkpoint: str | int | None = None,
    batch_size: int | None = None,
    min_score: float = 0.5,
    min_face: float = 0,
    max_faces: int = MAX_FACES,
    max_megapixels: int = MAX_PIXELS // 10**6,
    resize: Resize = False,
    skip_bad: bool = False,
    flip: bool = False,
    shard: str | tuple[int, int] | None = None,
    overwrite: bool = False,
    rebuild_index: bool = False,
    provider: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> EmbedSummary:
    """Write the embedding of every image, or of every face of photos, to a Parquet or NumPy file.

    After an interruption the same call goes on; at most 1,024 images or 256 photos are done again.
    Photos without a face, and faces without an embedding, are listed in `<output>.left_out.csv`,
    without the output's `.parquet`.

    Args:
        model: a run folder or an ONNX file, or what `load` returned.
        images: a folder of aligned face images, or a .rec or .tfrecord.
        output: the .parquet or .npz file to write; a .parquet for photos.
        photos: a folder of photos, instead of `images`.
        detector: finds the faces of photos: SCRFD or YuNet as ONNX, or a function as
            `Recogniser` takes it.
        backend: what runs the network: "onnx", or for a run "torch" or "tf".
        mean: subtracted from pixels (0..255), one number or three; the model's own for None.
        std: divides pixels after the mean; the model's own for None.
        channels: channel order of the network, "rgb" or "bgr"; the model's own for None.
        crop: (top, left, height, width) in pixels that is cut out of each image.
        output_name: output of an ONNX file that is the embedding; by its shape for None.
        checkpoint: of a run: "best" (of `keep_best`), "last" or a step; the last for None.
        batch_size: images in one batch, 64 by default; photos that one thread looks at together, 8.
        min_score: of photos: what the detector scores less is no face.
        min_face: of photos: pixels that the longer side of a crop must span.
        max_faces: of a photo: the surest that are embedded.
        max_megapixels: of photos: one with more is not decoded, in millions.
        resize: scale images of another size instead of refusing them: True as in training, else
            "fit", "letterbox" or "squeeze".
        skip_bad: skip images that are unreadable or of another size; count them.
        flip: sum the embeddings of an image and of its mirror image.
        shard: the part of the images or photos to do, "3/16" for the third of sixteen; all for
            None.
        overwrite: replace an existing file, or parts of other work.
        rebuild_index: write the .idx of a .rec anew where it is missing or stale.
        provider: what ONNX Runtime computes on: "auto", "cpu", "cuda" or another that it has.
        device: what a framework computes on, if it is the backend: "auto", "cpu", "cuda"...
        threads: CPU threads; all for None.

    Raises:
        MarginfaceError: the model, the images or the output cannot be used.
    """
    source = model.path if isinstance(model, Model) else fetched(as_path("model", model))
    target, share = as_path("output", output), read_shard(shard)
    opening: dict[str, Any] = {
        "backend": backend,
        "device": device,
        "mean": mean,
        "std": std,
        "channels": channels,
        "crop": crop,
        "output_name": output_name,
        "checkpoint": checkpoint,
    }
    if photos is not None:
        _refuse(
            "--photos",
            {"--images": images is not None, "--resize": resize, "--rebuild-index": rebuild_index},
        )
        if detector is None:
            raise MarginfaceError(
                "--photos needs --detector, an SCRFD or YuNet model in ONNX; aligned crops go to "
                "--images"
            )
        folder = as_path("photos", photos)
        check_photo_output(
            target,
            overwrite=overwrite,
            inputs=[source, folder, None if callable(detector) else as_path("detector", detector)],
        )
        require_folder(folder)
        loaded = isinstance(model, Model)
        of_model, of_detector = providers(provider, model, backend, detector)
        recogniser = Recogniser(
            open_model(model, provider=of_model, threads=None if loaded else 1, **opening),
            detector,
            flip=flip,
            min_score=min_score,
            min_face=min_face,
            max_faces=max_faces,
            max_pixels=max_megapixels * 10**6,
            batch_size=batch_size or PHOTOS_AT_ONCE,
            provider=of_detector,
            threads=threads,
        )
        with saying_how_to_go_on(), image_progress("Embedding") as on_progress:
            return embed_photos(
                recogniser,
                folder,
                target,
                skip_bad=skip_bad,
                shard=share,
                overwrite=overwrite,
                on_progress=on_progress,
            )
    _refuse(
        "--images",
        {
            "--detector": detector is not None,
            "--min-score": min_score != 0.5,
            "--min-face": min_face != 0,
            "--max-faces": max_faces != MAX_FACES,
            "--max-megapixels": max_megapixels != MAX_PIXELS // 10**6,
        },
    )
    if not isinstance(images, (str, Path)):
        raise MarginfaceError(
            "images must be the path of a folder, a .rec or a .tfrecord, got "
            f"{type(images).__name__}; mf.load(model).embed(images) takes images at hand"
            if images is not None
            else "give aligned crops as --images, or photos as --photos and --detector"
        )
    read = as_path("images", images)
    check_output(target, overwrite=overwrite, inputs=[source, read])
    # Report faults of the images before a model is loaded.
    open_by_name(read, rebuild_index=rebuild_index)
    opened = open_model(model, provider=provider, threads=threads, **opening)
    with saying_how_to_go_on(), image_progress("Embedding") as on_progress:
        return embed_folder(
            opened.embedder,
            read,
            target,
            batch_size=batch_size or IMAGES_AT_ONCE,
            resize=resize,
            skip_bad=skip_bad,
            rebuild_index=rebuild_index,
            flip=flip,
            shard=share,
            overwrite=overwrite,
            on_progress=on_progress,
        )


def _refuse(inputs: str, given: dict[str, Any]) -> None:
    """Raise if options are given that images of this kind have no use for."""
    wrong = [option for option, value in given.items() if value]
    if wrong:
        raise MarginfaceError(f"{wrong[0]} does not go with {inputs}; leave out one of them")
