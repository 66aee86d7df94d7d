"""Which service is asked, how often, and whether a message may have been taken when none answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from cocoon_sdk.errors import ChainDataError, ChainUnavailableError, ConfigError
from cocoon_sdk.ton import toncenter_http as module
from cocoon_sdk.ton.toncenter_http import ROUNDS, Services

pytestmark = pytest.mark.anyio

A, B = "https://a.example", "https://b.example"
Handler = Callable[[httpx.Request], httpx.Response]


class Net:
    """Services in memory, and a clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []
        self.asked: list[str] = []
        self.hosts: dict[str, Handler] = {}
        self.probe_answer: Handler = lambda _: httpx.Response(200, content=b"probe")

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.url.host[0]}{request.url.path}")
        if request.url.path == "/probe":
            return self.probe_answer(request)
        return self.hosts[request.url.host[0]](request)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def services(self, *urls: str, pace: float = 0, api_key: str | None = None) -> Services:
        return Services(
            urls,
            api_key=api_key,
            transport=httpx.MockTransport(self),
            probe=("/probe", self.check),
            pace=pace,
            sleep=self.sleep,
            monotonic=lambda: self.now,
        )

    @staticmethod
    def check(url: str, status: int, body: bytes) -> None:
        if (status, body) != (200, b"probe"):
            raise ChainDataError(f"{url} is of another network")


def says(status: int, body: bytes = b"", **headers: str) -> Handler:
    return lambda _: httpx.Response(status, content=body, headers=headers)


def fails(error: type[Exception]) -> Handler:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error("no", request=request)

    return handler


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
async def both(net: Net) -> AsyncIterator[Services]:
    services = net.services(A, B)
    yield services
    await services.aclose()


async def test_a_service_is_probed_once_and_stays_preferred(net: Net, both: Services) -> None:
    net.hosts = {"a": fails(httpx.ConnectError), "b": says(200, b"yes")}
    answer = await both.call("/x")
    assert (answer.status, answer.body, answer.url, answer.maybe_taken) == (200, b"yes", B, False)
    net.asked.clear()
    await both.call("/x")  # the one that answered last comes first
    assert net.asked == ["b/x"]
    assert net.pauses == []


@pytest.mark.parametrize(
    ("failure", "maybe_taken"),
    [
        (fails(httpx.ConnectError), False),
        (fails(httpx.ConnectTimeout), False),
        (fails(httpx.PoolTimeout), False),
        (says(429), False),
        (fails(httpx.ReadTimeout), True),
        (fails(httpx.WriteError), True),
        (fails(httpx.RemoteProtocolError), True),
        (says(500), True),
        (says(502), True),
    ],
)
async def test_what_each_failure_leaves_open(
    net: Net, both: Services, failure: Handler, maybe_taken: bool
) -> None:
    net.hosts = {"a": failure, "b": says(422, b"refused")}
    answer = await both.call("/x", body={"boc": ""})
    assert (answer.status, answer.maybe_taken) == (422, maybe_taken)
    net.hosts["b"] = failure
    verdict = "unknown whether the message was taken" if maybe_taken else "nothing was sent"
    with pytest.raises(ChainUnavailableError, match=verdict):
        await both.call("/x", body={"boc": ""})
    with pytest.raises(ChainUnavailableError) as caught:
        await both.call("/x")  # reading takes nothing
    assert "taken" not in str(caught.value)
    assert "sent" not in str(caught.value)


async def test_rounds_and_pauses_are_bounded(net: Net, both: Services) -> None:
    net.hosts = {"a": says(503), "b": says(503)}
    with pytest.raises(ChainUnavailableError, match=rf"after {ROUNDS} rounds .*COCOON_CHAIN"):
        await both.call("/x")
    assert net.asked.count("a/x") == net.asked.count("b/x") == ROUNDS
    assert net.pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("header", "pause"), [("3", 3.0), ("3600", 8.0), ("soon", 0.5), ("-5", 0.5), ("9" * 6, 0.5)]
)
async def test_a_rate_limit_is_heeded_within_reason(net: Net, header: str, pause: float) -> None:
    net.hosts = {"a": says(429, **{"retry-after": header})}
    services = net.services(A)
    with pytest.raises(ChainUnavailableError, match="429"):
        await services.call("/x")
    assert net.pauses[0] == pause
    await services.aclose()


async def test_a_final_error_is_an_answer(net: Net, both: Services) -> None:
    net.hosts = {"a": says(500, b"refused by the contract")}
    answer = await both.call("/x", body={}, final=lambda body: b"contract" in body)
    assert (answer.status, answer.maybe_taken) == (500, False)


async def test_a_key_that_all_refuse(net: Net, both: Services) -> None:
    net.hosts = {"a": says(401), "b": says(403)}
    with pytest.raises(ConfigError, match="refused the API key"):
        await both.call("/x", body={})
    assert net.pauses == []
    net.hosts["b"] = says(200, b"yes")
    assert (await both.call("/x")).url == B


async def test_a_service_of_another_network_never_gets_the_message(
    net: Net, both: Services
) -> None:
    net.probe_answer = lambda request: httpx.Response(
        200, content=b"probe" if request.url.host == "b.example" else b"other"
    )
    net.hosts = {"a": says(200, b"wrong"), "b": says(200, b"yes")}
    assert (await both.call("/x", body={})).body == b"yes"
    assert "a/x" not in net.asked
    net.probe_answer = says(200, b"other")
    fresh = net.services(A)
    with pytest.raises(ChainDataError, match="another network"):
        await fresh.call("/x", body={})
    await fresh.aclose()


async def test_a_lost_probe_is_no_lost_message(net: Net) -> None:
    net.probe_answer = fails(httpx.ReadTimeout)
    services = net.services(A)
    with pytest.raises(ChainUnavailableError, match="nothing was sent"):
        await services.call("/x", body={"boc": ""})
    await services.aclose()


async def test_the_probed_path_needs_no_probe(net: Net) -> None:
    services = net.services(A)
    assert (await services.call("/probe")).body == b"probe"
    assert net.asked == ["a/probe"]
    await services.aclose()


async def test_an_endless_answer_is_cut(
    net: Net, both: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER", 100)
    net.hosts = {"a": says(200, bytes(101)), "b": says(200, bytes(100))}
    answer = await both.call("/x")
    assert (answer.url, len(answer.body)) == (B, 100)


async def test_public_services_are_asked_at_their_pace(net: Net) -> None:
    net.hosts = {"t": says(200)}
    services = net.services("https://toncenter.com", pace=1.1)
    for _ in range(3):
        await services.call("/x")
    assert net.pauses == pytest.approx([1.1, 1.1, 1.1])  # the probe took the first turn
    net.pauses.clear()
    private = net.services("https://my.toncenter.com.example", pace=1.1)
    net.hosts["m"] = says(200)
    await private.call("/x")
    assert net.pauses == []
    await services.aclose()
    await private.aclose()


async def test_the_key_travels_in_its_header_and_redirects_are_not_followed(net: Net) -> None:
    seen: list[httpx.Headers] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(302, headers={"location": "https://thief.example/"})

    net.hosts = {"a": handler}
    services = net.services(A, api_key="k")
    answer = await services.call("/x", query={"q": "1"})
    assert answer.status == 302
    assert seen[0]["x-api-key"] == "k"
    assert "t/" not in net.asked
    await services.aclose()
    await services.aclose()


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://h.example/", "https://h.example"),
        ("https://h.example:8443/ton/api/v3/", "https://h.example:8443/ton"),
        ("http://10.0.0.1/api/v2/jsonRPC", "http://10.0.0.1"),
        ("http://localhost:8081", "http://localhost:8081"),
        ("http://toncenter:8081", "http://toncenter:8081"),
        ("http://[fd00::1]:80/", "http://[fd00::1]"),
    ],
)
def test_addresses(net: Net, url: str, base: str) -> None:
    assert net.services(url).urls == (base,)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://h.example",
            "http://1.1.1.1",
            "ftp://h",
            "h.example",
            "https://",
            "",
            "https://[::",
        ),
        "https://user:secret@h.example",
    ],
)
def test_addresses_over_which_no_key_may_travel(net: Net, url: str) -> None:
    with pytest.raises(ConfigError):
        net.services(url)


def test_no_address_at_all(net: Net) -> None:
    options: dict[str, Any] = {
        "api_key": None, "transport": None, "probe": ("/", net.check), "pace": 0,
        "sleep": net.sleep, "monotonic": lambda: 0.0,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="no chain API address"):
        Services([], **options)
    assert Services(A, **options).urls == (A,)
