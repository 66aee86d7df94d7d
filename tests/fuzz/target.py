"""What a fuzz target is, and the list of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MODULES = ("wire", "registry_files", "chain_data", "model_files", "attestation_parts")


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    Attributes:
        name: also the folder of its committed inputs.
        check: takes any bytes; raises only where the parser has a fault. Errors that the parser
            documents are caught inside, and what it accepts must survive a round trip.
        seeds: valid input from the real encoders, made when asked for.
        words: pieces worth inserting (keys, magic numbers).
        max_len: longer input teaches nothing.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()
    max_len: int = 4096

    def inputs(self) -> Iterator[bytes]:
        """Seeds, and the inputs that once broke something."""
        yield from self.seeds()
        for path in sorted((CORPUS / self.name).glob("*")):
            yield path.read_bytes()


def all_targets() -> dict[str, Target]:
    """Every target by name."""
    found: dict[str, Target] = {}
    for module in MODULES:
        for target in import_module(f"fuzz.{module}").TARGETS:
            assert target.name not in found
            found[target.name] = target
    return found
