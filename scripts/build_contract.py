"""Compile channel.tolk with the pinned compiler and write, or with --check compare, the package data.

Needs node and npm. The compiler is installed into a temporary folder and nothing else is kept.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

COMPILER = "@ton/tolk-js@1.1.0"  # emits instructions of TVM 11 and below only
FOLDER = Path(__file__).resolve().parent.parent / "src/cocoon_sdk/ton/contract"
SOURCE = FOLDER / "channel.tolk"
BOC = FOLDER / "channel.boc"
HASH = FOLDER / "channel.hash"


def compile_sources(sources: Sequence[str]) -> list[tuple[bytes, str]]:
    """For each source: the code as a bag of cells, and its hash in hex."""
    results = []
    with tempfile.TemporaryDirectory(prefix="cocoon-tolk-") as name:
        folder = Path(name)
        (folder / "package.json").write_text('{"private": true}', "utf-8")
        npm = [
            "npm",
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--silent",
            COMPILER,
        ]
        subprocess.run(npm, cwd=folder, check=True, stdout=sys.stderr)
        compiler = folder / "node_modules/@ton/tolk-js/dist/cli.js"
        command = ["node", str(compiler), "--output-json", "out.json", "channel.tolk"]
        for source in sources:
            (folder / "channel.tolk").write_text(source, "utf-8")
            subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
            result = json.loads((folder / "out.json").read_text("utf-8"))
            results.append((base64.b64decode(result["codeBoc64"]), result["codeHashHex"].lower()))
    return results


def main() -> int:
    """Write the package data, or compare it with a fresh build."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    if shutil.which("node") is None or shutil.which("npm") is None:
        print("node and npm are needed to build the contract; install Node.js 18+", file=sys.stderr)
        return 2
    [(boc, code_hash)] = compile_sources([SOURCE.read_text("utf-8")])
    if arguments.check:
        if boc != BOC.read_bytes() or code_hash != HASH.read_text("ascii").strip():
            print(f"{BOC.name} differs from a fresh build ({code_hash})", file=sys.stderr)
            return 1
    else:
        BOC.write_bytes(boc)
        HASH.write_text(code_hash + "\n", "ascii")
    print(f"{code_hash} {len(boc)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
