"""Graphs for a CPU: PRelu written anew computes the same, whatever its slopes, and wherever."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from marginface import MarginfaceError, backbones
from marginface.model import ModelSpec
from marginface.onnx.fast import make_fast, processor_choice, replace_prelus
from marginface.onnx.training import read_exported
from marginface.onnx.writer import build_onnx

SLOPES = {
    "by channel": np.array([-3.95, 0, 0.25, 1, 2.19], np.float32).reshape(5, 1, 1),
    "with a batch": np.linspace(-1, 2, 5, dtype=np.float32).reshape(1, 5, 1, 1),
    "one": np.array([0.25], np.float32),
    "scalar": np.array(-0.5, np.float32),
    "by column": np.linspace(-1, 2, 4, dtype=np.float32),
    "by pixel": np.linspace(-1, 2, 60, dtype=np.float32).reshape(5, 3, 4),
}


def model(body: str, slopes: np.ndarray | None = None, *, opset: int = 13, kind: str = "float"):
    text = f'<ir_version: 3, opset_import: ["": {opset}]> m ({kind}[N, 5, 3, 4] x) => '
    made = onnx.parser.parse_model(text + f"({kind}[N, 5, 3, 4] y) {{ {body} }}")
    if slopes is not None:
        made.graph.initializer.append(numpy_helper.from_array(slopes, "a"))
    if made.ir_version < 4 and slopes is not None:
        made.graph.input.append(
            onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, slopes.shape)
        )
    return made


def outputs(made: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(made, full_check=True)
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def kinds(made: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in made.graph.node]


@pytest.mark.parametrize("slopes", SLOPES.values(), ids=SLOPES)
def test_slopes_of_any_shape_compute_the_same(slopes) -> None:
    made = model("y = PRelu(x, a)", slopes)
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype(np.float32)
    (before,) = outputs(made, x)
    assert replace_prelus(made) == 1
    assert "PRelu" not in kinds(made)
    (after,) = outputs(made, x)
    np.testing.assert_allclose(after, before, rtol=2e-6, atol=1e-7)


def test_several_users_of_values_and_slopes() -> None:
    body = """a = Constant<value = float[1] {0.3}>() z = PRelu(x, a) r = PRelu(z, a)
        x_relu = Mul(z, x) y = Add(x_relu, r)"""
    made, x = model(body), np.random.default_rng(0).normal(size=(1, 5, 3, 4)).astype(np.float32)
    (before,) = outputs(made, x)
    assert replace_prelus(made) == 2
    np.testing.assert_allclose(outputs(made, x)[0], before, atol=1e-6)


def test_what_stays() -> None:
    body = "i = ReduceMax<keepdims = 1>(x) y = PRelu(x, i)"
    inside = """c = Constant<value = bool {1}>()
        y = If(c) <then_branch = t () => (float[N, 5, 3, 4] p) { p = PRelu(x, a) },
                   else_branch = e () => (float[N, 5, 3, 4] q) { q = Neg(x) }>"""
    half = model("y = PRelu(x, a)", np.array([0.3], np.float16), kind="float16")
    for made in (model(body), model(inside, SLOPES["one"]), half):
        before = made.SerializeToString()
        assert replace_prelus(made) == 0
        assert made.SerializeToString() == before


def test_an_opset_whose_prelu_was_another() -> None:
    made = model("y = PRelu(x, a)", SLOPES["one"], opset=6)
    with pytest.raises(MarginfaceError, match=r"opset 6, expected 7 or later .*version_converter"):
        replace_prelus(made)


def test_only_a_cpu_has_a_rewriting() -> None:
    for name in ("any", "gpu"):
        assert make_fast(model("y = PRelu(x, a)", SLOPES["one"]), processor_choice(name)) == 0
    with pytest.raises(MarginfaceError, match="unknown processor 'cuda'"):
        processor_choice("cuda")


def test_an_export_for_a_cpu_can_be_trained_on(tmp_path) -> None:
    spec = ModelSpec("mbf", 16)
    weights = backbones.initial_weights(spec.graph(), 0)
    made = build_onnx(spec, weights, processor="cpu")
    assert "PRelu" not in kinds(made)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    again = read_exported(tmp_path / "m.onnx").weights
    for name, array in weights.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-5, atol=1e-6, err_msg=name)
    anew = build_onnx(spec, weights).SerializeToString()
    assert build_onnx(spec, again, processor="any").ByteSize() == len(anew)
