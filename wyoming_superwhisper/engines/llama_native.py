"""The only file that knows llama-cpp-python: its C interface (ctypes) behind a model, a context and a grammar.

`llama_cpp.Llama` holds one sequence; here a context has many, which share what they have in common.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wyoming_superwhisper.errors import ModelError

logger = logging.getLogger(__name__)

Logits = NDArray[np.float32]

_MAGIC = b"GGUF"
_ERROR_LEVEL, _CONTINUED_LEVEL = 4, 5
_SHORTLIST = 256
"""Likeliest tokens that the grammar is asked about before it is asked about all."""
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


@dataclass(frozen=True, slots=True)
class Token:
    """A token to evaluate: where it goes, and whether its logits are wanted."""

    id: int
    position: int
    sequence: int
    wanted: bool = False


class NoRoom(Exception):
    """The context has no cells left for these tokens; nothing was evaluated."""


class NativeModel:
    """A loaded GGUF with its vocabulary."""

    def __init__(self, path: Path, gpu_layers: int) -> None:
        """Load. Raises `ModelError` for a file that is missing or no model, or a card that this build can't use."""
        import llama_cpp

        self._library = quiet_library()
        if gpu_layers and not llama_cpp.llama_supports_gpu_offload():
            raise ModelError(
                "The language model shall run on the GPU, but llama-cpp-python is a CPU build: "
                "run script/setup --cuda, or set llm.gpu_layers to 0"
            )
        _check_file(path)
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = gpu_layers if gpu_layers >= 0 else 999
        parameters.main_gpu = 0  # the card was chosen by what the environment lets CUDA see
        self.handle = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.handle:
            raise ModelError(f"{path} can't be loaded as a language model; fetch it again")
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.handle)
        self.size = int(llama_cpp.llama_vocab_n_tokens(self.vocabulary))
        self.trained_context = int(llama_cpp.llama_model_n_ctx_train(self.handle))
        self.piece = lru_cache(maxsize=4096)(self._piece)

    @property
    def chat_template(self) -> str:
        """The model's own chat template (jinja2); empty if it has none."""
        return self.metadata("tokenizer.chat_template")

    @property
    def beginning(self) -> int | None:
        """The token that a prompt must begin with, if the model wants one."""
        wanted = self._library.llama_vocab_get_add_bos(self.vocabulary)
        return int(self._library.llama_vocab_bos(self.vocabulary)) if wanted else None

    def metadata(self, key: str) -> str:
        """A text out of the file's metadata; empty if it isn't there."""
        size = self._library.llama_model_meta_val_str(self.handle, key.encode(), None, 0)
        if size <= 0:
            return ""
        buffer = ctypes.create_string_buffer(size + 1)
        self._library.llama_model_meta_val_str(self.handle, key.encode(), buffer, size + 1)
        return buffer.value.decode("utf-8", "replace")

    def special_text(self, kind: str) -> str:
        """How the token "bos" or "eos" is spelled."""
        token = getattr(self._library, f"llama_vocab_{kind}")(self.vocabulary)
        text = self._library.llama_vocab_get_text(self.vocabulary, token) if token >= 0 else b""
        return str((text or b"").decode("utf-8", "replace"))

    def tokens(self, text: str, special: bool = False) -> list[int]:
        """The tokens of a text; what looks like a chat token becomes one only if `special`."""
        data = text.encode("utf-8")
        room = len(data) + 16
        buffer = (ctypes.c_int32 * room)()
        count = self._library.llama_tokenize(self.vocabulary, data, len(data), buffer, room, False, special)
        return list(buffer[: max(0, count)])

    def ends_turn(self, token: int) -> bool:
        """Whether the token ends an answer: an end, or any other control token."""
        is_end = self._library.llama_vocab_is_eog(self.vocabulary, token)
        return bool(is_end or self._library.llama_vocab_is_control(self.vocabulary, token))

    def close(self) -> None:
        """Free the model; contexts and grammars must be closed before."""
        self._library.llama_model_free(self.handle)

    def _piece(self, token: int) -> bytes:
        """The bytes that a token stands for."""
        for room in (32, 512):
            buffer = ctypes.create_string_buffer(room)
            size = self._library.llama_token_to_piece(self.vocabulary, token, buffer, room, 0, False)
            if size >= 0:
                break
        return buffer.raw[: max(0, size)]


class NativeContext:
    """Evaluated tokens of several sequences, in one pool of cells."""

    def __init__(self, model: NativeModel, cells: int, batch: int, sequences: int, threads: int) -> None:
        """Raises `MemoryError` where the pool is too large for the machine."""
        import llama_cpp

        self._library = llama_cpp
        self._vocabulary_size = model.size
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = cells
        parameters.n_batch = parameters.n_ubatch = batch
        parameters.n_seq_max = sequences
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = True  # cells of a common beginning are held once
        self._handle = llama_cpp.llama_init_from_model(model.handle, parameters)
        if not self._handle:
            raise MemoryError("no memory for the language model's context")
        self._memory = llama_cpp.llama_get_memory(self._handle)
        self._batch = llama_cpp.llama_batch_init(batch, 0, 1)
        self.cells = int(llama_cpp.llama_n_ctx(self._handle))
        self.evaluated = 0
        """Tokens evaluated since the start."""

    def evaluate(self, tokens: Sequence[Token]) -> None:
        """Evaluate tokens of any sequences together, at most a batch. Raises `NoRoom`, or RuntimeError for a fault."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token.id
            batch.pos[index] = token.position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = token.sequence
            batch.logits[index] = token.wanted
        status = self._library.llama_decode(self._handle, batch)
        if status == 1:
            raise NoRoom
        if status != 0:
            raise RuntimeError(f"llama_decode failed with status {status}")
        self.evaluated += len(tokens)

    def logits(self, index: int) -> Logits:
        """The logits after the token at that index of the last evaluation; valid until the next one."""
        pointer = self._library.llama_get_logits_ith(self._handle, index)
        return np.ctypeslib.as_array(pointer, (self._vocabulary_size,))

    def share(self, source: int, target: int, length: int) -> None:
        """Let a sequence begin with the first tokens of another one; what it held is forgotten."""
        self.cut(target, 0)
        self._library.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def cut(self, sequence: int, length: int) -> None:
        """Forget what a sequence holds beyond its first tokens."""
        self._library.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def clear(self) -> None:
        """Forget all sequences."""
        self._library.llama_memory_clear(self._memory, True)

    def close(self) -> None:
        """Free the context."""
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self._handle)


class NativeGrammar:
    """Where an answer stands in a grammar."""

    def __init__(self, model: NativeModel, grammar: str) -> None:
        """`grammar`: GBNF with the root `root`. Raises ValueError for one that can't be read."""
        import llama_cpp

        self._library = llama_cpp
        handle = llama_cpp.llama_sampler_init_grammar(model.vocabulary, grammar.encode("utf-8"), b"root")
        if not handle:
            raise ValueError("the grammar can't be read")
        self._handle: Any = handle

    def admits(self, token: int) -> bool:
        """Whether the token may come next; cheap, so the likeliest token is asked about first."""
        return bool(self._admitted(np.array([token]))[0])

    def best(self, logits: Logits) -> int:
        """The likeliest token that may come next."""
        shortlist = np.argpartition(logits, -min(_SHORTLIST, len(logits)))[-_SHORTLIST:]
        for candidates in (shortlist, np.arange(len(logits))):
            admitted = candidates[self._admitted(candidates)]
            if len(admitted):
                return int(admitted[logits[admitted].argmax()])
        raise RuntimeError("the grammar admits no token")

    def accept(self, token: int) -> None:
        """Go on by a token, which must be admitted."""
        self._library.llama_sampler_accept(self._handle, token)

    def close(self) -> None:
        """Free the grammar. Idempotent."""
        if self._handle is not None:
            self._library.llama_sampler_free(self._handle)
            self._handle = None

    def _admitted(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        candidates = np.zeros(len(tokens), _CANDIDATE)
        candidates["id"] = tokens
        data = candidates.ctypes.data_as(self._library.llama_token_data_p)
        array = self._library.llama_token_data_array(data, len(tokens), -1, False)
        self._library.llama_sampler_apply(self._handle, ctypes.byref(array))
        return np.asarray(candidates["logit"] == 0.0)


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise ModelError(f"{path} is not a GGUF file; fetch it again")
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error.strerror}") from error


@lru_cache(maxsize=1)
def quiet_library() -> Any:
    """The library, its log sent to ours: only errors, the rest for debugging."""
    import llama_cpp

    @llama_cpp.llama_log_callback
    def log(level: int, text: bytes, _: ctypes.c_void_p) -> None:
        line = text.decode("utf-8", "replace").rstrip()
        if line and level != _CONTINUED_LEVEL:
            logger.log(logging.ERROR if level == _ERROR_LEVEL else logging.DEBUG, "%s", line)

    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    _kept.append(log)  # the library calls it as long as the process lives
    return llama_cpp


_kept: list[Any] = []
