"""The trial process: `python -m gyrostat_inference.engine.trial` reads what to try from its input, opens the graph,
warms it up, tries whether requests may run together, and prints what it saw, or why not. A model is untrusted input:
what it does to this process, it has done to nobody else.
"""

import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

CPU_S, FILE_BYTES = 120, 1024 * 1024
# Address space beside that of graphs: the interpreter, the library, the file as it is being read.
OWN_BYTES = 3 * 1024**3
AUDITED = "the deterministic profile gives every request a run of its own"


def main() -> None:
    """Prints one line of JSON; a crash prints none."""
    asked: dict[str, Any] = json.load(sys.stdin)
    memory_bytes: int = asked["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes + OWN_BYTES, memory_bytes + OWN_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from gyrostat_inference.domain.engine_settings import Opening, Optimization, WarmUp
    from gyrostat_inference.domain.errors import ModelRefused, ScoringFailed
    from gyrostat_inference.engine.graph import Graph
    from gyrostat_inference.engine.limits import RunLimits, limit_memory
    from gyrostat_inference.engine.probing import why_alone

    limit_memory(memory_bytes)
    warm_up = WarmUp(**asked["warm_up"])
    opening = Opening(**(asked["opening"] | {"optimization": Optimization(asked["opening"]["optimization"])}))
    try:
        with RunLimits(asked["longest_s"]) as limits:
            graph = Graph("the model", Path(asked["path"]), opening, limits)
            graph.warm(warm_up)
            alone = AUDITED if opening.deterministic else why_alone(graph, warm_up.samples_json)
    except (ModelRefused, ScoringFailed) as error:
        print(json.dumps({"refused": str(error)}))
        return
    except (MemoryError, UnicodeError) as error:
        why = "it takes more memory than a model may" if isinstance(error, MemoryError) else "a name in it is not UTF-8"
        print(json.dumps({"refused": why}))
        return
    print(json.dumps({"signature": asdict(graph.signature), "alone": alone}))


if __name__ == "__main__":
    main()
