"""gte-pg and sentence-transformers side by side: the same texts, the same weights, one run.

    python -m venv theirs && theirs/bin/pip install -r benchmarks/encode/requirements.txt
    .venv/bin/python benchmarks/encode/compare.py --their-python theirs/bin/python \
        --model all-MiniLM-L6-v2 --texts descriptions.jsonl.xz --field description --count 300

`--model random-base` makes a BERT of gte-base's size (12 layers, 768 wide) with random weights.
Every way runs in a process of its own, one after the other, rounds interleaved; a figure is the best
of the rounds. CPU seconds are the figure to compare: they depend least on what else runs here.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from peak import gflops_per_cpu_second, model_gflop
from random_model import random_base
from tokenizers import Tokenizer
from ways import FLOAT32, OURS, THEIRS, WAYS, Way

from gte_pg.encoder import load_encoder
from gte_pg.models import locate

FOLDER = Path(__file__).parent
Figures = dict[str, float]


def main() -> None:
    asked = arguments()
    with tempfile.TemporaryDirectory(prefix="gte-pg-benchmark-") as folder:
        work = Path(folder)
        model = shutil.copytree(locate("all-MiniLM-L6-v2"), work / "model")
        if asked.model == "random-base":
            random_base(model)
        elif asked.model != "all-MiniLM-L6-v2":
            shutil.rmtree(model)
            shutil.copytree(locate(asked.model), model)
        texts = sample(asked.texts, asked.field, asked.count if not asked.tokens else None)
        if asked.tokens:
            texts = of_one_length(texts, model / "tokenizer.json", asked.tokens)[: asked.count]
        (work / "texts.json").write_text(json.dumps(texts))
        encoder = load_encoder(str(model))
        counts = encoder.encode(texts).token_counts
        load_encoder(str(model), precision="int8")
        run([asked.their_python, "measure.py", str(model), "--export"])
        kept = [way for way in WAYS if not asked.float32 or way.kind in FLOAT32]
        rounds = [{way: measured(way, work, asked) for way in kept} for _ in range(asked.rounds)]
        found = {way: least([one[way] for one in rounds]) for way in kept}
        report(found, counts, model, work)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=Path, required=True, help="JSON Lines, perhaps .xz")
    parser.add_argument("--field", default="description")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--tokens", type=int, help="make texts of so many tokens each")
    parser.add_argument("--float32", action="store_true", help="only ways in float32")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--their-python", required=True)
    return parser.parse_args()


def sample(path: Path, field: str, count: int | None) -> list[str]:
    with lzma.open(path, "rt") if path.suffix == ".xz" else path.open() as lines:
        texts = [json.loads(line)[field] for line in lines]
    return random.Random(1).sample(texts, count or 5_000)


def of_one_length(texts: list[str], tokenizer: Path, tokens: int) -> list[str]:
    """Cut running text into pieces that have so many tokens, with the two that enclose a text."""
    whole = Tokenizer.from_file(str(tokenizer))
    whole.no_truncation()
    whole.no_padding()
    pieces = []
    for text in texts:
        ids = whole.encode(text, add_special_tokens=False).ids
        size = tokens - 2
        pieces += [whole.decode(ids[at : at + size]) for at in range(0, len(ids) - size, size)]
    return pieces


def measured(way: Way, work: Path, asked: argparse.Namespace) -> Figures:
    number = WAYS.index(way)
    python = sys.executable if way.library == OURS else asked.their_python
    command = [python, "measure.py", str(work / "model"), str(work / "texts.json"), str(number)]
    figures: Figures = json.loads(run([*command, str(work / f"{number}.npy")]).splitlines()[-1])
    print(way.title, figures, file=sys.stderr)
    return figures


def least(rounds: list[Figures]) -> Figures:
    return {name: min(figures[name] for figures in rounds) for name in rounds[0]}


def run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def report(found: dict[Way, Figures], counts: np.ndarray, model: Path, work: Path) -> None:
    """Print the default of each kind, and its best: the least CPU seconds of its tuned ways."""
    exact = np.load(work / "0.npy")
    peak, gflop = gflops_per_cpu_second(), model_gflop(model, counts)
    print(f"{len(counts)} texts, {counts.sum()} tokens, {counts.min()} to {counts.max()} each; ")
    print(f"peak {peak:.0f} GFLOP per CPU second in float32, the texts need {gflop:.0f} GFLOP")
    head = "way|CPU s|texts/CPU s|tokens/CPU s|wall s|peak MB|load s|first vector s|query ms"
    print(f"\n|{head}|of peak|mean cosine|\n|{'|'.join(['--', *['--:'] * 10])}|")
    for way in shown(found):
        figures = found[way]
        cosines = (np.load(work / f"{WAYS.index(way)}.npy") * exact).sum(axis=1)
        cells = (
            f"{figures['cpu_s']:.2f}",
            f"{len(counts) / figures['cpu_s']:.0f}",
            f"{counts.sum() / figures['cpu_s']:.0f}",
            f"{figures['wall_s']:.2f}",
            f"{figures['peak_mb']:.0f}",
            f"{figures['load_s']:.2f}",
            f"{figures['first_vector_s']:.2f}",
            f"{figures['query_ms']:.1f}",
            f"{gflop / figures['cpu_s'] / peak:.0%}",
            f"{cosines.mean():.4f}",
        )
        print(f"|{way.title}|{'|'.join(cells)}|")


def shown(found: dict[Way, Figures]) -> list[Way]:
    ways = [way for way in found if not way.threads or way.library == OURS]
    for default in [way for way in ways if way.library == THEIRS]:
        tuned = [way for way in found if way.threads and way.kind == default.kind]
        ways.append(min(tuned, key=lambda way: found[way]["cpu_s"]))
    return ways


if __name__ == "__main__":
    main()
