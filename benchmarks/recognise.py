"""Photos to embeddings beside the insightface package, and embedding beside a bare session.run.

python benchmarks/recognise.py scrfd.onnx model.onnx photos/ --threads 1

Without insightface (pip install insightface), only the second part runs. Photos are read from their
files by both. insightface scales each photo to its --det-size; 250 x 250 photos are looked at with
as many pixels by both at 256.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
import typer
from harness import Work, interleave, report

import marginface as mf
from marginface import backbones
from marginface.data.image_files import list_images
from marginface.model import ModelSpec
from marginface.onnx.writer import build_onnx

BATCH = 64


def main(
    detector: Annotated[Path, typer.Argument(help="SCRFD with five points.")],
    model: Annotated[Path, typer.Argument(help="Recognition model.")],
    photos: Annotated[Path, typer.Argument(help="Folder of photos.")],
    threads: int = 1,
    det_sizes: Annotated[str, typer.Option(help="Of insightface.")] = "256,640",
    most: Annotated[int, typer.Option(help="Photos.")] = 48,
    backbones_: Annotated[str, typer.Option("--backbones")] = "mobilefacenet,iresnet18",
    rounds: int = 5,
    output: Path | None = None,
) -> None:
    """Time both parts."""
    paths = [photos / name for name in list_images(photos)][:most]
    recogniser = mf.Recogniser(mf.load(model, threads=1), detector, threads=threads)
    upright = mf.Recogniser(mf.load(model, threads=1), detector, threads=threads, turns=False)
    rivals: dict[str, Work] = {
        "marginface": lambda: list(recogniser(paths)),
        "marginface, upright photos": lambda: list(upright(paths)),
    }
    for size in map(int, det_sizes.split(",")):
        if rival := insightface(detector, model, size, threads):
            rivals[f"insightface {size}"] = partial(rival, paths)
    results = {"photos": interleave(rivals, rounds=rounds, repeats=1)}
    report(f"photos, {threads} threads", results, len(paths), "marginface", output)

    images = np.random.default_rng(0).integers(0, 256, (BATCH, 112, 112, 3), np.uint8)
    results = {}
    for name in backbones_.split(","):
        graph = backbones.describe(name, 512)
        weights = backbones.initial_weights(graph, 0)
        content = build_onnx(ModelSpec(name, 512), weights).SerializeToString()
        path = Path(f"{name}.onnx") if output is None else output.with_name(f"{name}.onnx")
        path.write_bytes(content)
        ours = mf.load(path, threads=threads)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        inputs = ours.preprocessing(images)
        feed = {session.get_inputs()[0].name: inputs}
        np.testing.assert_allclose(ours.embed(images), session.run(None, feed)[0], atol=1e-4)
        results[name] = interleave(
            {
                "session.run": lambda session=session, feed=feed: session.run(None, feed),
                "Model.embed": lambda ours=ours: ours.embed(images),
            },
            rounds=rounds,
            repeats=1,
        )
        path.unlink()
    report(f"crops, {threads} threads", results, BATCH, "session.run", None)


def insightface(
    detector: Path, model: Path, size: int, threads: int
) -> Callable[[list[Path]], list[Any]] | None:
    """Return insightface's way from photos to faces with embeddings; None where it is absent."""
    try:
        import cv2
        from insightface.app.common import Face
        from insightface.model_zoo import get_model
    except ImportError:
        return None
    cv2.setNumThreads(threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    found, embedded = (get_model(str(each), sess_options=options) for each in (detector, model))
    found.prepare(ctx_id=-1, input_size=(size, size), det_thresh=0.5)
    embedded.prepare(ctx_id=-1)

    def recognise(paths: list[Path]) -> list[Any]:
        faces = []
        for path in paths:
            photo = cv2.imread(str(path))
            boxes, points = found.detect(photo)
            for box, marks in zip(boxes, points, strict=True):
                face = Face(bbox=box[:4], kps=marks, det_score=box[4])
                embedded.get(photo, face)
                faces.append(face)
        return faces

    return recognise


if __name__ == "__main__":
    typer.run(main)
