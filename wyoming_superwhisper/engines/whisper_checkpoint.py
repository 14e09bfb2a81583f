"""A Whisper checkpoint on the disk: its small files, and its weights as transformers loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wyoming_superwhisper import errors
from wyoming_superwhisper.engines.whisper_features import FeatureExtractor
from wyoming_superwhisper.engines.whisper_rules import Rules


class Checkpoint:
    """What the small files say; the weights are read only by `load`."""

    def __init__(self, folder: Path) -> None:
        """Read the small files. Raises `ModelError` for what is missing, damaged or contradicts itself."""
        self.folder = folder
        _check_files(folder)
        try:
            self._read()
        except Exception as error:  # damaged files raise all kinds
            raise self._unreadable(error) from error
        self.extractor = self._open_extractor()

    @property
    def window_frames(self) -> int:
        """Frames of log-mels in the model's window."""
        return 2 * int(self.config.max_source_positions)

    @property
    def parameters(self) -> int:
        """How many weights there are, by the size of their files."""
        size = sum(file.stat().st_size for file in self.folder.glob("model*.safetensors"))
        return size // (4 if self.is_single_precision else 2)

    @property
    def is_single_precision(self) -> bool:
        """Whether the weights are kept in 32 bits."""
        return "32" in str(self.config.dtype or "float32")

    def load(self, dtype: Any, device: str) -> Any:
        """The model in transformers. Raises `ModelError`."""
        from transformers import WhisperForConditionalGeneration

        try:
            model = WhisperForConditionalGeneration.from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, dtype=dtype, attn_implementation="sdpa"
            )
        except Exception as error:  # JSON, safetensors, sizes that don't fit
            raise self._unreadable(error) from error
        return model.to(device).eval()

    def _read(self) -> None:
        from transformers import GenerationConfig, WhisperConfig, WhisperProcessor
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        self.config = WhisperConfig.from_pretrained(self.folder, local_files_only=True)
        processor = WhisperProcessor.from_pretrained(self.folder, local_files_only=True)
        self.tokenizer: Any = processor.tokenizer
        self._theirs: Any = processor.feature_extractor
        if (self.folder / "generation_config.json").is_file():
            self.generation_config = GenerationConfig.from_pretrained(self.folder, local_files_only=True)
        else:
            self.generation_config = GenerationConfig.from_model_config(self.config)
        self.rules = Rules.read(self.config, self.generation_config, self.tokenizer)

    def _open_extractor(self) -> FeatureExtractor:
        try:
            extractor = FeatureExtractor(self._theirs)
        except ValueError as error:
            raise errors.ModelError(f"{self.folder}: {error}") from error
        window = (self.window_frames * extractor.hop, self.config.num_mel_bins)
        if window != (extractor.window_samples, extractor.mels):
            raise errors.ModelError(f"{self.folder}: the feature extractor's window or mels are not the model's")
        return extractor

    def _unreadable(self, error: Exception) -> errors.ModelError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return errors.ModelError(f"cannot load the Whisper model in {self.folder}: {reason}")


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise errors.ModelError(f"no Whisper model in {folder}: fetch it with `wyoming-superwhisper models download`")
    if not (folder / "config.json").is_file():
        raise errors.ModelError(f"{folder} is no Whisper model: it has no config.json")
    if not any(folder.glob("model*.safetensors")):
        raise errors.ModelError(f"{folder} has no model.safetensors (other formats of weights are not loaded)")
