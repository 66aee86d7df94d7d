"""From a protocol error to a word that tests in any language can compare.

The errors say what happened in sentences for people. The words are few and fixed; which sentence means which
word is listed here, and a test demands that no sentence of the protocol is left out.
"""

from __future__ import annotations

from enum import StrEnum

from cocoon_sdk.protocol.conformance.cases import Refusal
from cocoon_sdk.protocol.errors import ProtocolError, RemoteProtocolError, TruncatedError


class Reason(StrEnum):
    """Why something was refused."""

    # Messages as such
    UNEXPECTED_MESSAGE = "unexpected_message"
    TOO_LARGE = "too_large"
    LENGTH_MISMATCH = "length_mismatch"
    UNKNOWN_FLAGS = "unknown_flags"
    NOT_AUTHENTIC = "not_authentic"
    # Handshake
    BAD_TLV = "bad_tlv"
    BAD_EXTENSION = "bad_extension"
    BAD_PARAMETER = "bad_parameter"
    VERSION = "version"
    SUITE = "suite"
    WRONG_PROVIDER = "wrong_provider"
    SMALL_ORDER = "small_order"
    BAD_SIGNATURE = "bad_signature"
    BAD_CLIENT_AUTH = "bad_client_auth"
    AUTH_REQUIRED = "auth_required"
    PADDING_DISAGREES = "padding_disagrees"
    # Records
    NO_BUCKET = "no_bucket"
    NOT_ONE_CELL = "not_one_cell"
    BAD_PADDING = "bad_padding"
    UNKNOWN_FRAME = "unknown_frame"
    WRONG_TAG = "wrong_tag"
    MALFORMED_BODY = "malformed_body"
    RECORD_LIMIT = "record_limit"
    # Streams
    WRONG_STREAM = "wrong_stream"
    STREAM_NOT_OPEN = "stream_not_open"
    STREAM_ID = "stream_id"
    STREAM_LIMIT = "stream_limit"
    STREAM_ENDED = "stream_ended"
    FRAME_NOT_ALLOWED = "frame_not_allowed"
    END_NOT_ALLOWED = "end_not_allowed"
    MORE_NOT_ALLOWED = "more_not_allowed"
    INTERLEAVED = "interleaved"
    EMPTY_PART = "empty_part"
    END_MISSING = "end_missing"
    UNASKED_ATTEST = "unasked_attest"
    CHALLENGE_OPEN = "challenge_open"
    UNASKED_PONG = "unasked_pong"
    PING_RATE = "ping_rate"
    # The connection's life
    AFTER_CLOSE = "after_close"
    SESSION_OVER = "session_over"
    NOT_READY = "not_ready"
    TRUNCATED = "truncated"
    TIMEOUT = "timeout"
    # Our own side
    BAD_OPTION = "bad_option"
    NOT_ENCODABLE = "not_encodable"


# The first part that a message contains decides.
_PARTS: tuple[tuple[str, Reason], ...] = (
    ("TLV", Reason.BAD_TLV),
    ("unknown flags", Reason.UNKNOWN_FLAGS),
    ("is not authentic", Reason.NOT_AUTHENTIC),
    ("at its end", Reason.LENGTH_MISMATCH),
    ("is cut off", Reason.LENGTH_MISMATCH),
    ("overruns its record", Reason.LENGTH_MISMATCH),
    (", got a message of", Reason.UNEXPECTED_MESSAGE),
    ("spoke first", Reason.UNEXPECTED_MESSAGE),
    ("no DATA after the handshake", Reason.UNEXPECTED_MESSAGE),
    ("only suite", Reason.SUITE),
    ("none of the suites", Reason.SUITE),
    ("ML-KEM", Reason.BAD_EXTENSION),
    ("version", Reason.VERSION),
    ("suite", Reason.SUITE),
    ("expects another provider", Reason.WRONG_PROVIDER),
    ("small order", Reason.SMALL_ORDER),
    ("does not hold the provider's identity key", Reason.BAD_SIGNATURE),
    ("signature is wrong", Reason.BAD_SIGNATURE),
    ("requires client authentication", Reason.AUTH_REQUIRED),
    ("anonymous clients are not served", Reason.AUTH_REQUIRED),
    ("unknown client kind", Reason.BAD_CLIENT_AUTH),
    ("parameters overrun", Reason.BAD_CLIENT_AUTH),
    ("an anonymous client", Reason.BAD_CLIENT_AUTH),
    ("client's padding is", Reason.PADDING_DISAGREES),
    ("has a malformed", Reason.BAD_PARAMETER),
    ("record size parameter", Reason.BAD_PARAMETER),
    ("takes records of", Reason.BAD_PARAMETER),
    ("fills no bucket", Reason.NO_BUCKET),
    ("outside the constant cell", Reason.NOT_ONE_CELL),
    ("padding that is not zero", Reason.BAD_PADDING),
    ("unknown frame type", Reason.UNKNOWN_FRAME),
    ("tag ", Reason.WRONG_TAG),
    ("malformed ", Reason.MALFORMED_BODY),
    ("records in one session", Reason.RECORD_LIMIT),
    ("records were sent", Reason.RECORD_LIMIT),
    ("after CLOSE", Reason.AFTER_CLOSE),
    ("without CLOSE", Reason.TRUNCATED),
    ("was closed by this side", Reason.AFTER_CLOSE),
    ("the session is over", Reason.SESSION_OVER),
    ("the session has failed", Reason.SESSION_OVER),
    ("handshake is not over", Reason.NOT_READY),
    ("starts once", Reason.NOT_READY),
    ("takes no new streams", Reason.NOT_READY),
    ("handshake took too long", Reason.TIMEOUT),
    ("session is too old", Reason.TIMEOUT),
    ("idle", Reason.TIMEOUT),
    ("answers no PING", Reason.UNASKED_PONG),
    ("too many PINGs", Reason.PING_RATE),
    ("at most one PING", Reason.PING_RATE),
    ("MORE is not allowed", Reason.MORE_NOT_ALLOWED),
    ("inside an unfinished", Reason.INTERLEAVED),
    ("an empty part", Reason.EMPTY_PART),
    ("on stream 0", Reason.WRONG_STREAM),
    ("which is not open", Reason.STREAM_NOT_OPEN),
    ("was not reserved", Reason.STREAM_NOT_OPEN),
    ("ids are odd and increase", Reason.STREAM_ID),
    ("stream ids ran out", Reason.STREAM_ID),
    ("open streams", Reason.STREAM_LIMIT),
    ("streams are open", Reason.STREAM_LIMIT),
    ("after the end", Reason.STREAM_ENDED),
    ("does not belong", Reason.FRAME_NOT_ALLOWED),
    ("is the session's own", Reason.FRAME_NOT_ALLOWED),
    ("cannot end", Reason.END_NOT_ALLOWED),
    ("without END on", Reason.END_MISSING),
    ("after the ERROR of", Reason.FRAME_NOT_ALLOWED),
    ("first record is a", Reason.FRAME_NOT_ALLOWED),
    ("answers no ATTEST_CHALLENGE", Reason.UNASKED_ATTEST),
    ("an ATTEST_CHALLENGE is open", Reason.CHALLENGE_OPEN),
    ("a second open ATTEST_CHALLENGE", Reason.CHALLENGE_OPEN),
    ("body above", Reason.TOO_LARGE),
    ("of unfinished bodies", Reason.TOO_LARGE),
    ("the limit is", Reason.TOO_LARGE),
    (" body of ", Reason.MALFORMED_BODY),
    ("a record of", Reason.TOO_LARGE),
    ("_HELLO of", Reason.TOO_LARGE),
    ("cannot be encoded", Reason.NOT_ENCODABLE),
    ("do not fit CLIENT_AUTH", Reason.NOT_ENCODABLE),
    ("out of range", Reason.BAD_OPTION),
    ("a channel", Reason.BAD_OPTION),
    ("a registry", Reason.BAD_OPTION),
    ("padding is", Reason.BAD_OPTION),
    ("not an Ed25519", Reason.BAD_OPTION),
)


def reason_of(message: str) -> Reason | None:
    """The word for an error's sentence; None for one that is not listed."""
    return next((reason for part, reason in _PARTS if part in message), None)


def refusal_of(error: ProtocolError) -> Refusal:
    """What an answer says about a protocol error."""
    reason = str(reason_of(str(error)) or "unlisted")
    if not isinstance(error, RemoteProtocolError):
        return Refusal("local", reason)
    streams = error.streams if isinstance(error, TruncatedError) else ()
    return Refusal("remote", reason, error.close_code, streams)
