"""`marginface export` as a user types it: what the file holds, and what is refused in one line."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from marginface import MarginfaceError, __version__, backbones
from marginface.demo.drawing.people import draw_person, draw_shot
from marginface.demo.drawing.picture import draw_face
from marginface.embeddings.embedder import open_embedder
from marginface.model import ModelSpec
from marginface.onnx.writer import build_onnx

pytest.importorskip("torch")

MEAN = (100.0, 110.0, 120.0)


def read(path: Path) -> tuple[onnx.ModelProto, dict[str, str]]:
    model = onnx.load(path)
    return model, {entry.key: entry.value for entry in model.metadata_props}


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Two people, four pictures each."""
    rng = np.random.default_rng(0)
    people = [draw_person(rng) for _ in range(2)]
    return np.stack([draw_face(person, draw_shot(rng)) for person in people for _ in range(4)])


@pytest.fixture(scope="module")
def run(printed, photos: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training run of two steps."""
    root = tmp_path_factory.mktemp("export")
    for number, photo in enumerate(photos):
        folder = root / "faces" / f"person_{number // 4}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(folder / f"{number}.png")
    options = f"""train --data {root / "faces"} --output {root / "run"} --backbone mobilefacenet
        --embedding-size 16 --loss cosface --scale 8 --max-steps 2 --batch-size 4 --threads 1
        --channels bgr --mean {",".join(map(str, MEAN))}"""
    printed(*options.split())
    return root / "run"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of mbf with 16 numbers an embedding."""
    path = tmp_path / "weights.safetensors"
    backbones.write_weights(path, backbones.initial_weights(backbones.describe("mbf", 16), 0))
    return path


def test_every_variant_gives_the_same_embeddings(
    printed, run: Path, photos: np.ndarray, tmp_path: Path
) -> None:
    variants = {"plain": [], "whole": ["--preprocess", "--normalize", "--opset", "18"]}
    for name, options in variants.items():
        printed("export", "--run", run, "--output", tmp_path / f"{name}.onnx", *options)
    expected, found = (open_embedder(tmp_path / f"{name}.onnx")(photos) for name in variants)
    length = np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(length - 1).min() > 0.01
    np.testing.assert_allclose(found, expected / length, atol=1e-5)
    np.testing.assert_allclose(
        open_embedder(run)(photos) / length, expected / length, atol=1e-5, rtol=0
    )
    again, source = tmp_path / "again.onnx", tmp_path / "plain.onnx"
    printed("export", "--model", source, "--output", again, "--preprocess", "--normalize")
    np.testing.assert_allclose(open_embedder(again)(photos), expected / length, atol=1e-5)
    first, second = (read(path)[1] for path in (source, again))
    kept = ("marginface", "loss", "loss_parameters")
    assert [first[name] for name in kept] == [second[name] for name in kept]


def test_the_mirror_in_the_graph_is_checked_against_the_framework(
    printed, refusal, run: Path, photos: np.ndarray, tmp_path: Path
) -> None:
    output = tmp_path / "m.onnx"
    printed("export", "--run", run, "--output", output, "--flip", "--for", "cpu", "--preprocess")
    found, plain = open_embedder(output)(photos), open_embedder(run)
    expected = plain(photos) + plain(photos[:, :, ::-1])
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
    assert not any(node.op_type == "PRelu" for node in read(output)[0].graph.node)
    folder = tmp_path / "faces"
    folder.mkdir()
    Image.fromarray(photos[0]).save(folder / "one.png")
    given = ("--model", output, "--images", folder, "--output", tmp_path / "e.npz")
    assert "leave out --flip, and give --no-flip to evaluate" in refusal("embed", *given, "--flip")
    printed("embed", *given)


def test_a_crop_says_how_large_the_input_is(printed, tmp_path: Path) -> None:
    weights = backbones.initial_weights(backbones.describe("mbf", 16, (32, 48)), 0)
    backbones.write_weights(tmp_path / "w.safetensors", weights)
    output = tmp_path / "m.onnx"
    given = ("--weights", tmp_path / "w.safetensors", "--backbone", "mbf", "--output", output)
    printed("export", *given, "--embedding-size", 16, "--crop", "1,2,32,48")
    assert open_embedder(output).input_size == (32, 48)


def test_what_the_file_says_of_itself(printed, run: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    output.write_text("an older one")
    printed(
        "export", "--run", run, "--output", output, "--preprocess", "--opset", 21, "--overwrite"
    )
    model, metadata = read(output)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 21)]
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"images": ["batch", 112, 112, 3], "embeddings": ["batch", 16]}
    spec = json.loads(metadata.pop("marginface"))
    assert spec["preprocessing"]["channels"] == "bgr"
    assert spec["preprocessing"]["mean"] == list(MEAN)
    assert json.loads(metadata.pop("loss_parameters"))["scale"] == 8
    assert metadata.pop("source").startswith("torch 2.")
    assert metadata == {
        "backbone": "mobilefacenet",
        "embedding_size": "16",
        "loss": "cosface",
        "normalize": "false",
        "preprocess": "true",
        "version": __version__,
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--opset", 12], "opset must be between 13 and 23, got 12"),
        (["--opset", 24], "opset must be between 13 and 23, got 24"),
        (["--output", "absent/model.onnx"], "absent is not an existing folder; create it"),
        (["--output", "folder.onnx"], "folder.onnx is a folder, expected the name of a file"),
        (["--output", "model.pb"], "written as .onnx, got 'model.pb'"),
        (["--backbone", "mbf"], "--backbone goes with --weights"),
        (["--backend", "trch"], "unknown backend 'trch'; did you mean 'torch'?"),
        (["--run", Path(__file__)], "is no run folder and no ONNX file; --weights takes files"),
        (["--checkpoint", "newest"], "checkpoint must be best, last or the number of a step"),
        (["--run", "absent"], "absent does not exist; expected the --output folder"),
    ],
    ids=str,
)
def test_refused_options(cli, run, options, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    given = {"--run": run, "--output": "model.onnx"} | dict([options])
    status, _, said = cli("export", *(part for pair in given.items() for part in pair))
    assert status == 2
    assert words in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["folder.onnx"]


class Foreign:
    """What a plain state_dict does not hold."""


class Running:
    """What runs a command when Python reads it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def damage(weights: Path, kind: str) -> Path:
    """Return a file that holds no usable weights."""
    import torch

    path = weights.with_name(f"{kind}.pt")
    match kind:
        case "safetensors":
            path = weights.with_name("cut.safetensors")
            path.write_bytes(weights.read_bytes()[:-1000])
        case "cut":
            torch.save({"a": torch.zeros(100_000)}, path)
            path.write_bytes(path.read_bytes()[:-1000])
        case "small":  # its reader seeks to before the start
            torch.save({"a": torch.zeros(3)}, path)
            path.write_bytes(path.read_bytes()[:20])
        case "pickle":
            path.write_bytes(pickle.dumps(Foreign(), protocol=4))
        case "object":
            torch.save({"a": Foreign()}, path)
        case "list":
            torch.save([1, 2], path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("safetensors", "cut.safetensors is not a whole safetensors file"),
        ("cut", "cut.pt holds damaged data, expected a plain state_dict"),
        ("small", "small.pt holds damaged data, expected a plain state_dict"),
        ("pickle", "pickle.pt holds other objects, expected a plain state_dict"),
        ("object", "object.pt holds other objects, expected a plain state_dict"),
        ("list", "list.pt holds a list; expected a state_dict"),
        ("absent", "no such file or folder"),
    ],
)
def test_damaged_and_foreign_weights(cli, weights, kind, words, tmp_path) -> None:
    path, output = damage(weights, kind), tmp_path / "model.onnx"
    status, _, said = cli("export", "--weights", path, "--backbone", "mbf", "--output", output)
    assert status == 2
    assert words in said
    assert said.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_of_weights_is_run(refusal, zipped, tmp_path) -> None:
    import torch

    marker, path = tmp_path / "was here", tmp_path / "model.pt"
    torch.save({"a": Running(marker)}, path, _use_new_zipfile_serialization=zipped)
    output = tmp_path / "model.onnx"
    assert "model.pt holds other objects" in refusal(
        "export", "--weights", path, "--backbone", "mbf", "--output", output
    )
    assert not marker.exists()
    torch.load(path, weights_only=False)  # which is what runs it
    assert marker.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--embedding-size", 8], "other weights than were asked for; it is mbf of 16 numbers"),
        (
            ["--backbone", "mobilefacenet"],
            "it is mbf of 16 numbers from 112x112 pixels, all 283 arrays",
        ),
        (["--backbone", "mbff"], "did you mean 'mbf'?"),
        (
            ["--backbone", "mbf", "--embedding-size", 8],
            "features.layers.2.weight is [16, 512] instead of [8, 512]",
        ),
    ],
    ids=str,
)
def test_weights_that_do_not_fit(cli, weights, options, words, tmp_path) -> None:
    output = tmp_path / "model.onnx"
    output.write_text("an older one")
    size = [] if "--embedding-size" in options else ["--embedding-size", 16]
    size.append("--overwrite")
    status, _, said = cli("export", "--weights", weights, "--output", output, *size, *options)
    assert status == 2
    assert words in said
    assert said.count("\n") == 1
    assert output.read_text() == "an older one"


def test_half_precision_weights(printed, weights: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    values = load_file(weights)
    for kind in (torch.bfloat16, torch.float16):
        output = tmp_path / f"{kind}.onnx"
        save_file({name: value.to(kind) for name, value in values.items()}, weights)
        arguments = ("--backbone", "mbf", "--embedding-size", 16)
        printed("export", "--weights", weights, *arguments, "--output", output)


def test_metadata_of_the_caller_replaces_none_of_ours() -> None:
    spec = ModelSpec("mobilefacenet", 8, (32, 32))
    weights = backbones.initial_weights(backbones.describe("mobilefacenet", 8, (32, 32)), 0)
    model = build_onnx(spec, weights, metadata={"note": "first"})
    assert [entry.value for entry in model.metadata_props if entry.key == "note"] == ["first"]
    for name in ("marginface", "version"):
        with pytest.raises(MarginfaceError, match=f"'{name}' is what the export itself writes"):
            build_onnx(spec, weights, metadata={name: "mine"})
