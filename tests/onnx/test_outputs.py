"""Models of several outputs: which is the embedding, and the norm beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from command import cli
from PIL import Image

from marginface import MarginfaceError
from marginface.embeddings.embedder import open_embedder

IMAGES = "(float[N, 3, 16, 16] x)"
LENGTH = "n = ReduceL2<axes = [1], keepdims = 1>(f)"
NORM = f"f = Flatten(x) {LENGTH} e = Div(f, n)"
MODELS = {
    "embedding first": f"{IMAGES} => (float[N, 768] e, float[N, 1] n) {{ {NORM} }}",
    "norm first": f"{IMAGES} => (float[N, 1] n, float[N, 768] e) {{ {NORM} }}",
    "not divided": f"{IMAGES} => (float[N, 1] n, float[N, 768] f) {{ f = Flatten(x) {LENGTH} }}",
    "map between": f"{IMAGES} => (float[N, 1] n, float[N, 3, 16, 16] m, float[N, 768] e) "
    f"{{ {NORM} m = Identity(x) }}",
    "fixed batch": f"(float[2, 3, 16, 16] x) => (float[2, 1] n, float[2, 768] e) {{ {NORM} }}",
    "flat norm": f"{IMAGES} => (float[N] m, float[N, 768] e) {{ {NORM} "
    "m = ReduceL2<axes = [1], keepdims = 0>(f) }",
    "dimensions of 1": f"{IMAGES} => (float[N, 1, 1, 768] d, float[N, 1, 1, 1] m) {{ {NORM} "
    "s = Constant<value_ints = [0, 1, 1, 768]>() d = Reshape(e, s) "
    "t = Constant<value_ints = [0, 1, 1, 1]>() m = Reshape(n, t) }",
    "shapes unknown": f"{IMAGES} => (float[a, b] n, float[c, d] e) {{ {NORM} }}",
    "quality beside": f"{IMAGES} => (float[N, 768] e, float[N, 1] q, float[N, 1] norm) "
    f"{{ {NORM} q = Sigmoid(n) norm = Identity(n) }}",
    "class beside": f"{IMAGES} => (int64[N, 1] c, float[N, 1] n, float[N, 768] e) "
    f"{{ {NORM} c = ArgMax<axis = 1>(f) }}",
}
TWO = f"{IMAGES} => (float[N, 768] f, float[N, 3] g, float[N, 1] n) {{ f = Flatten(x) {LENGTH} "
TWO += "p = GlobalAveragePool(x) g = Flatten(p) }"
SIGNED = f"{IMAGES} => (float[N, 768] f, float[N, 1] q) {{ f = Flatten(x) {LENGTH} q = Neg(n) }}"


def model_file(folder: Path, text: str) -> Path:
    header = '<ir_version: 8, opset_import: ["": 17]> tiny '
    onnx.save(onnx.parser.parse_model(header + text), folder / "model.onnx")
    return folder / "model.onnx"


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)


def flat(images: np.ndarray) -> np.ndarray:
    return ((images.astype(float) - 127.5) / 127.5).transpose(0, 3, 1, 2).reshape(len(images), -1)


@pytest.mark.parametrize("kind", MODELS)
def test_the_wide_output_is_the_embedding_and_has_the_length_beside_it(tmp_path, kind):
    embedder = open_embedder(model_file(tmp_path, MODELS[kind]))
    assert embedder.embedding_size == 768
    np.testing.assert_allclose(embedder(pictures(5)), flat(pictures(5)), rtol=1e-5, atol=1e-6)


def test_a_named_output_is_the_embedding_alone(tmp_path):
    path = model_file(tmp_path, MODELS["norm first"])
    alone = open_embedder(path, output_name="e")
    np.testing.assert_allclose(np.linalg.norm(alone(pictures(3)), axis=1), 1, rtol=1e-5)
    assert alone.fingerprint != open_embedder(path).fingerprint
    with pytest.raises(MarginfaceError, match="no output 'z'; --output-name takes one of n, e"):
        open_embedder(path, output_name="z")


HALF = f"{IMAGES} => (float16[N, 1] m, float16[N, 768] d) {{ {NORM} "
HALF += "d = Cast<to = 10>(e) m = Cast<to = 10>(n) }"


def test_halves(tmp_path):
    embeddings = open_embedder(model_file(tmp_path, HALF))(pictures(2))
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, flat(pictures(2)), rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["n", None])
def test_one_number_for_each_image_is_no_embedding(tmp_path, name):
    text = MODELS["norm first"] if name else f"{IMAGES} => (float[N, 1] n) {{ {NORM} }}"
    with pytest.raises(MarginfaceError, match=r"output 'n' .* is one number for each image"):
        open_embedder(model_file(tmp_path, text), output_name=name)


def test_of_two_embeddings_the_name_decides(tmp_path):
    path = model_file(tmp_path, TWO)
    with pytest.raises(MarginfaceError, match=r"f of 768, g of 3, n of 1; name .* --output-name"):
        open_embedder(path)
    sizes = {name: open_embedder(path, output_name=name).embedding_size for name in "fg"}
    assert sizes == {"f": 768, "g": 3}


def test_what_is_no_norm_is_refused_with_the_way_out(tmp_path):
    path = model_file(tmp_path, SIGNED)
    with pytest.raises(MarginfaceError, match=r"output 'q' .* is no norm.*--output-name f"):
        open_embedder(path)(pictures(2))
    embeddings = open_embedder(path, output_name="f")(pictures(2))
    np.testing.assert_allclose(embeddings, flat(pictures(2)), atol=1e-6)


def test_embed_keeps_the_norm(tmp_path):
    path = model_file(tmp_path, MODELS["norm first"])
    (tmp_path / "faces").mkdir()
    for at, picture in enumerate(pictures(3)):
        Image.fromarray(picture).save(tmp_path / f"faces/{at}.png")
    norms = {}
    for name, more in {"all": [], "alone": ["--output-name", "e"]}.items():
        output = tmp_path / f"{name}.parquet"
        command = ["embed", "--model", path, "--images", tmp_path / "faces", "--output", output]
        cli(*command, *more)
        norms[name] = pq.read_table(output)["norm"].to_numpy()
    np.testing.assert_allclose(norms["all"], np.linalg.norm(flat(pictures(3)), axis=1), rtol=1e-5)
    np.testing.assert_allclose(norms["alone"], 1, rtol=1e-5)
