"""Reads the signature of an ONNX file that nobody trusts. Runs as a process of its own and is not imported elsewhere.

`python -m gyrostat_registry.engine.graph <file>` prints one JSON object: {"inputs": […], "outputs": […]} or
{"refused": "why"}. It takes limits on memory and processor time before it looks at the file; `reader` starts it, waits
a bounded time, and reads a crash as a refusal. External data is never opened: the version is the one file.
"""

import json
import resource
import sys
from collections.abc import Iterable
from typing import Any

MEMORY_BYTES = 4 * 1024**3
PROCESSOR_S = 30
_MOST_TENSORS = 2_048
_MOST_DIMENSIONS = 16
_LONGEST_NAME = 256
_DEEPEST_SUBGRAPH = 32
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "ai.onnx.preview"}
_DOMAINS |= {"com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental"}

# Open Inference Protocol datatype by the name in onnx.TensorProto.DataType.
DATATYPES = {
    "BOOL": "BOOL", "UINT8": "UINT8", "UINT16": "UINT16", "UINT32": "UINT32", "UINT64": "UINT64", "INT8": "INT8",
    "INT16": "INT16", "INT32": "INT32", "INT64": "INT64", "FLOAT16": "FP16", "FLOAT": "FP32", "DOUBLE": "FP64",
    "STRING": "BYTES", "BFLOAT16": "BF16",
}  # fmt: skip


class Refused(Exception):
    """The file is no graph that can be served."""


def read(path: str) -> dict[str, Any]:
    """Inputs and outputs as the graph declares them. Raises Refused."""
    import onnx

    with open(path, "rb") as file:
        head = file.read(4096)
    if not head:
        raise Refused("the file is empty")
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except Exception as exc:
        raise Refused(f"it is not ONNX, or truncated: {_one_line(exc)}") from exc
    if not model.ir_version or not model.HasField("graph") or not model.graph.node:
        raise Refused("it is not ONNX: no graph with nodes in it")
    _only_known_operators(model)
    for part in (model.graph, *model.functions):
        _no_external_data(part, 0)
    try:
        onnx.checker.check_model(model, full_check=False)
    except Exception as exc:
        raise Refused(f"onnx.checker refuses it: {_one_line(exc)}") from exc
    held = {tensor.name for tensor in model.graph.initializer}
    held |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    inputs = _tensors("input", (value for value in model.graph.input if value.name not in held))
    outputs = _tensors("output", model.graph.output)
    if not inputs or not outputs:
        raise Refused("a graph to be served has at least one input and one output")
    return {"inputs": inputs, "outputs": outputs}


def _tensors(what: str, values: Iterable[Any]) -> list[dict[str, Any]]:
    import onnx

    found: list[dict[str, Any]] = []
    for value in values:
        if len(found) == _MOST_TENSORS:
            raise Refused(f"more than {_MOST_TENSORS} {what}s")
        _check_name(what, value.name)
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            raise Refused(f"{what} {value.name!r} is a {kind or 'value without a type'}, not a tensor (zipmap off?)")
        element = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        if element not in DATATYPES:
            raise Refused(f"{what} {value.name!r} has element type {element}, which the protocol does not have")
        found.append({"name": value.name, "datatype": DATATYPES[element], "shape": _shape(what, value)})
    names = [tensor["name"] for tensor in found]
    if len(set(names)) != len(names):
        raise Refused(f"two {what}s have the same name")
    return found


def _check_name(what: str, name: Any) -> None:
    """Names are printed, logged and become columns. protobuf hands out bytes for what is not UTF-8."""
    if not name or len(name) > _LONGEST_NAME:
        raise Refused(f"{what} name {name[:80]!r}: 1 to {_LONGEST_NAME} characters")
    if isinstance(name, bytes) or not name.isprintable():
        raise Refused(f"{what} name {name[:80]!r} is not printable UTF-8")


def _only_known_operators(model: Any) -> None:
    """Operators of ONNX, of ONNX Runtime, and functions that the file itself defines."""
    known = _DOMAINS | {function.domain for function in model.functions}
    for opset in model.opset_import:
        if opset.domain not in known:
            raise Refused(f"it needs operators of {opset.domain[:80]!r}, which ONNX Runtime does not have")


def _shape(what: str, value: Any) -> list[int]:
    dimensions = value.type.tensor_type.shape.dim
    if len(dimensions) > _MOST_DIMENSIONS:
        raise Refused(f"{what} {value.name!r} has {len(dimensions)} dimensions; at most {_MOST_DIMENSIONS}")
    return [
        dim.dim_value if dim.WhichOneof("value") == "dim_value" and dim.dim_value >= 0 else -1 for dim in dimensions
    ]


def _no_external_data(graph: Any, depth: int) -> None:
    import onnx

    if depth > _DEEPEST_SUBGRAPH:
        raise Refused(f"subgraphs nested deeper than {_DEEPEST_SUBGRAPH}")
    tensors = list(getattr(graph, "initializer", ()))  # a function has none
    for node in graph.node:
        for attribute in node.attribute:
            tensors.extend([attribute.t, *attribute.tensors])
            for inner in [attribute.g, *attribute.graphs]:
                if inner.ByteSize():
                    _no_external_data(inner, depth + 1)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in tensors):
        raise Refused("it keeps weights in external files; save it as one file")


def _one_line(exc: Exception) -> str:
    text = str(exc).strip().splitlines()
    return (text[0] if text else type(exc).__name__)[:300]


def main(path: str) -> int:
    """Prints the JSON object; the exit code is 0 whether the file was refused or not."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        answer = read(path)
    except Refused as exc:
        answer = {"refused": str(exc)}
    except MemoryError:
        answer = {"refused": "reading it takes more memory than a model may"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
