"""Models for tests: converted once, kept outside the per-test state folders.

`model_cache` is `$XDG_CACHE_HOME/cocoon-tests` (or `~/.cache/cocoon-tests`); stale conversions there
are removed after an hour.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cocoon_provider.models.manifest import ModelFolder

NAME = "smollm2-135m-instruct"
STALE = 3600.0  # seconds since the last use; a conversion of another converter version ages so


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """The folder that plays COCOON_HOME while test models are pulled and converted."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "cocoon-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def smollm2(model_cache: Path) -> Callable[..., ModelFolder]:
    """`smollm2(quantization="int8", act="f32")`: the real model, converted at most once."""
    from cocoon_provider.models.store import ensure_model

    def get(**precision: Any) -> ModelFolder:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COCOON_HOME", str(model_cache))
            folder = ensure_model(NAME, **precision)
        os.utime(folder.path)
        for other in folder.path.parent.glob(f"{NAME}-*/"):
            if time.time() - other.stat().st_mtime > STALE:
                shutil.rmtree(other, ignore_errors=True)
        return folder

    return get


@pytest.fixture(scope="session")
def smollm2_gguf(model_cache: Path) -> Path:
    """The real model's GGUF file."""
    from cocoon_provider.models.pull import pull

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COCOON_HOME", str(model_cache))
        return pull(NAME)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """A random two-layer llama in f32: converts in milliseconds, answers nonsense, always the same."""
    from reference.tiny import convert_tiny

    return convert_tiny(tmp_path_factory.mktemp("tiny"))
