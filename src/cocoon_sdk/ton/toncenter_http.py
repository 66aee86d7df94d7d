"""Calls to a list of toncenter services: which to ask, how often, and what a failure means.

Every call here may be repeated: reading is, and an external message can be executed only once
however often it is handed in. A failure that leaves open whether a message was taken is always told
apart from a refusal (`Answer.maybe_taken`), because a different message may only follow a refusal.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from cocoon_sdk.errors import ChainDataError, ChainUnavailableError, ConfigError

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 10.0
ROUNDS = 4  # times each service is asked before giving up
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0
PACED = ("//toncenter.com", "//testnet.toncenter.com")
MAX_ANSWER = 8 << 20

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one attempt at one service came to; `unusable` where repeating cannot help."""

    answered: bool = False
    status: int = 0
    body: bytes = b""
    reason: str = ""
    wait: float = 0.0
    maybe_taken: bool = False
    unusable: ChainDataError | ConfigError | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that is no fault of the service.

    Attributes:
        maybe_taken: an earlier attempt of the same call ended without an answer.
    """

    status: int
    body: bytes
    url: str
    maybe_taken: bool


class Services:
    """One or more toncenter deployments of the same network, asked in turn."""

    def __init__(
        self,
        urls: Sequence[str] | str,
        *,
        api_key: str | None,
        transport: httpx.AsyncBaseTransport | None,
        probe: tuple[str, Callable[[str, int, bytes], None]],
        pace: float,
        sleep: Sleep,
        monotonic: Callable[[], float],
    ) -> None:
        """Nothing is opened yet.

        Args:
            urls: the services, the preferred one first.
            api_key: sent to the first and to others on its host: it is no business of anyone else's.
            transport: of httpx, for tests.
            probe: a path to read and a check of the answer, once before a service is used.
            pace: least seconds between calls to the public services without a key.
            sleep: waits so many seconds.
            monotonic: seconds that never go back.
        """
        self.urls = tuple(_base(url) for url in ([urls] if isinstance(urls, str) else urls))
        if not self.urls:
            raise ConfigError("no chain API address is given; name at least one URL")
        self._probe = probe
        self._probed: set[str] = set()
        self._pace = pace
        self._next_call = 0.0
        self._sleep = sleep
        self._monotonic = monotonic
        self._current = 0
        self._api_key = api_key
        self._transport = transport
        self._http: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def call(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        final: Callable[[bytes], bool] = lambda _: False,
    ) -> Answer:
        """GET, or POST where there is a body; the first usable answer of any service.

        Connection failures, timeouts, 429 and 5xx move on to the next service, with growing pauses
        between rounds. `final` names the 5xx answers that are about the request, not the service.

        Raises:
            ChainUnavailableError: none answered.
            ConfigError: all refused the API key; nothing was sent.
            ChainDataError: none is a service of this network; nothing was sent.
        """
        pause, maybe_taken, outcomes = FIRST_PAUSE, False, dict[str, _Outcome]()
        for round_number in range(ROUNDS):
            wait = 0.0
            for step in range(len(self.urls)):
                index = (self._current + step) % len(self.urls)
                url = self.urls[index]
                outcome = await self._try(url, path, query, body, final)
                if outcome.answered:
                    self._current = index
                    return Answer(outcome.status, outcome.body, url, maybe_taken)
                maybe_taken = maybe_taken or outcome.maybe_taken
                wait = max(wait, outcome.wait)
                outcomes[url] = outcome
            useless = [o.unusable for o in outcomes.values() if o.unusable is not None]
            if len(useless) == len(self.urls) and not maybe_taken:
                raise useless[0]
            if round_number + 1 < ROUNDS:
                await self._sleep(min(max(pause, wait), LONGEST_PAUSE))
                pause *= 2
        detail = ", ".join(f"{url}: {outcome.reason}" for url, outcome in outcomes.items())
        taken = "it is unknown whether the message was taken" if maybe_taken else "nothing was sent"
        raise ChainUnavailableError(
            f"no chain API answered {path} after {ROUNDS} rounds"
            + (f"; {taken}" if body else "")
            + f" ({detail}); check the network and the URL (chain=…, COCOON_CHAIN)"
        )

    async def _try(
        self,
        url: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        final: Callable[[bytes], bool],
    ) -> _Outcome:
        if url not in self._probed and path != self._probe[0]:
            probe = await self._try(url, self._probe[0], None, None, lambda _: False)
            if not probe.answered:
                return replace(probe, maybe_taken=False)
            try:
                self._probe[1](url, probe.status, probe.body)
            except ChainDataError as error:
                return _Outcome(reason=str(error), unusable=error)
            self._probed.add(url)
        if any(url.endswith(host) for host in PACED) and not self._headers(url):
            await self._wait_turn()
        try:
            status, content, retry_after = await self._ask(url, path, query, body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return _Outcome(reason=type(error).__name__)
        except (httpx.HTTPError, _TooLargeError) as error:
            return _Outcome(reason=type(error).__name__, maybe_taken=True)
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            refused = ConfigError(f"{url} refused the API key (HTTP {status}); check the key")
            return _Outcome(reason=f"HTTP {status}", unusable=refused)
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return _Outcome(reason="rate limit (HTTP 429)", wait=retry_after)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR and not final(content):
            return _Outcome(reason=f"HTTP {status}", maybe_taken=True)
        return _Outcome(answered=True, status=status, body=content)

    async def _wait_turn(self) -> None:
        """Take the next free moment; without it parallel calls would run into the rate limit."""
        now = self._monotonic()
        turn = max(now, self._next_call)
        self._next_call = turn + self._pace
        if turn > now:
            await self._sleep(turn - now)

    def _headers(self, url: str) -> dict[str, str]:
        if self._api_key and httpx.URL(url).netloc == httpx.URL(self.urls[0]).netloc:
            return {"X-API-Key": self._api_key}
        return {}

    async def _ask(
        self,
        url: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> tuple[int, bytes, float]:
        if self._http is None:
            self._http = httpx.AsyncClient(
                timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
                transport=self._transport,
                follow_redirects=False,
            )
        method = "GET" if body is None else "POST"
        async with self._http.stream(
            method, url + path, params=query, json=body, headers=self._headers(url)
        ) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER:
                    raise _TooLargeError
            return response.status_code, bytes(content), _retry_after(response)


class _TooLargeError(Exception):
    """The answer is larger than anything these calls return."""


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 6 else 0.0


def _base(url: str) -> str:
    """`scheme://host[:port][/prefix]` without the version's path.

    The key and every answer about money travel over this connection, so plain HTTP is for this
    machine and private networks only.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"not a URL: {url[:80]!r}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.userinfo:
        raise ConfigError(f"a chain API address is https://host, got {url[:80]!r}")
    if parsed.scheme == "http" and not _is_private(parsed.host):
        raise ConfigError(f"{url} is plain http; use https for a chain API on the internet")
    base = f"{parsed.scheme}://{parsed.netloc.decode('ascii')}{parsed.path}".rstrip("/")
    for suffix in ("/jsonRPC", "/api/v2", "/api/v3"):
        base = base.removesuffix(suffix)
    return base


def _is_private(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host  # a name of a container network
