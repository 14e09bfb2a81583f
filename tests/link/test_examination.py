"""Each line of the doctor about Home Assistant is proven by breaking what it looks at."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.conftest import free_port
from tests.link.scripted_home_assistant import TOKEN, Peer, scripted
from wyoming_superwhisper.config.settings import (
    Area,
    AsrSettings,
    Device,
    Floor,
    HomeAssistantSettings,
    HomeSettings,
    ServerSettings,
    Settings,
    TlsSettings,
)
from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.home_assistant import client, examination
from wyoming_superwhisper.home_assistant.examination import Facts
from wyoming_superwhisper.home_assistant.registries import MOST_DEVICES, Registries
from wyoming_superwhisper.home_assistant.states import States

URL = "http://127.0.0.1:8123"
NAMED = Settings(home_assistant=HomeAssistantSettings(url=URL, token=TOKEN))
LAMP = Device("light.lamp", "Lampe", ("lampadaire",), "salon")
TWIN = Device("light.twin", "Lampadaire", (), "salon")
SALON = Area("salon", "Salon", ("séjour",))
RUNS = {"components": [*examination.NEEDED, "wyoming"], "language": "fr", "location_name": "Maison", "state": "RUNNING"}
GOOD = Facts(
    version="2026.11.0",
    config=RUNS,
    user={"name": "Alix", "is_admin": True},
    registries=Registries(exposed=("light.lamp",), entities={"stt.x": {"config_entry_id": "e"}}),
    home=HomeSettings(areas=(SALON,), devices=(LAMP,)),
    entries=({"title": "superwhisper", "state": "loaded", "entry_id": "e", "disabled_by": None, "reason": None},),
)


def only(findings: Iterable[Finding]) -> Finding:
    [finding] = findings
    return finding


def states(findings: Iterable[Finding]) -> set[State]:
    return {finding.state for finding in findings}


def every(facts: Facts, settings: Settings = NAMED) -> list[Finding]:
    return [*examination.check_facts(facts, settings), *examination.check_entry(facts, "superwhisper")]


def broken(findings: Iterable[Finding]) -> Finding:
    return only(finding for finding in findings if finding.state is not State.OK)


def test_nothing_is_wrong_where_nothing_is() -> None:
    assert states(every(GOOD)) == {State.OK}


def test_an_old_release() -> None:
    finding = broken(every(replace(GOOD, version="2025.12.1")))
    assert (finding.state, finding.topic) == (State.NOTE, "HA version")
    assert broken(every(replace(GOOD, version="nonsense"))).topic == "HA version"


def test_a_release_that_lets_no_server_end_a_turn() -> None:
    ends = replace(NAMED, asr=AsrSettings(endpointing="server"))
    assert "endpointing" in broken(every(replace(GOOD, version="2026.4.3"), ends)).text
    assert states(every(replace(GOOD, version="2026.5.0"), ends)) == {State.OK}


def test_a_token_of_somebody_without_rights() -> None:
    finding = broken(every(replace(GOOD, user={"name": "Enfant", "is_admin": False}, registries=None)))
    assert finding.state is State.PROBLEM
    assert "Enfant" in finding.text


@pytest.mark.parametrize("name", examination.NEEDED)
def test_an_integration_that_does_not_run(name: str) -> None:
    rest = [one for one in RUNS["components"] if one != name]
    finding = broken(every(replace(GOOD, config={**RUNS, "components": rest})))
    assert finding.state is State.PROBLEM
    assert finding.text.startswith(name)


def test_a_language_that_we_do_not_hear() -> None:
    assert "speaks de-CH" in broken(every(replace(GOOD, config={**RUNS, "language": "de-CH"}))).text


def test_nothing_exposed() -> None:
    nothing = replace(GOOD, registries=Registries(), home=HomeSettings())
    assert broken(every(nothing)).state is State.PROBLEM


def test_more_exposed_than_is_used() -> None:
    many = replace(GOOD, registries=Registries(exposed=("light.lamp",) * MOST_DEVICES, unlisted=7))
    assert f"only the first {MOST_DEVICES}" in broken(every(many)).text


def test_a_light_in_no_area_but_not_a_list() -> None:
    home = replace(GOOD.home, devices=(LAMP, replace(LAMP, id="light.b", name="Phare", aliases=(), area="")))
    assert "Phare" in broken(every(replace(GOOD, home=home))).text
    home = replace(GOOD.home, devices=(LAMP, Device("todo.a", "Courses")))
    assert states(every(replace(GOOD, home=home))) == {State.OK}


@pytest.mark.parametrize(
    ("home", "state", "says"),
    [
        (HomeSettings(areas=(SALON,), devices=(LAMP, TWIN)), State.PROBLEM, "light.twin"),
        (HomeSettings(areas=(SALON,), devices=(LAMP, replace(LAMP, id="light.b", area="b"))), State.NOTE, "several"),
        (HomeSettings(areas=(SALON, Area("b", "Séjour")), devices=(LAMP,)), State.PROBLEM, "areas or floors"),
        (HomeSettings(floors=(Floor("a", "Bas"), Floor("b", "bas"))), State.PROBLEM, "areas or floors"),
        (HomeSettings(areas=(SALON,), devices=(replace(LAMP, name="salon"),)), State.NOTE, "like a room"),
    ],
)  # fmt: skip
def test_names_that_mean_two_things(home: HomeSettings, state: State, says: str) -> None:
    finding = broken(examination.check_names(home))
    assert finding.state is state
    assert says in finding.text


def entry(**fields: Any) -> Facts:
    return replace(GOOD, entries=({**GOOD.entries[0], **fields},))


def test_an_entry_that_does_not_reach_us() -> None:
    finding = only(examination.check_entry(entry(state="setup_retry", reason="timed out"), "superwhisper"))
    assert finding.state is State.PROBLEM
    assert "setup_retry (timed out)" in finding.text


def test_an_entry_whose_entities_are_gone() -> None:
    lost = States()
    lost.apply({"a": {"stt.x": {"s": "unavailable"}}})
    assert only(examination.check_entry(replace(GOOD, states=lost), "superwhisper")).state is State.PROBLEM


def test_an_entry_that_is_disabled_or_there_twice() -> None:
    assert "disabled" in only(examination.check_entry(entry(disabled_by="user"), "superwhisper")).text
    twice = replace(GOOD, entries=GOOD.entries * 2)
    assert "2 times" in broken(examination.check_entry(twice, "superwhisper")).text


def test_no_entry_and_a_discovery_that_waits() -> None:
    none = replace(GOOD, entries=({"title": "piper", "state": "loaded"},))
    assert "not set up" in only(examination.check_entry(none, "superwhisper")).text
    flow = {"handler": "wyoming", "context": {"title_placeholders": {"name": "superwhisper"}}}
    found = only(examination.check_entry(replace(none, flows=(flow,)), "superwhisper"))
    assert "waits to be added" in found.text


def test_an_address_that_the_settings_do_not_let_in() -> None:
    settings = replace(NAMED, server=ServerSettings(allow=("192.168.1.0/24",)))
    finding = only(examination.check_allowed(settings, ["192.168.1.7", "10.0.0.3"]))
    assert "10.0.0.3" in finding.text
    tls = replace(NAMED, server=ServerSettings(tls=TlsSettings(certificate="x", plain=("127.0.0.0/8",))))
    assert "encryption" in only(examination.check_allowed(tls, ["192.168.1.7", "127.0.0.1"])).text


def test_a_server_bound_to_its_own_machine() -> None:
    assert only(examination.check_bound("127.0.0.1", ["192.168.1.7"], [])).state is State.PROBLEM
    assert not list(examination.check_bound("127.0.0.1", ["127.0.0.1"], []))


def test_addresses_at_which_nobody_answers() -> None:
    assert "nobody answers" in only(examination.check_answers({"192.168.1.5": None}, 10300)).text
    both = list(examination.check_answers({"192.168.1.5": "superwhisper", "fd00::1": None}, 10300))
    assert [finding.state for finding in both] == [State.OK, State.NOTE]


def test_a_token_file_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("x")
    file.chmod(0o644)
    assert "chmod 600" in only(examination.check_token_file(str(file))).remedy
    file.chmod(0o600)
    assert not list(examination.check_token_file(str(file)))


# --- the whole of it, against a peer


async def report(url: str, token: str = TOKEN, **server: Any) -> list[Finding]:
    settings = Settings(
        home_assistant=HomeAssistantSettings(url=url, token=token),
        server=ServerSettings(uri=f"tcp://127.0.0.1:{free_port()}", **server),
    )
    return [finding async for finding in examination.examine(settings)]


def problem(findings: Iterable[Finding]) -> Finding:
    return only(finding for finding in findings if finding.state is State.PROBLEM)


async def test_no_home_assistant_is_named() -> None:
    findings = await report("")
    assert "home_assistant.url is empty" in findings[0].text
    assert State.PROBLEM not in states(findings)


@asynccontextmanager
async def speaking(text: bytes) -> AsyncIterator[str]:
    """Something that is no Home Assistant."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_addresses_that_lead_to_no_home_assistant(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = problem(await report(f"http://127.0.0.1:{free_port()}"))
    assert (closed.topic, "refused" in closed.text.lower() or "failed" in closed.text) == ("HA address", True)
    unknown = problem(await report("http://no-such-host.invalid:8123"))
    assert "no-such-host.invalid" in unknown.text
    async with speaking(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as url:
        assert "404" in problem(await report(url)).text
    async with speaking(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as url:
        assert "ip_bans.yaml" in problem(await report(url)).text
    async with speaking(b"SSH-2.0-OpenSSH_9.2\r\n") as url:
        assert problem(await report(url)).topic == "HA address"
    async with scripted() as peer:
        assert problem(await report(peer.url.replace("http:", "https:"))).topic == "HA address"
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        monkeypatch.setattr(client, "CONNECT_S", 0.2)
        assert "no answer in time" in problem(await report(f"http://127.0.0.1:{deaf.getsockname()[1]}")).text


async def test_a_certificate_that_is_not_trusted_here(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.pair("home-assistant")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    async with scripted(tls=tls) as peer:
        furnished(peer)
        finding = problem(await report(peer.url))
        assert "its certificate is not trusted here" in finding.text
        assert "SSL_CERT_FILE" in finding.remedy
        code = (
            "import asyncio; from wyoming_superwhisper.home_assistant.client import Client\n"
            "async def ask():\n"
            f"    there = Client({peer.url!r}, {TOKEN!r})\n"
            "    async with there.connect() as one: print(one.version)\n"
            "    await there.close()\n"
            "asyncio.run(ask())"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code,
            env={**os.environ, "SSL_CERT_FILE": authority.file}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await process.communicate()
        assert said.decode().strip() == peer.version


def furnished(peer: Peer) -> Peer:
    peer.light("Lampe", area="salon")
    peer.answers |= {
        "get_config": RUNS,
        "auth/current_user": {"name": "Alix", "is_admin": True},
        "config/area_registry/list": [{"area_id": "salon", "name": "Salon"}],
        "config_entries/get": [dict(GOOD.entries[0])],
        "config_entries/flow/progress": [],
    }
    return peer


async def test_all_is_asked_of_a_home_assistant_that_answers() -> None:
    async with scripted() as peer:
        furnished(peer)
        findings = await report(peer.url)
        assert State.PROBLEM not in states(findings)
        assert any("1 entities (1 light), 1 areas" in finding.text for finding in findings)
        assert not any(TOKEN in f"{finding.text}{finding.remedy}" for finding in findings)


async def test_a_wrong_token_and_one_without_rights() -> None:
    async with scripted() as peer:
        furnished(peer)
        wrong = problem(await report(peer.url, "another"))
        assert (wrong.topic, "another" in wrong.text) == ("HA token", False)
        peer.answers["homeassistant/expose_entity/list"] = RuntimeError("unauthorized")
        peer.answers["auth/current_user"] = {"name": "Enfant", "is_admin": False}
        assert "administrator" in problem(await report(peer.url)).text


async def test_a_server_without_a_network_address() -> None:
    settings = Settings(server=ServerSettings(uri="unix:///tmp/socket"))
    findings = [finding async for finding in examination.examine(settings)]
    assert "no network leads there" in problem(findings).text
