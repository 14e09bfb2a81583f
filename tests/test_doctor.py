"""Each line of the doctor is proven by breaking the thing it looks at."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import fill_disk
from tests.models.test_store import SIWIS, SMALL, install, install_voice
from tests.models.tiny_models import whisper_files
from wyoming_superwhisper import gpu
from wyoming_superwhisper.config.loader import load, parse_assignment
from wyoming_superwhisper.config.settings import AsrSettings, LlmSettings, ServerSettings, Settings, TtsSettings
from wyoming_superwhisper.doctor import cards, examination, machine, network, probe, sound, start
from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.doctor.probe import ProbeResult
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.models.store import ModelStore

CARD = gpu.Card(0, "GPU-1", "NVIDIA GeForce RTX 3090", 24576, 20000)
SURVEY = gpu.Survey((CARD,), "580.1", "13.0")
CUDA = gpu.Builds("12.8", llama_cuda=True)
ON_CARD = gpu.choose("auto", SURVEY, CUDA)
ON_CPU = gpu.choose("cpu", SURVEY, CUDA)


def states(findings: Iterable[Finding]) -> list[State]:
    return [finding.state for finding in findings]


def only(findings: Iterable[Finding]) -> Finding:
    [finding] = findings
    return finding


def says(**facts: Any) -> probe.Probe:
    return lambda code, environment: ProbeResult(facts)


def breaks(problem: str) -> probe.Probe:
    return lambda code, environment: ProbeResult(None, problem)


def test_every_problem_says_what_to_do(tmp_path: Path) -> None:
    broken = [
        *machine.check_python((3, 9), "python"),
        *machine.check_packages(lambda _: None),
        *cards.check_choice("RTX 4090", SURVEY, CUDA),
        *cards.check_torch(breaks("no module"), ON_CARD),
        *cards.check_llama(breaks("no module"), ON_CARD),
        *start.check_models(Settings(), ModelStore(tmp_path)),
    ]
    assert set(states(broken)) == {State.PROBLEM}
    assert all(finding.remedy for finding in broken)


def test_an_old_python() -> None:
    assert only(machine.check_python((3, 10), "python")).state is State.PROBLEM
    assert only(machine.check_python((3, 11), "python")).state is State.OK


def test_a_missing_package() -> None:
    findings = list(machine.check_packages({name: "1.0" for name in machine.SERVER_PACKAGES if name != "torch"}.get))
    assert states(findings) == [State.OK, State.PROBLEM]
    assert findings[1].text == "missing: torch"
    assert probe.installed_version("pytest") == pytest.__version__
    assert probe.installed_version("no-such-package") is None


def test_no_card_and_no_driver() -> None:
    finding = only(cards.check_cards(gpu.Survey(problem="the driver does not answer")))
    assert finding.state is State.NOTE
    assert "driver does not answer" in finding.text


def test_the_table_of_cards_names_memory_and_driver() -> None:
    card, driver = cards.check_cards(SURVEY)
    assert card.text == "0: NVIDIA GeForce RTX 3090, 20000 of 24576 MiB free, GPU-1"
    assert "580.1" in driver.text
    assert "13.0" in driver.text


def test_a_card_that_is_not_there_and_one_that_nothing_can_use() -> None:
    finding = only(cards.check_choice("RTX 4090", SURVEY, CUDA))
    assert finding.state is State.PROBLEM
    assert "RTX 3090" in finding.text
    assert only(cards.check_choice("auto", SURVEY, gpu.Builds())).state is State.PROBLEM
    assert states(cards.check_choice("auto", SURVEY, gpu.Builds("12.8"))) == [State.OK, State.NOTE]
    assert only(cards.check_choice("cpu", SURVEY, gpu.Builds())).state is State.OK
    assert only(cards.check_choice("auto", gpu.Survey(problem="none"), gpu.Builds())).state is State.OK


def test_torch_that_does_not_load_or_cannot_use_the_card_or_sees_another() -> None:
    facts = {"version": "2.13", "cuda": "12.8", "works": True, "device": CARD.name}
    assert only(cards.check_torch(says(**facts), ON_CARD)).state is State.OK
    assert "no module named torch" in only(cards.check_torch(breaks("no module named torch"), ON_CARD)).text
    lost = only(cards.check_torch(says(**facts | {"works": False, "device": ""}), ON_CARD))
    assert lost.state is State.PROBLEM
    assert "driver" in lost.remedy
    other = only(cards.check_torch(says(**facts | {"device": "GTX 1050"}), ON_CARD))
    assert other.state is State.PROBLEM
    assert "GTX 1050 instead of" in other.text
    assert only(cards.check_torch(says(**facts | {"works": False}), ON_CPU)).state is State.OK


def test_torch_and_llama_are_asked_with_the_card_that_was_chosen() -> None:
    seen: list[Mapping[str, str]] = []

    def probe(code: str, environment: Mapping[str, str]) -> ProbeResult:
        seen.append(environment)
        return ProbeResult({"version": "1", "cuda": "", "works": False, "device": ""})

    list(cards.check_torch(probe, ON_CARD))
    list(cards.check_llama(probe, ON_CPU))
    assert [one["CUDA_VISIBLE_DEVICES"] for one in seen] == ["GPU-1", ""]


def test_llama_without_cuda_on_a_machine_with_a_card() -> None:
    assert only(cards.check_llama(says(version="0.3", cuda=False), ON_CARD)).state is State.PROBLEM
    assert only(cards.check_llama(says(version="0.3", cuda=True), ON_CARD)).state is State.OK
    assert only(cards.check_llama(says(version="0.3", cuda=False), ON_CPU)).state is State.OK


def test_a_model_that_is_missing_and_one_that_is_broken(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    settings = Settings(asr=AsrSettings(model=SMALL), llm=LlmSettings(model="off"), tts=TtsSettings(voices=(SIWIS,)))
    recognition, llm, voices = start.check_models(settings, store)
    assert (recognition.state, llm.state, voices.state) == (State.PROBLEM, State.NOTE, State.PROBLEM)
    assert recognition.remedy.startswith(f"run: wyoming-superwhisper models download {SMALL}")
    folder = install(store, SMALL, whisper_files())
    install_voice(store)
    assert [one.state for one in start.check_models(settings, store)] == [State.OK, State.NOTE, State.OK]
    (folder / "model.safetensors").write_bytes(b"x" * (folder / "model.safetensors").stat().st_size)
    assert next(iter(start.check_models(settings, store))).state is State.PROBLEM


DEMO = load(Settings, "demo", {})


def test_what_would_stop_the_start_is_found_without_starting(tmp_path: Path) -> None:
    assert only(start.check_start(DEMO)).state is State.OK
    recordings = replace(DEMO, record=replace(DEMO.record, dir=str(tmp_path / "made" / "later")))
    assert only(start.check_start(recordings)).state is State.OK
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("asr.languages", "[fr,xx]", "does not know xx"),
        ("wake.words", "[computer]", "no wake word 'computer'"),
        ("tts.voice", "fr_FR-siwis-medium", "the voices here are: en_US-demo-medium"),
        ("server.tls.certificate", "/nowhere.pem", "/nowhere.pem can't be read"),
        ("record.dir", "/proc/recordings", "/proc/recordings can't be written to"),
        ("record.dir", __file__, "can't be written to: Not a directory"),
    ],
)
def test_each_thing_that_would_stop_the_start(key: str, value: str, says: str) -> None:
    broken = load(Settings, "demo", {}, [parse_assignment(f"{key}={value}")])
    finding = only(start.check_start(broken))
    assert finding.state is State.PROBLEM
    assert says in finding.text


def test_a_folder_that_cannot_be_written() -> None:
    finding = only(machine.check_disk(Path("/proc/models")))  # not even by root
    assert finding.state is State.PROBLEM
    assert "can't be written to" in finding.text


def test_a_disk_with_no_room_left(small_disk: Path) -> None:
    (small_disk / "models").mkdir()
    assert only(machine.check_disk(small_disk / "models")).state is State.NOTE
    fill_disk(small_disk / "filler")
    finding = only(machine.check_disk(small_disk / "models"))
    assert finding.state is State.PROBLEM
    assert "no space left on device" in finding.text


def test_the_model_folder_is_shown_with_its_room(tmp_path: Path) -> None:
    finding = only(machine.check_disk(tmp_path / "not" / "yet"))
    assert finding.state is State.OK
    assert "GB free" in finding.text


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        uri = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        taken = only(network.check_uri("metrics.listen", uri))
    assert taken.state is State.PROBLEM
    assert "address already in use" in taken.text
    assert "ss -ltnp" in taken.remedy
    assert only(network.check_uri("metrics.listen", uri)).state is State.OK


def test_a_socket_file_whose_folder_is_missing_and_one_that_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert only(network.check_uri("server.uri", f"unix://{path}")).state is State.OK
    assert "no such file" in only(network.check_uri("server.uri", f"unix://{tmp_path}/not/there/s")).text
    with socket.socket(socket.AF_UNIX) as holder:
        holder.bind(str(path))
        holder.listen(1)
        assert "already in use" in only(network.check_uri("metrics.listen", f"unix://{path}")).text
    assert only(network.check_uri("server.uri", f"unix://{path}")).state is State.OK, "nobody listens there any more"
    (tmp_path / "file").touch()
    finding = only(network.check_uri("server.uri", f"unix://{tmp_path / 'file'}"))
    assert (finding.state, finding.remedy) == (State.PROBLEM, "set server.uri to another")


def test_an_address_that_is_not_of_this_machine() -> None:
    for key in ("server.uri", "metrics.listen"):
        finding = only(network.check_uri(key, "tcp://203.0.113.9:80"))
        assert finding.state is State.PROBLEM
        assert "ss -ltnp" not in finding.remedy, "nobody holds it"


def test_a_machine_without_a_network() -> None:
    assert only(network.check_network(Settings(), addresses=[])).state is State.NOTE
    assert "192.168.1.5" in only(network.check_network(Settings(), addresses=["192.168.1.5"])).text
    quiet = Settings(server=replace(ServerSettings(), zeroconf=False))
    assert list(network.check_network(quiet, addresses=[])) == []


def test_too_few_open_files() -> None:
    assert only(machine.check_files(256)).state is State.NOTE
    assert list(machine.check_files(65536)) == []


def test_no_sound_devices() -> None:
    missing = only(sound.check_sound(breaks("PortAudio library not found")))
    assert missing.state is State.NOTE
    assert "libportaudio2" in missing.remedy
    assert states(sound.check_sound(says(inputs=[], outputs=[]))) == [State.NOTE, State.NOTE]
    assert states(sound.check_sound(says(inputs=["mic"], outputs=["box"]))) == [State.OK, State.OK]


def test_wrong_settings_are_a_finding_and_the_rest_is_looked_at_with_the_defaults() -> None:
    def broken() -> Settings:
        raise SettingsError("mine.yaml, line 3: there is no setting asr.modle")

    settings, finding = examination.check_settings(broken)
    assert settings == Settings()
    assert finding.state is State.PROBLEM
    assert "line 3" in finding.text


def test_a_probe_runs_in_a_process_of_its_own_and_says_how_it_failed() -> None:
    assert probe.run_probe("print('noise'); print('{\"pid\": 1}')", {}).facts == {"pid": 1}
    assert probe.run_probe("import os; print('\"' + os.environ['X'] + '\"')", {"X": "y"}).facts == "y"
    assert (
        probe.run_probe("import no_such_module", {}).problem == "ModuleNotFoundError: No module named 'no_such_module'"
    )
    assert "status -6" in probe.run_probe("import os; os.abort()", {}).problem
    assert "status 0" in probe.run_probe("pass", {}).problem
