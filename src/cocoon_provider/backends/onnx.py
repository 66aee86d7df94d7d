"""The backend that runs converted models on onnxruntime."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from cocoon_provider.backends.base import ModelInfo
from cocoon_provider.backends.limits import completion_limit
from cocoon_provider.backends.parameters import Parameters, parse_parameters
from cocoon_provider.engine.detokenizer import Detokenizer
from cocoon_provider.engine.device import Wanted, choose_device
from cocoon_provider.engine.loop import Engine, EngineGeneration
from cocoon_provider.engine.runner import Runner
from cocoon_provider.engine.sampler import Sampler
from cocoon_provider.engine.sequence import CHUNK
from cocoon_provider.engine.sequence import Sequence as TokenSequence
from cocoon_provider.models.manifest import ModelFolder, SamplingDefaults
from cocoon_sdk.errors import ConfigError, InvalidRequestError, ModelNotFoundError
from cocoon_sdk.protocol.messages import Request
from cocoon_sdk.tokens.bundle import TokenBundle
from cocoon_sdk.tokens.tokenizer import Tokenizer

DEFAULT_ROWS = 4


@dataclass(frozen=True, slots=True)
class _Model:
    info: ModelInfo
    tokenizer: Tokenizer
    engine: Engine
    defaults: SamplingDefaults
    banned: npt.NDArray[np.int64]
    vocab: int


class OnnxBackend:
    """Serves one or more converted models, each by an engine thread of its own.

    Args:
        folders: The models.
        device: `auto` is CUDA where a driver finds a GPU.
        threads: CPU threads of each model; default: physical cores.
        rows: Requests of a model that can be in the middle of their answer at once.
        allow_cpu: Run on the CPU when CUDA does not load.
    """

    def __init__(
        self,
        folders: Sequence[ModelFolder],
        *,
        device: Wanted = "auto",
        threads: int | None = None,
        rows: int = DEFAULT_ROWS,
        allow_cpu: bool = False,
    ) -> None:
        if rows < 1:
            raise ConfigError(f"rows = {rows}: at least one request must fit")
        self._folders = tuple(folders)
        self._device: Wanted = device
        self._threads = threads
        self._rows = rows
        self._allow_cpu = allow_cpu
        self._models: dict[str, _Model] = {}

    @property
    def models(self) -> Mapping[str, ModelInfo]:
        """The models on offer by id."""
        return MappingProxyType({name: model.info for name, model in self._models.items()})

    async def start(self) -> None:
        """Load the models; see `Backend.start`."""
        loop = asyncio.get_running_loop()
        for folder in self._folders:
            model = await asyncio.to_thread(self._load, folder, loop)
            self._models[model.info.id] = model

    def submit(self, request: Request, *, client_key: bytes | None) -> EngineGeneration:
        """See `Backend.submit`."""
        del client_key  # there is no prefix cache to salt
        model = self._models.get(request.model)
        if model is None or model.info.hash != request.model_hash:
            raise ModelNotFoundError(f"model {request.model!r} with this hash is not offered here")
        parameters = parse_parameters(request, model.defaults)
        biased = parameters.sampling.logit_bias
        if any(token >= model.vocab for token in biased):
            raise InvalidRequestError(f"logit_bias names ids that are not below {model.vocab}")
        given = _given(request, model.tokenizer)
        prompt = _prompt(parameters, request.date, model.tokenizer) + given
        limit = completion_limit(
            asked=parameters.max_tokens,
            prompt_tokens=len(prompt),
            resumed=len(given),
            context=model.info.context,
        )
        sampler = Sampler(parameters.sampling, prompt, model.banned)
        for token in given:
            sampler.note(token)
        sequence = TokenSequence(
            prompt,
            given=len(given),
            max_tokens=limit,
            eos=model.tokenizer.eos_ids,
            sampler=sampler,
            detokenizer=Detokenizer(model.tokenizer, parameters.stop, given),
        )
        return EngineGeneration(
            sequence, prompt_tokens=len(prompt), max_tokens=limit, engine=model.engine
        )

    async def aclose(self) -> None:
        """Cancel everything and end the threads."""
        models, self._models = self._models, {}
        for model in models.values():
            await asyncio.to_thread(model.engine.stop)

    def _load(self, folder: ModelFolder, loop: asyncio.AbstractEventLoop) -> _Model:
        manifest = folder.manifest
        bundle = TokenBundle.from_bytes(folder.bundle())
        tokenizer = Tokenizer(bundle)
        runner = Runner(
            folder,
            device=choose_device(self._device),
            rows=self._rows,
            threads=self._threads,
            allow_cpu=self._allow_cpu,
        )
        # The first runs of each shape allocate and pack; they should not be a customer's.
        runner.run(0, 0, (0,) * min(CHUNK, manifest.context - 1))
        runner.run(0, min(CHUNK, manifest.context - 1), (0,))
        info = ModelInfo(
            id=manifest.name,
            hash=folder.model_hash,
            context=manifest.context,
            features=(),
            quantization=manifest.quantization,
            tokens_hash=bundle.hash,
            tokenizer_hash=bundle.tokenizer_hash,
            bundle=bundle.raw,
        )
        # Special tokens have no text of an answer, and rows without a token have none at all.
        banned = [
            token
            for token in range(manifest.vocab)
            if not tokenizer.knows(token)
            or (token in tokenizer.special_ids and token not in tokenizer.eos_ids)
        ]
        engine = Engine(runner, loop)
        return _Model(
            info, tokenizer, engine, manifest.sampling, np.array(banned, np.int64), manifest.vocab
        )


def _prompt(parameters: Parameters, date: str, tokenizer: Tokenizer) -> list[int]:
    if parameters.messages is not None:
        ids = tokenizer.chat(parameters.messages, date=date)
    else:
        ids = tokenizer.encode(parameters.prompt or "")
    if not ids:
        raise InvalidRequestError("the prompt has no tokens")
    return ids


def _given(request: Request, tokenizer: Tokenizer) -> list[int]:
    """The ids of a resume (wire.md, "Frames": they decode to `text_bytes` and are not special)."""
    if request.resume is None:
        return []
    ids = request.resume.ids
    if not ids or tokenizer.special_ids & set(ids):
        raise InvalidRequestError("resume.ids must be ids of text, without special tokens")
    if len(tokenizer.decode(ids).encode()) != request.resume.text_bytes:
        raise InvalidRequestError("resume.ids do not decode to resume.text_bytes of text")
    return list(ids)
