"""Children of the demo: a readiness line or the end of their log, and none of them outlives it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cocoon_sdk.cli.demo import processes
from cocoon_sdk.cli.demo.processes import Children, DemoError

Program = Callable[[str], str]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Writes a module that `python -m` can run; it knows its own process id."""

    def write(source: str) -> str:
        name = f"program{len(list(tmp_path.glob('program*')))}"
        (tmp_path / f"{name}.py").write_text(f"import os, signal, sys, time\n{source}\n")
        monkeypatch.setitem(processes.PROGRAMS, name, "cocoon-test")
        return name

    return write


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    made = Children({**os.environ, "PYTHONPATH": str(tmp_path), "SPOKEN": "as told"}, tmp_path)
    yield made
    made.stop()


READY = "print('{\"pid\": %d}' % os.getpid(), flush=True)\n"
WAITS = READY + "time.sleep(60)"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ready_children_end_in_reverse_order(
    children: Children, program: Program, tmp_path: Path
) -> None:
    says_goodbye = (
        "def end(*_):\n"
        "    with open('{log}', 'a') as file: file.write(sys.argv[1])\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
    ).replace("{log}", str(tmp_path / "ended"))
    module = program(says_goodbye + WAITS)
    pids = [children.start(name, module, [name])["pid"] for name in "abc"]
    assert all(map(alive, pids))
    children.stop()
    assert not any(map(alive, pids))
    assert (tmp_path / "ended").read_text() == "cba"
    children.stop()  # nothing is left to do


def test_a_child_that_does_not_listen_is_killed(
    children: Children, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_TIMEOUT", 0.05)
    pid = children.start("deaf", program(DEAF), [])["pid"]
    children.stop()
    assert not alive(pid)


def test_a_second_interrupt_kills_what_is_left(
    children: Children, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = program(WAITS)
    pids = [children.start(name, module, [])["pid"] for name in "ab"]

    def interrupt(_process: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        children.stop()
    assert not any(map(alive, pids))


@pytest.mark.parametrize(
    "source",
    [
        "sys.exit('it broke')",
        "print('not JSON', flush=True); sys.exit('it broke')",
        "print('[1]', flush=True); sys.exit('it broke')",
    ],
)
def test_a_child_that_ends_shows_the_end_of_its_log(
    children: Children, program: Program, source: str
) -> None:
    noise = "sys.stderr.write('early\\n' + 'noise\\n' * 20); sys.stderr.flush()\n"
    module = program(noise + source)
    with pytest.raises(DemoError, match="the part did not start") as caught:
        children.start("part", module, [])
    assert "noise" in str(caught.value)
    assert "early" not in str(caught.value)


def test_a_child_that_says_nothing_is_not_waited_for_forever(
    children: Children, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "READY_TIMEOUT", 0.05)
    with pytest.raises(DemoError, match="did not start"):
        children.start("mute", program("time.sleep(60)"), [])


def test_a_chatty_child_never_blocks_on_its_pipe(children: Children, program: Program) -> None:
    done = "open(sys.argv[1], 'w').close()\n"
    source = READY + "print('x' * 1_000_000, flush=True)\n" + done + "time.sleep(60)"
    module = program(source)
    mark = children._logs / "done"
    children.start("chatty", module, [str(mark)])
    until = time.monotonic() + 10
    while not mark.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_step_gives_its_output(children: Children, program: Program) -> None:
    module = program("print(sys.argv[1], os.environ['SPOKEN'])")
    assert children.run(module, ["told"]) == "told as told\n"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("warning: x\nerror: no such model\ntry another", "no such model\ntry another"),
        ("error: first\nerror: last", "last"),
        ("\n".join(map(str, range(20))), "\n".join(map(str, range(8, 20)))),
    ],
)
def test_a_step_that_fails_says_why_in_its_own_words(
    children: Children, program: Program, log: str, said: str
) -> None:
    module = program(f"sys.exit({log!r})")
    with pytest.raises(DemoError) as caught:
        children.run(module, ["pull", "x"])
    assert str(caught.value) == f"the step `cocoon-test pull` failed: {said}"
    assert caught.value.code == "demo"
