"""Loading and memory of a model of gte-multilingual-base's size: random weights, a real tokenizer.

    .venv/bin/python benchmarks/encode/load.py --tokenizer tokenizer.json [--rounds 5]

`--tokenizer` is XLM-RoBERTa's, 250,000 tokens. A process of its own for each round; the graph is built and
what is remembered of the files is there, as from the second start on. The least of the rounds. Own memory
is what the process alone has; resident is with the pages of files, which others share.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from random_model import random_multilingual

from gte_pg.encoder import Encoder

PRECISIONS = ("float32", "int8")
DUTIES = ("queries", "texts", "both")
QUERY = "which program shows how much of the disk each directory takes"
TEXTS = [f"{QUERY}, and how many files are in it: {number}" for number in range(64)]


def main() -> None:
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("--tokenizer", type=Path, required=True)
    command.add_argument("--rounds", type=int, default=5)
    command.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    asked = command.parse_args()
    if asked.measure:
        print(json.dumps(measure(*asked.measure)))
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        shutil.copy(asked.tokenizer, directory / "tokenizer.json")
        random_multilingual(directory)
        header = measured(directory, "float32", "both", asked.tokenizer)
        print("| | | " + " | ".join(header) + " |")
        for precision in PRECISIONS:
            for duty in DUTIES:
                runs = [
                    measured(directory, precision, duty, asked.tokenizer)
                    for _ in range(asked.rounds)
                ]
                least = {key: min(run[key] for run in runs) for key in runs[0]}
                figures = " | ".join(f"{value:.3g}" for value in least.values())
                print(f"| {precision} | {duty} | {figures} |")


def measured(directory: Path, precision: str, duty: str, tokenizer: Path) -> dict[str, float]:
    asked = [sys.executable, __file__, "--tokenizer", str(tokenizer)]
    done = subprocess.run(
        [*asked, "--measure", str(directory), precision, duty],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(directory: str, precision: str, duty: str) -> dict[str, float]:
    """Load, and encode queries one by one, texts by the batch, or both."""
    wall, cpu = time.perf_counter(), time.process_time()
    encoder = Encoder.load(directory, precision=precision)  # type: ignore[arg-type]
    encoder.encode(TEXTS[:1] if duty != "texts" else TEXTS)
    found = {
        "first vector s": time.perf_counter() - wall,
        "CPU s": time.process_time() - cpu,
    }
    if duty == "both":
        encoder.encode(TEXTS)
    latencies = [0.0]
    if duty != "texts":
        latencies = [latency(encoder) for _ in range(20)]
    return found | {
        "query ms": 1000 * min(latencies),
        "own GB": memory("Private_Dirty"),
        "resident GB": memory("Rss"),
    }


def latency(encoder: Encoder) -> float:
    asked = time.perf_counter()
    encoder.encode([QUERY], kind="query")
    return time.perf_counter() - asked


def memory(kind: str) -> float:
    lines = Path(f"/proc/{os.getpid()}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 1e6


if __name__ == "__main__":
    main()
