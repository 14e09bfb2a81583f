"""Takes what the satellite plays itself out of what it hears, as far as the room only delays, dampens and colours it.

What is played is known to the sample. How it comes back is learned from what both have in common: first how late, by
the peak of their correlation, then the response of loudspeaker, room and microphone, from the spectra of the last
seconds: a mean over time, which somebody who speaks meanwhile hardly changes. Until enough was heard, and where nothing
is gained, what is heard is passed on as it is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wyoming_superwhisper.audio import SPEECH, AudioConverter, AudioFormat

EARLIEST_S, LATEST_S = -0.5, 2.0
"""When an echo comes back after its sound was given to the loudspeaker, in seconds; before it: whatever was played
before anybody listened is not counted."""
COMPARED_S = 0.8
"""How much of what is heard is compared to find how late the echo is, in seconds."""
SOUGHT_EVERY_S = 0.3
"""How often that is tried, in seconds."""
PEAK = 18.0
"""How far the peak of the correlation stands out where there is an echo, in root mean squares of all of it; of an echo
20 dB below who speaks it was 20 to 50, without one at most 15."""
EARLY, TAPS = 64, 1536
"""The response begins so many samples before that peak, and is so long: 96 ms."""
WINDOW, STEP = 8192, 2048
"""Spectra are taken of windows so long, so far apart, in samples."""
REMEMBERED = 0.93
"""Share of what was learned before that is kept at each step: about two seconds count."""
LEARNED = 3
"""Steps after which the response is used."""
OTHERS = 0.3
"""Where so much of the power of a window is no echo somebody speaks: nothing is learned of that."""
OTHERS_STEPS = 24
"""Unless it is so for so many steps (3 s): then the room has changed."""
GAINED = 0.3
"""Without an echo that is there what is left has so much less power than what was heard as the echo has; without one
that is not there so much more. Below this share of the echo's power nothing is gained."""
FOLLOWS = 0.1
"""By how much of the difference that follows the newest chunk."""
GAINLESS_S = 0.2
"""If so for this long the echo is sought anew: the loudspeaker or the microphone has left out something, in seconds."""
LOST_S = 3.0
"""If so for this long what was learned is of no use any more, in seconds."""
KEPT_S = LATEST_S + COMPARED_S + 1.0
"""What is kept of what was heard and of what was played before that, in seconds."""

Signal = npt.NDArray[np.float64]


class EchoCanceller:
    """Knows one sound after another: `play` and `clean` as things happen, `end` before the next or at a cut."""

    def __init__(self) -> None:
        self.end()

    def end(self) -> None:
        """What was to be played will not be heard any more: forget it, and how late it came back."""
        self._converter: AudioConverter | None = None
        self._played, self._heard = _Track(), _Track()
        self._forget()

    def play(self, audio: bytes, format: AudioFormat) -> None:
        """This is about to be heard in the room, behind what was played before."""
        if self._converter is None or self._converter.source != format:
            self._converter = AudioConverter(format)
        self._played.add(_samples(self._converter.feed(audio)))

    def clean(self, chunk: bytes) -> bytes:
        """The next that is heard, 16 kHz mono, without the echo."""
        if self._converter is None:
            return chunk
        if self._heard.end > self._played.end + _length(LATEST_S):
            self.end()
            return chunk
        heard = _samples(chunk)
        self._heard.add(heard)
        self._heard.drop(self._heard.end - _length(KEPT_S))
        self._played.drop(self._heard.end - _length(KEPT_S + LATEST_S))
        if self._late is None:
            self._seek()
            return chunk
        self._learn(self._late)
        echo = self._echo(self._late, len(heard))
        if not self._gains(heard, echo):
            return chunk
        quantised: bytes = np.rint(heard - echo).clip(-32768, 32767).astype("<i2").tobytes()
        return quantised

    def _forget(self) -> None:
        self._late: int | None = None
        """How many samples after it was played a sound is heard; None: not known yet."""
        self._next_search = 0
        self._learned_to = 0
        self._steps = 0
        self._others = 0
        """Steps in a row of which nothing was learned."""
        self._gainless = 0
        """Samples since nothing is gained."""
        self._gain = np.zeros(2)
        """Of late: the power that was taken away, and that of the echo."""
        self._response: Signal = np.zeros(TAPS)
        self._spectrum = np.fft.rfft(self._response, WINDOW)
        self._common = np.zeros(WINDOW // 2 + 1, complex)
        self._known = np.zeros(WINDOW // 2 + 1)

    def _seek(self) -> None:
        """Find how late the echo is."""
        length = _length(COMPARED_S)
        if self._heard.end < max(length, self._next_search):
            return
        self._next_search = self._heard.end + _length(SOUGHT_EVERY_S)
        begin, earliest, latest = self._heard.end - length, _length(EARLIEST_S), _length(LATEST_S)
        played = self._played.piece(begin - latest, begin - earliest + length)
        size = 1 << (len(played) + length - 1).bit_length()
        heard = np.fft.rfft(self._heard.piece(begin, self._heard.end), size)
        common = np.conj(heard) * np.fft.rfft(played, size)
        floor = 1e-3 * np.abs(common).max() + 1e-9
        likeness = np.abs(np.fft.irfft(common / (np.abs(common) + floor), size)[: latest - earliest + 1])
        peak = int(likeness.argmax())
        if likeness[peak] < PEAK * np.sqrt(np.mean(likeness**2)) or latest - peak == self._late:
            return
        first = self._late is None
        self._late = latest - peak
        self._gain = np.zeros(2)
        self._learned_to = max(0, self._late, self._heard.end - _length(KEPT_S if first else 0.0))

    def _learn(self, late: int) -> None:
        """Compare what was heard with what was played, as far as that is new."""
        shape = np.hanning(WINDOW)
        while self._learned_to + WINDOW <= self._heard.end:
            begin, end = self._learned_to, self._learned_to + WINDOW
            self._learned_to += STEP
            played = self._played.piece(begin - late + EARLY, end - late + EARLY)
            if not played.any():
                continue
            known, heard = np.fft.rfft(shape * played), np.fft.rfft(shape * self._heard.piece(begin, end))
            if self._is_of_others(heard, known):
                continue
            self._common = REMEMBERED * self._common + heard * np.conj(known)
            self._known = REMEMBERED * self._known + np.abs(known) ** 2
            self._steps += 1
            if self._steps >= LEARNED:
                floor = 1e-4 * self._known.mean() + 1.0
                self._response = np.fft.irfft(self._common / (self._known + floor))[:TAPS]
                self._spectrum = np.fft.rfft(self._response, WINDOW)

    def _is_of_others(self, heard: npt.NDArray[np.complex128], known: npt.NDArray[np.complex128]) -> bool:
        """Whether somebody else is heard in this, to whom the echo is not to be fitted."""
        if self._steps < 3 * LEARNED:
            return False
        left = np.sum(np.abs(heard - self._spectrum * known) ** 2)
        others = bool(left > OTHERS * np.sum(np.abs(heard) ** 2))
        self._others = self._others + 1 if others else 0
        return 0 < self._others <= OTHERS_STEPS

    def _echo(self, late: int, length: int) -> Signal:
        """What of the newest samples that were heard is echo."""
        begin = self._heard.end - length - late + EARLY
        played = self._played.piece(begin - TAPS, begin + length)
        if not played.any():
            return np.zeros(length)
        size = 1 << (len(played) + TAPS - 1).bit_length()
        echo = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(self._response, size), size)
        return np.asarray(echo[TAPS : TAPS + length])

    def _gains(self, heard: Signal, echo: Signal) -> bool:
        """Whether what was heard is better without this. If it is not for long, the echo will be sought anew."""
        if not echo.any():
            return False
        powers = np.array([np.sum(heard**2) - np.sum((heard - echo) ** 2), np.sum(echo**2)]) / len(heard)
        self._gain += FOLLOWS * (powers - self._gain)
        gains = bool(self._gain[0] > GAINED * self._gain[1])
        self._gainless = 0 if gains else self._gainless + len(heard)
        if self._gainless > _length(LOST_S):
            self._forget()
        elif self._gainless > _length(GAINLESS_S):
            self._seek()
        return gains


class _Track:
    """The newest of a sound, by its place in all of it."""

    def __init__(self) -> None:
        self.end = 0
        self._pieces: Signal = np.zeros(0)

    def add(self, samples: Signal) -> None:
        self._pieces = np.concatenate([self._pieces, samples])
        self.end += len(samples)

    def drop(self, before: int) -> None:
        """Keep what lies behind that place."""
        begin = self.end - len(self._pieces)
        if before - begin > SPEECH.rate:  # not at each chunk
            self._pieces = self._pieces[before - begin :]

    def piece(self, begin: int, end: int) -> Signal:
        """What lies between the two, with silence where nothing is."""
        piece = np.zeros(end - begin)
        first = self.end - len(self._pieces)
        low, high = max(begin, first), min(end, self.end)
        if low < high:
            piece[low - begin : high - begin] = self._pieces[low - first : high - first]
        return piece


def _length(seconds: float) -> int:
    return round(seconds * SPEECH.rate)


def _samples(audio: bytes) -> Signal:
    return np.frombuffer(audio[: len(audio) // 2 * 2], "<i2").astype(np.float64)
