"""Opening ONNX files and run folders as embedders: layouts, batches, preprocessing, bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import pytest
from real_faces import FACES

from marginface import MarginfaceError
from marginface.embeddings.embedder import open_embedder
from marginface.model import ModelSpec, Preprocessing

POOL = "pooled = AveragePool<kernel_shape = [8, 8], strides = [8, 8]>"
MODELS = {
    "nchw": f"""(float[N, 3, 16, 16] x) => (float[N, 12] y) {{ {POOL}(x) y = Flatten(pooled) }}""",
    "fixed": f"""(float[4, 3, 16, 16] x) => (float[4, 12] y) {{ {POOL}(x) y = Flatten(pooled) }}""",
    "nhwc": f"""(float[N, 16, 16, 3] x) => (float[N, 12] y) {{
        t = Transpose<perm = [0, 3, 1, 2]>(x) {POOL}(t) y = Flatten(pooled) }}""",
    "half": f"""(float16[N, 3, 16, 16] x) => (float16[N, 12] y) {{
        {POOL}(x) y = Flatten(pooled) }}""",
    "pixels": f"""(uint8[N, 16, 16, 3] x) => (float[N, 12] y) {{
        f = Cast<to = 1>(x) t = Transpose<perm = [0, 3, 1, 2]>(f) {POOL}(t)
        y = Flatten(pooled) }}""",
    "spatial": "(float[N, 3, 8, 8] x) => (float[N, 3, 1, 1] y) { y = GlobalAveragePool(x) }",
    "open": "(float[N, 3, H, W] x) => (float[N, 3, 1, 1] y) { y = GlobalAveragePool(x) }",
    "flat": "(float[N, 768] x) => (float[N, 768] y) { y = Identity(x) }",
    "grey": "(float[N, 1, 16, 16] x) => (float[N, 256] y) { y = Flatten(x) }",
    "image out": "(float[N, 3, 16, 16] x) => (float[N, 3, 16, 16] y) { y = Identity(x) }",
    "two in": "(float[N, 3, 16, 16] x, float[N, 3, 16, 16] z) => (float[N, 768] y) "
    "{ s = Add(x, z) y = Flatten(s) }",
    "two out": "(float[N, 3, 16, 16] x) => (float[N, 768] y, float[N, 768] z) "
    "{ y = Flatten(x) z = Flatten(x) }",
    "text": "(string[N, 3, 16, 16] x) => (string[N, 768] y) { y = Flatten(x) }",
    "batch one inside": "(float[N, 3, 16, 16] x) => (float[1, 768] y) "
    "<int64[2] s = {1, 768}> { y = Reshape(x, s) }",
}


def model_file(tmp_path: Path, kind: str, metadata: dict[str, str] | None = None) -> Path:
    header = '<ir_version: 8, opset_import: ["": 17]> tiny '
    model = onnx.parser.parse_model(header + MODELS[kind])
    onnx.helper.set_model_props(model, metadata or {})
    path = tmp_path / f"{kind}.onnx"
    onnx.save(model, path)
    return path


def pictures(count: int, height: int = 16, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def pooled(images: np.ndarray, mean: object = 127.5, std: object = 127.5) -> np.ndarray:
    """Average 8x8 blocks of each channel, by loops."""
    rows = []
    for image in (images.astype(float) - mean) / std:
        blocks = [
            image[top : top + 8, left : left + 8, channel].mean()
            for channel in range(3)
            for top in (0, 8)
            for left in (0, 8)
        ]
        rows.append(blocks)
    return np.array(rows)


@pytest.mark.parametrize(("kind", "tolerance"), [("nchw", 1e-6), ("nhwc", 1e-6), ("half", 2e-3)])
@pytest.mark.parametrize("count", [1, 5])
def test_layouts_and_number_types(tmp_path, kind, tolerance, count):
    embedder = open_embedder(model_file(tmp_path, kind))
    embeddings = embedder(pictures(count))
    assert (embedder.input_size, embedder.embedding_size) == ((16, 16), 12)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, pooled(pictures(count)), atol=tolerance)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9])
def test_a_fixed_batch_is_filled_up_and_cut_off(tmp_path, count):
    images = pictures(count)
    embeddings = open_embedder(model_file(tmp_path, "fixed"))(images)
    np.testing.assert_allclose(embeddings, pooled(images), atol=1e-6)


def test_no_images_give_no_embeddings(tmp_path):
    assert open_embedder(model_file(tmp_path, "nchw"))(pictures(0)).shape == (0, 12)


def test_preprocessing_overrides(tmp_path):
    path, images = model_file(tmp_path, "nchw"), pictures(2, 20, 18)
    mean, std = (10.0, 20.0, 30.0), (2.0, 3.0, 4.0)
    embedder = open_embedder(path, mean=mean, std=std, channels="bgr", crop=(3, 1, 16, 16))
    expected = pooled(images[:, 3:19, 1:17, ::-1], mean, std)
    np.testing.assert_allclose(embedder(images), expected, rtol=1e-5)
    np.testing.assert_allclose(
        open_embedder(path, mean=0, std=1)(images[:, :16, :16]),
        pooled(images[:, :16, :16], 0, 1),
        rtol=1e-5,
    )


def test_our_metadata_sets_the_preprocessing_and_overrides_win(tmp_path):
    ours = Preprocessing(mean=(1, 2, 3), std=(4, 5, 6), channels="bgr")
    spec = ModelSpec("mbf", 12, (16, 16), preprocessing=ours)
    path = model_file(tmp_path, "nchw", {"marginface": json.dumps(spec.to_json())})
    assert open_embedder(path).preprocessing == ours
    changed = open_embedder(path, std=128).preprocessing
    assert (changed.mean, changed.std, changed.channels) == ((1, 2, 3), (128.0,) * 3, "bgr")


def test_a_model_that_takes_pixels_gets_pixels(tmp_path):
    path, images = model_file(tmp_path, "pixels"), pictures(3)
    np.testing.assert_allclose(open_embedder(path)(images), pooled(images, 0, 1), rtol=1e-6)
    with pytest.raises(MarginfaceError, match="so mean and std are built in; drop --mean, --std"):
        open_embedder(path, mean=0, std=1)


def test_the_channel_order_of_pixels_is_not_built_in(tmp_path):
    path, images = model_file(tmp_path, "pixels"), pictures(3)
    expected = pooled(images[..., ::-1], 0, 1)
    np.testing.assert_allclose(open_embedder(path, channels="bgr")(images), expected, rtol=1e-6)


def test_a_crop_of_another_size_makes_no_model():
    with pytest.raises(MarginfaceError, match="cuts out 100x96, the model takes 112x96"):
        ModelSpec("mbf", 12, (112, 96), preprocessing=Preprocessing(crop=(0, 8, 100, 96)))
    with pytest.raises(MarginfaceError, match="none negative"):
        Preprocessing(crop=(0, -8, 112, 96))


def test_an_output_with_ones_at_the_end_is_flattened(tmp_path):
    assert open_embedder(model_file(tmp_path, "spatial"))(pictures(2, 8, 8)).shape == (2, 3)


def test_an_open_input_size_means_the_aligned_size(tmp_path):
    assert open_embedder(model_file(tmp_path, "open")).input_size == (112, 112)


def test_the_fingerprint_follows_model_and_preprocessing(tmp_path):
    plain, other = model_file(tmp_path, "nchw"), model_file(tmp_path, "nhwc")
    prints = [
        open_embedder(plain).fingerprint,
        open_embedder(plain, std=128).fingerprint,
        open_embedder(other).fingerprint,
    ]
    assert len(set(prints)) == 3
    assert open_embedder(plain, threads=1).fingerprint == prints[0]


def test_the_fingerprint_is_of_what_is_used_alone(tmp_path):
    spec = ModelSpec("mbf", 12, (16, 16), preprocessing=Preprocessing(std=(1, 1, 1)))
    path = model_file(tmp_path, "nchw")
    plain = open_embedder(path, std=1.0).fingerprint
    model_file(tmp_path, "nchw", {"marginface": json.dumps(spec.to_json()), "version": "9"})
    assert open_embedder(path).fingerprint == plain  # as the metadata says, or as it is told
    assert open_embedder(path, std=1 + 1e-12).fingerprint == plain  # of float32
    renamed = path.rename(tmp_path / "other.onnx")
    assert open_embedder(renamed).fingerprint == plain
    changes = ({"mean": 0}, {"channels": "bgr"}, {"crop": (1, 2, 16, 16)})
    others = {open_embedder(renamed, **change).fingerprint for change in changes}
    assert len(others | {plain}) == 4
    assert open_embedder(renamed, crop=np.array([1, 2, 16, 16])).fingerprint in others


def test_the_fingerprint_of_a_model_that_takes_pixels_has_their_scaling_in_it(tmp_path):
    path = model_file(tmp_path, "pixels")
    plain = open_embedder(path).fingerprint
    unused = ModelSpec("mbf", 12, (16, 16), preprocessing=Preprocessing(std=(1, 1, 1)))
    model_file(tmp_path, "pixels", {"marginface": json.dumps(unused.to_json())})
    assert open_embedder(path).fingerprint == plain
    assert open_embedder(path, channels="bgr").fingerprint != plain


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("flat", r"has shape \['N', 768\], expected four dimensions"),
        ("grey", "expected 3 channels"),
        ("image out", r"output of .* has shape \(1, 3, 16, 16\)"),
        ("two in", r"has 2 inputs \(x, z\), expected exactly one"),
        ("two out", r"has 2 outputs \(y, z\), expected one .*: y of 768, z of 768; name the emb"),
        ("text", r"is tensor\(string\), expected tensor\(float\)"),
    ],
)
def test_a_model_with_another_interface_is_refused(tmp_path, kind, words):
    with pytest.raises(MarginfaceError, match=words):
        open_embedder(model_file(tmp_path, kind))


def test_a_batch_that_the_model_cannot_take_is_named(tmp_path):
    embedder = open_embedder(model_file(tmp_path, "batch one inside"))
    with pytest.raises(
        MarginfaceError, match=r"fails on an input of shape \(2, 3, 16, 16\)"
    ) as error:
        embedder(pictures(2))
    assert "\n" not in str(error.value)


def test_files_that_are_no_models_are_refused(tmp_path):
    with pytest.raises(MarginfaceError, match=r"no such file or folder: \S+none\.onnx; expected a"):
        open_embedder(tmp_path / "none.onnx")
    torch_file = tmp_path / "model.pt"
    torch_file.write_bytes(b"x")
    with pytest.raises(
        MarginfaceError, match=r"another kind; expected a run folder, a model folder or an \.onnx"
    ):
        open_embedder(torch_file)
    whole = model_file(tmp_path, "nchw").read_bytes()
    for name, content in {"text": b"hello", "empty": b"", "cut": whole[: len(whole) // 2]}.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(MarginfaceError, match=f"{name}.onnx") as error:
            open_embedder(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "tensorflow"}, "unknown backend 'tensorflow'"),
        ({"backend": "torch"}, "use --backend onnx, or give a run folder"),
        ({"threads": 0}, "threads must be at least 1, a whole number, got 0"),
        ({"mean": (1, 2)}, r"mean must be one number or three, got \(1, 2\)"),
        ({"std": 0}, "std must be positive"),
        ({"channels": "gbr"}, "unknown channels 'gbr'; did you mean"),
        ({"crop": (0, 0, 16)}, r"crop must be top,left,height,width .*, got \(0, 0, 16\)"),
        ({"crop": (-1, 0, 16, 16)}, "none negative"),
        ({"crop": (0, 0, 12, 16)}, "cuts out 12x16, the model takes 16x16"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, words):
    with pytest.raises(MarginfaceError, match=words):
        open_embedder(model_file(tmp_path, "nchw"), **options)


def test_images_that_do_not_fit_are_refused(tmp_path):
    path = model_file(tmp_path, "nchw")
    with pytest.raises(MarginfaceError, match=r"images are 20x16 .* cut that out of larger ones"):
        open_embedder(path)(pictures(1, 20, 16))
    with pytest.raises(MarginfaceError, match=r"crop 8,0,16,16 .* into images of 20x16"):
        open_embedder(path, crop=(8, 0, 16, 16))(pictures(1, 20, 16))
    with pytest.raises(MarginfaceError, match="must be uint8"):
        open_embedder(path)(pictures(1).astype(np.float32))


def test_the_size_to_read_images_at(tmp_path):
    path = model_file(tmp_path, "nchw")
    assert open_embedder(path).image_size(resize=False) == (16, 16)
    assert open_embedder(path).image_size(resize=True) == (16, 16)
    cropped = open_embedder(path, crop=(8, 8, 16, 16))
    assert cropped.image_size(resize=False) is None
    assert cropped.image_size(resize=True) == (112, 112)
    with pytest.raises(MarginfaceError, match="does not fit into images of 112x112"):
        open_embedder(path, crop=(100, 0, 16, 16)).image_size(resize=True)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(MarginfaceError, match=f"{tmp_path} holds no run"):
        open_embedder(tmp_path)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_run_is_opened_through_its_backend(tmp_path, monkeypatch, backend):
    spec = ModelSpec("mbf", 12, (16, 16), preprocessing=Preprocessing(std=(2.0, 2.0, 2.0)))
    weights = {"w": np.ones(3, np.float32)}
    graph = onnx.load(model_file(tmp_path, "nchw"))

    def pool(images: np.ndarray) -> np.ndarray:
        blocks = images.reshape(-1, 3, 2, 8, 2, 8).mean((3, 5))
        return blocks.reshape(len(images), 12)

    run = ModuleType("marginface.runs.folder")
    run.load_run = lambda *_: SimpleNamespace(spec=spec, weights=weights)
    monkeypatch.setitem(sys.modules, "marginface.runs.folder", run)
    built = ModuleType("marginface.onnx.writer")
    built.build_onnx = lambda *_: graph
    monkeypatch.setitem(sys.modules, "marginface.onnx.writer", built)
    framework = SimpleNamespace(create_embedder=lambda *_, **__: pool)
    monkeypatch.setattr("marginface.embeddings.embedder.load_backend", lambda *_: framework)
    embedder = open_embedder(tmp_path, backend=backend)
    assert (embedder.input_size, embedder.embedding_size) == ((16, 16), 12)
    assert embedder.backend == backend
    assert embedder.fingerprint == open_embedder(tmp_path).fingerprint  # in whatever backend
    other = open_embedder(tmp_path, backend=backend, channels="bgr")
    assert other.fingerprint != embedder.fingerprint
    np.testing.assert_allclose(embedder(pictures(3)), pooled(pictures(3), 127.5, 2), rtol=1e-5)
    weights["w"] = np.zeros(3, np.float32)
    assert open_embedder(tmp_path, backend=backend).fingerprint != embedder.fingerprint


def test_a_public_model_on_real_faces():
    model = FACES / "weights" / "mobilefacenet_paper.onnx"
    if not model.exists():
        pytest.skip(f"no {model}")
    from marginface.data.images import read_image

    people = ("AJ_Lamas/AJ_Lamas_0001.jpg", "Abdullah_Gul/Abdullah_Gul_0013.jpg")
    paths = [*people, "Abdullah_Gul/Abdullah_Gul_0014.jpg"]
    images = np.stack([read_image(FACES / "lfw112" / "test" / path) for path in paths])
    embedder = open_embedder(model, std=128, threads=1)
    embeddings = embedder(images)  # the model's batch is fixed at 1
    assert embeddings.shape == (3, embedder.embedding_size) == (3, 128)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert unit[1] @ unit[2] > 0.4 > 0.3 > unit[0] @ unit[1]
