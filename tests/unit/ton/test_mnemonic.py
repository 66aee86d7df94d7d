"""Mnemonics against two other libraries: @ton/crypto 3 with @ton/ton, and tonutils 2.5.1, agree on all of them."""

from __future__ import annotations

import random

import pytest

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.ton.chain import MAINNET, TESTNET
from cocoon_sdk.ton.mnemonic import WORDS, key_of_mnemonic, new_mnemonic
from cocoon_sdk.ton.wallet import Wallet

GOLDEN = [
    (
        (
            "laundry reduce secret equip guide camera beef grass stool fun add door danger detail gate gym clap "
            "sun obscure grant hurry close junk cat"
        ),
        "83b2925ae04b4e30aabbca0f73046071430f4d188ab0cec39481e374e9c66d1b",
        "a45a91c52c3dbadd3870a6b2b90ec533dde1e98b812dd9511692adfda2eef88e",
        "91ab4b678060540dd85b3f5d5105006921cfbfc33c9a48b13fe9d5167369eaf4",
    ),
    (
        (
            "expire similar remove congress valid negative unhappy confirm slab help portion essay clerk cycle "
            "zero police flame staff brass infant crawl reason exile turn"
        ),
        "9035477a2a10b1a181acb21575d8900bd8dd60437e0b5d646e2daf5abad4a403",
        "46066fd79878ba6e3b239470bad0c0b36bb1346c0584ded74693597c08bfbdf0",
        "4227aa613630a9791f64dc2681776243f40418f5efbcf8b23b971200feb02a9c",
    ),
]
# Valid for @ton/crypto only together with the password "secret".
PROTECTED = (
    "urge exit exist oil industry spoil veteran festival enough right cool echo merit ask vanish auto rapid "
    "dinner mixture stereo body give glove trumpet"
)
# A valid one whose first two words have changed places.
SWAPPED = (
    "enforce hollow add pipe year science observe stuff foam insane canvas become kick beyond arrow setup "
    "february lawn dry fever you recycle glass base"
)
BIP39 = "abandon " * 23 + "art"


@pytest.mark.parametrize(("words", "seed", "mainnet", "testnet"), GOLDEN)
def test_key_and_wallets_are_those_of_other_libraries(words, seed, mainnet, testnet):
    key = key_of_mnemonic(words.split())
    assert key.seed.hex() == seed
    assert Wallet(key, MAINNET).address.hash.hex() == mainnet
    assert Wallet(key, TESTNET).address.hash.hex() == testnet


def test_spelling_is_forgiven_where_it_cannot_matter():
    words = GOLDEN[0][0]
    assert key_of_mnemonic(words.upper().split()).seed.hex() == GOLDEN[0][1]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "has 0"),
        (GOLDEN[0][0] + " cat", "has 25"),
        (GOLDEN[0][0].rsplit(" ", 1)[0], "has 23"),
        (GOLDEN[0][0].replace("secret", "sekret"), r"word 3 of"),
        (SWAPPED, "no mnemonic of TON"),
        (PROTECTED, "password"),
        (BIP39, "BIP-39"),
    ],
)
def test_what_is_not_a_mnemonic_is_refused_without_repeating_it(words, why):
    with pytest.raises(ConfigError, match=why) as caught:
        key_of_mnemonic(words.split())
    assert not {"laundry", "sekret", "enforce", "urge", "abandon"} & set(str(caught.value).split())


def test_new_words_pass_their_own_check_and_differ():
    source = random.Random(7)
    one, two = (new_mnemonic(source.choice) for _ in range(2))
    assert len(one) == WORDS
    assert one != two
    assert key_of_mnemonic(one).public_key != key_of_mnemonic(two).public_key


def test_words_are_drawn_by_the_operating_system():
    assert new_mnemonic() != new_mnemonic()
