"""PCM audio: formats, conversion between them, WAV files, and the arithmetic of durations.

Everything here is exact in one sense: the result never depends on how the audio was cut into chunks. Conversion runs
in float32 and quantises once, at the end. numpy and soxr are imported on first use, since the server listens before
it hears anything.
"""

from __future__ import annotations

import asyncio
import io
import struct
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wyoming_superwhisper import errors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

RATES_HZ = (8_000, 48_000)
"""Lowest and highest sample rate that is accepted."""

LONGEST_PIECE_S = 5.0
"""Audio that is converted in one go beside the loop; what is longer goes in pieces, so that others get a turn."""

_WAVE_PCM = 1
_WAVE_EXTENSIBLE = 0xFFFE


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Layout of PCM audio: little-endian, signed, interleaved. Raises `BadFormat` for one that is not accepted."""

    rate: int
    """Frames a second, 8000 to 48000."""
    width: int
    """Bytes of a sample: 1 (signed 8 bit) to 4 (32 bit integer)."""
    channels: int
    """1 or 2."""

    def __post_init__(self) -> None:
        for name, (least, most) in {"rate": RATES_HZ, "width": (1, 4), "channels": (1, 2)}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise errors.BadFormat(f"audio {name} must be a whole number from {least} to {most}, not {value!r}")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.width * self.channels

    def frames(self, audio: bytes) -> int:
        """How many frames `audio` holds. Raises `BadFormat` where it is not whole frames."""
        frames, rest = divmod(len(audio), self.frame_bytes)
        if rest:
            raise errors.BadFormat(f"{len(audio)} bytes of audio are not whole frames of {self.frame_bytes} bytes")
        return frames

    def seconds(self, audio_bytes: int) -> float:
        """How long so many bytes last."""
        return audio_bytes / self.frame_bytes / self.rate

    def bytes_of(self, seconds: float) -> int:
        """Bytes of whole frames that last so long, rounded to the nearest frame."""
        return round(seconds * self.rate) * self.frame_bytes

    def silence(self, seconds: float) -> bytes:
        """Silence of this length."""
        return bytes(self.bytes_of(seconds))


SPEECH = AudioFormat(rate=16_000, width=2, channels=1)
"""What recognition, voice activity and wake words take."""


class PcmConverter:
    """Converts a stream of audio from one format to another, the same whatever the chunks."""

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self.source, self.target = source, target
        self._resampler = None if source.rate == target.rate else _resampler(source.rate, target)
        self._finished = False

    def feed(self, audio: bytes) -> bytes:
        """Convert what comes next; may return less than was fed. Raises `BadFormat` for parts of frames."""
        if self.source.frames(audio) == 0:
            return b""
        if self.source == self.target:
            return audio
        samples = _mix(_decode(audio, self.source), self.target.channels)
        return _encode(self._resample(samples, last=False), self.target.width)

    async def feed_aside(self, audio: bytes) -> bytes:
        """As `feed`, in a thread where there is anything to convert: nobody else waits for it. One call at a time."""
        if self.source == self.target:
            return self.feed(audio)
        self.source.frames(audio)  # parts of frames are refused before anything is converted
        step = self.source.bytes_of(LONGEST_PIECE_S)
        pieces = [audio[at : at + step] for at in range(0, len(audio), step)]
        return b"".join([await asyncio.to_thread(self.feed, piece) for piece in pieces])

    def finish(self) -> bytes:
        """The rest, once the stream has ended. Idempotent."""
        if self._finished or self._resampler is None:
            return b""
        import numpy as np

        self._finished = True
        rest = _encode(self._resample(np.zeros((0, self.target.channels), np.float32), last=True), self.target.width)
        self._resampler = None  # a hundred kilobytes, which would be kept until the utterance is answered
        return rest

    def _resample(self, samples: Samples, last: bool) -> Samples:
        if self._resampler is None:
            return samples
        resampled: Samples = self._resampler.resample_chunk(samples, last=last)
        return resampled


class AudioConverter(PcmConverter):
    """Converts a stream of any accepted format to `SPEECH`."""

    def __init__(self, source: AudioFormat) -> None:
        super().__init__(source, SPEECH)


def convert(audio: bytes, source: AudioFormat, target: AudioFormat) -> bytes:
    """Convert a whole piece of audio."""
    converter = PcmConverter(source, target)
    return converter.feed(audio) + converter.finish()


def read_wav(path: Path | str) -> tuple[AudioFormat, bytes]:
    """Format and audio of a PCM WAV file of 8, 16, 24 or 32 bits.

    Raises `SettingsError` where the file can't be read, `BadFormat` where it is not such a WAV file.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise errors.SettingsError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return parse_wav(content)
    except errors.BadFormat as error:
        raise errors.BadFormat(f"{path}: {error}") from error


def parse_wav(content: bytes) -> tuple[AudioFormat, bytes]:
    """As `read_wav`, from the bytes of a file."""
    try:
        with wave.open(io.BytesIO(_as_plain_pcm(content))) as reader:
            format = AudioFormat(reader.getframerate(), reader.getsampwidth(), reader.getnchannels())
            audio = reader.readframes(reader.getnframes())
    except (wave.Error, EOFError, struct.error) as error:
        raise errors.BadFormat(f"not a PCM WAV file ({error or 'it ends too early'})") from error
    whole = audio[: len(audio) - len(audio) % format.frame_bytes]
    return format, _flip_sign(whole) if format.width == 1 else whole


def write_wav(path: Path | str, audio: bytes, format: AudioFormat = SPEECH) -> None:
    """Write a WAV file. Raises `BadFormat` where `audio` is not whole frames, OSError where it can't be written."""
    Path(path).write_bytes(wav_bytes(audio, format))


def wav_bytes(audio: bytes, format: AudioFormat = SPEECH) -> bytes:
    """The bytes of a WAV file. Raises `BadFormat` where `audio` is not whole frames."""
    format.frames(audio)
    content = io.BytesIO()
    with wave.open(content, "wb") as writer:
        writer.setframerate(format.rate)
        writer.setsampwidth(format.width)
        writer.setnchannels(format.channels)
        writer.writeframes(_flip_sign(audio) if format.width == 1 else audio)
    return content.getvalue()


def _resampler(source_rate: int, target: AudioFormat) -> Any:
    # soxr's int16 stream differs by up to 2 units with the chunk size; its float32 stream is bit-equal to the whole.
    import soxr

    return soxr.ResampleStream(source_rate, target.rate, target.channels, dtype="float32", quality="HQ")


def _decode(audio: bytes, format: AudioFormat) -> Samples:
    """Samples from -1 to 1, one row for each frame."""
    import numpy as np

    if format.width == 3:  # no such type: put the three bytes into the upper end of four
        padded = np.zeros((len(audio) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(audio, np.uint8).reshape(-1, 3)
        whole = padded.view("<i4")
    else:
        whole = np.frombuffer(audio, f"<i{format.width}")
    full_scale = np.float32(2 ** (31 if format.width == 3 else 8 * format.width - 1))
    samples: Samples = whole.astype(np.float32).reshape(-1, format.channels) / full_scale
    return samples


def _mix(samples: Samples, channels: int) -> Samples:
    """To one channel by the mean, to two by doubling."""
    import numpy as np

    if samples.shape[1] == channels:
        return samples
    if channels == 1:
        mean: Samples = samples.mean(axis=1, keepdims=True, dtype=np.float32)
        return mean
    return np.repeat(samples, channels, axis=1)


def _encode(samples: Samples, width: int) -> bytes:
    """Quantise, once: to the nearest step, limited to full scale."""
    import numpy as np

    full_scale = 2 ** (8 * width - 1)
    # float64: a float32 can't hold the largest 32-bit sample.
    steps = np.rint(samples.astype(np.float64) * full_scale).clip(-full_scale, full_scale - 1).astype("<i4")
    if width == 3:
        return bytes(steps.reshape(-1, 1).view(np.uint8)[:, :3].tobytes())
    return bytes(steps.astype(f"<i{width}").tobytes())


def _flip_sign(audio: bytes) -> bytes:
    """Between the signed 8 bits we use and the unsigned ones of WAV files."""
    return bytes(sample ^ 0x80 for sample in audio)


def _as_plain_pcm(content: bytes) -> bytes:
    """Rewrite the `extensible` format tag, which many programs write for 24 bits, where it means plain PCM."""
    at = content.find(b"fmt ")
    if at < 0 or len(content) < at + 34 or struct.unpack_from("<H", content, at + 8)[0] != _WAVE_EXTENSIBLE:
        return content
    if struct.unpack_from("<H", content, at + 32)[0] != _WAVE_PCM:
        return content
    return content[: at + 8] + struct.pack("<H", _WAVE_PCM) + content[at + 10 :]
