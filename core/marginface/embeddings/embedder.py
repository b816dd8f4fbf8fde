"""Open any model, a run, a folder or an ONNX file, as one function from images to embeddings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from marginface.backend import Arrays, backend_names, load_backend
from marginface.cards.card import CARD_KEY, Card
from marginface.cards.folder import is_model_folder, read_model_folder
from marginface.cards.hub import fetched
from marginface.checks import check_count
from marginface.devices import device_name
from marginface.errors import MarginfaceError, unknown_name
from marginface.extras import require
from marginface.formats import Formats, is_onnx
from marginface.model import (
    CROP,
    FLIP_KEY,
    METADATA_KEY,
    PREPROCESSING_KEY,
    ModelSpec,
    Preprocessing,
    Resize,
    for_each_channel,
    whole_numbers,
)

Rebuilt = TypeVar("Rebuilt")


@dataclass(frozen=True)
class Embedder:
    """RGB images [N, H, W, 3], uint8, to embeddings [N, embedding_size], float32, not normalised.

    Args:
        run: the network: preprocessed float32 [N, 3, h, w], or uint8 [N, h, w, 3] where
            `takes_pixels`, to embeddings.
        preprocessing: what is done to images before `run`.
        input_size: (height, width) that `run` takes, after the crop.
        fingerprint: SHA-256 of all that is computed with, tensors and preprocessing; the same
            model gives the same one in any backend, but a run and its export are two models.
        backend: what runs the network: "onnx", "torch" or "tf".
        flips: the network itself adds the mirror image's embedding.
    """

    run: Callable[[NDArray[Any]], NDArray[np.float32]]
    preprocessing: Preprocessing
    input_size: tuple[int, int]
    embedding_size: int
    fingerprint: str
    takes_pixels: bool = False
    backend: str = "onnx"
    flips: bool = False

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings of images [N, H, W, 3].

        Raises:
            MarginfaceError: `images` are of another rank, type or size than the model takes.
        """
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise MarginfaceError(
                f"images must be uint8 [N, height, width, 3], got {images.dtype} {images.shape}"
            )
        self.check_size(images.shape[1], images.shape[2])
        pre = self.preprocessing
        return self.run(pre.pixels(images) if self.takes_pixels else pre(images))

    def check_flip(self, flip: bool) -> None:
        """Raise if the mirror image's embedding would be added twice."""
        if flip and self.flips:
            raise MarginfaceError(
                "the model adds the embedding of the mirror image itself, as its metadata "
                f"{FLIP_KEY} says; leave out --flip, and give --no-flip to evaluate and calibrate"
            )

    def check_size(self, height: int, width: int) -> None:
        """Raise if images of `height` x `width` pixels do not fit this model."""
        size = self.image_size(resize=False)
        if size is not None and (height, width) != size:
            rows, columns = size
            raise MarginfaceError(
                f"images are {height}x{width} (height x width), the model takes {rows}x{columns}; "
                "align them to that size, scale them (--resize), or cut that out of larger ones "
                "(--crop)"
            )
        self.preprocessing.check_images(height, width)

    def resizing(self, resize: Resize) -> Resize:
        """Return how images of another size are scaled: where True asks for it, as in training."""
        return (self.preprocessing.resize or "squeeze") if resize is True else resize

    def image_size(self, *, resize: Resize) -> tuple[int, int] | None:
        """Return the (height, width) to read images at; None where a crop fits several sizes."""
        return self.preprocessing.image_size(self.input_size, resize=resize)


@dataclass(frozen=True)
class RunOptions:
    """Options for running a model.

    Args:
        backend: "onnx", "torch" or "tf".
        overrides: fields of its `Preprocessing` that are replaced.
        threads: CPU threads; the framework's own choice for None.
        output_name: the output of an ONNX file that is the embedding; found by shape for None.
        checkpoint: of a run: "best", "last" or a step; the last for None.
        provider: what ONNX Runtime computes on.
        device: what a framework computes on.
    """

    backend: str
    overrides: dict[str, Any]
    threads: int | None
    output_name: str | None = None
    checkpoint: str | int | None = None
    provider: str = "auto"
    device: str = "auto"


MODELS: Formats[Callable[[Path, RunOptions], Embedder]] = Formats(
    use="a model: give it as --model", returns=Embedder
)


def open_embedder(
    model: Path,
    *,
    backend: str = "onnx",
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: str | Sequence[int] | None = None,
    provider: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    output_name: str | None = None,
    checkpoint: str | int | None = None,
) -> Embedder:
    """Return the embedder of a run folder or an ONNX file.

    Args:
        model: a run folder that `marginface train` wrote, a model folder of `marginface convert`,
            an ONNX file, or another of `MODELS`.
        backend: what runs the network: "onnx" (ONNX Runtime), or for a run folder "torch" or "tf".
        mean, std, channels, crop: override the model's own `Preprocessing`; a number stands for all
            three channels, and text as on the command line is read, too.
        provider: what ONNX Runtime computes on: "auto", "cpu", "cuda" or another that it has.
        device: what a framework computes on, if it is the backend: "auto", "cpu", "cuda"...
        threads: CPU threads; the framework's own choice for None.
        output_name: the output of an ONNX file that alone is the embedding; for None the one
            [N, D] with D > 1, whose length is the [N, 1] beside it where there is one.
        checkpoint: of a run folder: "best" (of `keep_best`), "last" or a step; the last for None.

    Raises:
        MarginfaceError: no such model, a damaged one, or options that do not fit it.
    """
    model = fetched(model)
    if threads is not None:
        check_count("threads", threads)
    backends = ("onnx", *backend_names())
    if backend not in backends:
        raise unknown_name("backend", backend, backends)
    if backend != "onnx" and provider != "auto":
        raise MarginfaceError(
            f"--provider {provider} is ONNX Runtime's, which does not run here; leave it out, or "
            f"--backend {backend}"
        )
    if device_name(device) != "auto" and backend == "onnx":
        raise MarginfaceError(
            f"--device {device} is of --backend torch and tf; what ONNX Runtime computes on is "
            "--provider"
        )
    overrides = _overrides(mean, std, channels, crop)
    if checkpoint is not None and model.is_file():
        raise MarginfaceError(
            f"{model} is a file, which has no checkpoints; leave out --checkpoint {checkpoint}, "
            "or give a run folder"
        )
    options = RunOptions(backend, overrides, threads, output_name, checkpoint, provider, device)
    return MODELS.find(model).open(model, options)


def _overrides(
    mean: str | float | Sequence[float] | None,
    std: str | float | Sequence[float] | None,
    channels: str | None,
    crop: str | Sequence[int] | None,
) -> dict[str, Any]:
    values = {
        "mean": None if mean is None else for_each_channel("--mean", mean),
        "std": None if std is None else for_each_channel("--std", std),
        "channels": channels,
        "crop": None if crop is None else whole_numbers("--crop", crop, CROP),
    }
    return {name: value for name, value in values.items() if value is not None}


def _open_onnx(path: Path, running: RunOptions) -> Embedder:
    if running.backend != "onnx":
        raise MarginfaceError(
            f"{path} runs in ONNX Runtime: use --backend onnx, or give a run folder"
        )
    overrides, threads = running.overrides, running.threads
    from marginface.onnx.digest import onnx_digest
    from marginface.onnx.session import OnnxSession

    digest = onnx_digest(path)  # first: it does not follow what the file names anywhere
    session = OnnxSession(
        path, threads=threads, provider=running.provider, output_name=running.output_name
    )
    if session.outputs:  # the same file has another embedding with another output
        digest = f"{digest} outputs {session.outputs}"
    preprocessing = recorded_preprocessing(path, session.metadata)
    built_in = sorted(overrides.keys() & {"mean", "std"})
    if session.takes_pixels and built_in:
        raise MarginfaceError(
            f"{path} takes uint8 pixels, so mean and std are built in; "
            f"drop {', '.join('--' + name for name in built_in)}"
        )
    return _embedder(
        session,
        replace(preprocessing, **overrides),
        session.input_size,
        session.embedding_size,
        digest,
        takes_pixels=session.takes_pixels,
        flips=session.metadata.get(FLIP_KEY) == "true",
    )


def recorded_preprocessing(path: Path, metadata: Mapping[str, str]) -> Preprocessing:
    """Return what a file's metadata says is done to images; the default where it says nothing."""
    if PREPROCESSING_KEY in metadata:
        return _recorded(path, metadata, PREPROCESSING_KEY, Preprocessing.from_json)
    if METADATA_KEY in metadata:
        return recorded_spec(path, metadata).preprocessing
    return Preprocessing()


def recorded_spec(path: Path, metadata: Mapping[str, str]) -> ModelSpec:
    """Return what the metadata of a file that `export` wrote says of its network."""
    return _recorded(path, metadata, METADATA_KEY, ModelSpec.from_json)


def recorded_card(path: Path, metadata: Mapping[str, str]) -> Card:
    """Return what a file's metadata states about the model; nothing where it has no card."""
    return _recorded(path, metadata, CARD_KEY, Card.from_json) if CARD_KEY in metadata else Card()


def _recorded(
    path: Path, metadata: Mapping[str, str], key: str, rebuild: Callable[[Any], Rebuilt]
) -> Rebuilt:
    try:
        return rebuild(json.loads(metadata[key]))
    except (AttributeError, ValueError, KeyError, TypeError, RecursionError):
        raise MarginfaceError(
            f"{path}: its metadata '{key}' is not what this version writes; export it again"
        ) from None


def _open_run(folder: Path, running: RunOptions) -> Embedder:
    from marginface.runs.folder import load_run

    if running.output_name is not None:
        raise MarginfaceError(
            f"{folder} is a run, whose one output is the embedding; leave out --output-name"
        )
    loaded = load_run(folder, running.checkpoint)
    return _open_weights(loaded.spec, loaded.weights, running)


def _open_folder(folder: Path, running: RunOptions) -> Embedder:
    for option, given in (
        ("--output-name", running.output_name),
        ("--checkpoint", running.checkpoint),
    ):
        if given is not None:
            raise MarginfaceError(f"{folder} is a model folder, with one model; leave out {option}")
    model = read_model_folder(folder)
    return _open_weights(model.spec, model.weights, running)


def _open_weights(spec: ModelSpec, weights: Arrays, running: RunOptions) -> Embedder:
    backend, overrides, threads = running.backend, running.overrides, running.threads
    run: Callable[[NDArray[Any]], NDArray[np.float32]]
    if backend == "onnx":
        require("onnx", "onnxruntime", "backend 'onnx' (there are 'torch' and 'tf', too)")
        from marginface.onnx.session import OnnxSession
        from marginface.onnx.writer import build_onnx

        graph = build_onnx(spec, weights)
        run = OnnxSession(graph.SerializeToString(), threads=threads, provider=running.provider)
    else:
        run = load_backend(backend).create_embedder(
            spec, weights, threads=threads, device=running.device
        )
    return _embedder(
        run,
        replace(spec.preprocessing, **overrides),
        spec.input_size,
        spec.embedding_size,
        _digest_of_weights(spec, weights),
        backend=backend,
    )


def _embedder(
    run: Callable[[NDArray[Any]], NDArray[np.float32]],
    preprocessing: Preprocessing,
    input_size: tuple[int, int],
    embedding_size: int,
    digest: str,
    *,
    takes_pixels: bool = False,
    backend: str = "onnx",
    flips: bool = False,
) -> Embedder:
    preprocessing.check_input(*input_size)
    return Embedder(
        run,
        preprocessing,
        input_size,
        embedding_size,
        _fingerprint(digest, preprocessing, scales=not takes_pixels),
        takes_pixels,
        backend,
        flips,
    )


def _fingerprint(digest: str, preprocessing: Preprocessing, *, scales: bool) -> str:
    """Return the hash of a network's digest and of what is done to images before it."""
    steps: dict[str, Any] = {"channels": preprocessing.channels, "crop": preprocessing.crop}
    if scales:
        for name in ("mean", "std"):
            steps[name] = np.float32(getattr(preprocessing, name)).tolist()  # as they are used
    return hashlib.sha256(f"{digest} {json.dumps(steps)}".encode()).hexdigest()


def _digest_of_weights(spec: ModelSpec, weights: Arrays) -> str:
    """Return the digest of a network by its description; its arrays are in canonical order."""
    network: list[Any] = [spec.backbone, spec.embedding_size, list(spec.input_size)]
    if spec.batch_norm_epsilon is not None:
        network.append(spec.batch_norm_epsilon)
    digest = hashlib.sha256(json.dumps(network).encode())
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


MODELS.register("a run folder", _open_run, recognises=Path.is_dir)
MODELS.register("a model folder", _open_folder, recognises=is_model_folder)
MODELS.register("an .onnx", _open_onnx, ".onnx", recognises=is_onnx)
