"""A real Home Assistant core in a process of its own, with a made-up home in it.

    core = HomeAssistantCore.start(python, tmp_path)         # an interpreter that has Home Assistant; a few seconds
    core.furnish(demo_house())                               # any home, at any time: floors, areas, devices, exposure
    async with core.connect() as link:                       # see link.py: WebSocket and HTTP, with the owner's token
        before = await link.states()
        await link.call("conversation/process", text="Allume la cuisine.", language="fr")
        changes = changed(before, await link.states())
    core.restart(); core.stop()

In tests take the fixture `home_assistant` (one core per release and test session, furnished with the demo's home
before each test; its log must hold nothing unexpected after it) or `fresh_home_assistant` (to be broken). They run once
for each interpreter of `interpreters()`: those in `HA_PYTHON` (separated by colons), else those that `script/setup-ha`
made. Mark the module `home_assistant` and give it `pytest.mark.timeout(600)`: the first test waits for the start.

    core.url, core.token, core.version                       # for whoever connects by himself
    core.log_lines()                                         # warnings and errors since the start, or since core.mark()
    core.expected.append("part of a log line")               # what a test brings about on purpose
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.conftest import free_port
from tests.home_assistant.houses import House, demo_house
from tests.home_assistant.link import Link, Refused

START_S = 180.0
STOP_S = 60.0
HERE = Path(__file__).parent
ROOT = HERE.parent.parent

_DATED = re.compile(r"^(?:\x1b\[[0-9;]*m)?\d{4}-\d\d-\d\d \S+ ([A-Z]+) \(")
_EXPECTED = (
    "We found a custom integration fake_home",
    "Skipping pip installation",
    # Audio that was on its way when a run ended.
    "Received binary message for non-existing handler",
    # No faster compression.
    "[aiohttp_fast_zlib]",
)
"""What the log holds by reason of how the tests run Home Assistant."""


def interpreters() -> list[Path]:
    """Those with a Home Assistant: of `HA_PYTHON`, else of the environments that `script/setup-ha` made here."""
    named = os.environ.get("HA_PYTHON")
    if named:
        return [Path(one) for one in named.split(os.pathsep) if one]
    return sorted((ROOT / ".venv-ha").glob("*/bin/python"), reverse=True)


@dataclass
class HomeAssistantCore:
    """A running Home Assistant. Its configuration folder outlives `restart`."""

    python: Path
    folder: Path
    port: int
    version: str
    token: str = ""
    process: subprocess.Popen[bytes] | None = None
    expected: list[str] = field(default_factory=list)
    """Parts of log lines that the test at work brings about on purpose."""
    _marked: int = field(default=0, repr=False)

    # --- its life

    @classmethod
    def start(
        cls, python: Path, folder: Path, house: House | None = None, *, language: str = "fr"
    ) -> HomeAssistantCore:
        """Start a new one with this home (the demo's), an owner and a token; returns when it is running."""
        version = _version(python)
        core = cls(python, folder / "config", free_port(), version)
        core._write_configuration(house or demo_house(), language)
        core._launch()
        asyncio.run(core._move_in(language))
        return core

    def stop(self) -> None:
        """Stop as a service manager does; what it knows is on disk then."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise

    def restart(self) -> None:
        """Stop, and start again on the same configuration and port."""
        self.stop()
        self.start_again()

    def start_again(self) -> None:
        """Start after `stop`."""
        self._launch()
        asyncio.run(self._until_running())

    @property
    def is_new(self) -> bool:
        """Whether this is the newer of the two kinds that the contract tells apart."""
        return tuple(int(part) for part in self.version.split(".")[:2]) >= (2026, 5)

    # --- what others do with it

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Link]:
        """A connection with the owner's rights."""
        async with Link.open(self.url, self.token) as link:
            yield link

    def decoded(self, sound: bytes) -> bytes:
        """A reply in whatever format Home Assistant serves it (MP3 to browsers), as s16le mono at 16 kHz."""
        command = [
            _ffmpeg(self.python),
            "-loglevel",
            "error",
            "-i",
            "-",
            "-f",
            "s16le",
            "-ac",
            "1",
            "-ar",
            "16000",
            "-",
        ]
        return subprocess.run(command, input=sound, check=True, capture_output=True).stdout

    def furnish(self, house: House) -> None:
        """Replace the whole home; everything in it is as new. Not from within a running event loop: see `refurnish`."""
        asyncio.run(self._furnish(house))

    async def refurnish(self, house: House) -> None:
        """As `furnish`, from a coroutine."""
        await self._furnish(house)

    # --- its log

    @property
    def log(self) -> Path:
        return self.folder.parent / "home-assistant.log"

    def mark(self) -> None:
        """`log_lines` begins here from now on."""
        self._marked = self.log.stat().st_size

    def log_lines(self) -> list[str]:
        """Warnings and errors, without those that the way it is run here brings along."""
        text = self.log.read_bytes()[self._marked :].decode(errors="replace")
        return [record for record in _records(text) if not any(one in record for one in (*_EXPECTED, *self.expected))]

    # ---

    def _write_configuration(self, house: House, language: str) -> None:
        component = self.folder / "custom_components" / "fake_home"
        component.mkdir(parents=True)
        for source in (HERE / "fake_home").iterdir():
            if source.is_file():
                (component / source.name).write_bytes(source.read_bytes())
        for domain in _fake_domains():
            (component / f"{domain}.py").write_text(_PLATFORM.replace("DOMAIN", domain))
        settings = (
            yaml.safe_dump(_configuration(self.port, language, _ffmpeg(self.python)))
            + "script: !include scripts.yaml\n"
        )
        (self.folder / "configuration.yaml").write_text(settings)
        (self.folder / ".storage").mkdir()
        steps = {"done": ["core_config", "analytics", "integration"]}  # those would ask the network
        onboarding = {"version": 4, "minor_version": 1, "key": "onboarding", "data": steps}
        (self.folder / ".storage" / "onboarding").write_text(json.dumps(onboarding))
        self._write_house(house)

    def _write_house(self, house: House) -> None:
        devices = [dict(device) for device in house["devices"]]
        satellites = house.get("satellites", {})
        home = {"floors": house["floors"], "areas": house["areas"], "devices": devices, "satellites": satellites}
        (self.folder / "home.json").write_text(json.dumps(home, default=str))
        scripts = {
            device["id"].partition(".")[2]: {
                "alias": device["name"],
                "sequence": device.get("action", [{"event": "fake_home_script"}]),
            }
            for device in devices
            if device["id"].startswith("script.")
        }
        (self.folder / "scripts.yaml").write_text(yaml.safe_dump(scripts))

    def _launch(self) -> None:
        command = [self.python, HERE / "run_core.py", "--config", self.folder]
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)

    async def _move_in(self, language: str) -> None:
        """Make the owner's account, as a browser would, and a token that lasts."""
        async with aiohttp.ClientSession(self.url) as http:
            await self._until_answering(http)
            client = f"{self.url}/"
            owner = {"name": "Owner", "username": "owner", "password": "owner-of-a-fake-home"}
            owner |= {"client_id": client, "language": language}
            async with http.post("/api/onboarding/users", json=owner) as got:
                got.raise_for_status()
                code = (await got.json())["auth_code"]
            form = {"client_id": client, "grant_type": "authorization_code", "code": code}
            async with http.post("/auth/token", data=form) as got:
                got.raise_for_status()
                token = (await got.json())["access_token"]
        async with Link.open(self.url, token) as link:
            self.token = await link.call("auth/long_lived_access_token", client_name="tests", lifespan=365)
        await self._until_running()
        await self._keep_address()
        await self._furnish(json.loads((self.folder / "home.json").read_text()))

    async def _keep_address(self) -> None:
        """Newer releases go back to their usual port after five minutes unless the owner says that it may stay."""
        async with self.connect() as link:
            with contextlib.suppress(Refused):  # none is on trial, or it is not known at all
                await link.call("http/config/promote")

    async def _until_running(self) -> None:
        async with aiohttp.ClientSession(self.url) as http:
            await self._until_answering(http)
        async with self.connect() as link:
            await link.until_running(START_S)

    async def _until_answering(self, http: aiohttp.ClientSession) -> None:
        """Its port is all that tells, from outside, how far a starting Home Assistant is."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with http.get("/api/onboarding") as got:
                    if got.status in (200, 401, 404):
                        return
            await asyncio.sleep(0.1)
        raise RuntimeError(f"Home Assistant does not answer:\n{self.log.read_text()[-4000:]}")

    async def _furnish(self, house: House) -> None:
        self._write_house(house)
        async with self.connect() as link:
            await link.service("script", "reload")
            [entry] = await link.call("config_entries/get", domain="fake_home")
            await link.post(f"/api/config/config_entries/entry/{entry['entry_id']}/reload")


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The states (with attributes) that differ, by entity id: as they are after; None for one that is gone."""
    return {one: after.get(one) for one in before.keys() | after.keys() if before.get(one) != after.get(one)}


def _records(log: str) -> list[str]:
    """Warnings, errors, and whatever else was written that is no record of the log, each with the lines after it."""
    records: list[str] = []
    keep = True
    for line in log.splitlines():
        if dated := _DATED.match(line):
            keep = dated[1] in ("WARNING", "ERROR", "CRITICAL")
            records += [line] if keep else []
        elif keep and records:
            records[-1] += "\n" + line
        elif keep:
            records.append(line)
    return records


def _version(python: Path) -> str:
    command = [python, "-c", "from importlib.metadata import version; print(version('homeassistant'))"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _ffmpeg(python: Path) -> str:
    """The program that Home Assistant converts speech with: the machine's, else one in its environment."""
    command = [python, "-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"]
    found = shutil.which("ffmpeg")
    return found or subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _fake_domains() -> list[str]:
    text = (HERE / "fake_home" / "entities.py").read_text()
    return re.findall(r'^    "(\w+)": Fake', text, re.MULTILINE)


_PLATFORM = '''"""The made-up home's entities of this domain."""

from .entities import entities_of


async def async_setup_entry(hass, entry, async_add_entities):
    async_add_entities(entities_of(entry.runtime_data, "DOMAIN"))
'''


def _configuration(port: int, language: str, ffmpeg: str) -> dict[str, Any]:
    integrations: dict[str, Any] = dict.fromkeys(
        (
            "api", "assist_pipeline", "automation", "config", "conversation", "fake_home", "media_source", "network",
            "onboarding", "stt", "system_log", "tts", "wake_word", "websocket_api", "zeroconf",
        )
    )  # fmt: skip
    home = {
        "name": "Maison",
        "language": language,
        "country": "FR",
        "time_zone": "Europe/Paris",
        "unit_system": "metric",
        "currency": "EUR",
        "latitude": 48.85,
        "longitude": 2.35,
        "elevation": 35,
        "internal_url": f"http://127.0.0.1:{port}",
    }
    levels = {"default": "warning", "logs": {"homeassistant.components.wyoming": "info"}}
    return {
        **integrations,
        "homeassistant": home,
        "ffmpeg": {"ffmpeg_bin": ffmpeg},
        "http": {"server_host": "127.0.0.1", "server_port": port},
        "logger": levels,
    }
