"""What a client accepts as attested: which images, on how well patched a platform, for how long."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from cocoon_sdk.errors import ConfigError

UP_TO_DATE = "UpToDate"
# Intel's names. A revoked platform is never accepted, whatever a policy says.
TCB_STATUSES = (
    UP_TO_DATE,
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)
DEFAULT_LIFETIME = 7 * 86_400  # as long as a descriptor may live
MAX_POLICY_BYTES = 256 * 1024

_HASH = re.compile(r"[0-9a-f]{64}")
_MEASUREMENT = re.compile(r"[0-9a-f]{96}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedImage:
    """A virtual machine image that you trust, by what the hardware measured of it. All lower-case hex.

    Trust means: you know its source, and that it makes the provider's identity key inside the machine and
    never lets it out. Nothing in a quote proves that; the measurements only prove that it runs.

    Attributes:
        id: The image's own id (64 digits), as the claims name it.
        mrtd: The firmware (96 digits).
        rtmr1: The boot loader and kernel.
        rtmr2: The kernel's command line and the initial file system.
        rtmr0: The virtual hardware, ACPI tables among it. It differs with memory and processors; without
            it the owner of the host chooses them freely.
        rtmr3: What the image extends at run time.
    """

    id: str
    mrtd: str
    rtmr1: str
    rtmr2: str
    rtmr0: str | None = None
    rtmr3: str | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is None:
                continue
            form, digits = (_HASH, 64) if name == "id" else (_MEASUREMENT, 96)
            if not isinstance(value, str) or form.fullmatch(value) is None:
                raise ConfigError(
                    f"{name} of a trusted image must be {digits} lower-case hex digits"
                )

    @property
    def open_registers(self) -> tuple[str, ...]:
        """The measurements that this image leaves open."""
        return tuple(name for name in ("rtmr0", "rtmr3") if getattr(self, name) is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationPolicy:
    """What `assurance="attested"` demands. Without an image that you trust a quote proves nothing.

    Attributes:
        images: At least one.
        tcb: Accepted states of the platform's microcode and firmware, in Intel's words.
        min_tcb_evaluation: Lowest evaluation number of Intel's TCB data; a higher one knows newer flaws.
        max_lifetime: Longest time, in seconds, that claims may be valid for.
        fresh: Demand a quote made for each session, too. Not all providers can.

    Raises:
        ConfigError: no image, or a value that cannot be meant.
    """

    images: Sequence[TrustedImage]
    tcb: Sequence[str] = (UP_TO_DATE,)
    min_tcb_evaluation: int = 0
    max_lifetime: int = DEFAULT_LIFETIME
    fresh: bool = False

    def __post_init__(self) -> None:
        # Copies, so that nobody changes a policy under the results that were cached for it.
        object.__setattr__(self, "images", tuple(self.images))
        object.__setattr__(
            self, "tcb", (self.tcb,) if isinstance(self.tcb, str) else tuple(self.tcb)
        )
        if not self.images:
            raise ConfigError(
                "an attestation policy without images proves only that some confidential machine runs "
                "anything at all; pin at least one image that you trust"
            )
        if not self.tcb:
            raise ConfigError(f"tcb is empty; accept at least {UP_TO_DATE!r}")
        for status in self.tcb:
            if status not in TCB_STATUSES:
                raise ConfigError(f"tcb status {status!r}; use some of {', '.join(TCB_STATUSES)}")
        if self.min_tcb_evaluation < 0 or self.max_lifetime <= 0:
            raise ConfigError("min_tcb_evaluation must be at least 0 and max_lifetime above 0")


class _ImageFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    id: str
    mrtd: str
    rtmr1: str
    rtmr2: str
    rtmr0: str | None = None
    rtmr3: str | None = None


class _PolicyFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    images: list[_ImageFile]
    tcb: tuple[str, ...] = (UP_TO_DATE,)
    min_tcb_evaluation: int = 0
    max_lifetime: int = DEFAULT_LIFETIME
    fresh: bool = False


def load_policy(path: Path) -> AttestationPolicy:
    """Read a policy from a JSON file with the fields of `AttestationPolicy`.

    Raises:
        ConfigError: missing, too large, not JSON, an unknown or missing field; the message names it.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the attestation policy {path} cannot be read: {error.strerror}"
        ) from error
    if len(raw) > MAX_POLICY_BYTES:
        raise ConfigError(f"the attestation policy {path} is larger than {MAX_POLICY_BYTES} bytes")
    try:
        file = msgspec.json.decode(raw, type=_PolicyFile)
        return AttestationPolicy(
            images=[TrustedImage(**msgspec.structs.asdict(image)) for image in file.images],
            tcb=file.tcb,
            min_tcb_evaluation=file.min_tcb_evaluation,
            max_lifetime=file.max_lifetime,
            fresh=file.fresh,
        )
    except (msgspec.DecodeError, ValueError, RecursionError, ConfigError) as error:
        raise ConfigError(f"the attestation policy {path}: {error}") from error
