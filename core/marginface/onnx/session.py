"""An ONNX face model in ONNX Runtime, whatever its layout, batch and number type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.model import ALIGNED_SIZE, METADATA_KEY
from marginface.onnx.providers import create_session
from marginface.regular import require_regular
from marginface.text import as_utf8, from_system

with needs("onnx"):
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

NUMBER_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
SAME_LENGTH = 1e-3  # relative; float16 rounds a norm by half of that
UNREADABLE = (ort_state.InvalidProtobuf, ort_state.NoModel)
RUN_ERRORS = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    ort_state.EPFail,
)


def open_session(
    model: Path | bytes, *, threads: int | None = None, provider: str = "auto"
) -> ort.InferenceSession:
    """Return ONNX Runtime's session of a file or a serialised model.

    Args:
        model: an ONNX file, or a serialised model.
        threads: CPU threads for one run, None for ONNX Runtime's choice.
        provider: what it computes on: "auto" (CUDA where ONNX Runtime has it and it can be used,
            else the CPU), "cpu", "cuda", or another that the installed ONNX Runtime has.

    Raises:
        MarginfaceError: no such file, not an ONNX model, one that ONNX Runtime cannot load, or no
            such provider.
    """
    if threads is not None and threads < 1:
        raise MarginfaceError(f"threads must be at least 1, got {threads}")
    if isinstance(model, Path):
        check_file(model)
    name = _name(model)
    options = ort.SessionOptions()
    options.log_severity_level = 4  # its findings come back as exceptions
    options.intra_op_num_threads = threads or 0
    try:
        source = _source(model) if isinstance(model, Path) else model
        return create_session(source, options, provider)
    except UNREADABLE as error:
        raise MarginfaceError(
            f"{name} is not an ONNX model, or a damaged one; export or download it again"
        ) from error
    except RUN_ERRORS as error:
        raise MarginfaceError(
            f"ONNX Runtime {ort.__version__} cannot load {name}: {one_line(error)}"
        ) from error


class OnnxSession:
    """Runs a model with one image input and an embedding output, maybe with its norm beside it.

    Of several outputs, the one [N, D] with D > 1 is the embedding. An [N, 1] or [N] beside it is
    its norm, of several the one that is called so: embeddings get that length, so that whoever
    asks their length reads it. Other dimensions of 1 do not count.

    Args:
        model: an ONNX file, or a serialised model.
        output_name: the output that alone is the embedding.
        threads, provider: as of `open_session`.

    Attributes:
        takes_pixels: the input is uint8, so mean and std are part of the model.
        batch: the number of images that the model takes at once, None for any.
        input_size: (height, width) in pixels; the aligned face's where the model leaves them open.
        embedding_size: length of an embedding.
        input_name, channels_last: of the input, and whether it is [N, H, W, 3].
        output_names: of the outputs that are read, embedding first.
        outputs: their indices; () where the model has one.
        metadata: the model's own key-value properties.

    Raises:
        MarginfaceError: no such file, not an ONNX model, or not a face embedder's interface.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        threads: int | None = None,
        provider: str = "auto",
        output_name: str | None = None,
    ) -> None:
        self.name = _name(model)
        self._session = open_session(model, threads=threads, provider=provider)
        entry = self._only_input()
        self.input_name = entry.name
        self._read_input(entry.shape, entry.type)
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.takes_pixels = self._dtype is np.uint8
        self.output_names = [each.name for each in self._session.get_outputs()]
        probe = np.zeros((self.batch or 1, *self._image_shape), self._dtype)
        chosen = self._choose(probe, output_name)
        self.outputs = (
            tuple(map(self.output_names.index, chosen)) if len(self.output_names) > 1 else ()
        )
        self.output_names = chosen
        self.embedding_size = self._outputs(probe)[0].shape[1]
        if self.embedding_size == 1:
            raise MarginfaceError(
                f"output '{chosen[0]}' of {self.name} is one number for each image, no embedding; "
                f"its outputs are {', '.join(each.name for each in self._session.get_outputs())}"
            )

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return embeddings [N, D] for images [N, 3, H, W], or [N, H, W, 3] if `takes_pixels`."""
        if not len(images):
            return np.empty((0, self.embedding_size), np.float32)
        if self.takes_pixels and not self.channels_last:
            images = images.transpose(0, 3, 1, 2)
        if not self.takes_pixels and self.channels_last:
            images = images.transpose(0, 2, 3, 1)
        batch = self.batch or len(images)
        chunks = [images[at : at + batch] for at in range(0, len(images), batch)]
        embeddings = np.concatenate([self._run(_padded(chunk, batch)) for chunk in chunks])
        return embeddings[: len(images)]

    def _only_input(self) -> Any:
        entries = self._session.get_inputs()
        if len(entries) != 1:
            names = ", ".join(entry.name for entry in entries) or "none"
            raise MarginfaceError(
                f"{self.name} has {len(entries)} inputs ({names}), expected exactly one: images; "
                "is it a face recognition model?"
            )
        return entries[0]

    def _choose(self, images: NDArray[Any], output_name: str | None) -> list[str]:
        """Return the names of the embedding and, where it has one, of its norm."""
        names = self.output_names
        if output_name is not None:
            if output_name not in names:
                raise MarginfaceError(
                    f"{self.name} has no output '{output_name}'; --output-name takes one of "
                    f"{', '.join(names)}"
                )
            return [output_name]
        if len(names) == 1:
            return names
        if METADATA_KEY in self.metadata and "embeddings" in names:  # of ours, with classes beside
            return ["embeddings"]
        sizes = {
            name: size
            for name, value in zip(names, self._results(images), strict=True)
            if (size := _row_size(value, len(images))) and value.dtype.kind == "f"
        }
        embeddings = [name for name, size in sizes.items() if size > 1]
        norms = [name for name, size in sizes.items() if size == 1]
        if len(norms) > 1:
            norms = [name for name in norms if "norm" in name.lower()] or norms
        if len(embeddings) == 1 and len(norms) < 2:
            return embeddings + norms
        listed = ", ".join(f"{name} of {size}" for name, size in sizes.items()) or "none"
        raise MarginfaceError(
            f"{self.name} has {len(names)} outputs ({', '.join(names)}), expected one [N, "
            f"embedding size], and at most one [N, 1] beside it, its norm; of such shapes: "
            f"{listed}; name the embedding with --output-name"
        )

    def _read_input(self, shape: list[int | str | None], type_name: str) -> None:
        if type_name not in NUMBER_TYPES:
            raise MarginfaceError(
                f"the input of {self.name} is {type_name}, expected {', '.join(NUMBER_TYPES)}"
            )
        if len(shape) != 4:
            raise MarginfaceError(
                f"the input of {self.name} has shape {shape}, expected four dimensions: "
                "[N, 3, height, width] or [N, height, width, 3]"
            )
        self._dtype = NUMBER_TYPES[type_name]
        sizes = [size if isinstance(size, int) and size > 0 else None for size in shape]
        self.batch, *dims = sizes
        self.channels_last = dims[2] == 3 and dims[0] != 3
        channels, height, width = (dims[2], *dims[:2]) if self.channels_last else dims
        if channels not in (3, None):
            raise MarginfaceError(
                f"the input of {self.name} has shape {shape}, expected 3 channels: "
                "[N, 3, height, width] or [N, height, width, 3]"
            )
        self.input_size = (height or ALIGNED_SIZE[0], width or ALIGNED_SIZE[1])
        size = self.input_size
        self._image_shape = (*size, 3) if self.channels_last else (3, *size)

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        embeddings, *norms = self._outputs(images)
        return self._with_length(embeddings, norms[0]) if norms else embeddings

    def _outputs(self, images: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Return the chosen outputs, each [N, D]."""
        outputs = self._results(images)
        for output in outputs:
            if not _row_size(output, len(images)):
                raise MarginfaceError(
                    f"the output of {self.name} has shape {output.shape} for {len(images)} "
                    "images, expected [N, embedding size]; is it a face recognition model?"
                )
        return [np.asarray(output.reshape(len(images), -1), np.float32) for output in outputs]

    def _results(self, images: NDArray[Any]) -> list[NDArray[Any]]:
        try:
            pixels = images.astype(self._dtype, copy=False)
            results = self._session.run(self.output_names, {self.input_name: pixels})
        except RUN_ERRORS as error:
            raise MarginfaceError(
                f"{self.name} fails on an input of shape {images.shape}: {one_line(error)}"
            ) from error
        return [np.asarray(result) for result in results]

    def _with_length(
        self, embeddings: NDArray[np.float32], norms: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Scale embeddings [N, D] to norms [N, 1]; one that has its length stays as it is."""
        embedding, norm = self.output_names
        if not np.all((norms > 0) & np.isfinite(norms)):
            raise MarginfaceError(
                f"output '{norm}' of {self.name} is no norm: it gives zero, negative or infinite "
                f"numbers; take the embedding alone with --output-name {embedding}"
            )
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        same = (np.abs(lengths - norms) <= SAME_LENGTH * norms) | (lengths == 0)
        scale = np.divide(norms, lengths, out=np.ones_like(norms), where=~same)
        scaled: NDArray[np.float32] = embeddings * scale
        return scaled


def _row_size(output: NDArray[Any], images: int) -> int:
    """Return the size D of an output [N, D], 0 of another.

    Dimensions of 1 do not count: some keep their last convolution's, as [N, D, 1, 1], [N, 1, 1, D].
    """
    size = output.size // images
    rows = output.ndim > 0 and len(output) == images
    return size if rows and max(output.shape[1:], default=1) == size else 0


def check_file(model: Path) -> None:
    """Raise unless there is such a file."""
    require_regular(model, "expected an ONNX file")
    if not model.is_file():
        problem = "is a folder" if model.is_dir() else "does not exist"
        raise MarginfaceError(f"{model} {problem}; expected an ONNX file")


def _source(path: Path) -> str | bytes:
    """Return a file for ONNX Runtime: it takes paths in UTF-8 alone, else what the file holds."""
    text = from_system(str(path))
    return text if as_utf8(text) == text else path.read_bytes()


def _name(model: Path | bytes) -> str:
    return str(model) if isinstance(model, Path) else "the model"


def _padded(images: NDArray[Any], batch: int) -> NDArray[Any]:
    """Return `images` with the last one repeated until there are `batch`."""
    missing = batch - len(images)
    return images if missing == 0 else np.concatenate([images, images[-1:].repeat(missing, axis=0)])


def one_line(error: Exception) -> str:
    """Return ONNX Runtime's message as one line."""
    return " ".join(str(error).split())
