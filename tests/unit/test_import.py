"""`import cocoon_sdk` costs next to nothing (sdk.md, Conventions); names load when they are first used."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

import cocoon_sdk

HEAVY = {
    *("sqlalchemy", "alembic", "httpx", "websockets", "nacl", "msgspec", "pytoniq_core"),
    *("numpy", "onnxruntime", "tokenizers", "jinja2", "typer", "rich", "asyncio"),
}
NEVER = {"numpy", "onnxruntime", "onnx", "gguf", "x25519", "tokenizers", "cocoon_provider"}


def loaded_after(statement: str) -> set[str]:
    """Top-level names of every module in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(ast.literal_eval(done.stdout))


def test_the_package_alone_loads_nothing_heavy() -> None:
    loaded = loaded_after("import cocoon_sdk; dir(cocoon_sdk)")
    assert "cocoon_sdk" in loaded
    assert loaded & HEAVY == set()


def test_the_words_that_everyone_shares_load_nothing_heavy() -> None:
    loaded = loaded_after(
        "import cocoon_sdk.errors, cocoon_sdk.types.chat, cocoon_sdk.types.events"
    )
    assert loaded & HEAVY == set()


def test_the_whole_client_needs_no_inference_library() -> None:
    names = ", ".join(cocoon_sdk.__all__)
    loaded = loaded_after(f"from cocoon_sdk import {names}; import cocoon_sdk.payments.channels")
    assert loaded & NEVER == set()


@pytest.mark.parametrize("name", cocoon_sdk.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in dir(cocoon_sdk)
    assert getattr(cocoon_sdk, name) is not None


def test_other_names_are_missing_as_usual() -> None:
    with pytest.raises(AttributeError, match="no attribute 'AsyncCocon'"):
        _ = cocoon_sdk.AsyncCocon
