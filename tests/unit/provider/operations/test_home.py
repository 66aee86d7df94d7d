from __future__ import annotations

from pathlib import Path

import pytest
from reference.tiny import write_tiny_gguf

from cocoon_provider.config import Config, ModelPrices
from cocoon_provider.operations.home import make_backend
from cocoon_sdk.errors import ConfigError

pytestmark = pytest.mark.anyio


def config(name: str, file: Path) -> Config:
    prices = ModelPrices(prompt="1", completion="2", file=str(file))
    return Config(models={name: prices})


async def test_a_local_file_is_offered_under_the_name_of_its_table(tmp_path: Path) -> None:
    file = tmp_path / "Some File.gguf"
    write_tiny_gguf(file)
    backend = make_backend(config("my-model", file))
    await backend.start()
    try:
        assert list(backend.models) == ["my-model"]
    finally:
        await backend.aclose()


async def test_a_name_that_cannot_be_offered_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_tiny_gguf(file)
    with pytest.raises(ConfigError, match="My_Model"):
        make_backend(config("My_Model", file))
