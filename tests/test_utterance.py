"""An utterance's final audio does not depend on the chunks it came in, nor on what follows it."""

import numpy as np
import pytest

from wyoming_superwhisper import audio, errors
from wyoming_superwhisper.audio import SPEECH, AudioFormat
from wyoming_superwhisper.byte_budget import ByteBudget
from wyoming_superwhisper.endpointing import HANGOVER_SAMPLES, VoiceTracker
from wyoming_superwhisper.engines.base import FRAME_SAMPLES, VoiceState
from wyoming_superwhisper.utterance import COPIES, FREE_S, Utterance


class LoudnessStream:
    """Voice is what is loud."""

    def __init__(self, lost_after: int = 10**9) -> None:
        self.tracker, self.rest, self.samples, self.closed = VoiceTracker(), b"", 0, 0
        self.lost_after = lost_after
        self.largest = 0

    async def feed(self, audio: bytes) -> VoiceState:
        if self.samples >= self.lost_after:
            raise errors.EngineLost("gone")
        self.largest = max(self.largest, len(audio))
        self.samples += len(audio) // 2
        self.rest += audio
        while len(self.rest) >= 2 * FRAME_SAMPLES:
            frame = np.frombuffer(self.rest[: 2 * FRAME_SAMPLES], "<i2").astype(float)
            self.tracker.add(1.0 if np.abs(frame).mean() > 500 else 0.0)
            self.rest = self.rest[2 * FRAME_SAMPLES :]
        return self.tracker.state(self.samples)

    async def close(self) -> None:
        self.closed += 1


def loud(seconds: float, rate: int = 16000) -> bytes:
    return (8000 * np.sin(np.arange(int(seconds * rate)) * 0.3)).astype("<i2").tobytes()


def silent(seconds: float, rate: int = 16000) -> bytes:
    return bytes(2 * int(seconds * rate))


async def hear(content: bytes, chunk: int = 2048, format: AudioFormat = SPEECH, **options):
    utterance = Utterance(
        format, options.pop("stream", None) or LoudnessStream(), options.pop("longest_s", 60), **options
    )
    for at in range(0, len(content), chunk):
        await utterance.feed(content[at : at + chunk])
    return await utterance.finish()


async def test_the_final_audio_is_cut_after_the_voice_and_not_before_it():
    content = silent(0.512) + loud(1.024) + silent(1)
    final = await hear(content)
    assert not final.empty
    assert final.audio == content[: 2 * (int(1.536 * 16000) + HANGOVER_SAMPLES)]


@pytest.mark.parametrize("chunk", [2, 320, 1024, 3000, 10**6])
@pytest.mark.parametrize("rate", [16000, 22050, 48000])
async def test_chunks_change_nothing(chunk, rate):
    format = AudioFormat(rate, 2, 1)
    content = silent(0.1, rate) + loud(0.3, rate) + silent(0.4, rate)
    if chunk == 2:
        chunk = 34  # as good as single samples, and quicker
    assert await hear(content, chunk, format) == await hear(content, len(content), format)


async def test_silence_is_empty_and_without_the_gate_it_goes_to_the_model():
    assert await hear(silent(2)) == await hear(b"")
    assert (await hear(silent(2))).empty
    off = await hear(silent(2), gate=False)
    assert not off.empty
    assert off.audio == silent(2)
    assert (await hear(b"", gate=False)).empty


async def test_without_the_gate_voice_is_cut_the_same():
    content = loud(1) + silent(2)
    assert await hear(content, gate=False) == await hear(content)


async def test_the_end_of_the_resampled_audio_is_not_lost():
    final = await hear(loud(1, 48000), format=AudioFormat(48000, 2, 1))
    assert len(final.audio) == 2 * 16000
    assert final.audio == audio.convert(loud(1, 48000), AudioFormat(48000, 2, 1), SPEECH)


async def test_too_long_is_refused_and_not_kept():
    utterance = Utterance(SPEECH, LoudnessStream(), longest_s=1.0)
    await utterance.feed(loud(1.0))
    with pytest.raises(errors.TooLong, match="longer than 1 seconds"):
        await utterance.feed(loud(0.1))
    assert utterance.seconds == 1.0


async def test_half_frames_are_refused():
    with pytest.raises(errors.BadFormat):
        await Utterance(SPEECH, None, 10).feed(b"abc")


async def test_when_voice_activity_is_lost_the_model_hears_everything():
    content = loud(1) + silent(2)
    assert (await hear(content, stream=LoudnessStream(lost_after=8000))).audio == content
    utterance = Utterance(SPEECH, None, 10)
    await utterance.feed(content)
    final = await utterance.finish()
    assert (final.audio, final.empty) == (content, False)


async def test_a_file_sent_at_once_is_listened_to_in_small_pieces():
    stream = LoudnessStream()
    await hear(loud(5), chunk=10**7, stream=stream)
    assert stream.samples == 5 * 16000
    assert stream.largest <= 2 * 16400


async def test_the_stream_is_closed_at_the_end():
    stream = LoudnessStream()
    await hear(loud(0.5), stream=stream)
    assert stream.closed == 1


async def test_a_guess_at_the_pause_is_the_final_audio():
    utterance = Utterance(SPEECH, LoudnessStream(), 60)
    await utterance.feed(loud(1.024) + silent(0.3))
    guess = utterance.final_audio()
    await utterance.feed(silent(1))
    assert await utterance.finish() == guess


async def test_long_utterances_share_what_they_hold_and_give_it_back():
    budget = ByteBudget(COPIES * SPEECH.bytes_of(3.0))
    long, short, other = (Utterance(SPEECH, None, 60, budget=budget) for _ in range(3))
    await long.feed(silent(FREE_S + 2))
    await short.feed(silent(FREE_S))
    assert budget.free == COPIES * SPEECH.bytes_of(1.0), "what every utterance has comes out of nothing"
    await other.feed(silent(FREE_S + 0.5))
    with pytest.raises(errors.Busy):
        await other.feed(silent(1))
    await long.finish()
    assert budget.free == COPIES * SPEECH.bytes_of(0.5), "it is still there until it is answered"
    await long.close()
    await long.close()
    assert budget.free == COPIES * SPEECH.bytes_of(2.5)
    await other.feed(silent(1))
    for utterance in (short, other):
        await utterance.close()
    assert budget.free == COPIES * SPEECH.bytes_of(3.0)
