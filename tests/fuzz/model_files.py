"""Files of models, token bundles and chat templates, and the provider's settings (engine.md)."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tempfile
from pathlib import Path

import numpy as np

from cocoon_provider.config import load_config
from cocoon_provider.models.gguf import GgufFile
from cocoon_sdk.errors import ConfigError, InvalidRequestError, VerificationError
from cocoon_sdk.tokens.bundle import TokenBundle
from cocoon_sdk.tokens.template import ChatTemplate
from cocoon_sdk.tokens.tokenizer import Tokenizer
from fuzz.target import Target

CONFIG = """
endpoint = "wss://a.example"
backend = "echo"
[models.m]
prompt = "0.1"
completion = 100
[chain]
network = "-239/main"
[channels]
min_deposit = "0.05"
[settlement]
interval = 1.5
[limits]
waiting = 3
"""
TEMPLATE = """{%- for message in messages %}{%- if loop.first and message.role == 'system' -%}
{{ bos_token + message['content'] | trim }}{%- else %}<|{{ message.role }}|>{{ message.content }}
{%- for part in message.content %}{% set x = namespace(n=0) %}{% set x.n = x.n + 1 %}{% endfor %}
{%- endif %}{% endfor %}{% macro f(a) %}{{ a ~ 'b' }}{% endmacro %}{{ f(1) }}
{% if tools %}{{ tools | tojson }}{% endif %}{{ strftime_now('%d %B %Y') }}{{ raise_exception('x') if 0 }}"""
MESSAGES = [
    {"role": "system", "content": "be </s> kind"},
    {"role": "user", "content": "héllo"},
]


@contextlib.contextmanager
def _file(data: bytes):  # type: ignore[no-untyped-def] # a path, for the length of one check
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(data)
        file.flush()
        yield Path(file.name)


def check_gguf(data: bytes) -> None:
    with _file(data) as path:
        try:
            with GgufFile(path) as model:
                for name, tensor in model.tensors.items():
                    assert tensor.offset + tensor.rows * tensor.row_bytes <= len(data)
                    assert model.read(name).shape == tensor.shape
        except ConfigError:
            return


def gguf(metadata: bytes = b"", keys: int = 0, tensors: bytes = b"", count: int = 0) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, count, keys) + metadata + tensors
    return head.ljust(-(-len(head) // 32) * 32, b"\0")


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def _gguf_seeds() -> list[bytes]:
    scalar = _text(b"a.b") + struct.pack("<II", 4, 7)
    text = _text(b"name") + struct.pack("<I", 8) + _text("héllo".encode())
    array = _text(b"ids") + struct.pack("<IIQ", 9, 5, 3) + struct.pack("<3i", 1, 2, 3)
    texts = _text(b"words") + struct.pack("<IIQ", 9, 8, 2) + _text(b"a") + _text(b"b")
    f32 = _text(b"w") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0)
    q8 = _text(b"q") + struct.pack("<IQIQ", 1, 32, 8, 32)
    values = np.arange(8, dtype="<f4").tobytes() + bytes(34)
    return [
        gguf(),
        gguf(scalar + text + array + texts, 4),
        gguf(scalar, 1, f32 + q8, 2) + values,
    ]


def check_config(data: bytes) -> None:
    with _file(data) as path:
        try:
            config = load_config(path)
        except ConfigError:
            return
        config.prices()
        assert config.models


def check_bundle(data: bytes) -> None:
    try:
        bundle = TokenBundle.from_bytes(data)
    except VerificationError:
        return
    assert TokenBundle.from_bytes(data, bundle.hash) == bundle
    try:
        tokenizer = Tokenizer(bundle)
    except VerificationError:
        return
    with contextlib.suppress(InvalidRequestError, VerificationError):
        tokenizer.encode("héllo")


def _bundle_seeds() -> list[bytes]:
    vocabulary = {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4}
    document = {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": text, "special": True, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False}
            for i, text in enumerate(("<s>", "</s>"))
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["a b"]},
    }  # fmt: skip
    raw = json.dumps(document).encode()
    return [TokenBundle.build(raw, TEMPLATE, bos=0, eos=(1,)).raw]


def check_template(data: bytes) -> None:
    source = data.decode("utf-8", "replace")
    try:
        template = ChatTemplate(source, ["<s>", "</s>"], {"bos_token": "<s>", "eos_token": "</s>"})
    except VerificationError:
        return
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"a": [1, None]}}}]
    try:
        parts = template.render(MESSAGES, tools=tools, day="2026-07-01")
    except (InvalidRequestError, VerificationError):
        return
    assert all(isinstance(part, str) for part in parts)


TEMPLATE_WORDS = tuple(
    word.encode()
    for word in (
        "{{", "}}", "{%", "%}", "{% for x in ", "{% endfor %}", "{% if ", "{% endif %}", "{% set ",
        "{% macro ", "{% call ", "{% endcall %}", "{% break %}", "loop.index", "| join", "| tojson",
        "range(99999)", " * 99999999", "[[[[", "((((", "'a'.replace('', ", "__class__", "{#", "~",
        "| map(attribute='x') | list", "| selectattr('a')", "namespace(", "not ", "is defined",
        "messages[0].content", "{% filter upper %}", "{% recursive %}", "loop(", "caller()",
    )
)  # fmt: skip

TARGETS = (
    Target("gguf", check_gguf, _gguf_seeds, (b"GGUF", bytes(8), b"\xff" * 8)),
    Target(
        "config",
        check_config,
        lambda: [CONFIG.encode()],
        (b"inf", b"nan", b"[[", b"{a={", b"a.b.c=", b"1979-05-27", b'"""', b"0x", b"9" * 400),
    ),
    Target("bundle", check_bundle, _bundle_seeds, (b"null", b'"type":"', b"[[[[", b"4294967296")),
    Target("template", check_template, lambda: [TEMPLATE.encode()], TEMPLATE_WORDS),
)
