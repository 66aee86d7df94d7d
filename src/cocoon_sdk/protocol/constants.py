"""Numbers of cocoon-e2e/1 that both sides and their drivers share (wire.md, "Messages", "Limits")."""

from __future__ import annotations

SUBPROTOCOL = "cocoon.e2e.v1"
PROTOCOL_LABEL = b"cocoon-e2e/1"
VERSION = 1
SUITE_X25519 = 1
SUITE_HYBRID = 2  # X25519 and ML-KEM-768; `kem.supported_suites` says whether it can be used

# First byte of each websocket message.
TYPE_CLIENT_HELLO = 0x01
TYPE_SERVER_HELLO = 0x02
TYPE_CLIENT_AUTH = 0x03
TYPE_DATA = 0x10

MAX_MESSAGE = 65_620
MAX_HELLO = 4_096
MAX_PLAINTEXT = 65_536
MIN_PLAINTEXT = 256
REQUEST_BUCKET = 1_024  # the least plaintext of a REQUEST's last record
MAX_STREAMS = 8
STRICT_LEAST = 64  # cells of the shortest answer in strict padding
STRICT_STEP = 128  # and the coarsest step between the lengths of longer ones
MAX_RECORDS = 2**32
SOFT_RECORDS = 2**32 - 2**28  # from here on no new streams, as with SOFT_AGE
DEFAULT_MAX_REQUEST = 1 << 20
CLIENT_MAX_REQUEST = 1 << 24  # the provider's own bound, by context length, is what counts

# Seconds.
HELLO_TIMEOUT = 5.0
AUTH_TIMEOUT = 5.0
CLIENT_HANDSHAKE_TIMEOUT = 10.0
FIRST_REQUEST_TIMEOUT = 30.0
IDLE_TIMEOUT = 300.0
MAX_AGE = 3_600.0
SOFT_AGE = 3_000.0  # from here on no new streams, so that running ones end before MAX_AGE
STRICT_INTERVAL = 0.025  # between two cells of a stream in strict padding
PING_INTERVAL = 5.0
PING_BURST = 3.0  # that we send ahead of the rate
PING_BURST_TAKEN = 12.0  # a minute of honest pings may arrive at once after the network stalled

# Close codes are not authenticated: hints for the peer's log, never grounds for trust.
CLOSE_PROTOCOL = 4400
CLOSE_CLIENT_AUTH = 4401
CLOSE_PAYMENT = 4402
CLOSE_TIMEOUT = 4408
CLOSE_TOO_LARGE = 4413
CLOSE_VERSION = 4426
CLOSE_RATE = 4429
