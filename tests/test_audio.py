"""Audio conversion gives the same whatever the chunks, and nonsense is refused in a clear sentence."""

import io
import itertools
import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from wyoming_superwhisper import audio, errors
from wyoming_superwhisper.audio import SPEECH, AudioConverter, AudioFormat, PcmConverter

RATES = (8000, 11025, 16000, 22050, 44100, 48000)


def tone(format: AudioFormat, seconds: float = 0.3, level: float = 0.5, hz: float = 440.0) -> bytes:
    frames = round(seconds * format.rate)
    wave_ = level * np.sin(2 * np.pi * hz * np.arange(frames) / format.rate)
    steps = np.rint(wave_ * (2 ** (8 * format.width - 1) - 1)).astype(np.int64)
    return b"".join(int(step).to_bytes(format.width, "little", signed=True) * format.channels for step in steps)


@pytest.mark.parametrize(
    ("rate", "width", "channels"),
    [(7999, 2, 1), (48001, 2, 1), (16000, 0, 1), (16000, 5, 1), (16000, 2, 0), (16000, 2, 3), ("16000", 2, 1),
     (16000.0, 2, 1), (True, 2, 1), (None, 2, 1)],
)  # fmt: skip
def test_a_format_that_is_not_accepted_is_refused(rate, width, channels):
    with pytest.raises(errors.BadFormat, match=r"audio (rate|width|channels) must be"):
        AudioFormat(rate, width, channels)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_accepted_format_becomes_the_same_speech(rate, width, channels):
    source = AudioFormat(rate, width, channels)
    converter = AudioConverter(source)
    heard = np.frombuffer(converter.feed(tone(source)) + converter.finish(), "<i2").astype(np.float64)
    expected = np.frombuffer(tone(SPEECH), "<i2").astype(np.float64)
    assert abs(len(heard) - len(expected)) <= 1
    middle = slice(400, 4000)  # away from the ends, where a filter sees the edge
    step = 2 ** (16 - 8 * width) if width == 1 else 1
    assert np.abs(heard[middle] - expected[middle]).max() <= max(12, 1.5 * step)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from(RATES), width=st.integers(1, 4), channels=st.integers(1, 2),
    cuts=st.lists(st.integers(0, 2000), max_size=12), seed=st.integers(0, 9),
)  # fmt: skip
def test_the_result_does_not_depend_on_the_chunks(rate, width, channels, cuts, seed):
    source = AudioFormat(rate, width, channels)
    noise = np.random.default_rng(seed).bytes(2000 * source.frame_bytes)
    whole = audio.convert(noise, source, SPEECH)
    converter, pieces = AudioConverter(source), []
    edges = [0, *sorted(cuts), 2000]
    for start, end in itertools.pairwise(edges):
        pieces.append(converter.feed(noise[start * source.frame_bytes : end * source.frame_bytes]))
    assert b"".join(pieces) + converter.finish() == whole


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_the_stream_equals_resampling_the_whole(rate):
    source = AudioFormat(rate, 2, 1)
    noise = np.random.default_rng(1).integers(-20000, 20000, 9000).astype("<i2")
    whole = soxr.resample(noise.astype(np.float32) / 32768, rate, 16000, quality="HQ")
    expected = np.rint(whole.astype(np.float64) * 32768).clip(-32768, 32767).astype("<i2")
    assert audio.convert(noise.tobytes(), source, SPEECH) == expected.tobytes()


def test_speech_passes_unchanged():
    noise = np.random.default_rng(0).bytes(3200)
    converter = AudioConverter(SPEECH)
    assert converter.feed(noise) + converter.finish() == noise


def test_stereo_is_the_mean_and_mono_is_doubled():
    stereo = AudioFormat(16000, 2, 2)
    assert audio.convert(struct.pack("<hh", 1000, 3000), stereo, SPEECH) == struct.pack("<h", 2000)
    assert audio.convert(struct.pack("<h", 2000), SPEECH, stereo) == struct.pack("<hh", 2000, 2000)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_widths_go_there_and_back(width):
    other = AudioFormat(16000, width, 1)
    coarse = np.arange(-128, 128).astype("<i2") * 256  # whole steps of 8 bits
    there = audio.convert(coarse.tobytes(), SPEECH, other)
    assert len(there) == 256 * width
    assert audio.convert(there, other, SPEECH) == coarse.tobytes()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_full_scale_is_limited_not_wrapped(width):
    loud = AudioFormat(8000, 4, 1)
    square = (np.where(np.arange(800) // 4 % 2, 1, -1) * (2**31 - 1)).astype("<i4").tobytes()
    target = AudioFormat(48000, width, 1)
    overshoot = audio.convert(square, loud, target)
    back = np.frombuffer(audio.convert(overshoot, target, AudioFormat(48000, 4, 1)), "<i4").astype(np.float64)
    assert np.abs(np.diff(back)).max() < 2**31  # a wrapped peak would jump by the whole scale


def test_parts_of_a_frame_are_refused():
    with pytest.raises(errors.BadFormat, match="3 bytes of audio are not whole frames of 4 bytes"):
        AudioConverter(AudioFormat(16000, 2, 2)).feed(b"abc")


def test_finishing_twice_gives_nothing_more():
    converter = PcmConverter(AudioFormat(8000, 2, 1), SPEECH)
    converter.feed(bytes(1600))
    assert converter.finish()
    assert converter.finish() == b""


def test_a_stream_of_nothing_is_nothing():
    converter = AudioConverter(AudioFormat(48000, 2, 2))
    assert converter.feed(b"") == b""
    assert converter.finish() == b""


def test_durations():
    format = AudioFormat(22050, 2, 2)
    assert format.seconds(22050 * 4) == 1.0
    assert format.bytes_of(0.5) == 22050 * 2
    assert format.silence(0.1) == bytes(2205 * 4)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_file_comes_back_as_it_was_written(tmp_path: Path, width, channels):
    format = AudioFormat(44100, width, channels)
    sound = tone(format, 0.05)
    audio.write_wav(tmp_path / "a.wav", sound, format)
    assert audio.read_wav(tmp_path / "a.wav") == (format, sound)


def test_eight_bit_wav_files_are_unsigned_on_disk():
    with wave.open(io.BytesIO(audio.wav_bytes(b"\x00\x7f\x80", AudioFormat(8000, 1, 1)))) as reader:
        assert reader.readframes(3) == b"\x80\xff\x00"


def test_the_extensible_header_of_24_bit_files_is_read():
    sound = tone(AudioFormat(48000, 3, 1), 0.01)
    guid = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    fmt = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 48000, 144000, 3, 24, 22, 24, 4) + guid
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(sound)) + sound
    content = b"RIFF" + struct.pack("<I", len(body)) + body
    assert audio.parse_wav(content) == (AudioFormat(48000, 3, 1), sound)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"hello" * 20, b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x03\0\x01\0" + bytes(40)]
)
def test_what_is_no_pcm_wav_is_refused(tmp_path: Path, content):
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(errors.BadFormat, match=r"x\.wav: not a PCM WAV file"):
        audio.read_wav(tmp_path / "x.wav")


def test_a_missing_wav_file_is_named(tmp_path: Path):
    with pytest.raises(errors.SettingsError, match=r"cannot read .*gone\.wav: No such file"):
        audio.read_wav(tmp_path / "gone.wav")


def test_a_cut_wav_file_gives_its_whole_frames():
    content = audio.wav_bytes(bytes(range(100)), AudioFormat(16000, 2, 1))
    assert audio.parse_wav(content[:-3])[1] == bytes(range(96))


def test_importing_audio_loads_neither_numpy_nor_soxr():
    code = "import sys, wyoming_superwhisper.audio; sys.exit('numpy' in sys.modules or 'soxr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
