"""Coverage-guided fuzzing: `PYTHONPATH=tests python -m fuzz.campaign --out FOLDER [TARGET …]`.

Each target runs in a process of its own for COCOON_FUZZ_SECONDS (60). Inputs that reach new code stay
in `<out>/corpus/<target>` for the next run; what breaks a target lies in `<out>/crashes`, to be copied
to tests/fuzz/corpus/<target> with the fix.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

SECONDS = os.environ.get("COCOON_FUZZ_SECONDS", "60")
SLOWEST = 10  # seconds for one input
MEMORY = 2048  # MiB


def fuzz(name: str, arguments: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["cocoon_sdk", "cocoon_provider"]):
        from fuzz.target import all_targets

        target = all_targets()[name]
    atheris.Setup([name, *arguments], target.check)
    atheris.Fuzz()


def run(name: str, out: Path, seconds: str) -> bool:
    """Whether the target came through."""
    from fuzz.target import all_targets

    target = all_targets()[name]
    corpus, crashes = out / "corpus" / name, out / "crashes"
    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    for data in target.inputs():
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    words = out / f"{name}.dict"
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
    words.write_text("".join(f'"{line}"\n' for line in lines), "utf-8")
    command = [
        sys.executable, "-m", "fuzz.campaign", "--out", str(out), "--inside", name, "--",
        f"-max_total_time={seconds}", f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY}",
        f"-max_len={target.max_len}", f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1",
        *([f"-dict={words}"] if target.words else []), str(corpus),
    ]  # fmt: skip
    log = out / f"{name}.log"
    with log.open("wb") as file:
        status = subprocess.run(command, stdout=file, stderr=file, check=False).returncode
    text = log.read_text("utf-8", "replace")
    runs = text.rpartition("stat::number_of_executed_units:")[2].split("\n")[0].strip()
    print(f"{name}: {'ok' if status == 0 else f'FAILED, see {log}'} ({runs} runs)", flush=True)
    return status == 0


def main() -> int:
    """The status says whether a target broke."""
    parser = argparse.ArgumentParser(description="Fuzz every parser with atheris.")
    parser.add_argument("targets", nargs="*")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of corpus, crashes and logs"
    )
    parser.add_argument("--seconds", default=SECONDS, help="for each target")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        fuzz(options.inside, options.targets)
    from fuzz.target import all_targets

    names = options.targets or list(all_targets())
    broken = [name for name in names if not run(name, options.out.resolve(), options.seconds)]
    print(f"crashes, if any: {options.out.resolve() / 'crashes'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
