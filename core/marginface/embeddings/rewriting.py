"""An ONNX file of any program written anew: faster, with more in its graph, and its preprocessing.

It is checked in ONNX Runtime against the one that it was.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marginface.embeddings.embed import embed_images
from marginface.embeddings.embedder import Embedder, open_embedder
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.model import FLIP_KEY, PREPROCESSING_KEY, THRESHOLDS_KEY
from marginface.onnx.export import BATCHES, TOLERANCE
from marginface.onnx.fast import Processor, make_fast
from marginface.onnx.files import LARGEST, load_model, replacing_model, save_model
from marginface.onnx.metadata import read_metadata, set_metadata, write_with_metadata
from marginface.onnx.nodes import Nodes, names_in, opset_of, rename
from marginface.onnx.session import OnnxSession
from marginface.onnx.summing import unit_length, with_mirror
from marginface.runs.folder import RunFolder
from marginface.vectors import directionless

with needs("onnx"):
    import onnx
    from onnx import helper

SOURCE_KEY = "marginface.source"  # the name of the file that this one was made from
DIFFERENCE_KEY = "marginface.difference"  # of its embeddings from that one's
SAME = 1e-6  # of their length: embeddings that thresholds hold for, too


@dataclass(frozen=True)
class Rewriting:
    """What is to change.

    Args:
        processor: what the graph is to be fast on.
        flip: add the embedding of the mirror image.
        normalize: give embeddings length 1.
        output_name: the one output that stays; all do for None.
        preprocessing: `mean`, `std`, `channels`, `crop` as `open_embedder` takes them.
    """

    processor: Processor
    flip: bool
    normalize: bool
    output_name: str | None
    preprocessing: Mapping[str, Any]


def rewrite(source: Path, target: Path, how: Rewriting, *, largest: int = LARGEST) -> float:
    """Write the model in `source` anew to `target`; return the largest difference of embeddings.

    It is relative to their length, on seeded images. Metadata is kept. Thresholds are kept where
    embeddings are the same within 1e-6, else dropped with a warning.

    Raises:
        MarginfaceError: no model of face embeddings, one that cannot be rewritten so, or embeddings
            that differ by more than 1e-4.
    """
    before = open_embedder(source, provider="cpu", output_name=how.output_name, **how.preprocessing)
    before.check_flip(how.flip)
    session = before.run
    assert isinstance(session, OnnxSession)
    model = load_model(source)
    if how.output_name is not None:
        kept = [each for each in model.graph.output if each.name == how.output_name]
        model.graph.ClearField("output")
        model.graph.output.extend(kept)
    elif len(session.output_names) > 1 and (how.flip or how.normalize):
        embedding, norm = session.output_names
        raise MarginfaceError(
            f"{source} has a norm '{norm}' beside its embedding, which would be that no longer; "
            f"keep the embedding alone with --output-name {embedding}"
        )
    if how.processor == "cpu" and not make_fast(model, how.processor):
        warnings.warn(
            f"{source} has no PRelu that could be written anew: it is as fast on a CPU as it was",
            stacklevel=2,
        )
    if how.flip or how.normalize:
        _append(model, session, flip=how.flip, normalize=how.normalize)
    changes: dict[str, str | None] = {}
    if any(value is not None for value in how.preprocessing.values()):
        changes[PREPROCESSING_KEY] = json.dumps(before.preprocessing.to_json())
    if how.flip:
        changes[FLIP_KEY] = "true"
    with replacing_model(target) as part:
        set_metadata(model, changes)
        save_model(model, part, largest=largest)
        after = open_embedder(part, provider="cpu")
        difference = largest_difference(before, after, flip=how.flip, normalize=how.normalize)
        if not difference <= TOLERANCE:
            raise MarginfaceError(
                f"embeddings of the graph that was written anew differ from those of {source} by "
                f"{difference:.2g} of their length (allowed {TOLERANCE:g}); nothing was written"
            )
        told: dict[str, str | None] = {SOURCE_KEY: source.name, DIFFERENCE_KEY: f"{difference:.2g}"}
        told |= carried_thresholds(source, part, output_name=how.output_name)
        write_with_metadata(part, part, told, largest=largest)
    return difference


def carried_thresholds(
    source: Path,
    target: Path,
    *,
    checkpoint: str | int | None = None,
    output_name: str | None = None,
) -> dict[str, str | None]:
    """Return what is to change in the metadata of `target`, which was made from `source`.

    Thresholds of `source` are bound to the new model where embeddings are the same within 1e-6 of
    their length; elsewhere they are dropped, with a warning.

    Args:
        source: an ONNX file, or a run folder.
        target: an ONNX file.
        checkpoint: of the run.
        output_name: of an ONNX file: the output that stays, alone.
    """
    if source.is_dir():
        stored = RunFolder(source).thresholds
        thresholds = stored.read_text(encoding="utf-8") if stored.is_file() else None
    else:
        thresholds = read_metadata(source).get(THRESHOLDS_KEY)
    if thresholds is None:
        return {}
    before = open_embedder(source, provider="cpu", checkpoint=checkpoint, output_name=output_name)
    after = open_embedder(target, provider="cpu")
    if before.fingerprint in thresholds and largest_difference(before, after) <= SAME:
        return {THRESHOLDS_KEY: thresholds.replace(before.fingerprint, after.fingerprint)}
    warnings.warn(
        "the model's thresholds were dropped, because its embeddings are others now; calibrate it "
        "again: marginface calibrate",
        stacklevel=3,
    )
    return {THRESHOLDS_KEY: None}


def _append(model: onnx.ModelProto, session: OnnxSession, *, flip: bool, normalize: bool) -> None:
    """Append nodes to the embedding's; the output keeps its name."""
    graph, name = model.graph, session.output_names[0]
    nodes = Nodes(opset_of(model), names_in(graph))
    x = nodes.free(f"{name}.plain")
    rename(graph.node, {name: x})
    network = list(graph.node)
    nodes.nodes += network
    if flip:
        width = 2 if session.channels_last else 3
        x = with_mirror(nodes, network, session.input_name, x, width=width)
    if normalize:
        output = next(each.type.tensor_type for each in graph.output if each.name == name)
        rank = len(output.shape.dim) or 2
        dtype = helper.tensor_dtype_to_np_dtype(output.elem_type)
        unit_length(nodes, x, axes=range(1, rank), dtype=dtype)
    nodes.nodes[-1].output[0] = name
    nodes.put_into(model)


def largest_difference(
    before: Embedder, after: Embedder, *, flip: bool = False, normalize: bool = False
) -> float:
    """Return the largest difference of embeddings of seeded images, in lengths of the first.

    Args:
        before, after: two models; infinitely different where images or embeddings have other sizes.
        flip: `after` is to add the embedding of the mirror image.
        normalize: `after` is to give embeddings of length 1.
    """
    sizes = [(m.input_size, m.preprocessing.crop, m.embedding_size) for m in (before, after)]
    if sizes[0] != sizes[1]:
        return np.inf
    crop = before.preprocessing.crop
    size = before.input_size if crop is None else (crop[0] + crop[2], 2 * crop[1] + crop[3])
    rng = np.random.default_rng(0)
    differences = []
    for batch in BATCHES:
        images = rng.integers(0, 256, (batch, *size, 3), np.uint8)
        expected = embed_images(before, images, flip=flip).astype(np.float64)
        if len(directionless(expected)):
            raise MarginfaceError("the model gives embeddings of length zero, NaN or infinite")
        length = np.linalg.norm(expected, axis=1, keepdims=True)
        unit = after(images) / (1 if normalize else length)
        differences.append(np.abs(unit - expected / length).max())
    return float(np.max(differences))  # not Python's max, which would pass over NaN
