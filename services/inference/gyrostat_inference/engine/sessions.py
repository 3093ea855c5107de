"""How a session is made: options and execution providers by the engine settings, and what came of them, in words."""

from collections.abc import Mapping, Sequence

import onnxruntime as ort

from gyrostat_inference.domain.engine_settings import Opening, Optimization

CPU = "CPUExecutionProvider"
_LEVELS = {
    Optimization.DISABLED: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    Optimization.BASIC: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    Optimization.EXTENDED: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    Optimization.ALL: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def options_of(opening: Opening) -> ort.SessionOptions:
    """Options of a session; one thread of a kind means that nothing of that kind runs side by side."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = opening.intra_op_threads
    options.inter_op_num_threads = opening.inter_op_threads
    if opening.inter_op_threads > 1:
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    options.graph_optimization_level = _LEVELS[opening.optimization]
    options.use_deterministic_compute = opening.deterministic
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")  # the one with a limit
    return options


def providers_of(wanted: Sequence[str], present: Sequence[str]) -> tuple[list[str], list[str]]:
    """(those to open with, best first and the CPU last; those that are wanted and not here).

    >>> providers_of(["CUDAExecutionProvider", "XExecutionProvider"], ["XExecutionProvider", "CPUExecutionProvider"])
    (['XExecutionProvider', 'CPUExecutionProvider'], ['CUDAExecutionProvider'])
    """
    there = [name for name in wanted if name in present and name != CPU]
    return [*there, CPU], [name for name in wanted if name not in present]


def facts_of(opening: Opening, used: Sequence[str], absent: Sequence[str]) -> Mapping[str, str]:
    """What was opened how, for metadata: enough to open it in the same way again."""
    facts = {
        "onnxruntime": ort.__version__,
        "intra_op_threads": str(opening.intra_op_threads),
        "inter_op_threads": str(opening.inter_op_threads),
        "optimization": opening.optimization.name.lower(),
        "execution_providers": ",".join(used),
        "deterministic": str(opening.deterministic).lower(),
    }
    if absent:
        facts["execution_providers_absent"] = ",".join(absent)
    return facts
