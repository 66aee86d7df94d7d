"""`serve`: start, print one readiness line, run until a signal, drain."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator

from cocoon_provider.config import Config
from cocoon_provider.operations.home import Home, make_backend
from cocoon_provider.operations.register import describe, write_entry
from cocoon_provider.provider import Provider
from cocoon_sdk.errors import ConfigError, StoreError
from cocoon_sdk.store.lock import file_lock

LOCK_NAME = "serve.lock"

Announce = Callable[[dict[str, str]], None]


async def serve(home: Home, config: Config, announce: Announce) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the draining.

    `announce` gets the readiness line once requests are taken and the entry file is written.

    Raises:
        ConfigError: another process serves from this folder.
    """
    with _alone(home):
        await _serve(home, config, announce)


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    """A second process would take the streams of the first for leftovers, and end them."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(home.folder / LOCK_NAME, timeout=0.0))
        except StoreError as error:
            raise ConfigError(
                f"another cocoon-provider serves from {home.folder}; stop it, or use another --home"
            ) from error
        yield


async def _serve(home: Home, config: Config, announce: Announce) -> None:
    identity = home.identity()
    books = home.books(config)
    backend = make_backend(config)
    provider = Provider(config, identity=identity, books=books, backend=backend)
    try:
        stopping = _stop_on_signals()
        port = await provider.start()
        url = f"ws://{_url_host(config.listen.host)}:{port}"
        descriptor = describe(
            config,
            identity=identity,
            payout=books.wallet.address,
            endpoint=config.endpoint or url,
            models=backend.models.values(),
            now=int(time.time()),
            att=provider.attested_by,
        )
        write_entry(home.entry_path, identity, descriptor)
        announce(
            {
                "ready": "provider",
                "url": url,
                "id": identity.public_key.hex(),
                "descriptor": str(home.entry_path),
            }
        )
        await stopping.wait()
    finally:
        try:
            await provider.stop()
        finally:
            await books.aclose()


def _stop_on_signals() -> asyncio.Event:
    """Set on the first SIGTERM or SIGINT; the second one cancels."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()

    def on_signal() -> None:
        if stopping.is_set() and main is not None:
            main.cancel()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt
            loop.add_signal_handler(number, on_signal)
    return stopping


def _url_host(host: str) -> str:
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - recognised, not bound here
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
