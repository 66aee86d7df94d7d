"""The reference pages name everything that the code has, and nothing that it has not."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

import cocoon_sdk
from cocoon_provider import config as provider_config
from cocoon_provider.models.catalogue import CATALOGUE
from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.payments.receipt import _LAYOUT
from cocoon_sdk.protocol.messages import FrameType
from cocoon_sdk.registry import model as registry_model
from cocoon_sdk.resources.chat import AsyncCompletions
from cocoon_sdk.types import chat, receipt
from tests.examples.pages import ROOT

REFERENCE = ROOT / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ref", ROOT / "scripts" / "write_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "errors.md"])
def test_generated_parts_are_up_to_date(writer: ModuleType, name: str) -> None:
    assert writer.rewritten(name) == page(name), "run: python scripts/write_reference.py"


def test_generated_parts_hold_what_they_should(writer: ModuleType) -> None:
    names = dict(writer.commands())
    assert {"cocoon demo", "cocoon wallet open", "cocoon devnet run"} <= names.keys()
    assert "cocoon-provider serve" in names
    for command, shown in (("cocoon wallet open", "--deposit"), ("cocoon-provider init", "--home")):
        section = page("cli.md").split(f"### {command}\n")[1].split("###")[0]
        assert f"`{shown}`" in section
    assert "`.retry_after`" in page("errors.md")


def test_every_variable_is_documented_and_no_other() -> None:
    sources = [*(ROOT / "src").rglob("*.py"), ROOT / "Makefile", ROOT / "scripts" / "venv.sh"]
    used = {name for file in sources for name in re.findall(r"COCOON_[A-Z_]+", file.read_text())}
    used |= set(re.findall(r"COCOON_[A-Z_]+", (ROOT / "tests" / "conftest.py").read_text()))
    written = set(re.findall(r"`(COCOON_[A-Z_]+)`", page("configuration.md")))
    assert written == used - {"COCOON_CAMPAIGN", "COCOON_FUZZ_SECONDS"}  # of `make campaign`


def test_every_setting_of_the_provider_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", page("configuration.md"), re.MULTILINE))
    rows = {name: text for name, text in rows.items() if not name.startswith("COCOON_")}
    expected = {}
    for name, kind, default in settings(provider_config.Config):
        if name == "models":
            for inner, _, price in settings(provider_config.ModelPrices):
                expected[f"models.NAME.{inner}"] = price
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            for inner, _, value in settings(kind):
                expected[f"{name}.{inner}"] = value
        else:
            expected[name] = default
    assert rows.keys() == expected.keys()
    for name, value in expected.items():
        if value is msgspec.NODEFAULT:
            assert rows[name] == "required", name
        elif value is not None:
            assert rows[name] == f"`{msgspec.json.encode(value).decode()}`", name
        else:
            assert rows[name], name


def settings(kind: type[msgspec.Struct]) -> list[tuple[str, Any, Any]]:
    hints = msgspec.structs.fields(kind)
    return [
        (
            field.name,
            field.type,
            field.default_factory()
            if field.default_factory is not msgspec.NODEFAULT
            else field.default,
        )
        for field in hints
    ]


def test_the_python_page_has_every_argument_and_field() -> None:
    text = page("python.md")
    names = {*cocoon_sdk.__all__} - {"__version__"}
    signatures = [AsyncCocoon.__init__, AsyncCompletions.create]
    signatures += [getattr(cocoon_sdk, name).__init__ for name in ("Budget", "Routing", "Timeouts")]
    for function in signatures:
        names |= inspect.signature(function).parameters.keys()
    for reply in (chat.ChatCompletion, chat.Choice, chat.Usage, receipt.ReceiptInfo):
        names |= set(reply.__dataclass_fields__)
    names |= {"temperature", "top_p", "top_k", "min_p", "stop", "logit_bias", "repetition_penalty"}
    names |= {"frequency_penalty", "presence_penalty"}
    names -= {"self", "sampling", "extra"}
    assert {name for name in names if f"`{name}`" not in text} <= {"AsyncCocoon"}
    assert "## AsyncCocoon" in text


def test_the_wire_page_has_every_frame() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| ([A-Z_, ]+) \|", page("wire.md"), re.MULTILINE)
    written = {
        int(number): name.strip()
        for numbers, names in rows
        for number, name in zip(numbers.split(","), names.split(","), strict=True)
    }
    assert written == {int(kind): kind.name for kind in FrameType}


def test_the_receipt_layout_adds_up() -> None:
    section = page("payments.md").split("## Receipt")[1]
    rows = re.findall(r"^\| (\d+) \| (\d+)(?: × (\d+))? \|", section, re.MULTILINE)
    end = 0
    for offset, size, times in rows:
        assert int(offset) == end
        end += int(size) * int(times or 1)
    assert end == _LAYOUT.size


def test_the_registry_page_has_every_field() -> None:
    text = page("registry.md")
    for kind in (
        registry_model.RootPayload, registry_model.RegistryPayload, registry_model.Descriptor,
        registry_model.ModelOffer,
    ):  # fmt: skip
        for field in msgspec.structs.fields(kind):
            assert re.search(rf"\b{field.name}\b", text), f"{kind.__name__}.{field.name}"


def test_the_engine_page_has_every_model() -> None:
    for name in CATALOGUE:
        assert f"`{name}`" in page("engine.md")


def test_pages_are_of_readable_length() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 200
    for file in (ROOT / "docs").rglob("*.md"):
        limit = 1000 if file.name == "cli.md" else 260
        assert len(file.read_text().splitlines()) < limit, Path(file).name
