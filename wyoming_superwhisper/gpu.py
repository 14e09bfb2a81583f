"""Which card the models run on: chosen through NVML by name, UUID or index, before anything loads CUDA.

Nothing here imports torch or llama_cpp: whether their installed builds can use CUDA is read from their files.
The choice reaches a worker as CUDA_DEVICE_ORDER and CUDA_VISIBLE_DEVICES in its environment.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.observer import CardFigures

logger = logging.getLogger(__name__)

CPU_WORDS = frozenset({"cpu", "none", "off"})
"""Values of `gpu.device` that mean: no card."""

_REINSTALL = "run script/setup --cuda"


@dataclass(frozen=True, slots=True)
class Card:
    """An NVIDIA card as NVML describes it."""

    index: int
    uuid: str
    name: str
    memory_mb: int
    """All its memory, in MiB."""
    free_mb: int
    """Memory that nobody uses just now, in MiB."""

    def __str__(self) -> str:
        return f"{self.index}: {self.name}, {self.memory_mb} MiB, {self.uuid}"


@dataclass(frozen=True, slots=True)
class Survey:
    """What NVML says of this machine; no cards where there is no NVML."""

    cards: tuple[Card, ...] = ()
    driver: str = ""
    """Version of the driver."""
    cuda: str = ""
    """Newest CUDA version the driver runs ("12.8")."""
    problem: str = ""
    """Why there are no cards, in words."""


@dataclass(frozen=True, slots=True)
class Builds:
    """Which CUDA the installed libraries were built for."""

    torch_cuda: str = ""
    """CUDA version of torch; empty: a CPU build, or no torch."""
    llama_cuda: bool = False
    """Whether llama.cpp was built with CUDA."""

    def supports(self, engine: str) -> bool:
        """Whether this engine's library can use a card at all."""
        return {"whisper": bool(self.torch_cuda), "llama": self.llama_cuda}.get(engine, True)


@dataclass(frozen=True, slots=True)
class GpuChoice:
    """The card that was chosen, or the CPU (`uuid` empty), and why."""

    reason: str
    """One sentence for the log."""
    uuid: str = ""
    name: str = "CPU"
    index: int = -1
    memory_mb: int = 0
    builds: Builds = Builds()
    notes: tuple[str, ...] = ()
    """What the owner should know besides: an engine that falls back to the CPU."""

    def device(self, engine: str) -> str:
        """ "cuda" or "cpu" for the worker of this name."""
        return "cuda" if self.uuid and self.builds.supports(engine) else "cpu"

    def gpu_uuid(self, engine: str) -> str:
        """The UUID that the worker must find itself on; "" on the CPU."""
        return self.uuid if self.device(engine) == "cuda" else ""

    def environment(self, engine: str) -> dict[str, str]:
        """What the worker's environment must hold before it starts."""
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": self.gpu_uuid(engine)}


def survey(nvml: Any = None) -> Survey:
    """Ask NVML for the cards; `nvml` is pynvml or something like it. Never raises."""
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return Survey(problem="the package nvidia-ml-py is not installed")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Survey(problem=f"the NVIDIA driver does not answer ({error})")
    try:
        count = nvml.nvmlDeviceGetCount()
        cards = tuple(_card(nvml, index) for index in range(count))
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        version = nvml.nvmlSystemGetCudaDriverVersion_v2()
    except nvml.NVMLError as error:
        return Survey(problem=f"the NVIDIA driver fails ({error})")
    finally:
        nvml.nvmlShutdown()
    problem = "" if cards else "the NVIDIA driver finds no card"
    return Survey(cards, driver, f"{version // 1000}.{version % 1000 // 10}", problem)


class CardWatch:
    """Reads how a card is and what each process takes of it. Never raises; call it in a thread.

    A card that doesn't answer is said once, and asked again each time.
    """

    def __init__(self, uuid: str, nvml: Any = None) -> None:
        self._uuid = uuid
        self._nvml = nvml
        self._open = False
        self._silent = False

    def read(self) -> tuple[CardFigures | None, dict[int, int]]:
        """Its figures, None where it is silent, and the bytes of video memory by process."""
        try:
            figures, by_pid = self._read()
        except Exception as error:  # NVML's own errors have no common base that can be named without importing it
            if not self._silent:
                logger.warning("the graphics card can't be watched: %s", error)
            self._silent = True
            self.close()
            return None, {}
        if self._silent:
            logger.info("the graphics card answers again")
        self._silent = False
        return figures, by_pid

    def close(self) -> None:
        """Let go of the driver. May be called twice."""
        if self._open:
            self._open = False
            with contextlib.suppress(Exception):
                self._nvml.nvmlShutdown()

    def _read(self) -> tuple[CardFigures, dict[int, int]]:
        if self._nvml is None:
            self._nvml = importlib.import_module("pynvml")
        nvml = self._nvml
        if not self._open:
            nvml.nvmlInit()
            self._open = True
        handle = nvml.nvmlDeviceGetHandleByUUID(self._uuid)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        figures = CardFigures(
            utilization=nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
            temperature_c=nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            memory_used_bytes=memory.used,
            memory_total_bytes=memory.total,
        )
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        # Where the driver may not say (some containers, Windows), it gives None.
        return figures, {one.pid: one.usedGpuMemory for one in processes if one.usedGpuMemory}


def installed_builds() -> Builds:
    """Read from the files of torch and llama_cpp whether they were built for CUDA; imports neither."""
    return Builds(_torch_cuda(), _llama_cuda())


def choose(device: str, found: Survey | None = None, builds: Builds | None = None) -> GpuChoice:
    """The card for a value of `gpu.device`, among those NVML finds and the installed libraries can use.

    `auto` takes the largest card, else the CPU. Raises `SettingsError` when a card is named that isn't there, or
    that the installed torch can't use; the sentence names the cards that were found.
    """
    wanted = device.strip()
    if wanted.lower() in CPU_WORDS:
        return GpuChoice("the CPU, as gpu.device says")
    found = survey() if found is None else found
    builds = installed_builds() if builds is None else builds
    if wanted.lower() in ("", "auto"):
        return _choose_largest(found, builds)
    card, why = _named(wanted, found)
    if not builds.torch_cuda:
        raise SettingsError(
            f"gpu.device names {wanted!r} ({card.name}), but the torch that is installed has no CUDA: {_REINSTALL}, "
            "or set gpu.device to cpu"
        )
    return _chosen(card, why, builds)


def _choose_largest(found: Survey, builds: Builds) -> GpuChoice:
    if not found.cards:
        return GpuChoice(f"the CPU: {found.problem or 'no NVIDIA card was found'}")
    card = max(found.cards, key=lambda card: (card.memory_mb, -card.index))
    if not builds.torch_cuda and not builds.llama_cuda:
        return GpuChoice(
            f"the CPU: there is a card ({card.name}), but torch and llama.cpp are installed without CUDA; {_REINSTALL}"
        )
    return _chosen(card, "the only card" if len(found.cards) == 1 else "the largest card", builds)


def _chosen(card: Card, why: str, builds: Builds) -> GpuChoice:
    notes = []
    if not builds.torch_cuda:
        notes.append(f"speech recognition runs on the CPU: torch is installed without CUDA; {_REINSTALL}")
    if not builds.llama_cuda:
        notes.append(f"the language model runs on the CPU: llama.cpp is installed without CUDA; {_REINSTALL}")
    reason = f"{card.name} ({card.memory_mb} MiB, {card.uuid}): {why}"
    return GpuChoice(reason, card.uuid, card.name, card.index, card.memory_mb, builds, tuple(notes))


def _named(wanted: str, found: Survey) -> tuple[Card, str]:
    if not found.cards:
        raise SettingsError(
            f"gpu.device names {wanted!r}, but there is no card: {found.problem or 'none was found'}; "
            "set gpu.device to auto or cpu to run without one"
        )
    if wanted.isdigit() and int(wanted) < len(found.cards):
        return next(card for card in found.cards if card.index == int(wanted)), f"index {wanted} in gpu.device"
    by_uuid = [card for card in found.cards if card.uuid.lower().startswith(wanted.lower())]
    if by_uuid and wanted.lower().startswith("gpu-"):
        return _only(wanted, by_uuid), "its UUID in gpu.device"
    by_name = [card for card in found.cards if wanted.lower() in card.name.lower()]
    # "RTX 3080" means the 3080 where there is a 3080 Ti as well.
    exact = [card for card in by_name if re.search(rf"{re.escape(wanted)}\Z", card.name, re.IGNORECASE)]
    if not by_name:
        raise SettingsError(f"gpu.device is {wanted!r}, which no card here is called; found: {_list(found.cards)}")
    return _only(wanted, exact or by_name), f"{wanted!r} in gpu.device"


def _only(wanted: str, cards: Sequence[Card]) -> Card:
    """The one card meant; of several of the very same kind the first. Raises `SettingsError` if kinds differ."""
    if len({card.name for card in cards}) > 1:
        raise SettingsError(
            f"gpu.device is {wanted!r}, which fits several cards: {_list(cards)}; name one more exactly"
        )
    return cards[0]


def _list(cards: Sequence[Card]) -> str:
    return "; ".join(map(str, cards))


def _card(nvml: Any, index: int) -> Card:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name, uuid = _text(nvml.nvmlDeviceGetName(handle)), _text(nvml.nvmlDeviceGetUUID(handle))
    return Card(index, uuid, name, memory.total >> 20, memory.free >> 20)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _torch_cuda() -> str:
    folder = _folder("torch")
    try:
        text = (folder / "version.py").read_text(encoding="utf-8") if folder else ""
    except OSError:
        return ""
    match = re.search(r"^cuda\b[^=]*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return match.group(1) if match else ""


def _llama_cuda() -> bool:
    folder = _folder("llama_cpp")
    return folder is not None and any(folder.glob("lib/*ggml-cuda*"))
