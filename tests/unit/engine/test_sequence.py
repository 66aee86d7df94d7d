from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cocoon_provider.backends.base import Event, Finished, Piece, Prefilled
from cocoon_provider.engine.sequence import CHUNK, MIN_CHUNK, Sequence

from .fakes import EVERYTHING, FakeRunner, make_sequence, text_of


def run(sequence: Sequence, runner: FakeRunner) -> list[Event]:
    """Everything that the grants allow."""
    events: list[Event] = []
    while step := sequence.step():
        events += sequence.commit(step, runner.run(0, step.past, step.tokens))
    return events


def run_all(sequence: Sequence) -> list[Event]:
    events = sequence.grant(EVERYTHING, EVERYTHING)
    return events + run(sequence, FakeRunner())


def test_an_answer_from_prompt_to_end() -> None:
    events = run_all(make_sequence("abcv"))
    assert events == [
        Prefilled(4, 0),
        *(Piece(0, 0, char, (ord(char),)) for char in "wxyz"),
        Finished(("stop",)),
    ]


def test_max_tokens() -> None:
    events = run_all(make_sequence("a", max_tokens=3))
    assert (text_of(events), events[-1]) == ("bcd", Finished(("length",)))


def test_an_end_of_sequence_token_at_the_limit_is_a_stop() -> None:
    assert run_all(make_sequence("x", max_tokens=3))[-1] == Finished(("stop",))


def test_stop_string() -> None:
    events = run_all(make_sequence("a", stops=("efg",)))
    assert (text_of(events), events[-1]) == ("bcd", Finished(("stop",)))


def test_held_back_text_is_delivered_at_the_end() -> None:
    events = run_all(make_sequence("a", stops=("yz!",)))
    assert text_of(events) == "bcdefghijklmnopqrstuvwxyz"
    events = run_all(make_sequence("a", stops=("cdX",), max_tokens=3))
    assert text_of(events) == "bcd"


def test_held_back_text_does_not_use_up_the_grant() -> None:
    sequence, runner = make_sequence("a", stops=("bcdefghX",)), FakeRunner()
    events = sequence.grant(1, 2) + run(sequence, runner)
    assert text_of(events) == "bc"  # "bcdefghi" is certain, two ids of it are granted
    assert len(runner.seen[0]) == 8
    assert text_of(sequence.grant(1, 8)) == "defghi"


def test_nothing_runs_without_a_grant() -> None:
    sequence, runner = make_sequence("a" * 100), FakeRunner()
    assert sequence.step() is None
    assert sequence.grant(40, 0) + run(sequence, runner) == [Prefilled(40, 0)]
    assert sequence.grant(100, 0) + run(sequence, runner) == [Prefilled(100, 0)]
    assert len(runner.seen[0]) == 100
    assert text_of(sequence.grant(100, 1)) == "b"  # from the scores that the prompt left
    assert run(sequence, runner) == []
    sequence.grant(0, 0)
    assert sequence.step() is None


@given(st.integers(1, 300), st.lists(st.integers(1, 120), max_size=8))
def test_chunks_are_never_short(length: int, grants: list[int]) -> None:
    sequence, runner = make_sequence("a" * length, max_tokens=1), FakeRunner()
    total, events = 0, []
    for more in [*grants, length]:
        total += more
        events += sequence.grant(total, 1) + run(sequence, runner)
    assert runner.seen[0] == [97] * length
    for _, past, tokens in runner.calls:
        assert len(tokens) <= CHUNK
        assert len(tokens) >= MIN_CHUNK or past == 0
    progress = [event.prompt for event in events if isinstance(event, Prefilled)]
    assert progress == sorted(set(progress))
    assert progress[-1] == length


def test_cancel_ends_at_once() -> None:
    sequence, runner = make_sequence("a"), FakeRunner()
    sequence.grant(1, 3)
    run(sequence, runner)
    assert sequence.cancel() == [Finished(("cancelled",))]
    assert sequence.finished
    assert sequence.step() is None
    assert sequence.grant(9, 9) == []


def test_a_resumed_answer_that_is_complete_only_ends() -> None:
    sequence = make_sequence("abc", given=2, max_tokens=0)
    assert sequence.grant(3, 1) == [Finished(("length",))]
    assert sequence.step() is None


def test_scores_are_not_kept_beyond_the_call() -> None:
    sequence, runner = make_sequence("a"), FakeRunner()
    sequence.grant(1, 0)
    step = sequence.step()
    assert step is not None
    scores = runner.run(0, step.past, step.tokens)
    sequence.commit(step, scores)
    scores[:] = 0.0
    assert text_of(sequence.grant(1, 1)) == "b"
