"""Being found and finding others on the local network: zeroconf advertisement and browsing of `_wyoming._tcp`.

An advertisement carries every address that others can reach, under a name that stays the same for an installation.
It is a convenience: whatever fails here is a warning, never the end of the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import logging
import re
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import ifaddr
import platformdirs
from zeroconf import DNSQuestionType, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

logger = logging.getLogger(__name__)

SERVICE_TYPE = "_wyoming._tcp.local."

Kind = Literal["server", "satellite"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

CHECK_S = 30.0
"""Time between two looks whether the machine's addresses have changed, in seconds."""
CLOSE_S = 3.0
"""Time that withdrawing an advertisement may take, in seconds."""
TAKEN_S = 1.2
"""Time for another service to say that it has a name, in seconds: answers to all may be held back for one."""
MOST_NAMES = 20
"""Numbers tried behind a name that is taken."""
RESOLVE_S = 2.0
"""Time for a found service to tell its address and port, in seconds."""

_BRIDGES = re.compile(
    r"^(docker|br-|veth|virbr|cni|flannel|cali|podman|lxcbr|lxdbr|vmnet|vboxnet|vethernet|virtualbox)", re.I
)
_TUNNELS = re.compile(r"^(tun|tap|wg|tailscale|zt|utun|ppp|ipsec)", re.I)
_CARRIER_GRADE = ipaddress.IPv4Network("100.64.0.0/10")
_LABEL_BYTES = 63
_KIND_NAMES: dict[Kind, str] = {"server": "superwhisper", "satellite": "superwhisper-satellite"}
_KIND_KEY = "superwhisper"


# --- the machine's addresses -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """One address of a network interface of this machine."""

    interface: str
    address: Address


def machine_addresses() -> list[InterfaceAddress]:
    """Every address of every network interface."""
    return [
        InterfaceAddress(adapter.nice_name, ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0]))
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]


def advertised_addresses(host: str, machine: Iterable[InterfaceAddress]) -> list[Address]:
    """The addresses by which others reach a socket bound to `host`, best first; none when it is bound to loopback.

    Link-local ones come last, tunnels before them; those of container and virtual-machine bridges only where there is
    nothing else. `host` is an address, a wildcard ("", "0.0.0.0", "::") or a name. Raises OSError for an unknown name.
    """
    reachable = _reachable(machine)
    if host == "":
        return reachable
    if host == "0.0.0.0":
        return [address for address in reachable if address.version == 4]
    if host == "::":  # asyncio binds it for IPv6 alone
        return [address for address in reachable if address.version == 6]
    return [address for address in _resolve(host) if not (address.is_loopback or address.is_unspecified)]


def _reachable(machine: Iterable[InterfaceAddress]) -> list[Address]:
    candidates = [
        one
        for one in machine
        if not (one.address.is_loopback or one.address.is_unspecified or one.address.is_multicast)
    ]
    outside = [one for one in candidates if not _BRIDGES.match(one.interface)]
    return list(dict.fromkeys(one.address for one in sorted(outside or candidates, key=_rank)))


def _rank(one: InterfaceAddress) -> tuple[int, int]:
    if one.address.is_link_local:
        group = 2
    elif _TUNNELS.match(one.interface) or one.address in _CARRIER_GRADE:
        group = 1
    else:
        group = 0
    return group, one.address.version


def _resolve(host: str) -> list[Address]:
    found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0])) for entry in found))


# --- the name --------------------------------------------------------------------------------------------------


def service_name(kind: Kind, configured: str = "", port: int = 0, default_port: int = 0) -> str:
    """The name to advertise: the configured one, else one that is made once and then kept for this installation.

    A second instance beside the first, on another port than the default, gets its port into the name.
    """
    name = configured.strip() or _kept_name(kind, state_folder())
    if not configured and port != default_port:
        name = f"{name}-{port}"
    return _fit(name.replace(".", "-"))


def state_folder() -> Path:
    """The folder where this user's programs keep what is neither settings nor data."""
    return platformdirs.user_state_path("wyoming-superwhisper", appauthor=False)


def _kept_name(kind: Kind, folder: Path) -> str:
    """The name in the state folder; made and written there first where there is none, or where the disk was cloned."""
    machine = _machine_mark()
    path = folder / f"{kind}-name"
    with contextlib.suppress(OSError, ValueError):
        name, _, made_on = path.read_text(encoding="utf-8").strip().partition("\n")
        if name and made_on == machine:
            return name
    name = f"{_KIND_NAMES[kind]}-{_host_label()}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n{machine}\n", encoding="utf-8")
    except OSError as error:
        logger.debug("The service's name can't be kept in %s: %s", path, error)
        return f"{_KIND_NAMES[kind]}-{_host_label()}-{machine[:6]}"
    return name


def _machine_mark() -> str:
    """A hash that stays the same on this machine and differs on another, even one with a copy of the disk's home."""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        with contextlib.suppress(OSError):
            identity = path.read_text(encoding="ascii").strip()
            if identity:
                return _hash(identity)
    return _hash(socket.gethostname())


def _hash(text: str) -> str:
    return hashlib.sha256(f"wyoming-superwhisper {text}".encode()).hexdigest()[:16]


def _host_label() -> str:
    """This host's short name, fit for a DNS label."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname().split(".")[0]).strip("-")[:32] or "host"


def _fit(name: str) -> str:
    """Cut to what a DNS label holds, at a whole character, with room for the number of a name taken."""
    return name.encode()[: _LABEL_BYTES - 4].decode(errors="ignore").strip()


# --- advertising -----------------------------------------------------------------------------------------------


class Advertisement:
    """Advertises one port while the context is open, and withdraws it at the end.

    Entering returns at once: announcing goes on in a task of its own, follows the machine's addresses and is tried
    again after a failure. Bound to loopback, nothing is advertised.
    """

    def __init__(
        self,
        kind: Kind,
        name: str,
        port: int,
        host: str = "0.0.0.0",
        *,
        check_s: float = CHECK_S,
        machine: Callable[[], Iterable[InterfaceAddress]] = machine_addresses,
    ) -> None:
        self.name = name
        """The name as advertised: changed where somebody else on the network has it already."""
        self.addresses: tuple[Address, ...] = ()
        """What is advertised now; empty: nothing."""
        self._kind = kind
        self._port = port
        self._host = host
        self._check_s = check_s
        self._machine = machine
        self._zeroconf: AsyncZeroconf | None = None
        self._task: asyncio.Task[None] | None = None
        self._announced = asyncio.Event()
        self._warned = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow_addresses(), name=f"zeroconf {self.name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        try:
            await asyncio.wait([self._task])
        finally:
            await self._withdraw()

    async def announced(self) -> None:
        """Return once the service can be found (never, while bound to loopback or without a network)."""
        await self._announced.wait()

    async def _follow_addresses(self) -> None:
        while True:
            await self._update()
            await asyncio.sleep(self._check_s)

    async def _update(self) -> None:
        try:
            addresses = tuple(advertised_addresses(self._host, self._machine()))
            if addresses == self.addresses:
                return
            await self._withdraw()  # the sockets belong to the old addresses
            if addresses:
                await self._announce(addresses)
            self._warned = False
        except Exception as error:  # Boundary: being found is optional, whatever zeroconf meets
            self._warn("The service can't be advertised on the network: %s", error)
            await self._withdraw()

    async def _announce(self, addresses: tuple[Address, ...]) -> None:
        self._zeroconf = _open_zeroconf(addresses)
        name = await _free_name(self._zeroconf, self.name)
        info = AsyncServiceInfo(
            SERVICE_TYPE,
            f"{name}.{SERVICE_TYPE}",
            port=self._port,
            properties={_KIND_KEY: self._kind},
            server=f"{_host_label()}-{_machine_mark()[:6]}.local.",
            parsed_addresses=[str(address) for address in addresses],
        )
        await (await self._zeroconf.async_register_service(info, allow_name_change=True))
        self.name = info.name.removesuffix(f".{SERVICE_TYPE}")
        self.addresses = addresses
        self._announced.set()
        logger.info("Advertised as %r at %s, port %d", self.name, ", ".join(map(str, addresses)), self._port)

    async def _withdraw(self) -> None:
        zeroconf, self._zeroconf = self._zeroconf, None
        self.addresses = ()
        self._announced.clear()
        if zeroconf is None:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                await zeroconf.async_unregister_all_services()
        except Exception as error:  # Boundary: the network may be gone already
            self._warn("The advertisement could not be withdrawn: %s", error)
        finally:
            await zeroconf.async_close()

    def _warn(self, message: str, error: Exception) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        logger.log(level, message, str(error) or type(error).__name__)
        self._warned = True


def _open_zeroconf(addresses: Iterable[Address]) -> AsyncZeroconf:
    """mDNS on the interfaces that have these addresses. Raises OSError or RuntimeError where they are gone."""
    return AsyncZeroconf(interfaces=[str(address) for address in addresses])


async def _free_name(zeroconf: AsyncZeroconf, name: str) -> str:
    """The name, with a number where another service has it.

    zeroconf looks too, but asks for an answer to itself alone, which the kernel hands to any one of the programs that
    have the port: where another mDNS daemon runs on this machine (avahi, Home Assistant), often not to us.
    """
    for number in range(1, MOST_NAMES):
        candidate = name if number == 1 else f"{name}-{number}"
        info = AsyncServiceInfo(SERVICE_TYPE, f"{candidate}.{SERVICE_TYPE}")
        if not await info.async_request(zeroconf.zeroconf, TAKEN_S * 1000, question_type=DNSQuestionType.QM):
            return candidate
    return name


# --- browsing --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Service:
    """A Wyoming service that was found on the network."""

    name: str
    uris: tuple[str, ...]
    """Where it listens, the likeliest to be reachable first."""
    kind: Kind | None
    """What it is, if it is one of ours; other makers' services don't say."""


async def find_servers(timeout_s: float = 3.0, first: bool = False) -> list[Service]:
    """Our servers on the network: those that answer in time, or only the first. Without a network: none."""
    return await _find(timeout_s, "server", first)


async def find_satellites(timeout_s: float = 3.0, first: bool = False) -> list[Service]:
    """Our satellites on the network, as `find_servers`; other makers' satellites are among `find_services`."""
    return await _find(timeout_s, "satellite", first)


async def find_services(timeout_s: float = 3.0) -> list[Service]:
    """Every Wyoming service on the network, as `find_servers`."""
    return await _find(timeout_s, None, first=False)


async def _find(timeout_s: float, kind: Kind | None, first: bool) -> list[Service]:
    found: dict[str, Service] = {}
    try:
        async with asyncio.timeout(timeout_s):
            await _browse(found, kind, first)
    except TimeoutError:
        pass
    except (OSError, RuntimeError) as error:  # RuntimeError: zeroconf's word for "no interface"
        logger.warning("Nothing can be found on the network: %s", error)
    return list(found.values())


async def _browse(found: dict[str, Service], kind: Kind | None, first: bool) -> None:
    """Collect services of the kind until cancelled, or until one is found."""
    names: asyncio.Queue[str] = asyncio.Queue()

    def heard(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is ServiceStateChange.Added:
            names.put_nowait(name)

    addresses = [one.address for one in machine_addresses() if not one.address.is_loopback]
    if not addresses:
        raise OSError("this machine has no network")
    async with (
        _open_zeroconf(addresses) as zeroconf,
        AsyncServiceBrowser(zeroconf.zeroconf, SERVICE_TYPE, handlers=[heard]),
    ):
        while not (first and found):
            name = await names.get()
            service = await _resolve_service(zeroconf, name)
            if service is not None and kind in (None, service.kind):
                found[name] = service


async def _resolve_service(zeroconf: AsyncZeroconf, name: str) -> Service | None:
    info = await zeroconf.async_get_service_info(SERVICE_TYPE, name, timeout=int(RESOLVE_S * 1000))
    if info is None or not info.port:
        return None
    addresses = info.parsed_scoped_addresses(IPVersion.V4Only) + info.parsed_scoped_addresses(IPVersion.V6Only)
    return Service(name.removesuffix(f".{SERVICE_TYPE}"), _uris(addresses, info.port), _kind(info.properties))


def _uris(addresses: Iterable[str], port: int) -> tuple[str, ...]:
    ranked = sorted(addresses, key=lambda text: _rank(InterfaceAddress("", ipaddress.ip_address(text))))
    return tuple(f"tcp://[{text}]:{port}" if ":" in text else f"tcp://{text}:{port}" for text in ranked)


def _kind(properties: Mapping[bytes, bytes | None]) -> Kind | None:
    value = properties.get(_KIND_KEY.encode())
    return next((kind for kind in _KIND_NAMES if value == kind.encode()), None)
