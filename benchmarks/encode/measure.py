"""Measure one way in this process and print one line of JSON; or prepare the ONNX exports.

python measure.py MODEL TEXTS.json WAY_NUMBER VECTORS.npy
python measure.py MODEL --export
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from ways import WAYS, export, load

QUERY = "which program shows how much of the disk each directory takes"
REPEATS = 30


def main() -> None:
    model = Path(sys.argv[1])
    if sys.argv[2] == "--export":
        export(model)
        return
    texts = json.loads(Path(sys.argv[2]).read_text())
    started = time.perf_counter()
    encode = load(WAYS[int(sys.argv[3])], model)
    loaded = time.perf_counter()
    encode([QUERY])
    first = time.perf_counter()
    latencies = []
    for _ in range(REPEATS):
        asked = time.perf_counter()
        encode([QUERY])
        latencies.append(time.perf_counter() - asked)
    wall, processor = time.perf_counter(), time.process_time()
    vectors = np.asarray(encode(texts), np.float32)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    np.save(sys.argv[4], vectors)
    figures = {
        "load_s": loaded - started,
        "first_vector_s": first - started,
        "query_ms": 1000 * float(np.median(latencies)),
        "wall_s": wall,
        "cpu_s": processor,
        "peak_mb": peak_mb(),
    }
    print(json.dumps(figures))


def peak_mb() -> float:
    # Not `ru_maxrss`: a process starts with its parent's.
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
