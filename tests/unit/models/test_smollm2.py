"""The default model, converted, against an independent float64 forward pass (engine.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reference.forward import Reference
from reference.session import GraphRunner, divergence
from tokenizers import Tokenizer

from cocoon_provider.models.manifest import ModelFolder

pytestmark = [pytest.mark.model, pytest.mark.xdist_group("model"), pytest.mark.timeout(300)]

QUESTIONS = [
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain in one paragraph how rain forms.",
    "List three fruits that are yellow.",
    "Translate 'good morning' into Spanish.",
    "def fibonacci(n):",
]
TEXT = (
    "A lighthouse keeper kept two ledgers. In the first she wrote the weather: wind from the west at"
    " 18 knots, rain before noon, visibility of 3 miles. In the second she wrote what the weather had"
    " done to the people who passed: a fisherman who waited, a ferry that turned back, the doctor who"
    " crossed anyway because a child had a fever of 40 degrees. When the office asked for her records"
    " she sent only the first. Years later a historian found the other one and said that it was the"
    " better instrument, since it measured not the storm but what it cost."
    " for i in range(10): total += prices[i] * 0.25  # the discount"
)
STEPS = 32


@pytest.fixture(scope="module")
def reference(smollm2_gguf: Path) -> Reference:
    return Reference(smollm2_gguf)


@pytest.fixture(scope="module")
def tokenizer(smollm2: Callable[..., ModelFolder]) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(json.loads(smollm2().bundle())["tokenizer"]))


@pytest.fixture(scope="module")
def prompts(tokenizer: Tokenizer) -> list[list[int]]:
    return [
        tokenizer.encode(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n").ids
        for question in QUESTIONS
    ]


@pytest.fixture(scope="module")
def text(tokenizer: Tokenizer) -> list[int]:
    return tokenizer.encode(TEXT).ids


@pytest.fixture(scope="module")
def expected_logits(reference: Reference, text: list[int]) -> np.ndarray:
    return reference.logits(text, reference.start())


@pytest.fixture(scope="module")
def expected_answers(reference: Reference, prompts: list[list[int]]) -> list[list[int]]:
    return [reference.greedy(prompt, STEPS) for prompt in prompts]


@pytest.fixture(scope="module")
def f32(smollm2: Callable[..., ModelFolder]) -> GraphRunner:
    return GraphRunner(smollm2(quantization="f32"))


@pytest.fixture(scope="module")
def int8(smollm2: Callable[..., ModelFolder]) -> GraphRunner:
    return GraphRunner(smollm2())


def test_f32_logits_match(f32, text, expected_logits):
    assert np.abs(f32.logits(text, f32.start()) - expected_logits).max() < 1e-3


def test_f32_greedy_answers_match(f32, prompts, expected_answers):
    assert [f32.greedy(prompt, STEPS) for prompt in prompts] == expected_answers


def test_int8_distribution_is_close(int8, text, expected_logits):
    assert divergence(expected_logits, int8.logits(text, int8.start())).mean() < 0.01


def test_int8_greedy_answers_part_only_where_the_call_is_close(
    int8, prompts, expected_answers, reference
):
    """int8 is not promised to equal the reference: it may decide otherwise where two tokens are close.

    Shown with -rP: how many prompts agree over all steps, and how close each parting was, in nats.
    """
    agreeing, gaps = 0, []
    for prompt, expected in zip(prompts, expected_answers, strict=True):
        found = int8.greedy(prompt, STEPS)
        pairs = list(zip(expected, found, strict=True))
        split = next((i for i, (right, mine) in enumerate(pairs) if right != mine), None)
        if split is None:
            agreeing += 1
            continue
        logits = reference.logits(prompt + expected[:split], reference.start())[-1]
        gaps.append(float(logits[expected[split]] - logits[found[split]]))
    print(f"int8 agrees over {STEPS} tokens on {agreeing} of {len(prompts)} prompts; gaps {gaps}")
    assert max(gaps, default=0.0) < 1.0
    assert agreeing >= 1


@pytest.mark.parametrize("quantization", ["int8", "f16"])
def test_f16_activations_are_close(smollm2, text, expected_logits, quantization):
    """The build that a GPU loads, run on the CPU."""
    runner = GraphRunner(smollm2(quantization=quantization, act="f16"))
    found = runner.logits(text, runner.start())
    assert found.dtype == np.float32
    assert divergence(expected_logits, found).mean() < 0.01


def test_int8_size(smollm2):
    folder = smollm2()
    size = sum(file.stat().st_size for file in folder.path.iterdir())
    assert 150e6 < size < 165e6
