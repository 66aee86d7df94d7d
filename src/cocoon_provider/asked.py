"""A REQUEST on its way from the connection to the service."""

from __future__ import annotations

from typing import cast

from cocoon_sdk.protocol.messages import FrameType, Request, decode_body


class Asked:
    """Holds a request until it is taken, once.

    Decoded, the body of a stranger may weigh a hundred times its bytes. Whatever makes a request wait keeps
    the bytes alone, so that eight of them on each connection fill no memory.
    """

    __slots__ = ("_body", "_request")

    def __init__(self, request: Request, body: bytes) -> None:
        self._request: Request | None = request
        self._body = body

    def fold(self) -> None:
        """Keep the bytes alone."""
        self._request = None

    def take(self) -> tuple[Request, bytes]:
        """The request and its body; nothing is held any more."""
        request, body = self._request, self._body
        self._request, self._body = None, b""
        if request is None:
            request = cast("Request", decode_body(FrameType.REQUEST, body))
        return request, body
