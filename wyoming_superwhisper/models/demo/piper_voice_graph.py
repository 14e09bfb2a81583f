"""Writes a trained acoustic model as an ONNX graph that Piper loads: phoneme ids in, sound out.

The sound is made in the graph: a train of pulses and noise, cut into overlapping frames, each filtered in the
frequency domain by the frame's envelope (with its minimum phase), and added up again. All randomness is scaled by
noise_scale and noise_w; at 0 the noise is a fixed sequence computed from the sample's number, and two runs agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from wyoming_superwhisper.models.demo.piper_acoustic import (
    ENVELOPE_MEAN,
    ENVELOPE_SPREAD,
    FRAME_DILATIONS,
    PHONEME_DILATIONS,
    PITCH_MEAN,
    PITCH_SPREAD,
    AcousticModel,
)
from wyoming_superwhisper.models.demo.piper_speech import (
    BAND_CENTRES_HZ,
    BANDS,
    HOP,
    SAMPLE_RATE,
    VOICING_BANDS,
    VOICING_EDGES_HZ,
)

_OPSET = 17
_FFT = 3 * HOP
"""Length of the transforms: a frame of two hops and room for one hop of ringing."""
_BINS = _FFT // 2 + 1
_LOWEST_HZ, _GAIN, _PEAK = 55.0, 1.2, 0.98
_DISPERSION_S = 0.002
_DURATION_NOISE = 0.12
_PRIME = 2**31 - 1

Name = str
Array = npt.NDArray[Any]


def write_voice(model: AcousticModel, path: Path, description: str) -> None:
    """Write the voice to `path` (weights in half precision, computed with in single)."""
    graph = _Graph()
    states, durations = _phonemes(graph, model)
    output = _acoustics(graph, model, states, durations)
    graph.named("output", "Identity", _sound(graph, output))
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, ["batch", "phonemes"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1, 1, "samples"])]
    made = helper.make_graph(graph.nodes, "voice", inputs, outputs, graph.initializers, doc_string=description)
    opsets = [helper.make_opsetid("", _OPSET)]
    whole = helper.make_model(made, opset_imports=opsets, producer_name="wyoming-superwhisper")
    whole.ir_version = 8
    onnx.checker.check_model(whole)
    path.write_bytes(whole.SerializeToString())


class _Graph:
    """Nodes and constants as they are written; every value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._known: dict[tuple[bytes, str, tuple[int, ...]], Name] = {}

    def node(self, operation: str, *inputs: Name, **attributes: Any) -> Name:
        return self.named(f"v{len(self.nodes)}", operation, *inputs, **attributes)

    def named(self, name: Name, operation: str, *inputs: Name, **attributes: Any) -> Name:
        self.nodes.append(helper.make_node(operation, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> Name:
        array = np.asarray(value, dtype=dtype)
        key = (array.tobytes(), array.dtype.str, array.shape)
        if key not in self._known:
            self._known[key] = f"c{len(self.initializers)}"
            self.initializers.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def ints(self, *values: int) -> Name:
        return self.constant(values, np.int64)

    def halved(self, value: Array) -> Name:
        """A constant stored in half precision."""
        return self.cast(self.constant(value, np.float16), TensorProto.FLOAT)

    def cast(self, value: Name, kind: int) -> Name:
        return self.node("Cast", value, to=kind)

    def slice(self, value: Name, first: int, last: int, axis: int) -> Name:
        return self.node("Slice", value, self.ints(first), self.ints(last), self.ints(axis))

    def scaled(self, value: Name, factor: float, offset: float = 0.0) -> Name:
        value = self.node("Mul", value, self.constant(factor))
        return self.node("Add", value, self.constant(offset)) if offset else value

    def clipped(self, value: Name, low: float, high: float) -> Name:
        return self.node("Clip", value, self.constant(low), self.constant(high))

    def count(self, value: Name, first: int = 0) -> Name:
        """0, 1, 2 … up to a scalar int64."""
        return self.node("Range", self.constant(first, np.int64), value, self.constant(1, np.int64))


_END = 2**31 - 1


def _phonemes(graph: _Graph, model: AcousticModel) -> tuple[Name, Name]:
    """(1, CHANNELS, phonemes) states and (phonemes) durations in frames; pads (id 0) are left out."""
    ids = graph.node("Reshape", "input", graph.ints(-1))
    real = graph.node("Not", graph.node("Equal", ids, graph.constant(0, np.int64)))
    ids = graph.node("Compress", ids, real, axis=0)
    embedded = graph.node("Gather", graph.halved(_weights(model.embedding)), ids)
    states = graph.node("Unsqueeze", graph.node("Transpose", embedded, perm=[1, 0]), graph.ints(0))
    states = _layers(graph, model.phoneme_layers, PHONEME_DILATIONS, states)
    logs = graph.clipped(graph.node("Reshape", _conv(graph, model.duration, states), graph.ints(-1)), -3.0, 4.0)
    jitter = graph.node("Mul", graph.node("RandomNormalLike", logs), graph.scaled(_scale(graph, 2), _DURATION_NOISE))
    lengths = graph.node("Exp", graph.node("Add", logs, jitter))
    lengths = graph.node("Mul", lengths, graph.clipped(_scale(graph, 1), 0.1, 10.0))
    timed = graph.node("Gather", graph.constant(model.get_buffer("timed").numpy()), ids)
    return states, graph.node("Mul", lengths, timed)


def _scale(graph: _Graph, index: int) -> Name:
    """noise_scale, length_scale or noise_w."""
    return graph.slice("scales", index, index + 1, 0)


def _acoustics(graph: _Graph, model: AcousticModel, states: Name, durations: Name) -> Name:
    """(frames, OUTPUTS): the phonemes stretched to their durations, and the frame layers over them."""
    ends = graph.node("CumSum", durations, graph.constant(0, np.int64))
    total = graph.node("ReduceSum", durations, keepdims=0)
    frames = graph.cast(graph.node("Ceil", graph.scaled(total, 1.0, -0.5)), TensorProto.INT64)
    frames = graph.node("Max", frames, graph.constant(1, np.int64))
    centres = graph.scaled(graph.cast(graph.count(frames), TensorProto.FLOAT), 1.0, 0.5)
    passed = graph.node("LessOrEqual", ends, graph.node("Unsqueeze", centres, graph.ints(1)))
    which = graph.node("ReduceSum", graph.cast(passed, TensorProto.INT64), graph.ints(1), keepdims=0)
    last = graph.node("Sub", graph.node("Squeeze", graph.node("Shape", durations)), graph.constant(1, np.int64))
    which = graph.node("Min", which, last)
    end, length = graph.node("Gather", ends, which), graph.node("Gather", durations, which)
    since = graph.node("Relu", graph.node("Sub", centres, graph.node("Sub", end, length)))
    until = graph.node("Relu", graph.node("Sub", end, centres))
    share = graph.node("Div", since, graph.node("Max", length, graph.constant(0.01)))
    features = [graph.node("Min", share, graph.constant(1.0)), *(_log1p(graph, one) for one in (since, until, length))]
    rows = [graph.node("Unsqueeze", one, graph.ints(0, 1)) for one in features]
    expanded = graph.node("Gather", states, which, axis=2)
    hidden = graph.node("Relu", _conv(graph, model.positions, graph.node("Concat", expanded, *rows, axis=1)))
    output = _conv(graph, model.output, _layers(graph, model.frame_layers, FRAME_DILATIONS, hidden))
    return graph.node("Transpose", graph.node("Squeeze", output, graph.ints(0)), perm=[1, 0])


def _log1p(graph: _Graph, value: Name) -> Name:
    return graph.node("Log", graph.scaled(value, 1.0, 1.0))


def _layers(graph: _Graph, layers: nn.ModuleList, dilations: Sequence[int], value: Name) -> Name:
    for layer, dilation in zip(layers, dilations, strict=True):
        value = graph.node("Add", value, graph.node("Relu", _conv(graph, layer, value, dilation)))
    return value


def _conv(graph: _Graph, layer: nn.Module, value: Name, dilation: int = 1) -> Name:
    weight, bias = _weights(layer), layer.get_parameter("bias").detach().numpy()
    margin = dilation * (weight.shape[2] - 1) // 2
    return graph.node(
        "Conv", value, graph.halved(weight), graph.constant(bias), dilations=[dilation], pads=[margin, margin]
    )


def _weights(layer: nn.Module) -> Array:
    return layer.get_parameter("weight").detach().numpy()


def _sound(graph: _Graph, output: Name) -> Name:
    """(1, 1, 1, samples) in -1 … 1 from the (frames, OUTPUTS) of the acoustic model."""
    logs = graph.scaled(graph.slice(output, 0, BANDS, 1), ENVELOPE_SPREAD / 2, ENVELOPE_MEAN / 2)
    voicing = graph.node("Sigmoid", graph.slice(output, BANDS, BANDS + VOICING_BANDS, 1))
    pitch = graph.scaled(graph.slice(output, BANDS + VOICING_BANDS, _END, 1), PITCH_SPREAD, PITCH_MEAN)
    pitch = graph.clipped(graph.node("Exp", pitch), 50.0, 400.0)
    interpolation = _interpolation()
    loudness = graph.node("Exp", graph.node("MatMul", logs, graph.constant(interpolation)))
    loudness = graph.node("Mul", loudness, graph.constant(_high_pass()))
    phase = graph.node("MatMul", logs, graph.constant(_minimum_phase(interpolation)))
    phase = graph.node("Add", phase, graph.constant(_dispersion()))
    harmonic = graph.clipped(graph.node("MatMul", voicing, graph.constant(_voicing_interpolation())), 0.0, 1.0)
    noisy = graph.node("Sqrt", graph.node("Sub", graph.constant(1.0), harmonic))
    harmonic = graph.node("Sqrt", harmonic)
    pulses = _transformed(graph, _pulses(graph, pitch))
    noise = _transformed(graph, _noise(graph, pitch))
    real, imaginary = (
        graph.node("Mul", loudness, graph.node("Add", graph.node("Mul", harmonic, p), graph.node("Mul", noisy, n)))
        for p, n in zip(pulses, noise, strict=True)
    )
    cosine, sine = graph.node("Cos", phase), graph.node("Sin", phase)
    turned_real = graph.node("Sub", graph.node("Mul", real, cosine), graph.node("Mul", imaginary, sine))
    turned_imaginary = graph.node("Add", graph.node("Mul", real, sine), graph.node("Mul", imaginary, cosine))
    return _added_up(graph, _back(graph, turned_real, turned_imaginary))


def _pulses(graph: _Graph, pitch: Name) -> Name:
    """(frames + 1, HOP) pulses of power 1 at the pitch, which goes straight from frame to frame."""
    first, last = graph.slice(pitch, 0, 1, 0), graph.slice(pitch, -1, _END, 0)
    before = graph.node("Concat", first, pitch, axis=0)
    after = graph.node("Concat", pitch, last, axis=0)
    share = graph.constant(((np.arange(HOP) + 0.5) / HOP)[None])
    slope = graph.node("Mul", graph.node("Sub", after, before), share)
    hertz = graph.node("Reshape", graph.node("Add", before, slope), graph.ints(-1))
    # In double precision: the sum of a minute's steps would drift.
    step = graph.cast(graph.scaled(hertz, 1.0 / SAMPLE_RATE), TensorProto.DOUBLE)
    passed = graph.node("CumSum", step, graph.constant(0, np.int64))
    whole = graph.node("Floor", passed)
    fired = graph.node("Sub", whole, graph.node("Floor", graph.node("Sub", passed, step)))
    # A pulse falls between two samples and is shared by them.
    late = graph.node("Div", graph.node("Sub", passed, whole), step)
    late, fired = graph.cast(late, TensorProto.FLOAT), graph.cast(fired, TensorProto.FLOAT)
    height = graph.node("Sqrt", graph.node("Div", graph.constant(float(SAMPLE_RATE)), hertz))
    fired = graph.node("Mul", fired, height)
    early = graph.node("Mul", fired, late)
    moved = graph.node("Concat", graph.slice(early, 1, _END, 0), graph.constant([0.0]), axis=0)
    pulses = graph.node("Add", graph.node("Sub", fired, early), moved)
    return graph.node("Reshape", pulses, graph.ints(-1, HOP))


def _noise(graph: _Graph, pitch: Name) -> Name:
    """(frames + 1, HOP) noise of power 1: a fixed sequence, with noise_scale parts of random noise mixed in."""

    def whole(value: int) -> Name:
        return graph.constant(value, np.int64)

    frames = graph.node("Squeeze", graph.slice(graph.node("Shape", pitch), 0, 1, 0))
    samples = graph.node("Mul", graph.node("Add", frames, whole(1)), whole(HOP))
    number = graph.count(samples)
    value = number
    for factor, offset in ((1_103_515_245, 12_345), (69_069, 362_437), (39_373, 521_288_629)):
        # Squares modulo a prime: exact in 64 bits, so the same on every machine.
        turned = graph.node("Mul", graph.node("Add", number, whole(1)), whole(factor))
        value = graph.node("Add", graph.node("Mul", value, value), graph.node("Add", turned, whole(offset)))
        value = graph.node("Mod", value, whole(_PRIME))
    fixed = graph.scaled(graph.cast(value, TensorProto.FLOAT), np.sqrt(12) / _PRIME, -float(np.sqrt(3)))
    amount = _scale(graph, 0)
    mixed = graph.node("Add", fixed, graph.node("Mul", graph.node("RandomNormalLike", fixed), amount))
    power = graph.node("Sqrt", graph.scaled(graph.node("Mul", amount, amount), 1.0, 1.0))
    return graph.node("Reshape", graph.node("Div", mixed, power), graph.ints(-1, HOP))


def _transformed(graph: _Graph, signal: Name) -> tuple[Name, Name]:
    """Real and imaginary (frames, _BINS) of the windowed, overlapping frames of (frames + 1, HOP) samples."""
    first, second = graph.slice(signal, 0, -1, 0), graph.slice(signal, 1, _END, 0)
    frames = graph.node("Mul", graph.node("Concat", first, second, axis=1), graph.constant(_window()))
    cosine, sine = _waves(graph, 2 * HOP)
    return graph.node("MatMul", frames, cosine), graph.node("Neg", graph.node("MatMul", frames, sine))


def _back(graph: _Graph, real: Name, imaginary: Name) -> Name:
    """(frames, _FFT) samples of (frames, _BINS) spectra."""
    cosine, sine = (graph.node("Transpose", wave, perm=[1, 0]) for wave in _waves(graph, _FFT))
    weight = np.full(_BINS, 2.0 / _FFT)
    weight[[0, -1]] = 1.0 / _FFT
    weights = graph.constant(weight)
    real, imaginary = graph.node("Mul", real, weights), graph.node("Mul", imaginary, weights)
    return graph.node("Sub", graph.node("MatMul", real, cosine), graph.node("MatMul", imaginary, sine))


def _waves(graph: _Graph, length: int) -> tuple[Name, Name]:
    """(length, _BINS) cosines and sines of the transform, computed as the voice is loaded: a megabyte less to ship."""
    rows = graph.constant(np.arange(length)[:, None], np.int64)
    columns = graph.constant(np.arange(_BINS)[None], np.int64)
    turns = graph.node("Mod", graph.node("Mul", rows, columns), graph.constant(_FFT, np.int64))
    angle = graph.scaled(graph.cast(turns, TensorProto.FLOAT), 2 * np.pi / _FFT)
    return graph.node("Cos", angle), graph.node("Sin", angle)


def _added_up(graph: _Graph, frames: Name) -> Name:
    """Overlap-add of (frames, 3 HOP) at HOP; the first half hop lies before the start of the sound."""
    total = ""
    for part in range(3):
        piece = graph.slice(frames, part * HOP, (part + 1) * HOP, 1)
        piece = graph.node("Pad", piece, graph.ints(part, 0, 2 - part, 0))
        total = graph.node("Add", total, piece) if total else piece
    samples = graph.node("Reshape", total, graph.ints(-1))
    samples = graph.slice(samples, HOP // 2, -(2 * HOP - HOP // 2), 0)
    samples = _limited(graph, graph.scaled(samples, _GAIN))
    return graph.node("Reshape", samples, graph.ints(1, 1, 1, -1))


def _limited(graph: _Graph, samples: Name) -> Name:
    """Bent gently to stay below _PEAK: x / (1 + x⁴)^¼ hardly touches what is below a half."""
    square = graph.node("Mul", samples, samples)
    fourth = graph.scaled(graph.node("Mul", square, square), 1.0, 1.0)
    return graph.scaled(graph.node("Div", samples, graph.node("Sqrt", graph.node("Sqrt", fourth))), _PEAK)


def _window() -> Array:
    return np.hanning(2 * HOP + 1)[: 2 * HOP]


def _bins_hz() -> Array:
    return np.arange(_BINS) * SAMPLE_RATE / _FFT


def _interpolation() -> Array:
    """(BANDS, _BINS): from the bands to every bin, straight lines in between."""
    return np.stack([np.interp(_bins_hz(), BAND_CENTRES_HZ, row) for row in np.eye(BANDS)])


def _voicing_interpolation() -> Array:
    centres = (VOICING_EDGES_HZ[1:] + VOICING_EDGES_HZ[:-1]) / 2
    return np.stack([np.interp(_bins_hz(), centres, row) for row in np.eye(VOICING_BANDS)])


def _high_pass() -> Array:
    return (_bins_hz() >= _LOWEST_HZ).astype(np.float32)


def _dispersion() -> Array:
    """A phase that lets high sounds come later: pulses are less spiky, and buzz less, as a throat's do."""
    delay_s = _DISPERSION_S * _bins_hz() / SAMPLE_RATE * 2
    return -2 * np.pi * np.cumsum(delay_s) * SAMPLE_RATE / _FFT


def _minimum_phase(interpolation: Array) -> Array:
    """(BANDS, _BINS): the phase is linear in the log amplitudes (folded cepstrum)."""
    cepstrum = np.fft.irfft(interpolation, _FFT, axis=1)
    cepstrum[:, 1 : _FFT // 2] *= 2
    cepstrum[:, _FFT // 2 + 1 :] = 0
    return np.fft.rfft(cepstrum, axis=1).imag
