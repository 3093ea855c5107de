"""What a graph shows when it is tried out: its signature, and whether requests may run together. For a process of its
own, which then has these limits for good.
"""

import resource
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gyrostat_inference.domain.engine_settings import Opening, Optimization, WarmUp
from gyrostat_inference.domain.errors import ModelRefused, ScoringFailed
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits, limit_memory
from gyrostat_inference.engine.probing import why_alone

FILE_BYTES = 1024 * 1024
# Address space beside that of graphs: the interpreter, the library, the file as it is being read.
OWN_BYTES = 3 * 1024**3
AUDITED = "the deterministic profile gives every request a run of its own"


def tried(asked: dict[str, Any]) -> dict[str, Any]:
    """Opens the graph, warms it up, tries whether requests may run together."""
    memory_bytes: int = asked["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes + OWN_BYTES, memory_bytes + OWN_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (asked["cpu_s"], asked["cpu_s"] + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_memory(memory_bytes)
    warm_up = WarmUp(**asked["warm_up"])
    opening = Opening(**(asked["opening"] | {"optimization": Optimization(asked["opening"]["optimization"])}))
    threads = max(opening.intra_op_threads, opening.inter_op_threads, 1)
    try:
        with RunLimits(asked["longest_s"], lambda: time.process_time() / threads) as limits:
            graph = Graph("the model", Path(asked["path"]), opening, limits)
            graph.warm(warm_up)
            alone = AUDITED if opening.deterministic else why_alone(graph, warm_up.samples_json)
    except (ModelRefused, ScoringFailed) as error:
        return {"refused": str(error)}
    except (MemoryError, UnicodeError) as error:
        why = "it takes more memory than a model may" if isinstance(error, MemoryError) else "a name in it is not UTF-8"
        return {"refused": why}
    return {"signature": asdict(graph.signature), "alone": alone}
