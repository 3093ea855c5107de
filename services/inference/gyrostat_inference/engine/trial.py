"""The trial process: `python -m gyrostat_inference.engine.trial <file> <threads>` opens a graph, runs it once, and
prints its signature, or why not. A model is untrusted input: what it does to this process, it has done to nobody else.
"""

import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path

CPU_S, FILE_BYTES = 120, 1024 * 1024


def main() -> None:
    """Prints one line of JSON; a crash prints none."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from gyrostat_inference.domain.errors import ModelRefused, ScoringFailed
    from gyrostat_inference.engine.graph import Graph

    try:
        graph = Graph("the model", Path(sys.argv[1]), int(sys.argv[2]))
        graph.warm()
    except (ModelRefused, ScoringFailed) as error:
        print(json.dumps({"refused": str(error)}))
        return
    print(json.dumps({"signature": asdict(graph.signature)}))


if __name__ == "__main__":
    main()
