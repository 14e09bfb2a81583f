"""Log-mels of an utterance: bit for bit what transformers' feature extractor makes, computed only where there is sound.

The rest of the window is silence, whose log-mels are one constant: they are filled in, or left out where the encoder
shall see only as much as was spoken. Only imported in the Whisper worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch  # noqa: TID253  this module is imported by engines.whisper when it loads, in its worker
from torch import Tensor  # noqa: TID253

from wyoming_superwhisper.engines.base import SAMPLE_RATE

_FLOOR = 1e-10
"""Energies below this count as this; the extractor's own numbers from here on."""
_RANGE = 8.0
"""What is more than this (80 dB) below the loudest is raised to there."""


@dataclass(frozen=True)
class LogMels:
    """Of one window."""

    spoken: Tensor
    """(mels, frames), float32: up to where nothing but silence follows."""
    silence: float
    """What every mel of every frame after them is."""

    def frames(self, count: int) -> Tensor:
        """The first `count` frames, contiguous."""
        made = torch.full((self.spoken.shape[0], count), self.silence)
        known = min(count, self.spoken.shape[1])
        made[:, :known] = self.spoken[:, :known]
        return made


class FeatureExtractor:
    """Makes log-mels as transformers' `WhisperFeatureExtractor` with the same settings does."""

    def __init__(self, extractor: Any) -> None:
        """`extractor`: transformers' own, for its settings. Raises ValueError for any that are not known here."""
        if extractor.sampling_rate != SAMPLE_RATE or extractor.dither or extractor.padding_value:
            raise ValueError("the feature extractor resamples, dithers or pads otherwise than Whisper's")
        self.window_samples: int = extractor.n_samples
        self.mels: int = extractor.feature_size
        self.hop: int = extractor.hop_length
        self._size: int = extractor.n_fft
        self._filters = torch.from_numpy(extractor.mel_filters).to(torch.float32).T
        self._hann = torch.hann_window(self._size)

    @torch.inference_mode()
    def log_mels(self, samples: npt.NDArray[np.int16]) -> LogMels:
        """Of 16 kHz samples; what goes beyond the window is cut off."""
        audio = samples[: self.window_samples].astype(np.float32) / np.float32(32768)
        most = self.window_samples // self.hop
        # A frame reaches half its size to both sides: after these there is nothing but silence.
        count = min(most, -(-(len(audio) + self._size // 2) // self.hop) + 1)
        # The end is mirrored, too: as far away as it takes for these frames not to see it.
        padded = np.zeros(min(self.window_samples, count * self.hop + self._size), np.float32)
        padded[: len(audio)] = audio
        logs = self._energies(torch.from_numpy(padded))[:, :count].clamp(min=_FLOOR).log10()
        floor = torch.tensor(_FLOOR).log10()
        least = (logs.max() if count == most else torch.maximum(logs.max(), floor)) - _RANGE
        return LogMels((torch.maximum(logs, least) + 4.0) / 4.0, float((torch.maximum(floor, least) + 4.0) / 4.0))

    def _energies(self, audio: Tensor) -> Tensor:
        """Of each mel in each frame."""
        spectrum = torch.stft(audio, self._size, self.hop, window=self._hann, return_complex=True)
        return self._filters @ (spectrum[..., :-1].abs() ** 2).contiguous()
