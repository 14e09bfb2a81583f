"""Being found on the local network: which addresses, under which name, by a real browser."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import sys
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest
from zeroconf import ServiceListener, Zeroconf

from tests.conftest import free_port
from tests.waiting import WAIT_S, until
from wyoming_superwhisper import discovery
from wyoming_superwhisper.discovery import Advertisement, InterfaceAddress, advertised_addresses, service_name


def on(interface: str, address: str) -> InterfaceAddress:
    return InterfaceAddress(interface, ipaddress.ip_address(address))


HOUSE = [
    on("lo", "127.0.0.1"),
    on("lo", "::1"),
    on("docker0", "172.17.0.1"),
    on("eth0", "fe80::1"),
    on("tailscale0", "100.90.1.2"),
    on("eth0", "2001:db8::5"),
    on("eth0", "192.168.1.5"),
    on("wlan0", "169.254.7.7"),
    on("wlan0", "192.168.1.6"),
]


def listed(host: str, machine: list[InterfaceAddress]) -> list[str]:
    return [str(address) for address in advertised_addresses(host, machine)]


# --- addresses -------------------------------------------------------------------------------------------------


def test_every_reachable_address_is_listed_lan_first_and_link_local_last() -> None:
    assert listed("", HOUSE) == [
        "192.168.1.5", "192.168.1.6", "2001:db8::5", "100.90.1.2", "169.254.7.7", "fe80::1",
    ]  # fmt: skip


def test_a_wildcard_of_one_family_lists_that_family() -> None:
    assert listed("0.0.0.0", HOUSE) == ["192.168.1.5", "192.168.1.6", "100.90.1.2", "169.254.7.7"]
    assert listed("::", HOUSE) == ["2001:db8::5", "fe80::1"]


def test_a_socket_bound_to_one_address_lists_only_that() -> None:
    assert listed("192.168.1.6", HOUSE) == ["192.168.1.6"]
    assert listed("2001:db8::5", HOUSE) == ["2001:db8::5"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_bound_to_loopback_nothing_is_listed(host: str) -> None:
    assert listed(host, HOUSE) == []


def test_a_container_bridge_is_listed_only_where_there_is_nothing_else() -> None:
    assert listed("", [on("lo", "127.0.0.1"), on("docker0", "172.17.0.1")]) == ["172.17.0.1"]


# --- names -----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_the_name_is_kept_for_the_installation() -> None:
    first = service_name("server", port=10300, default_port=10300)
    assert first.startswith("superwhisper-")
    assert service_name("server", port=10300, default_port=10300) == first
    assert service_name("satellite") != first


def test_another_installation_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = service_name("server")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert service_name("server") != first


def test_a_copied_disk_gets_a_name_of_its_own(state: Path) -> None:
    first = service_name("server")
    (kept,) = state.rglob("server-name")
    name, machine = kept.read_text().split()
    kept.write_text(f"{name}\n{machine[::-1]}\n")
    assert service_name("server") != first


def test_where_nothing_can_be_kept_the_name_goes_by_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert service_name("server") == service_name("server")


def test_a_second_server_on_the_machine_has_its_port_in_the_name() -> None:
    assert service_name("server", port=10301, default_port=10300) == f"{service_name('server')}-10301"


def test_a_configured_name_is_taken_and_cut_to_what_dns_holds() -> None:
    assert service_name("server", "Chez nous", 1, 2) == "Chez nous"
    assert len(service_name("server", "é" * 80).encode()) <= 63


# --- on the network --------------------------------------------------------------------------------------------

NETWORK = [one for one in discovery.machine_addresses() if not one.address.is_loopback]
needs_network = pytest.mark.skipif(not NETWORK, reason="this machine has no network interface but loopback")


class Heard(ServiceListener):
    """What a stock zeroconf browser hears."""

    def __init__(self) -> None:
        self.there: dict[str, list[str]] = {}

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        info = zc.get_service_info(type_, name)
        if info is not None:
            self.there[name] = info.parsed_addresses()

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.there.pop(name, None)


@pytest.fixture
def heard() -> Iterator[Heard]:
    listener = Heard()
    # In a thread of its own, as in another program.
    browser = Zeroconf(interfaces=[str(one.address) for one in NETWORK], use_asyncio=False)
    browser.add_service_listener(discovery.SERVICE_TYPE, listener)
    yield listener
    browser.close()


@needs_network
async def test_a_browser_finds_the_service_while_it_runs_and_not_after(heard: Heard) -> None:
    full_name = f"found-{id(heard)}.{discovery.SERVICE_TYPE}"
    async with Advertisement("server", f"found-{id(heard)}", 10300, "") as advertisement:
        await announced(advertisement)
        await until(lambda: full_name in heard.there)
        assert sorted(heard.there[full_name]) == sorted(map(str, advertisement.addresses))
        assert not any(ipaddress.ip_address(text).is_loopback for text in heard.there[full_name])
        assert not any(ipaddress.ip_address(text).is_unspecified for text in heard.there[full_name])
    await until(lambda: full_name not in heard.there)


@needs_network
async def test_our_own_browsing_tells_servers_from_satellites() -> None:
    name = f"ours-{id(object())}"
    async with (
        Advertisement("server", name, 10300, "") as server,
        Advertisement("satellite", f"{name}-room", 10700, "") as satellite,
    ):
        await announced(server, satellite)
        async with asyncio.timeout(WAIT_S):  # what hasn't answered in time may do so the next time
            while name not in (servers := {one.name: one for one in await discovery.find_servers(2.0)}):
                pass
            while f"{name}-room" not in (satellites := {one.name for one in await discovery.find_satellites(2.0)}):
                pass
        assert len(await discovery.find_servers(WAIT_S, first=True)) == 1
    assert name not in satellites
    assert all(uri.endswith(":10300") for uri in servers[name].uris)


@needs_network
async def test_a_name_that_is_taken_gets_a_number() -> None:
    name = f"taken-{id(object())}"
    async with Advertisement("server", name, 10300, "") as first:
        await announced(first)
        async with Advertisement("server", name, 10301, "") as second:
            await announced(second)
            assert second.name == f"{name}-2"


@needs_network
async def test_changed_addresses_are_announced_anew() -> None:
    machine = NETWORK[:1]
    async with Advertisement("server", f"moving-{id(machine)}", 10300, "", check_s=0.1, machine=lambda: machine) as it:
        await announced(it)
        assert it.addresses == (NETWORK[0].address,)
        machine = []
        await until(lambda: it.addresses == ())
        machine = NETWORK[:1]
        await until(lambda: it.addresses == (NETWORK[0].address,))


async def test_bound_to_loopback_nothing_is_advertised() -> None:
    async with Advertisement("server", "hidden", 10300, "127.0.0.1") as advertisement:
        await asyncio.sleep(0.2)
        assert advertisement.addresses == ()


async def test_a_failure_warns_once_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> list[InterfaceAddress]:
        raise OSError("the network is on fire")

    async with Advertisement("server", "broken", 10300, "", check_s=0.01, machine=broken):
        await until(lambda: caplog.records)
        await asyncio.sleep(0.2)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        "The service can't be advertised on the network: the network is on fire"
    ]


async def announced(*advertisements: Advertisement) -> None:
    async with asyncio.timeout(WAIT_S):
        waits: list[Awaitable[None]] = [one.announced() for one in advertisements]
        await asyncio.gather(*waits)


@needs_network
async def test_the_server_is_found_while_it_runs_and_not_after_it_stopped(heard: Heard, tmp_path: Path) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wyoming_superwhisper", "serve", "--settings", "demo",
        "--uri", f"tcp://0.0.0.0:{port}", "--set", f"server.name=real-{port}",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    full_name = f"real-{port}.{discovery.SERVICE_TYPE}"
    try:
        await until(lambda: full_name in heard.there or process.returncode is not None)
        addresses = [ipaddress.ip_address(text) for text in heard.there[full_name]]
        assert addresses
        assert not any(address.is_loopback or address.is_unspecified for address in addresses)
        assert addresses[0] in [one.address for one in NETWORK]
        _, writer = await asyncio.open_connection(str(addresses[0]), port)
        writer.close()
        await writer.wait_closed()
        process.terminate()
        await until(lambda: full_name not in heard.there)
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
