"""`cocoon wallet new` and `import`: the keys, and the addresses that they have."""

from __future__ import annotations

import base64
import binascii
import os
import re
import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated, Any

import typer

from cocoon_sdk.cli.desk import chosen_network, master_key_path, wallet_key_path
from cocoon_sdk.cli.output import stderr_console, tell
from cocoon_sdk.cli.wallet_options import Call, looking
from cocoon_sdk.cli.wallet_report import say
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import SEED_BYTES, Ed25519Key, load_or_create_key, save_key
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK, MAINNET, TESTNET
from cocoon_sdk.ton.mnemonic import key_of_mnemonic, new_mnemonic
from cocoon_sdk.ton.wallet import Wallet

MAX_INPUT = 4096  # bytes; 24 words are below 250
_HEX = re.compile(r"(?:0x)?([0-9a-fA-F]{64}|[0-9a-fA-F]{128})")


@looking
async def new(
    call: Call,
    mnemonic: Annotated[
        bool,
        typer.Option("--mnemonic", help="Make the key from 24 words, and show them once."),
    ] = False,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Put the words into the JSON, for no terminal.")
    ] = False,
) -> None:
    """Make a wallet key and a voucher key. Existing keys are never replaced."""
    _require_free()
    if reveal and not (mnemonic and call.as_json):
        raise ConfigError("--reveal puts the words of --mnemonic into --json; pass all three")
    if mnemonic and not reveal and not sys.stderr.isatty():
        raise ConfigError(
            "the words are shown once, on a terminal, and there is none; run this in a terminal, or "
            "leave --mnemonic out: the key file is the backup"
        )
    words = new_mnemonic() if mnemonic else ()
    key = key_of_mnemonic(words) if words else Ed25519Key.generate()
    save_key(key, wallet_key_path())
    if words and not reveal:
        _show(words)
    _say_keys(key, call, words=words if reveal else None)


@looking
async def import_key(
    call: Call,
    file: Annotated[
        Path | None,
        typer.Option(help="Where the words or the seed are; default: standard input."),
    ] = None,
    expect: Annotated[
        str | None, typer.Option(help="The address that it must have, or nothing is stored.")
    ] = None,
) -> None:
    """Bring a wallet: 24 words of TON, or a seed as hex or base64; never as an argument."""
    _require_free()
    wanted = Address.parse(expect) if expect is not None else None
    key = parse_secret(_read(file))
    found = {network: Wallet(key, network).address for network in _networks(call)}
    if wanted is not None and wanted not in found.values():
        raise ConfigError(
            f"this key has no wallet V5R1 with the address {wanted.raw}; it may be one of another "
            "version or network. Nothing was stored"
        )
    save_key(key, wallet_key_path())
    _say_keys(key, call)


def parse_secret(text: str) -> Ed25519Key:
    """The key behind 24 words, 32 bytes of seed, or 64 bytes of seed and public key.

    Raises:
        ConfigError: anything else. The message repeats nothing of it.
    """
    compact = text.strip()
    if len(compact.split()) > 1:
        return key_of_mnemonic(compact.split())
    match = _HEX.fullmatch(compact)
    if match is not None:
        return _key(bytes.fromhex(match[1]))
    try:
        raw = base64.b64decode(compact.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    return _key(raw)


def _key(raw: bytes) -> Ed25519Key:
    if len(raw) not in {SEED_BYTES, 2 * SEED_BYTES}:
        raise ConfigError(
            "that is no key: give 24 words, or 32 bytes (64 with the public key) as hex or base64"
        )
    key = Ed25519Key(raw[:SEED_BYTES])
    if len(raw) > SEED_BYTES and raw[SEED_BYTES:] != key.public_key:
        raise ConfigError("the second half of these 64 bytes is not the public key of the first")
    return key


def _read(file: Path | None) -> str:
    """The secret's text; typed unseen where a person sits at the terminal."""
    if file is None and sys.stdin.isatty():
        return getpass("24 words, or a seed (not shown): ")
    try:
        if file is None:
            raw = sys.stdin.buffer.read(MAX_INPUT + 1)
        else:
            path = file.expanduser()
            with path.open("rb") as source:
                raw = source.read(MAX_INPUT + 1)
                mode = os.fstat(source.fileno()).st_mode
            if os.name == "posix" and mode & 0o077:
                tell(f"{path} is readable by others; remove it when you are done", style="yellow")
        if len(raw) > MAX_INPUT:
            raise ConfigError(f"that is more than {MAX_INPUT} bytes, and no key")
        return raw.decode("ascii")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError("that is no key: words and seeds are plain ASCII") from None


def _require_free() -> None:
    path = wallet_key_path()
    if path.exists():
        raise ConfigError(
            f"there is a wallet at {path} already; move that file away first, keys are not overwritten"
        )


def _networks(call: Call) -> list[int]:
    chosen = chosen_network(call)
    return [
        network
        for network in dict.fromkeys((chosen, MAINNET, TESTNET, DEVNET_NETWORK))
        if network is not None
    ]


def _show(words: tuple[str, ...]) -> None:
    """Past every log and file: straight to the terminal, once."""
    console = stderr_console()
    console.print("Write these 24 words down. They are the money, and are not shown again:\n")
    for row in range(6):
        numbered = [f"{n + 1:2}. {words[n]:<10}" for n in range(row, 24, 6)]
        console.print("  " + "".join(numbered), markup=False, highlight=False)
    console.print()


def _say_keys(key: Ed25519Key, call: Call, *, words: tuple[str, ...] | None = None) -> None:
    vouchers = master_key_path()
    load_or_create_key(vouchers)
    addresses = {network: Wallet(key, network).address for network in _networks(call)}
    value: dict[str, Any] = {
        "wallet_key": str(wallet_key_path()),
        "voucher_key": str(vouchers),
        "public_key": key.public_key.hex(),
        "addresses": {
            str(network): {
                "raw": address.raw,
                "friendly": address.friendly(bounceable=False, testnet=network != MAINNET),
            }
            for network, address in addresses.items()
        },
    }
    if words is not None:
        value["mnemonic"] = list(words)
    lines = [f"network {number}: {one['friendly']}" for number, one in value["addresses"].items()]
    text = "\n".join(
        (f"wallet key: {wallet_key_path()}", f"voucher key: {vouchers}", "addresses:", *lines)
    )
    say(value, text, as_json=call.as_json)
