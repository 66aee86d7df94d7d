"""ATTEST_CHALLENGE and ATTEST in pairs: a fresh quote is dear to make, and says nothing new the second time.

An ERROR on stream 0 while a challenge is open says that there is none, and ends it as well; but one that
hints at a fork of the registry, which comes whether somebody asks or not.
"""

from __future__ import annotations

from cocoon_sdk.errors import WireCode
from cocoon_sdk.protocol.constants import CLOSE_RATE
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.messages import Attest, AttestChallenge, Error, Message


class ChallengeLedger:
    """Which side waits for an ATTEST of the other."""

    __slots__ = ("_ours", "_theirs")

    def __init__(self) -> None:
        self._ours = self._theirs = False

    def sending(self, message: Message) -> None:
        """Note a frame of ours on stream 0; others than these are let through.

        Raises:
            LocalProtocolError: a challenge before the last one was answered, or an answer to none.
        """
        if isinstance(message, AttestChallenge):
            if self._ours:
                raise LocalProtocolError("an ATTEST_CHALLENGE is open; wait for its ATTEST")
            self._ours = True
        elif isinstance(message, Attest):
            if not self._theirs:
                raise LocalProtocolError("an ATTEST that answers no ATTEST_CHALLENGE")
            self._theirs = False
        elif isinstance(message, Error) and message.code != WireCode.REGISTRY_FORK:
            self._theirs = False

    def received(self, message: Message) -> None:
        """Note a frame of the peer on stream 0; others than these are let through.

        Raises:
            RemoteProtocolError: as for `sending`; challenges in a row are a flood (4429).
        """
        if isinstance(message, AttestChallenge):
            if self._theirs:
                raise RemoteProtocolError("a second open ATTEST_CHALLENGE", CLOSE_RATE)
            self._theirs = True
        elif isinstance(message, Attest):
            if not self._ours:
                raise RemoteProtocolError("an ATTEST that answers no ATTEST_CHALLENGE")
            self._ours = False
        elif isinstance(message, Error) and message.code != WireCode.REGISTRY_FORK:
            self._ours = False
