"""Trains the token head that gte-pg ships for all-MiniLM-L6-v2. NumPy only, some minutes, seeded.

    python -m scripts.train_token_head --descriptions packages.jsonl.xz --output head.json

A head is 385 numbers over the model's last hidden state, w = relu(⟨hidden, weight⟩ + bias). They
start as the least squares fit to each token's idf, and then learn from pairs of a short and a long
text: by the token weights alone, each short text should find its own long text among 512. A second
term makes tokens cheap to index: it punishes those that many documents weight. The model itself
stays as it is, so that its hidden states are computed once. See docs/token-head.md.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder import Encoder
from gte_pg.encoder.batching import arrange, batches
from scripts.token_head_texts import described_pairs, docstring_pairs

MODEL = "all-MiniLM-L6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

BATCH_PAIRS = 512
LEARNING_RATE = 0.0005  # small: the further from idf, the worse on texts unlike these
SCORE_SCALE = 2.0  # makes softmax logits of scores whose typical weight is 0.45
COMMON_TOKEN_COST = 0.1
SMALLEST_VARIANCE = 1e-3
TYPICAL_WEIGHT = 0.45  # the mean in a document: it puts the best sparse weight near 0.1
BUCKETS = 16

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(slots=True)
class Tokens:
    """The weightable tokens of some texts: whose they are, which, and their hidden states."""

    text: Integers
    token: Integers
    hidden: Floats

    def strongest(self, head: Floats, bias: float) -> tuple[Integers, Floats]:
        """Return the place of each (text, token) with the largest weight, and that weight."""
        weight = self.hidden @ head + np.float32(bias)
        order = np.lexsort((weight, self.token, self.text))
        text, token = self.text[order], self.token[order]
        last = np.append((text[1:] != text[:-1]) | (token[1:] != token[:-1]), True)
        return order[last], np.maximum(weight[order[last]], 0)


def hidden_states(encoder: Encoder, texts: Sequence[str]) -> Tokens:
    tokenized = encoder._tokenizer.tokenize(texts, encoder.identity.max_length)
    found = []
    for group in batches([len(text.ids) for text in tokenized]):
        batch = arrange([tokenized[index].ids for index in group])
        token = encoder._tokenizer.canonical[batch.tokens].astype(np.int64)
        lengths = np.diff(batch.starts, append=len(token))
        text = np.repeat(np.array(group, np.int64), lengths)
        kept = token >= 0
        found.append((text[kept], token[kept], encoder._session.run(batch)[kept]))
    text, token, hidden = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Tokens(text, token, hidden)


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Return all the texts' tokens as of one collection, the texts numbered on."""
    sizes = [int(part.text.max()) + 1 for part in parts]
    return Tokens(
        np.concatenate([part.text + sum(sizes[:place]) for place, part in enumerate(parts)]),
        np.concatenate([part.token for part in parts]),
        np.concatenate([part.hidden for part in parts]),
    )


def whitening(hidden: Floats) -> tuple[Floats, Floats]:
    """Return the mean and the matrix after which all directions vary alike: one step suits all."""
    mean = hidden.mean(axis=0)
    centred = hidden - mean
    variances, axes = np.linalg.eigh((centred.T @ centred / len(hidden)).astype(np.float64))
    matrix = axes / np.sqrt(np.maximum(variances, 0) + SMALLEST_VARIANCE) @ axes.T
    return mean, matrix.astype(np.float32)


def fit_to_idf(documents: Tokens) -> tuple[Floats, float]:
    """Least squares; hidden states are white, so that a correlation is all it takes."""
    count = int(documents.text.max()) + 1
    pairs = np.unique(np.stack([documents.text, documents.token]), axis=1)
    frequency = np.bincount(pairs[1], minlength=int(documents.token.max()) + 1)
    idf = np.log((count + 1) / (frequency + 0.5))[documents.token].astype(np.float32)
    head = documents.hidden.T @ (idf - idf.mean()) / len(idf)
    scale = TYPICAL_WEIGHT / idf.mean()
    return head * np.float32(scale), float(idf.mean() * scale)


def batch_of(tokens: Tokens, chosen: Integers) -> Tokens:
    """Return the tokens of the chosen texts, which are numbered in their new order."""
    number = np.full(int(tokens.text.max()) + 1, -1)
    number[chosen] = np.arange(len(chosen))
    kept = number[tokens.text] >= 0
    return Tokens(number[tokens.text[kept]], tokens.token[kept], tokens.hidden[kept])


def loss_and_gradient(
    sides: tuple[Tokens, Tokens], head: Floats, bias: float
) -> tuple[float, Floats]:
    """`sides` are the short texts and their long ones; the last of the gradient is the bias's."""
    size = int(sides[0].text.max()) + 1
    columns = np.unique(np.concatenate([side.token for side in sides]))
    chosen, matrices = [], []
    for side in sides:
        place, weight = side.strongest(head, bias)
        at = side.text[place], np.searchsorted(columns, side.token[place])
        matrix = np.zeros((size, len(columns)), np.float32)
        matrix[at] = weight
        chosen.append((side, place, at, weight > 0))
        matrices.append(matrix)
    queries, documents = matrices
    logits = SCORE_SCALE * (queries @ documents.T)
    log_odds, share = np.float32(0), -np.eye(size, dtype=np.float32)
    for axis in (0, 1):  # each query among the documents, each document among the queries
        shifted = logits - logits.max(axis=axis, keepdims=True)
        total = np.exp(shifted).sum(axis=axis, keepdims=True)
        log_odds += (np.diag(shifted) - np.log(total.ravel())).mean() / 2
        share += np.exp(shifted) / total / 2
    share *= SCORE_SCALE / size
    common = documents.mean(axis=0)
    loss = -log_odds + COMMON_TOKEN_COST * (common @ common)
    gradients = [
        share @ documents,
        share.T @ queries + 2 * COMMON_TOKEN_COST * common / size,
    ]
    gradient = np.zeros(len(head) + 1, np.float32)
    for (side, place, at, positive), by_weight in zip(chosen, gradients, strict=True):
        slope = by_weight[at] * positive
        gradient[:-1] += slope @ side.hidden[place]
        gradient[-1] += slope.sum()
    return float(loss), gradient


def learn(
    collections: Sequence[tuple[Tokens, Tokens]], head: Floats, bias: float, epochs: int
) -> tuple[Floats, float]:
    """Adam, its steps shrinking to nothing; batches never mix the collections."""
    random = np.random.default_rng(0)
    steps = []
    for queries, documents in collections:
        order = random.permutation(int(queries.text.max()) + 1)
        for start in range(0, len(order) - BATCH_PAIRS + 1, BATCH_PAIRS):
            chosen = order[start : start + BATCH_PAIRS]
            steps.append((batch_of(queries, chosen), batch_of(documents, chosen)))
    state = np.append(head, np.float32(bias))
    mean, square = np.zeros_like(state), np.zeros_like(state)
    total, step = epochs * len(steps), 0
    for epoch in range(epochs):
        losses = []
        for index in random.permutation(len(steps)):
            loss, gradient = loss_and_gradient(steps[index], state[:-1], float(state[-1]))
            losses.append(loss)
            step += 1
            mean += 0.1 * (gradient - mean)
            square += 0.01 * (gradient**2 - square)
            direction = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
            state -= np.float32(LEARNING_RATE * (1 - (step - 1) / total)) * direction
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
    return state[:-1], float(state[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--descriptions", type=Path, required=True, help=described_pairs.__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6, help="0 leaves the fit to idf as it is")
    arguments = parser.parse_args()
    encoder = Encoder.load(MODEL)
    collections = []
    for pairs in (
        described_pairs(arguments.descriptions, held_out=False),
        docstring_pairs(held_out=False),
    ):
        queries = hidden_states(encoder, [pair.query for pair in pairs])
        collections.append((queries, hidden_states(encoder, [pair.document for pair in pairs])))
        print(f"{len(pairs)} pairs, {len(collections[-1][1].token)} tokens", flush=True)
    mean, matrix = whitening(np.concatenate([documents.hidden for _, documents in collections]))
    for side in (side for sides in collections for side in sides):
        side.hidden = np.asarray((side.hidden - mean) @ matrix, np.float32)
    every = joined([documents for _, documents in collections])
    head, bias = learn(collections, *fit_to_idf(every), arguments.epochs)
    _, weights = every.strongest(head, bias)
    weights = weights[weights > 0]
    scale = TYPICAL_WEIGHT / weights.mean()
    weight = matrix @ head * scale
    write(arguments.output, weight, bias * scale - mean @ weight, weights * scale)


def write(path: Path, weight: Floats, bias: float, weights: Floats) -> None:
    fields = {
        "model": MODEL,
        "weights_sha256": WEIGHTS_SHA256,
        "note": "gte-pg's own head, for trying hybrid search out; see docs/token-head.md",
        "licence": "Apache-2.0",
        "trained_on": "summaries and descriptions of Debian 12 packages; docstrings of the "
        f"standard library of Python {platform.python_version()}",
        "impact_step": float(f"{np.quantile(weights, 0.995) / (BUCKETS - 1):.2g}"),
        "bias": float(f"{bias:.6g}"),
        "weight": [float(f"{number:.6g}") for number in weight],
    }
    path.write_text(json.dumps(fields) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
