"""Run `make demo ARGS=--json` cold, in an empty state folder, and hold its JSON line to account."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIELDS = {
    "model", "text", "prompt_tokens", "completion_tokens", "first_token_ms", "tokens_per_second",
    "paid_nano", "redeemed_nano", "provider_balance_before_nano", "provider_balance_after_nano",
    "chain_fees_nano", "receipt_verified", "registry_verified", "handshake_suite", "frames_on_wire",
    "bytes_on_wire",
}  # fmt: skip


def run_demo(home: Path) -> dict[str, object]:
    """What a cold demo says on standard output, parsed: one line, so that `| jq` works."""
    environment = {**os.environ, "COCOON_HOME": str(home)}
    environment.pop("COCOON_CACHE", None)
    done = subprocess.run(
        ["make", "--no-print-directory", "demo", "ARGS=--json"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    print(done.stdout)
    if done.returncode != 0:
        raise SystemExit(f"make demo failed with status {done.returncode}")
    result: dict[str, object] = json.loads(done.stdout)
    return result


def strongest_suite() -> int:
    """2 where the extra [pq] is installed beside the demo, as `make test` does."""
    code = "from cocoon_sdk.protocol import supported_suites; print(supported_suites()[-1])"
    python = ROOT / ".venv" / "bin" / "python"
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)


def check(result: dict[str, object]) -> list[str]:
    """Every statement about the result that does not hold."""
    number = {name: value for name, value in result.items() if isinstance(value, (int, float))}
    earned = number["provider_balance_after_nano"] - number["provider_balance_before_nano"]
    claims = {
        "the fields are those that are documented": set(result) == FIELDS,
        "there is an answer": len(str(result["text"])) > 0,
        "tokens were counted": number["prompt_tokens"] > 0 and number["completion_tokens"] > 0,
        "the receipt was verified": result["receipt_verified"] is True,
        "the registry was verified": result["registry_verified"] is True,
        "the strongest suite of this installation was used": (
            result["handshake_suite"] == strongest_suite()
        ),
        "the answer was paid for": number["paid_nano"] > 0,
        "what was paid was redeemed": number["redeemed_nano"] == number["paid_nano"],
        "redeeming earned less than the payment, by the fees": 0 < earned < number["redeemed_nano"],
        "the chain kept fees": number["chain_fees_nano"] > 0,
        "frames were padded": number["bytes_on_wire"] > 256 * number["frames_on_wire"] > 0,
        "the first token came": number["first_token_ms"] > 0,
    }
    return [claim for claim, holds in claims.items() if not holds]


def main() -> int:
    """Exit status 1 if a claim does not hold."""
    with tempfile.TemporaryDirectory(prefix="cocoon-cold-") as home:
        started = time.monotonic()
        result = run_demo(Path(home))
        print(f"cold demo: {time.monotonic() - started:.1f} s")
    broken = check(result)
    for claim in broken:
        print(f"does not hold: {claim}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
