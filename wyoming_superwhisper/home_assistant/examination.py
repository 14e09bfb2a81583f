"""What the doctor says of the Home Assistant that the settings name, and of its way to us.

Facts are gathered over the same API as the link's; each check yields findings from what it is handed, so that a test
can hand it something broken. What can't be known from here is said to be unknown: Home Assistant tells nobody at which
address it calls a Wyoming server.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import stat
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wyoming_superwhisper import client as wyoming_client
from wyoming_superwhisper import discovery
from wyoming_superwhisper.access import AllowList
from wyoming_superwhisper.config.settings import HomeSettings, Settings
from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.errors import SettingsError, SuperwhisperError
from wyoming_superwhisper.home import domain_of, fold
from wyoming_superwhisper.home_assistant.client import Client, Connection
from wyoming_superwhisper.home_assistant.errors import HomeAssistantError, RequestFailed, RightsMissing, TokenRefused
from wyoming_superwhisper.home_assistant.names import clean, home_from
from wyoming_superwhisper.home_assistant.registries import MOST_DEVICES, Registries, RegistryReader
from wyoming_superwhisper.home_assistant.states import States

OLDEST_TESTED = (2026, 2)
"""The oldest release that the tests have as client."""
SERVER_ENDS_TURN = (2026, 5)
"""The first release that lets a server end an utterance."""
NEEDED = {
    "conversation": "Home Assistant can use no conversation agent, ours neither",
    "intent": "commands of satellites that talk straight to the server can't be executed",
    "assist_pipeline": "Home Assistant has no voice pipelines",
}
"""Integrations that a voice in Home Assistant rests on, and what happens without."""
TITLE = "superwhisper"
"""What Home Assistant calls our entry, where the running server can't be asked."""
DESCRIBE_S = 2.0
FEW = 5
"""Examples that are named in one line."""

_ROOMLESS = frozenset({"person", "scene", "script", "sun", "todo", "weather", "zone"})
_SET_UP = "Settings → Devices & services"


@dataclass(frozen=True, slots=True)
class Facts:
    """What Home Assistant says of itself."""

    version: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    user: Mapping[str, Any] = field(default_factory=dict)
    registries: Registries | None = None
    """None: the token doesn't let us read them."""
    home: HomeSettings = field(default_factory=HomeSettings)
    states: States = field(default_factory=States)
    entries: Sequence[Mapping[str, Any]] = ()
    """Its Wyoming servers."""
    flows: Sequence[Mapping[str, Any]] = ()
    """What it has discovered and nobody has set up."""


def check_home_assistant(settings: Settings) -> Iterator[Finding]:
    """Everything about the Home Assistant of these settings."""
    yield from asyncio.run(_collected(settings))


async def _collected(settings: Settings) -> list[Finding]:
    return [finding async for finding in examine(settings)]


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """All findings, in the order in which they matter."""
    named = settings.home_assistant
    ours, title = await _way_to_us(settings)
    if not named.url:
        yield Finding(
            "Home Assistant", State.NOTE, "home_assistant.url is empty: names come from the settings, and commands of "
            "satellites that talk straight to the server are not executed",
            "home_assistant.url and home_assistant.token_file, if it should be otherwise",
        )  # fmt: skip
    else:
        for finding in check_token_file(named.token_file):
            yield finding
        there = Client(named.url, named.token)
        try:
            facts = await gather(there)
        except HomeAssistantError as error:
            yield unreached(error)
        else:
            for finding in (*check_facts(facts, settings), *check_entry(facts, title)):
                yield finding
        finally:
            await there.close()
    for finding in ours:
        yield finding


async def gather(there: Client) -> Facts:
    """Ask for everything once. Raises `Unreachable`, `TokenRefused`, `ConnectionEnded`."""
    async with there.connect() as connection:
        states = States()

        def states_changed(event: Mapping[str, Any]) -> None:
            states.apply(event)

        await connection.subscribe(states_changed, "subscribe_entities")
        registries = await _registries(connection, states)
        return Facts(
            version=connection.version,
            config=_mapping(await connection.command("get_config")),
            user=_mapping(await connection.command("auth/current_user")),
            registries=registries,
            home=home_from(registries, states) if registries else HomeSettings(),
            states=states,
            entries=await _list(connection, "config_entries/get", domain="wyoming"),
            flows=await _list(connection, "config_entries/flow/progress"),
        )


def check_facts(facts: Facts, settings: Settings) -> Iterator[Finding]:
    """All that can be said of one that answers, but for its way to us."""
    yield from check_version(facts, settings)
    yield from check_user(facts)
    yield from check_integrations(facts)
    yield from check_language(facts, settings)
    if facts.registries is not None:
        yield from check_exposed(facts.registries, facts.home)
        yield from check_names(facts.home)


# --- Home Assistant itself -----------------------------------------------------------------------------------------


def unreached(error: HomeAssistantError) -> Finding:
    """Why nothing can be said of it."""
    if isinstance(error, TokenRefused):
        remedy = "make a token in Home Assistant: your profile → Security → Long-lived access tokens"
        return Finding("HA token", State.PROBLEM, str(error), remedy)
    remedy = "home_assistant.url is the address that a browser on this machine opens Home Assistant with"
    if "certificate" in str(error):
        remedy = "its http:// address inside the network, or its authority's file in the environment: SSL_CERT_FILE"
    return Finding("HA address", State.PROBLEM, str(error), remedy)


def check_token_file(path: str) -> Iterator[Finding]:
    """Who can read the token."""
    file = Path(path).expanduser()
    if path and file.is_file() and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("HA token", State.NOTE, f"{file} can be read by other users of this machine", f"chmod 600 {file}")


def check_version(facts: Facts, settings: Settings) -> Iterator[Finding]:
    """Which release, and what it can't do."""
    release = _release(facts.version)
    name = clean(facts.config.get("location_name")) or "without a name"
    state = clean(facts.config.get("state")).lower() or "unknown"
    text = f"Home Assistant {clean(facts.version) or '?'} at {settings.home_assistant.url} ({name}, {state})"
    if release < OLDEST_TESTED:
        oldest = ".".join(map(str, OLDEST_TESTED))
        yield Finding("HA version", State.NOTE, f"{text} is older than what is tested", f"{oldest} or newer")
    else:
        yield Finding("HA version", State.OK, text)
    if settings.asr.endpointing == "server" and release < SERVER_ENDS_TURN:
        yield Finding(
            "HA version", State.NOTE, "asr.endpointing is server, which this release takes no notice of",
            f"{'.'.join(map(str, SERVER_ENDS_TURN))} or newer, or asr.endpointing: client",
        )  # fmt: skip


def check_user(facts: Facts) -> Iterator[Finding]:
    """Whose token it is."""
    name = clean(facts.user.get("name")) or "somebody"
    if facts.user.get("is_admin") is True and facts.registries is not None:
        yield Finding("HA token", State.OK, f"accepted, of {name}, an administrator")
    else:
        yield Finding(
            "HA token", State.PROBLEM, f"accepted, of {name}, who is no administrator: what is exposed is told to "
            "administrators only, so the names in the settings are used",
            "a token of an administrator",
        )  # fmt: skip


def check_integrations(facts: Facts) -> Iterator[Finding]:
    """What runs in it that we need."""
    running = facts.config.get("components")
    running = set(running) if isinstance(running, list) else set()
    missing = [name for name in NEEDED if name not in running]
    for name in missing:
        remedy = "default_config: in configuration.yaml brings it"
        yield Finding("HA services", State.PROBLEM, f"{name} does not run: {NEEDED[name]}", remedy)
    if not missing:
        yield Finding("HA services", State.OK, f"{', '.join(NEEDED)} run")


def check_language(facts: Facts, settings: Settings) -> Iterator[Finding]:
    """Whether Home Assistant's language is one of ours: a pipeline in it finds no speech recognition else."""
    language = clean(facts.config.get("language"))
    base = language.partition("-")[0].lower()
    if base and base not in settings.asr.languages:
        yield Finding(
            "HA language", State.NOTE, f"Home Assistant speaks {language}, which is not in asr.languages "
            f"({', '.join(settings.asr.languages)})",
            f"asr.languages: [{base}, …], and intents.languages",
        )  # fmt: skip


def check_exposed(registries: Registries, home: HomeSettings) -> Iterator[Finding]:
    """What voice may use."""
    count = len(registries.exposed) + registries.unlisted
    if not count:
        remedy = "Settings → Voice assistants → Expose"
        yield Finding("HA exposed", State.PROBLEM, "no entity is exposed to Assist: nothing can be named", remedy)
        return
    kinds = Counter(domain_of(device.id) for device in home.devices).most_common()
    shown = ", ".join(f"{number} {kind}" for kind, number in kinds)
    text = f"{count} entities ({shown}), {len(home.areas)} areas, {len(home.floors)} floors"
    yield Finding("HA exposed", State.OK, text)
    if registries.unlisted:
        remedy = "expose fewer: a voice assistant that knows everything mistakes one for the other"
        yield Finding("HA exposed", State.NOTE, f"only the first {MOST_DEVICES} are used", remedy)
    homeless = [one.name for one in home.devices if not one.area and domain_of(one.id) not in _ROOMLESS]
    if homeless:
        remedy = "give them an area, so that they can be named by their room"
        yield Finding("HA exposed", State.NOTE, f"{len(homeless)} in no area: {_some(homeless)}", remedy)


def check_names(home: HomeSettings) -> Iterator[Finding]:
    """Names that more than one thing answers to."""
    # The kind counts: "turn off the television" asks for no scene of that name.
    twins = _twins((one.name, one.aliases, f"{one.area} {domain_of(one.id)}", one.id) for one in home.devices)
    if twins:
        yield Finding(
            "HA names", State.PROBLEM, f"the same name twice for one kind of thing in one area: {_some(twins)}",
            "rename one, or take the alias from one: Home Assistant can't tell which is meant and does nothing",
        )  # fmt: skip
    areas = _twins((area.name, area.aliases, "", area.id) for area in home.areas)
    floors = _twins((floor.name, floor.aliases, "", floor.id) for floor in home.floors)
    if areas or floors:
        text = f"areas or floors of the same name: {_some([*areas, *floors])}"
        yield Finding("HA names", State.PROBLEM, text, "rename one, or take the alias from one")
    common = _twins((device.name, (), "", device.id) for device in home.devices)
    if common:
        remedy = "say the room too, or expose names of their own"
        yield Finding("HA names", State.NOTE, f"the same name in several areas: {_some(common)}", remedy)
    rooms = {fold(name) for area in home.areas for name in (area.name, *area.aliases)}
    shared = [device.name for device in home.devices if fold(device.name) in rooms]
    if shared:
        remedy = "names of their own, or what is said of the room is taken for the device"
        yield Finding("HA names", State.NOTE, f"devices called like a room: {_some(shared)}", remedy)
    if not (twins or areas or floors):
        yield Finding("HA names", State.OK, "no name means two things of one kind in one area")


# --- its way to us -------------------------------------------------------------------------------------------------


def check_entry(facts: Facts, title: str) -> Iterator[Finding]:
    """Whether Home Assistant has us set up, and whether it reached us when it last tried."""
    ours = [entry for entry in facts.entries if str(entry.get("title")) == title]
    if not ours:
        yield _without_entry(facts, title)
    for entry in ours:
        state = clean(entry.get("state"))
        if entry.get("disabled_by"):
            yield Finding("HA to us", State.NOTE, f"'{title}' is disabled in Home Assistant", f"{_SET_UP}, enable it")
        elif state != "loaded":
            why = f" ({clean(entry['reason'])})" if entry.get("reason") else ""
            yield Finding(
                "HA to us", State.PROBLEM, f"Home Assistant has '{title}' set up but does not reach it: {state}{why}",
                "is the server running, and does the address in that entry still lead here? Delete the entry and add "
                "it anew if it changed; a firewall here must let TCP to the server's port in",
            )  # fmt: skip
        elif lost := _unavailable(facts, entry):
            text = f"Home Assistant has lost '{title}': {_some(lost)} unavailable"
            remedy = "is the server running? It comes back by itself within a minute"
            yield Finding("HA to us", State.PROBLEM, text, remedy)
        else:
            text = f"'{title}' is set up and loaded (at which address, Home Assistant does not tell)"
            yield Finding("HA to us", State.OK, text)
    if len(ours) > 1:
        yield Finding("HA to us", State.NOTE, f"'{title}' is set up {len(ours)} times", f"{_SET_UP}: one is enough")


def _without_entry(facts: Facts, title: str) -> Finding:
    for flow in facts.flows:
        context = _mapping(flow.get("context"))
        if flow.get("handler") == "wyoming" and _mapping(context.get("title_placeholders")).get("name") == title:
            text = f"Home Assistant has found '{title}' and reached it; it waits to be added"
            return Finding("HA to us", State.NOTE, text, f"{_SET_UP} → Discovered → Add")
    return Finding(
        "HA to us", State.NOTE, f"'{title}' is not set up in Home Assistant, so whether it reaches this machine is not "
        "known",
        f"{_SET_UP} → Add integration → Wyoming Protocol, with this machine's address (docs/home-assistant.md)",
    )  # fmt: skip


def _unavailable(facts: Facts, entry: Mapping[str, Any]) -> list[str]:
    records = facts.registries.entities if facts.registries else {}
    mine = [one for one, record in records.items() if record.get("config_entry_id") == entry.get("entry_id")]
    return [one for one in mine if (state := facts.states.get(one)) and state.state == "unavailable"]


async def _way_to_us(settings: Settings) -> tuple[list[Finding], str]:
    """What can be said of it from here, and what Home Assistant calls us."""
    parts = urlsplit(settings.server.uri)
    if parts.scheme != "tcp" or not parts.port:
        text = f"server.uri is {settings.server.uri}: no network leads there"
        return [Finding("HA to us", State.PROBLEM, text, "server.uri tcp://0.0.0.0:10300")], TITLE
    host, port = parts.hostname or "", parts.port
    theirs = await asyncio.to_thread(addresses_of, urlsplit(settings.home_assistant.url).hostname or "")
    advertised = [str(address) for address in await asyncio.to_thread(_advertised, host)]
    called = advertised or [host]
    answers = dict(zip(called, await asyncio.gather(*(_answer(one, port) for one in called)), strict=True))
    title = next((name for name in answers.values() if name), TITLE)
    return [
        *check_allowed(settings, theirs),
        *check_bound(host, theirs, advertised),
        *check_answers(answers, port),
    ], title


def _advertised(host: str) -> Sequence[object]:
    try:
        return discovery.advertised_addresses(host, discovery.machine_addresses())
    except OSError:
        return ()


def check_allowed(settings: Settings, theirs: Iterable[str]) -> Iterator[Finding]:
    """Whether the settings let Home Assistant's address in."""
    try:
        allow, plain = AllowList(settings.server.allow), AllowList(settings.server.tls.plain)
    except SettingsError:
        return  # the settings have a line of their own
    for address in theirs:
        if not allow.allows(address):
            text = f"server.allow does not let Home Assistant's address {address} in"
            yield Finding("HA to us", State.PROBLEM, text, f"server.allow: [..., {address}]")
        elif settings.server.tls.certificate and not plain.allows(address):
            text = f"server.tls asks {address} for encryption, which Home Assistant's client does not know"
            yield Finding("HA to us", State.PROBLEM, text, f"server.tls.plain: [..., {address}]")


def check_bound(host: str, theirs: Sequence[str], advertised: Sequence[object]) -> Iterator[Finding]:
    """Whether the server listens where another machine can call."""
    elsewhere = [address for address in theirs if not ipaddress.ip_address(address).is_loopback]
    if elsewhere and not advertised:
        text = f"server.uri is bound to {host}, which Home Assistant at {elsewhere[0]} can't reach"
        yield Finding("HA to us", State.PROBLEM, text, "server.uri tcp://0.0.0.0:10300")


def check_answers(answers: Mapping[str, str | None], port: int) -> Iterator[Finding]:
    """Whether a Wyoming server answers at our own addresses, as seen from here. None: nobody does."""
    silent = [address for address, name in answers.items() if name is None]
    heard = [address for address, name in answers.items() if name is not None]
    if not heard:
        text = f"nobody answers at {_some(silent)}, port {port}: the server does not run, or a firewall is in between"
        yield Finding("HA to us", State.NOTE, text, "wyoming-superwhisper serve; then run this again")
        return
    text = f"the server answers at {_some(heard)}, port {port}, seen from here"
    yield Finding("HA to us", State.OK, f"{text}; whether a firewall stops others can't be seen from here")
    if silent:
        text = f"no answer at {_some(silent)}, which is advertised too"
        yield Finding("HA to us", State.NOTE, text, "a firewall that knows this machine's own addresses?")


async def _answer(address: str, port: int) -> str | None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    uri = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
    try:
        info = await wyoming_client.describe(uri, DESCRIBE_S)
    except (SuperwhisperError, OSError):
        return None
    programs = [*info.asr, *info.tts, *info.wake, *info.intent, *info.handle]
    return next((program.name for program in programs if program.installed), "")


def addresses_of(host: str) -> list[str]:
    """The IP addresses of a host; none where its name is unknown."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except OSError:
        return []
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


# --- asking --------------------------------------------------------------------------------------------------------


async def _registries(connection: Connection, states: States) -> Registries | None:
    try:
        return await RegistryReader(connection, states).read()
    except RightsMissing:
        return None


async def _list(connection: Connection, command: str, **fields: Any) -> Sequence[Mapping[str, Any]]:
    try:
        found = await connection.command(command, **fields)
    except (RequestFailed, RightsMissing):
        return ()
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else ()


def _release(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) and len(parts) == 2 else (0,)


def _twins(things: Iterable[tuple[str, tuple[str, ...], str, str]]) -> list[str]:
    """Names that several of (name, aliases, place, id) answer to in one place, with their ids."""
    answering: dict[tuple[str, str], dict[str, str]] = {}
    for name, aliases, place, one in things:
        for called in (name, *aliases):
            answering.setdefault((place, fold(called)), {})[one] = called
    return [f"{next(iter(ids.values()))} ({', '.join(ids)})" for ids in answering.values() if len(ids) > 1]


def _some(names: Sequence[str]) -> str:
    more = len(names) - FEW
    return ", ".join(names[:FEW]) + (f" and {more} more" if more > 0 else "")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
