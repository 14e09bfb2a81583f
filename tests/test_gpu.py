from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tests.waiting import WAIT_S
from wyoming_superwhisper import gpu
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.gpu import Builds, Card, Survey

BIG = Card(1, "GPU-aaaa-1", "NVIDIA GeForce RTX 3090", 24576, 24000)
SMALL = Card(0, "GPU-bbbb-2", "NVIDIA GeForce GTX 1050 Ti", 4096, 4000)
BOTH = Survey((SMALL, BIG), "580.1", "13.0")
CUDA = Builds("12.8", llama_cuda=True)


class FakeNvmlError(Exception):
    pass


@dataclass
class FakeNvml:
    """What of pynvml is used, over cards of ours."""

    cards: list[Card] = field(default_factory=list)
    init_fails: bool = False
    as_bytes: bool = False
    lost: bool = False
    shut_down: int = 0
    NVMLError = FakeNvmlError

    def nvmlInit(self) -> None:  # noqa: N802
        if self.init_fails:
            raise FakeNvmlError("NVML Shared Library Not Found")

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.shut_down += 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:  # noqa: N802
        if self.lost:
            raise FakeNvmlError("GPU is lost")
        return self.cards[index]

    def nvmlDeviceGetName(self, card: Card) -> str | bytes:  # noqa: N802
        return card.name.encode() if self.as_bytes else card.name

    def nvmlDeviceGetUUID(self, card: Card) -> str | bytes:  # noqa: N802
        return card.uuid.encode() if self.as_bytes else card.uuid

    def nvmlDeviceGetMemoryInfo(self, card: Card) -> Any:  # noqa: N802
        return SimpleNamespace(total=card.memory_mb << 20, free=card.free_mb << 20)

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.1"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:  # noqa: N802
        return 13000


@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_survey_lists_cards_driver_and_cuda(as_bytes: bool) -> None:
    nvml = FakeNvml([SMALL, BIG], as_bytes=as_bytes)
    assert gpu.survey(nvml) == BOTH
    assert nvml.shut_down == 1


def test_a_machine_without_a_driver_has_no_cards_and_says_why() -> None:
    assert gpu.survey(FakeNvml(init_fails=True)) == Survey(
        problem="the NVIDIA driver does not answer (NVML Shared Library Not Found)"
    )
    assert gpu.survey(FakeNvml([])).problem == "the NVIDIA driver finds no card"
    lost = FakeNvml([BIG], lost=True)
    assert "GPU is lost" in gpu.survey(lost).problem
    assert lost.shut_down == 1


def test_auto_takes_the_largest_card() -> None:
    choice = gpu.choose("auto", BOTH, CUDA)
    assert choice.uuid == BIG.uuid
    assert choice.memory_mb == 24576
    assert "RTX 3090" in choice.reason
    assert "largest" in choice.reason


def test_auto_without_a_card_takes_the_cpu_and_says_so_in_one_line() -> None:
    choice = gpu.choose("auto", Survey(problem="the NVIDIA driver finds no card"), CUDA)
    assert choice.uuid == ""
    assert choice.device("whisper") == choice.device("llama") == "cpu"
    assert choice.reason == "the CPU: the NVIDIA driver finds no card"


@pytest.mark.parametrize("named", ["RTX 3090", "rtx 3090", "3090", "GPU-aaaa-1", "gpu-aaaa", "1", BIG.name])
def test_a_card_is_named_by_part_of_its_name_its_uuid_or_its_index(named: str) -> None:
    assert gpu.choose(named, BOTH, CUDA).uuid == BIG.uuid


def test_the_second_smaller_card_is_never_picked_for_the_named_one() -> None:
    with pytest.raises(SettingsError, match=r"no card here is called; found: 0: NVIDIA GeForce GTX 1050 Ti, 4096 MiB"):
        gpu.choose("RTX 3090", Survey((SMALL,)), CUDA)


def test_an_exact_name_is_preferred_to_its_longer_sisters() -> None:
    plain, ti = Card(0, "GPU-1", "RTX 3080", 10240, 1), Card(1, "GPU-2", "RTX 3080 Ti", 12288, 1)
    assert gpu.choose("RTX 3080", Survey((ti, plain)), CUDA).uuid == "GPU-1"
    with pytest.raises(SettingsError, match="fits several cards"):
        gpu.choose("RTX", Survey((ti, plain)), CUDA)


def test_of_two_equal_cards_the_first_is_taken() -> None:
    twins = Survey((Card(0, "GPU-1", "RTX 3090", 24576, 1), Card(1, "GPU-2", "RTX 3090", 24576, 1)))
    assert gpu.choose("3090", twins, CUDA).uuid == "GPU-1"
    assert gpu.choose("auto", twins, CUDA).uuid == "GPU-1"


def test_a_named_card_on_a_machine_without_one_is_an_error() -> None:
    with pytest.raises(
        SettingsError, match=r"gpu.device names 'RTX 3090', but there is no card: no driver; set gpu.device"
    ):
        gpu.choose("RTX 3090", Survey(problem="no driver"), CUDA)


def test_libraries_without_cuda_are_said_with_the_remedy() -> None:
    choice = gpu.choose("auto", BOTH, Builds())
    assert choice.uuid == ""
    assert "script/setup --cuda" in choice.reason
    with pytest.raises(SettingsError, match="torch that is installed has no CUDA"):
        gpu.choose("RTX 3090", BOTH, Builds())
    half = gpu.choose("auto", BOTH, Builds("12.8", llama_cuda=False))
    assert half.device("whisper") == "cuda"
    assert half.device("llama") == "cpu"
    assert "language model runs on the CPU" in half.notes[0]


def test_the_environment_of_a_worker_shows_it_exactly_one_card_or_none() -> None:
    choice = gpu.choose("auto", BOTH, Builds("12.8", llama_cuda=False))
    assert choice.environment("whisper") == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": BIG.uuid}
    assert choice.environment("llama")["CUDA_VISIBLE_DEVICES"] == ""
    assert choice.gpu_uuid("llama") == ""
    assert gpu.choose("cpu", BOTH, CUDA).environment("whisper")["CUDA_VISIBLE_DEVICES"] == ""


def test_neither_torch_nor_llama_cpp_is_imported() -> None:
    code = (
        "import sys; from wyoming_superwhisper import gpu; gpu.choose('auto'); "
        "print([name for name in ('torch', 'llama_cpp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=WAIT_S)
    assert done.stdout.strip() == "[]"


def test_builds_are_read_from_the_files_of_the_libraries(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch", "llama_cpp"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('must not be imported')")
    (tmp_path / "torch" / "version.py").write_text("__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\n")
    (tmp_path / "llama_cpp" / "lib").mkdir()
    (tmp_path / "llama_cpp" / "lib" / "libggml-cuda.so").touch()
    code = "from wyoming_superwhisper import gpu; print(gpu.installed_builds())"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT_S)
    assert done.stdout.strip() == "Builds(torch_cuda='13.0', llama_cuda=True)"
