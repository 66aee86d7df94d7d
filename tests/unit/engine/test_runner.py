"""Against the same graph run plainly, with past and present as ordinary inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cocoon_provider.engine.runner import Runner
from cocoon_provider.models.manifest import ModelFolder
from cocoon_sdk.errors import ConfigError
from tests.reference.session import GraphRunner, divergence
from tests.reference.tiny import convert_tiny

IDS = [int(token) for token in np.random.default_rng(3).integers(3, 250, 120)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return convert_tiny(tmp_path_factory.mktemp("tiny"))


def reference(folder: ModelFolder, ids: list[int]) -> np.ndarray:
    plain = GraphRunner(folder, threads=1)
    return np.asarray(plain.logits(ids, plain.start(), [len(ids) - 1])[0])


def test_chunks_and_single_tokens_give_the_logits_of_the_whole(folder: ModelFolder) -> None:
    runner = Runner(folder, threads=1)
    runner.run(0, 0, IDS[:64])
    runner.run(0, 64, IDS[64:100])
    for i in range(100, 110):
        logits = runner.run(0, i, IDS[i : i + 1])
        assert np.allclose(logits, reference(folder, IDS[: i + 1]), atol=1e-4)


def test_computing_again_changes_nothing(folder: ModelFolder) -> None:
    runner = Runner(folder, threads=1)
    runner.run(0, 0, IDS[:40])
    assert np.allclose(runner.run(0, 26, IDS[26:42]), reference(folder, IDS[:42]), atol=1e-4)


def test_rows_are_apart_and_can_be_used_again(folder: ModelFolder) -> None:
    runner = Runner(folder, rows=3, threads=1)
    for row in (2, 0, 1):
        runner.run(row, 0, IDS[row : row + 50])
    for row in range(3):
        logits = runner.run(row, 50, IDS[row + 50 : row + 51])
        assert np.allclose(logits, reference(folder, IDS[row : row + 51]), atol=1e-4)
    assert np.allclose(runner.run(1, 0, IDS[:20]), reference(folder, IDS[:20]), atol=1e-4)


def test_the_context_can_be_filled_and_not_exceeded(folder: ModelFolder) -> None:
    runner = Runner(folder, threads=1)
    ids = (IDS * 5)[: runner.context]
    for start in range(0, runner.context, 64):
        logits = runner.run(0, start, ids[start : start + 64])
    assert np.allclose(logits, reference(folder, ids), atol=1e-3)
    with pytest.raises(ValueError, match="do not fit"):
        runner.run(0, runner.context, IDS[:1])


def test_half_precision_runs_on_the_cpu(tmp_path: Path, folder: ModelFolder) -> None:
    half = convert_tiny(tmp_path, quantization="f16", act="f16")
    runner = Runner(half, threads=1)
    runner.run(0, 0, IDS[:30])
    logits = runner.run(0, 30, IDS[30:31])
    assert divergence(reference(folder, IDS[:31])[None], logits[None])[0] < 1e-3


def test_cuda_needs_half_precision(folder: ModelFolder) -> None:
    with pytest.raises(ConfigError, match="f16"):
        Runner(folder, device="cuda")
