"""Every command and program that the documentation shows is run as a reader would run it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.examples.pages import ROOT, blocks, clean_environment, pages, reader, reasons

pytestmark = [
    pytest.mark.integration,
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.xdist_group("docs"),
    pytest.mark.timeout(300),
]

SHELL_PAGES = [page for page in pages() if blocks(page, "sh")]
PYTHON_BLOCKS = [(page, block) for page in pages() for block in blocks(page, "python")]
EXPORT = re.compile(r"^\s*export (COCOON_\w+)=(.*)$", re.MULTILINE)


# What a reader must see on the way, in this order.
SEEN = {
    "README.md": ['"ready": "devnet"', '"ready": "provider"', "is open;", "receipt verified",
                  "redeemed 0.0", "is closing until", "is closed"],
}  # fmt: skip


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def cache(smollm2: Callable[..., Any], model_cache: Path) -> Path:
    """The shared cache, with the model in it."""
    smollm2()
    return model_cache / "cache"


@pytest.fixture(scope="module")
def kept(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`cocoon demo --keep`, running: an environment with what it says to export."""
    folder = tmp_path_factory.mktemp("kept")
    env = clean_environment(cache) | {"COCOON_HOME": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-m", "cocoon_sdk.cli", "demo", "--keep", "--max-tokens", "20"],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if "Ctrl-C here ends it" in line:
                break
        exports = {name: shlex.split(value)[0] for name, value in EXPORT.findall(said)}
        assert {"COCOON_HOME", "COCOON_REGISTRY", "COCOON_TRUST", "COCOON_CHAIN"} <= set(exports), (
            said
        )
        yield env | exports
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 143


@pytest.mark.parametrize("page", SHELL_PAGES, ids=name_of)
def test_commands(
    page: Path,
    kept: dict[str, str],
    cache: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if name_of(page) == "README.md":
        env = clean_environment(cache)  # it brings everything itself
    elif "tutorial" in page.parts:
        env = kept
    else:
        env = kept | {"COCOON_HOME": str(tmp_path / "home")}
    env.setdefault("COCOON_HOME", str(tmp_path / "home"))
    if "postgresql:///" in page.read_text("utf-8"):
        env = request.getfixturevalue("postgres").environment(env)
    with reader(tmp_path / "checkout", env) as shell:
        output = "".join(shell.run(block, name_of(page)) for block in blocks(page, "sh"))
    assert "Traceback" not in output, output
    rest = output
    for text in SEEN.get(name_of(page), ()):
        assert text in rest, f"{text!r} is missing in:\n{output}"
        rest = rest.partition(text)[2]


@pytest.mark.parametrize(
    ("page", "block"), PYTHON_BLOCKS, ids=[f"{name_of(p)}:{b.line}" for p, b in PYTHON_BLOCKS]
)
def test_programs(page: Path, block: Any, kept: dict[str, str], tmp_path: Path) -> None:
    program = tmp_path / "block.py"
    program.write_text(block.text, "utf-8")
    assert run_python(program, kept).strip()


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_examples(example: Path, kept: dict[str, str]) -> None:
    said = run_python(example, kept, "Name three colours.")
    assert "coins" in said
    assert len(said.splitlines()[0]) > 0


def test_an_example_without_settings_says_what_is_missing(cache: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "ask.py"), "Hello?"],
        env=clean_environment(cache),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "COCOON_REGISTRY" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_not_run_has_a_reason() -> None:
    for page in pages():
        for reason in reasons(page):
            assert len(reason) > 10, f"{name_of(page)}: {reason!r}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name_of(page)} links to {target}"


def run_python(program: Path, env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(program), *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
