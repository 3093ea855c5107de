"""A LightGBM booster and its code tables as one ONNX graph with fixed names, so that equal boosters give equal bytes.

One input per feature, as callers of the champion send it (edges.py), else shape [-1, 1]: FP32 (NaN = missing) or
strings, which a LabelEncoder maps to codes. Written here rather than converted by a library because three details
decide whether the served answer is the trained one: thresholds are rounded *down* to float32 (x <= t holds for exactly
the same float32 x), a missing value goes where LightGBM sends it (left or right by default, or as 0.0 when training saw
none), and every name in the file is ours or the callers'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from gyrostat_trainer.pipelines import edges
from gyrostat_trainer.pipelines.contract import NOBODYS, Contract, Tensor
from gyrostat_trainer.pipelines.edges import Head
from gyrostat_trainer.pipelines.encoding import Feature

IR_VERSION = 10
OPSETS = (("", 18), ("ai.onnx.ml", 3))

LIGHTGBM_ZERO = float(np.float32(1e-35))


def export(
    dump: dict[str, Any],
    features: tuple[Feature, ...],
    task: str,
    classes: int,
    threshold: float,
    contract: Contract = NOBODYS,
) -> bytes:
    """The graph's bytes. `dump` is `Booster.dump_model()`.

    `classes` is 1 but for multiclass; `threshold` cuts the binary label; `contract` is what callers send and read.
    """
    inputs, columns, nodes = edges.opening(features, contract)
    concat = helper.make_node("Concat", columns, ["features"], name="concat", axis=1)
    head = _HEADS[task](_trees(dump, classes).node(classes), threshold, classes)
    outputs = edges.closing(head, concat, contract, {value.name for value in inputs})
    kept, read = edges.needed([*nodes, concat, *head.nodes], outputs)
    constants = [one for one in (*head.constants, *edges.constants()) if one.name in read]
    graph = helper.make_graph(kept, "gyrostat_tabular", inputs, outputs, initializer=constants)
    model = helper.make_model(
        graph,
        producer_name="gyrostat_tabular",
        producer_version="1",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS],
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


@dataclass
class _Ensemble:
    """The flat attributes of a TreeEnsembleRegressor, grown node by node."""

    base: list[float]
    tree_ids: list[int] = field(default_factory=list)
    node_ids: list[int] = field(default_factory=list)
    feature_ids: list[int] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    true_ids: list[int] = field(default_factory=list)
    false_ids: list[int] = field(default_factory=list)
    missing_true: list[int] = field(default_factory=list)
    leaf_trees: list[int] = field(default_factory=list)
    leaf_nodes: list[int] = field(default_factory=list)
    leaf_targets: list[int] = field(default_factory=list)
    leaf_weights: list[float] = field(default_factory=list)

    def split(self, tree: int, node: dict[str, Any]) -> int:
        """Adds an inner node and returns its place; its children are set later."""
        if node["decision_type"] != "<=":
            raise ValueError(f"split {node['decision_type']!r} is not numeric")
        missing_left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0.0
        place = self._append(tree, int(node["split_feature"]), "BRANCH_LEQ", _limit(float(node["threshold"])))
        self.missing_true[place] = int(missing_left)
        return place

    def leaf(self, tree: int, target: int, weight: float) -> int:
        """Adds a leaf and returns its place."""
        place = self._append(tree, 0, "LEAF", 0.0)
        self.leaf_trees.append(tree)
        self.leaf_nodes.append(self.node_ids[place])
        self.leaf_targets.append(target)
        self.leaf_weights.append(weight)
        return place

    def _append(self, tree: int, feature: int, mode: str, value: float) -> int:
        same = self.tree_ids and self.tree_ids[-1] == tree
        self.node_ids.append(self.node_ids[-1] + 1 if same else 0)
        self.tree_ids.append(tree)
        self.feature_ids.append(feature)
        self.modes.append(mode)
        self.values.append(value)
        self.true_ids.append(0)
        self.false_ids.append(0)
        self.missing_true.append(0)
        return len(self.node_ids) - 1

    def node(self, classes: int) -> Any:
        """The ONNX node `features` → `margin` [rows, classes]."""
        return helper.make_node(
            "TreeEnsembleRegressor",
            ["features"],
            ["margin"],
            name="trees",
            domain="ai.onnx.ml",
            n_targets=classes,
            aggregate_function="SUM",
            post_transform="NONE",
            base_values=self.base,
            nodes_treeids=self.tree_ids,
            nodes_nodeids=self.node_ids,
            nodes_featureids=self.feature_ids,
            nodes_modes=self.modes,
            nodes_values=self.values,
            nodes_truenodeids=self.true_ids,
            nodes_falsenodeids=self.false_ids,
            nodes_missing_value_tracks_true=self.missing_true,
            target_treeids=self.leaf_trees,
            target_nodeids=self.leaf_nodes,
            target_ids=self.leaf_targets,
            target_weights=self.leaf_weights,
        )


def _trees(dump: dict[str, Any], classes: int) -> _Ensemble:
    ensemble = _Ensemble(base=[0.0] * classes)
    tree = 0
    for number, info in enumerate(dump["tree_info"]):
        root = info["tree_structure"]
        if "leaf_value" in root:  # A tree that never split is a constant.
            ensemble.base[number % classes] += float(root["leaf_value"])
            continue
        _grow(ensemble, tree, number % classes, root)
        tree += 1
    if tree == 0:
        raise ValueError("no tree found a split: the inputs say nothing about the label")
    return ensemble


def _grow(ensemble: _Ensemble, tree: int, target: int, node: dict[str, Any]) -> int:
    if "leaf_value" in node:
        return ensemble.leaf(tree, target, float(node["leaf_value"]))
    place = ensemble.split(tree, node)
    left = _grow(ensemble, tree, target, node["left_child"])
    right = _grow(ensemble, tree, target, node["right_child"])
    ensemble.true_ids[place] = ensemble.node_ids[left]
    ensemble.false_ids[place] = ensemble.node_ids[right]
    return place


def _limit(threshold: float) -> float:
    """The largest float32 that goes left at a split, as LightGBM itself decides."""
    if threshold >= 1e300:
        return float("inf")  # parts only the missing values; the dump writes infinity as 1e300
    limit = floor32(threshold)
    if -LIGHTGBM_ZERO <= limit < 0:
        # What lies within ±1e-35 is 0 to LightGBM, and 0 goes right of a threshold below it.
        return float(np.nextafter(np.float32(-LIGHTGBM_ZERO), np.float32(-np.inf)))
    return limit


def floor32(value: float) -> float:
    """The largest float32 at or below `value`."""
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
    if float(rounded) > value:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    return float(rounded)


def thresholds(dump: dict[str, Any]) -> Iterator[tuple[int, float]]:
    """(feature number, float32 threshold) of every split: the rows just beside them are where an export goes wrong."""
    stack = [info["tree_structure"] for info in dump["tree_info"]]
    while stack:
        node = stack.pop()
        if "leaf_value" not in node:
            yield int(node["split_feature"]), floor32(float(node["threshold"]))
            stack += [node["left_child"], node["right_child"]]


def _scalar(name: str, value: float) -> Any:
    return helper.make_tensor(name, TensorProto.FLOAT, [], [value])


def _binary_head(trees: Any, threshold: float, classes: int) -> Head:
    nodes = [
        trees,
        helper.make_node("Sigmoid", ["margin"], ["positive"], name="sigmoid"),
        helper.make_node("Sub", ["one", "positive"], ["negative"], name="complement"),
        helper.make_node("Concat", ["negative", "positive"], ["probabilities"], name="probabilities", axis=1),
        helper.make_node("GreaterOrEqual", ["positive", "threshold"], ["decided"], name="decide"),
        helper.make_node("Cast", ["decided"], ["label_column"], name="cast", to=TensorProto.INT64),
        helper.make_node("Squeeze", ["label_column", "column_axis"], ["label"], name="squeeze"),
    ]
    axis = helper.make_tensor("column_axis", TensorProto.INT64, [1], [1])
    constants = [_scalar("one", 1.0), _scalar("threshold", threshold), axis]
    return Head(nodes, constants, _class_outputs(2), "positive", "probabilities", 2, "label")


def _multiclass_head(trees: Any, threshold: float, classes: int) -> Head:
    nodes = [
        trees,
        helper.make_node("Softmax", ["margin"], ["probabilities"], name="softmax", axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], name="argmax", axis=1, keepdims=0),
    ]
    return Head(nodes, [], _class_outputs(-1), "", "probabilities", classes, "label")


def _class_outputs(classes: int) -> tuple[Tensor, ...]:
    return Tensor("probabilities", "FP32", (-1, classes)), Tensor("label", "INT64", (-1,))


def _regression_head(trees: Any, threshold: float, classes: int) -> Head:
    nodes = [trees, helper.make_node("Identity", ["margin"], ["prediction"], name="prediction")]
    return Head(nodes, [], (Tensor("prediction", "FP32", (-1, 1)),), "prediction")


_HEADS = {"binary": _binary_head, "multiclass": _multiclass_head, "regression": _regression_head}
