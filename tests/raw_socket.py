"""A websocket peer made by hand, for what no library would send."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from cocoon_sdk.protocol.constants import SUBPROTOCOL

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0


def upgrade_request(port: int, **extra: str) -> bytes:
    """The HTTP head that asks for the session's subprotocol."""
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
        "Sec-WebSocket-Protocol": SUBPROTOCOL,
    }
    for name, value in extra.items():
        headers[name.replace("_", "-")] = value
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True) -> bytes:
    """One websocket frame."""
    size = len(payload)
    bit = 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([bit | size])
    elif size < 65_536:
        head += bytes([bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", size)
    return head + (bytes(4) if mask else b"") + payload  # a mask of zeros changes nothing


@dataclass
class RawSocket:
    """One TCP connection to the provider."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Write; a peer that has hung up is no error."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload.

        Raises:
            EOFError, ConnectionError: the peer has hung up.
        """
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(size)

    async def message(self) -> bytes:
        """The next binary message; control frames before it are passed over."""
        while True:
            opcode, payload = await self.frame()
            if opcode == BINARY:
                return payload

    async def close_code(self, limit: float = 10) -> int | None:
        """The code with which the peer hangs up; None where it just cuts the connection."""
        async with asyncio.timeout(limit):
            try:
                while True:
                    opcode, payload = await self.frame()
                    if opcode == CLOSE:
                        assert payload[2:] == b""
                        return int.from_bytes(payload[:2], "big")
            except (EOFError, ConnectionError):
                return None

    async def gone(self, limit: float = 10) -> None:
        """Wait until the peer has hung up, whatever it says before."""
        async with asyncio.timeout(limit):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass


@contextlib.asynccontextmanager
async def tcp(port: int, *, source: str = "127.0.0.1") -> AsyncIterator[RawSocket]:
    """A bare TCP connection from one of the addresses of loopback."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    raw.setblocking(False)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that not reading is soon felt
    raw.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=2**16)
    try:
        yield RawSocket(reader, writer)
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def upgraded(
    port: int, *, source: str = "127.0.0.1", **headers: str
) -> AsyncIterator[RawSocket]:
    """A connection after the websocket upgrade.

    Raises:
        AssertionError: the provider refuses; its status line is in the message.
    """
    async with tcp(port, source=source) as peer:
        await peer.send(upgrade_request(port, **headers))
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head.split(b"\r\n", 1)[0].decode()
        yield peer
