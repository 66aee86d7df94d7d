"""Which device a model runs on, found out before onnxruntime is asked.

onnxruntime lists what it was built for, not what is there, and quietly runs on the CPU when CUDA does
not load; so the driver is asked first and the session afterwards (engine.md, "Engine").

Tested on: CPU. The CUDA path has not been run on a GPU.
"""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cocoon_sdk.errors import ConfigError

if TYPE_CHECKING:
    import onnxruntime

Device = Literal["cpu", "cuda"]
Wanted = Literal["auto", "cpu", "cuda"]

_PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_TOPOLOGY = Path("/sys/devices/system/cpu")


def choose_device(wanted: Wanted) -> Device:
    """The device to use; `auto` is CUDA where a driver finds a GPU.

    Raises:
        ConfigError: CUDA was asked for and there is no working driver or no GPU.
    """
    if wanted == "cpu":
        return "cpu"
    count = cuda_devices()
    if wanted == "cuda" and not count:
        raise ConfigError(
            "device cuda: the NVIDIA driver is missing or finds no GPU; check nvidia-smi, or set device cpu"
        )
    return "cuda" if count else "cpu"


def preferred_act(device: Device) -> Literal["f32", "f16"]:
    """The activation type to convert models with: CUDA's attention takes only half precision."""
    return "f16" if device == "cuda" else "f32"


def cuda_devices() -> int:
    """GPUs that the driver can use; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def physical_cores() -> int:
    """Cores this process may use, not counting hyper-threads twice."""
    try:
        usable = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return max(1, (os.cpu_count() or 2) // 2)
    cores = set()
    for cpu in usable:
        try:
            siblings = (_TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            siblings = str(cpu)
        cores.add(siblings.strip())
    return max(1, len(cores))


def check_packages() -> None:
    """Refuse an environment with both onnxruntime packages: they overwrite each other's files.

    Raises:
        ConfigError: both are installed, or none.
    """
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            distribution(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    if len(found) == 2:
        raise ConfigError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; run"
            " pip uninstall onnxruntime onnxruntime-gpu, then install one of them"
        )
    if not found:
        raise ConfigError("onnxruntime is missing; pip install 'cocoon-sdk[provider]'")


def open_session(
    graph: Path, device: Device, *, threads: int | None = None, allow_cpu: bool = False
) -> onnxruntime.InferenceSession:
    """Load a graph.

    Args:
        graph: The .onnx file.
        device: As `choose_device` said.
        threads: CPU threads; default: physical cores.
        allow_cpu: Accept the CPU when CUDA was asked for and did not load.

    Raises:
        ConfigError: the graph does not load, or CUDA fell back to the CPU.
    """
    check_packages()
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    if device == "cuda":
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or physical_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    wanted = _PROVIDERS[device]
    providers = [wanted] if device == "cpu" else [wanted, _PROVIDERS["cpu"]]
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=providers)
    except Exception as error:  # the library has many exception classes and no public base
        raise ConfigError(f"onnxruntime cannot load {graph}: {error}") from error
    got = session.get_providers()[0]
    if got != wanted and not allow_cpu:
        raise ConfigError(
            f"device {device} was asked for, but onnxruntime fell back to {got}; check that the CUDA"
            " libraries match onnxruntime-gpu, or allow the CPU"
        )
    return session
