"""Both ends of the graph: the callers' tensors become the columns that the trees see, and scores what callers read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx import TensorProto, helper

from gyrostat_trainer.pipelines.contract import LABELS, TEXT, Contract, Tensor
from gyrostat_trainer.pipelines.encoding import Feature

ELEMENTS = {
    "BOOL": TensorProto.BOOL,
    "BYTES": TensorProto.STRING,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    **{f"{kind}{bits}": getattr(TensorProto, f"{kind}{bits}") for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)},
}
_COLUMN = "gyrostat__column"
_ROW = "gyrostat__row"


@dataclass(frozen=True)
class Head:
    """What the trees' end offers: its nodes and constants, its own outputs, and which value is what.

    `single` is a score a row [rows, 1], `classes` `width` of them [rows, width], `label` the decided class [rows].
    """

    nodes: list[Any]
    constants: list[Any]
    outputs: tuple[Tensor, ...]
    single: str = ""
    classes: str = ""
    width: int = 1
    label: str = ""


def opening(features: tuple[Feature, ...], contract: Contract) -> tuple[list[Any], list[str], list[Any]]:
    """(graph inputs, the names of the [rows, 1] columns in the features' order, the nodes between them).

    An input of the callers that is no feature is taken all the same, and nothing is made of it.
    """
    nodes: list[Any] = []
    sent = [contract.input(f.name) if contract.inputs else _usual(f) for f in features]
    columns = [_column(f, tensor, nodes) for f, tensor in zip(features, sent, strict=True)]
    names = {f.name for f in features}
    unused = [t for t in contract.inputs if t.name not in names and t.datatype in ELEMENTS]
    return [_declared(tensor) for tensor in (*sent, *unused)], columns, nodes


def _usual(feature: Feature) -> Tensor:
    return Tensor(feature.name, TEXT if feature.is_category else "FP32")


def _declared(tensor: Tensor) -> Any:
    shape = [size if size > 0 else f"{tensor.name}_{i}" for i, size in enumerate(tensor.shape)]
    return helper.make_tensor_value_info(tensor.name, ELEMENTS[tensor.datatype], ["rows", *shape[1:]])


def _column(feature: Feature, tensor: Tensor, nodes: list[Any]) -> str:
    name = feature.name
    if feature.codes is not None:
        # A graph needs at least one key; this one no caller sends by accident and it means missing anyway.
        codes = feature.codes or {"\x00none": float("nan")}
        nodes.append(
            helper.make_node(
                "LabelEncoder",
                [name],
                [f"{feature.name}__code"],
                name=f"{feature.name}__code",
                domain="ai.onnx.ml",
                keys_strings=list(codes),
                values_floats=list(codes.values()),
                default_float=float("nan"),
            )
        )
        name = f"{feature.name}__code"
    elif tensor.datatype != "FP32":
        nodes.append(_cast(name, f"{feature.name}__number", "FP32"))
        name = f"{feature.name}__number"
    if len(tensor.shape) != 2 or tensor.shape[1] != 1:
        nodes.append(helper.make_node("Reshape", [name, _COLUMN], [f"{feature.name}__column"]))
        name = f"{feature.name}__column"
    return name


def _cast(given: str, made: str, datatype: str) -> Any:
    return helper.make_node("Cast", [given], [made], name=made, to=ELEMENTS[datatype])


def closing(head: Head, concat: Any, contract: Contract, inputs: set[str]) -> list[Any]:
    """The graph's outputs: names, datatypes and shapes that callers of the champion read, where they can be made of
    what the trees say; else the pipeline's own. `concat` makes what the head begins with.

    Nodes that make them are added to the head. Its own values give up names that callers use.
    """
    wanted = _wanted(head, contract)
    others = {t.name for value, t in wanted if not (value == t.name and t in head.outputs)}
    kept = {tensor.name for _, tensor in wanted} - others
    given_up = {name: f"{name}__own" for name in (inputs | others) - kept}
    concat.output[0] = given_up.get(concat.output[0], concat.output[0])
    for node in head.nodes:
        for values in (node.input, node.output):
            for at, name in enumerate(values):
                values[at] = given_up.get(name, name)
    for constant in head.constants:
        constant.name = given_up.get(constant.name, constant.name)
    for value, tensor in wanted:
        _form(given_up.get(value, value), tensor, head.nodes)
    return [_declared(tensor) for _, tensor in wanted]


def _wanted(head: Head, contract: Contract) -> list[tuple[str, Tensor]]:
    """(value of the head, the tensor it becomes) for each output."""
    score, label = contract.score, contract.label if head.label else None
    source = _source(head, score) if score is not None else ""
    if score is None or not source:
        return [(tensor.name, tensor) for tensor in head.outputs]
    return [(source, score)] + ([(head.label, label)] if label is not None else [])


def _source(head: Head, wanted: Tensor) -> str:
    """The value that has the form which is wanted; empty when none has."""
    if len(wanted.shape) == 2 and wanted.shape[1] != 1 and head.classes:
        return head.classes if wanted.shape[1] in (-1, head.width) else ""
    return head.single if wanted.is_column else ""


def _form(value: str, wanted: Tensor, nodes: list[Any]) -> None:
    """Adds what brings the value under the name, datatype and shape that are wanted; nothing where it is that already.

    A label comes flat and as INT64, a score as column and FP32.
    """
    label, flat = wanted.datatype in LABELS, len(wanted.shape) < 2
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if flat != label:
        steps.append(("Reshape", [_ROW if flat else _COLUMN], {}))
    if wanted.datatype != ("INT64" if label else "FP32"):
        steps.append(("Cast", [], {"to": ELEMENTS[wanted.datatype]}))
    if not steps and value != wanted.name:
        steps.append(("Identity", [], {}))
    for number, (kind, more, attributes) in enumerate(steps, start=1):
        made = wanted.name if number == len(steps) else f"{wanted.name}__{kind.lower()}"
        nodes.append(helper.make_node(kind, [value, *more], [made], **attributes))
        value = made


def constants() -> list[Any]:
    """The shapes that values are brought into."""
    return [
        helper.make_tensor(_COLUMN, TensorProto.INT64, [2], [-1, 1]),
        helper.make_tensor(_ROW, TensorProto.INT64, [1], [-1]),
    ]


def needed(nodes: list[Any], outputs: list[Any]) -> tuple[list[Any], set[str]]:
    """The nodes that an output hangs on, in their order, and every value that they read."""
    wanted = {output.name for output in outputs}
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1], wanted
