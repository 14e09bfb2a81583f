"""The graphics cards, which is chosen, and whether the libraries can use it."""

from __future__ import annotations

from collections.abc import Iterator

from wyoming_superwhisper import gpu
from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.doctor.probe import Probe
from wyoming_superwhisper.errors import SettingsError


def check_cards(survey: gpu.Survey) -> Iterator[Finding]:
    """Every card, its memory and its driver."""
    if not survey.cards:
        yield Finding("Cards", State.NOTE, f"none: {survey.problem}", "fine without one, only slower")
    for card in survey.cards:
        free = f"{card.free_mb} of {card.memory_mb} MiB free"
        yield Finding("Card", State.OK, f"{card.index}: {card.name}, {free}, {card.uuid}")
    if survey.driver:
        yield Finding("Driver", State.OK, f"{survey.driver}, up to CUDA {survey.cuda}")


def check_choice(device: str, survey: gpu.Survey, builds: gpu.Builds) -> Iterator[Finding]:
    """Which card will be used, and why."""
    try:
        choice = gpu.choose(device, survey, builds)
    except SettingsError as error:
        yield Finding("Will use", State.PROBLEM, str(error), "set gpu.device to auto, cpu or one of the cards above")
        return
    unused = bool(survey.cards) and not choice.uuid and device not in gpu.CPU_WORDS
    yield Finding("Will use", State.PROBLEM if unused else State.OK, choice.reason)
    for note in choice.notes:
        yield Finding("Will use", State.NOTE, note)


_TORCH = """
import json, torch
works = torch.cuda.is_available()
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda or "", "works": works,
                  "device": torch.cuda.get_device_name(0) if works else ""}))
"""

_LLAMA = """
import json, llama_cpp
print(json.dumps({"version": llama_cpp.__version__, "cuda": bool(llama_cpp.llama_supports_gpu_offload())}))
"""


def check_torch(probe: Probe, choice: gpu.GpuChoice | None) -> Iterator[Finding]:
    """Whether torch loads, and computes on the card that was chosen."""
    result = probe(_TORCH, choice.environment("whisper") if choice else {})
    facts = result.facts
    if facts is None:
        yield Finding("torch", State.PROBLEM, f"can't be loaded: {result.problem}", "script/setup")
    elif choice is None or choice.device("whisper") == "cpu":
        build = f"built for CUDA {facts['cuda']}" if facts["cuda"] else "CPU build"
        yield Finding("torch", State.OK, f"{facts['version']}, {build}; recognition runs on the CPU")
    elif not facts["works"]:
        yield Finding(
            "torch", State.PROBLEM, f"{facts['version']} for CUDA {facts['cuda']} can't use {choice.name}",
            "update the driver (nvidia-smi shows what CUDA it supports), or script/setup --cuda; or gpu.device: cpu",
        )  # fmt: skip
    elif facts["device"] != choice.name:
        yield Finding(
            "torch", State.PROBLEM, f"sees {facts['device']} instead of {choice.name}", "name the card by its UUID"
        )
    else:
        yield Finding("torch", State.OK, f"{facts['version']}, CUDA {facts['cuda']} works on {facts['device']}")


def check_llama(probe: Probe, choice: gpu.GpuChoice | None) -> Iterator[Finding]:
    """Whether llama.cpp loads, and can use a card."""
    result = probe(_LLAMA, choice.environment("llama") if choice else {})
    facts = result.facts
    if facts is None:
        yield Finding("llama.cpp", State.PROBLEM, f"can't be loaded: {result.problem}", "script/setup")
        return
    text = f"llama-cpp-python {facts['version']}, {'CUDA build' if facts['cuda'] else 'CPU build'}"
    if choice is not None and choice.uuid and not facts["cuda"]:
        yield Finding("llama.cpp", State.PROBLEM, f"{text}: the language model runs on the CPU", "script/setup --cuda")
    else:
        yield Finding("llama.cpp", State.OK, text)
