"""`python -m cocoon_sdk.protocol.conformance`."""

import sys

from cocoon_sdk.protocol.conformance.runner import run

run(sys.stdin.buffer, sys.stdout.buffer)
