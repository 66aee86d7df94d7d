"""Decoding one stream beside the limit: reading the weights once for each token."""

from __future__ import annotations

import os

import numpy as np

from benchmarks.harness import FULL, Effort, Figure, compare
from cocoon_provider.engine.runner import Runner
from cocoon_provider.models.store import ensure_model

MODEL = "smollm2-135m-instruct"
TOKENS = 24
PROMPT = list(range(1000, 1064))


def run(effort: Effort = FULL) -> list[Figure]:
    """Tokens per second of the int8 model, and of its weights read at memory speed."""
    tokens = effort.of(TOKENS)
    reads = max(1, tokens // 4)
    folder = ensure_model(MODEL)
    runner = Runner(folder, threads=len(os.sched_getaffinity(0)))
    runner.run(0, 0, PROMPT)
    size = sum(file.stat().st_size for file in folder.path.glob("model.onnx*"))
    weights = np.ones(size // 8, np.int64)

    def decode() -> float:
        for number in range(tokens):
            runner.run(0, len(PROMPT) + number, [1000 + number])
        return tokens

    def read_weights() -> float:
        for _ in range(reads):
            int(weights.max())
        return reads

    return [
        compare(
            f"decode, batch 1, {MODEL} int8",
            "its weights read once a token by one thread",
            "tokens/s",
            decode,
            read_weights,
            effort=effort,
        )
    ]
