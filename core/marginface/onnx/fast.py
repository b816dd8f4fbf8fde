"""Graphs that run faster on a processor, and compute the same."""

from __future__ import annotations

from typing import Literal, get_args

from marginface.errors import MarginfaceError, unknown_name
from marginface.extras import needs
from marginface.onnx.nodes import OWN, Nodes, names_in, opset_of

with needs("onnx"):
    import onnx
    from onnx import TensorProto, numpy_helper

Processor = Literal["any", "cpu", "gpu"]
PROCESSORS: tuple[Processor, ...] = get_args(Processor)
FIRST_OPSET = 7  # whose operators broadcast as NumPy does
WIDE = (TensorProto.FLOAT, TensorProto.DOUBLE)  # half precision would round the sum


def processor_choice(value: object) -> Processor:
    """Return the processor that a graph is made for.

    >>> processor_choice("cpu")
    'cpu'
    """
    for name in PROCESSORS:
        if value == name:
            return name
    raise unknown_name("processor", str(value), PROCESSORS)


def make_fast(model: onnx.ModelProto, processor: Processor) -> int:
    """Rewrite a graph for a processor in place, and return how many of its nodes.

    Only a CPU has a rewriting so far: nothing was measured to be faster on a GPU.

    Raises:
        MarginfaceError: as `replace_prelus`.
    """
    return replace_prelus(model) if processor == "cpu" else 0


def replace_prelus(model: onnx.ModelProto) -> int:
    """Write PRelu(x, a) as a x + (1 - a) Relu(x), and return how many there were.

    ONNX Runtime's own PRelu is slow on a CPU, and forces the layout of convolutions back and forth.
    A PRelu stays where its slopes are no constants, or of half precision, or where it is in the
    body of a loop or condition.

    Raises:
        MarginfaceError: the opset is one whose PRelu was another.
    """
    found = {i: n for i, n in enumerate(model.graph.node) if n.op_type == "PRelu" and _own(n)}
    opset = opset_of(model)
    if found and opset < FIRST_OPSET:
        raise MarginfaceError(
            f"the model's operators are of opset {opset}, expected {FIRST_OPSET} or later to make "
            "it faster for a CPU; convert it with onnx.version_converter, or export it for any"
        )
    constants, count = _constants(model.graph), 0
    writer = Nodes(opset, names_in(model.graph))
    for position, node in enumerate(model.graph.node):
        slopes = constants.get(node.input[1]) if position in found else None
        if slopes is None or slopes.data_type not in WIDE:
            writer.nodes.append(node)
            continue
        (x, slope), (y,), count = node.input, node.output, count + 1
        slope_values = numpy_helper.to_array(slopes)
        rest = writer.constant(f"{slope}.rest", 1 - slope_values, slope_values.dtype)
        positive = writer.node("Relu", [x], f"{y}.relu")
        terms = [
            writer.node("Mul", [x, slope], f"{y}.scaled"),
            writer.node("Mul", [positive, rest], f"{y}.rest"),
        ]
        writer.node("Add", terms, f"{y}.sum")
        writer.nodes[-1].output[0] = y
    if count:
        writer.put_into(model)
    return count


def _own(node: onnx.NodeProto) -> bool:
    return node.domain in OWN


def _constants(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and _own(node) and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    return constants
