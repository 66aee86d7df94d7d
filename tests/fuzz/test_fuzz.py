"""The slice of the fuzz campaign that runs with every test run: seeds, old crashers, mutations."""

from __future__ import annotations

import random
import time

import pytest

from fuzz.mutator import mutate
from fuzz.target import CORPUS, all_targets

TARGETS = all_targets()
ROUNDS = 300
AT_LEAST = 30
SECONDS = 0.9  # for the mutations of one target
ONE = 10.0  # what one input may take on a busy machine


def timed(name: str, data: bytes) -> None:
    started = time.thread_time()
    try:
        TARGETS[name].check(data)
    except Exception as error:
        raise AssertionError(f"{name} on {data!r}") from error
    spent = time.thread_time() - started
    assert spent < ONE, f"{name} takes {spent:.1f} s on {data!r}"


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_once_broke(name: str) -> None:
    inputs = list(TARGETS[name].inputs())
    assert inputs
    for data in [*inputs, b""]:
        timed(name, data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations(name: str) -> None:
    target = TARGETS[name]
    inputs = list(target.inputs())
    rng = random.Random(f"cocoon {name}")
    until = time.monotonic() + SECONDS
    for round_number in range(ROUNDS):
        if round_number >= AT_LEAST and time.monotonic() > until:
            break
        data = mutate(rng.choice(inputs), rng, target.words, rng.choice(inputs))
        timed(name, data[: target.max_len])


def test_every_folder_of_the_corpus_has_a_target() -> None:
    assert {path.name for path in CORPUS.glob("*")} <= set(TARGETS)
