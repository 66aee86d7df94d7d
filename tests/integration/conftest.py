"""The live system: started once, for the tests of one xdist group."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import LiveSystem, live_system


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSystem]:
    """Devnet, registry, and the providers `echo` (answers at once) and `slow` (50 tokens a second).

    Tests that use it carry `xdist_group("live")`.
    """
    with live_system(tmp_path_factory.mktemp("live")) as system:
        system.add_provider("echo")
        system.add_provider("slow", "--delay", "0.02")
        system.publish()
        yield system
