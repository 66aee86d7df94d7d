from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cocoon_provider.engine import device
from cocoon_sdk.errors import ConfigError


class Driver:
    """A stand-in for libcuda."""

    def __init__(self, *, init: int = 0, count: int = 1, count_result: int = 0) -> None:
        self._init, self._count, self._count_result = init, count, count_result

    def cuInit(self, flags: int) -> int:
        assert flags == 0
        return self._init

    def cuDeviceGetCount(self, pointer: Any) -> int:
        pointer._obj.value = self._count
        return self._count_result


def install(monkeypatch: pytest.MonkeyPatch, driver: Driver | None) -> None:
    def load(name: str) -> Driver:
        assert name in {"libcuda.so.1", "nvcuda.dll"}
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)


@pytest.mark.parametrize(
    ("driver", "count"),
    [
        (None, 0),
        (Driver(), 1),
        (Driver(count=4), 4),
        (Driver(init=999), 0),
        (Driver(count=0), 0),
        (Driver(count_result=100), 0),
    ],
)
def test_the_driver_decides(
    monkeypatch: pytest.MonkeyPatch, driver: Driver | None, count: int
) -> None:
    install(monkeypatch, driver)
    assert device.cuda_devices() == count
    assert device.choose_device("auto") == ("cuda" if count else "cpu")
    assert device.choose_device("cpu") == "cpu"
    if not count:
        with pytest.raises(ConfigError, match="driver"):
            device.choose_device("cuda")


def test_activation_type_follows_the_device() -> None:
    assert device.preferred_act("cuda") == "f16"
    assert device.preferred_act("cpu") == "f32"


@pytest.mark.parametrize(
    ("installed", "complaint"),
    [
        ({"onnxruntime"}, ""),
        ({"onnxruntime-gpu"}, ""),
        ({"onnxruntime", "onnxruntime-gpu"}, "both"),
        (set(), "missing"),
    ],
)
def test_packages(monkeypatch: pytest.MonkeyPatch, installed: set[str], complaint: str) -> None:
    def distribution(name: str) -> object:
        if name not in installed:
            raise PackageNotFoundError(name)
        return object()

    monkeypatch.setattr(device, "distribution", distribution)
    if complaint:
        with pytest.raises(ConfigError, match=complaint):
            device.check_packages()
    else:
        device.check_packages()


@pytest.mark.parametrize("allowed", [True, False])
def test_a_fall_back_to_the_cpu_is_an_error_unless_allowed(
    monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    import onnxruntime

    fallen = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: fallen)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    if allowed:
        assert device.open_session(Path("x"), "cuda", allow_cpu=True) is fallen
    else:
        with pytest.raises(ConfigError, match="fell back"):
            device.open_session(Path("x"), "cuda")


def test_an_unreadable_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match=r"model\.onnx"):
        device.open_session(tmp_path / "model.onnx", "cpu")


def test_hyper_threads_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cpu, siblings in ((0, "0,4"), (1, "1,5"), (4, "0,4")):
        folder = tmp_path / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    monkeypatch.setattr(device, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: {0, 1, 4, 9}, raising=False)
    assert device.physical_cores() == 3


def test_the_runtime_collects_nothing_about_this_machine(tmp_path: Path) -> None:
    """onnxruntime leaves a device id and a database of events in the home folder unless told early."""
    program = "import cocoon_provider.engine.runner, onnxruntime; onnxruntime.get_device()"
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    }
    environment["HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    assert list(tmp_path.rglob("*onnxruntime*")) == []
