"""Answering test cases over a pipe, so that implementations in any language meet the same ones.

`python -m cocoon_sdk.protocol.conformance` reads cases from stdin and writes answers to stdout, one JSON object
a line. The format is described in docs/reference/conformance.md; the cases are in tests/vectors.
"""
