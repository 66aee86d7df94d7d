"""The code and id of wallet V5R1, as deployed for every wallet of that version.

Public data of the TON network; its hash is checked when it is loaded.
"""

from __future__ import annotations

import base64
from functools import cache

from cocoon_sdk.errors import ChainDataError
from cocoon_sdk.ton.cells import Cell, cell_from_boc

WALLET_CODE_HASH = bytes.fromhex("20834b7b72b112147e1b2fb457b84e74d1a30f04f737d4f62a668e9552d2b72f")

_BOC = (
    "te6ccgECFAEAAoEAART/APSkE/S88sgLAQIBIAINAgFIAwQC3NAg10nBIJFbj2Mg1wsfIIIQZXh0br0hghBzaW50"
    "vbCSXwPgghBleHRuuo60gCDXIQHQdNch+kAw+kT4KPpEMFi9kVvg7UTQgQFB1yH0BYMH9A5voTGRMOGAQNchcH/b"
    "POAxINdJgQKAuZEw4HDiEA8CASAFDAIBIAYJAgFuBwgAGa3OdqJoQCDrkOuF/8AAGa8d9qJoQBDrkOuFj8ACAUgK"
    "CwAXsyX7UTQcdch1wsfgABGyYvtRNDXCgCAAGb5fD2omhAgKDrkPoCwBAvIOAR4g1wsfghBzaWduuvLgin8PAeaO"
    "8O2i7fshgwjXIgKDCNcjIIAg1yHTH9Mf0x/tRNDSANMfINMf0//XCgAK+QFAzPkQmiiUXwrbMeHywIffArNQB7Dy"
    "0IRRJbry4IVQNrry4Ib4I7vy0IgikvgA3gGkf8jKAMsfAc8Wye1UIJL4D95w2zzYEAP27aLt+wL0BCFukmwhjkwC"
    "Idc5MHCUIccAs44tAdcoIHYeQ2wg10nACPLgkyDXSsAC8uCTINcdBscSwgBSMLDy0InXTNc5MAGk6GwShAe78uCT"
    "10rAAPLgk+1V4tIAAcAAkVvg69csCBQgkXCWAdcsCBwS4lIQseMPINdKERITAJYB+kAB+kT4KPpEMFi68uCR7UTQ"
    "gQFB1xj0BQSdf8jKAEAEgwf0U/Lgi44UA4MH9Fvy4Iwi1woAIW4Bs7Dy0JDiyFADzxYS9ADJ7VQAcjDXLAgkji0h"
    "8uCS0gDtRNDSAFETuvLQj1RQMJExnAGBAUDXIdcKAPLgjuLIygBYzxbJ7VST8sCN4gAQk1vbMeHXTNA="
)


@cache
def wallet_code() -> Cell:
    """The code cell.

    Raises:
        ChainDataError: the data in this file was altered.
    """
    code = cell_from_boc(base64.b64decode(_BOC))
    if code.hash != WALLET_CODE_HASH:
        raise ChainDataError("the wallet code in this installation is damaged; install it again")
    return code


def wallet_id(network: int, workchain: int = 0) -> int:
    """The 32-bit id of a V5R1 wallet, which is part of its address and of what it signs.

    The client's context (one set bit, workchain, version 0, subwallet 0) xor the network's global
    id, so that a signature for one network is void on the others.
    """
    context = 1 << 31 | (workchain & 0xFF) << 23
    return context ^ (network & 0xFFFFFFFF)
