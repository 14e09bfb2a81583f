"""Who may connect: the allow-list of networks, checked when a connection is accepted, and certificates.

The protocol has no encryption of its own and Home Assistant's client none at all. Our own ends (`tls://HOST:PORT`),
and whoever puts TLS around the protocol, can have it: version 1.2 or later, both sides proved by certificates where
the settings say so.
"""

from __future__ import annotations

import ipaddress
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from wyoming_superwhisper.config.settings import TlsSettings
from wyoming_superwhisper.errors import SettingsError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LOOPBACK = ("127.0.0.0/8", "::1/128")
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918, RFC 4193
_LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")  # RFC 3927, RFC 4291
_WORDS = {"loopback": _LOOPBACK, "private": _PRIVATE, "link-local": _LINK_LOCAL}
_OWN_PREFIXES = "own-prefixes"
ASK_AGAIN_S = 60.0
"""How often at most the machine is asked for its prefixes again, when a stranger calls."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a client needs for tls://: files in PEM form, each "" where there is none."""

    ca: str = ""
    """The authority that signed the server's certificate; "": those that the system trusts."""
    certificate: str = ""
    """The client's own certificate chain, where the server asks for one."""
    key: str = ""
    """Its private key; "": in the same file."""


def server_tls(settings: TlsSettings) -> ssl.SSLContext | None:
    """How the server encrypts; None: it doesn't. Raises `SettingsError` for files that are missing or don't fit."""
    if not settings.certificate:
        if settings.key or settings.client_ca:
            raise SettingsError("server.tls.certificate is empty, but server.tls.key or client_ca is set.")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_chain(context, settings.certificate, settings.key, "server.tls.certificate and key")
    if settings.client_ca:
        _load_authority(context, settings.client_ca, "server.tls.client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(files: TlsFiles) -> ssl.SSLContext:
    """How a client dials tls://. Raises `SettingsError` for files that are missing or don't fit."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.ca:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_authority(context, files.ca, "the TLS authority")
    if files.certificate:
        _load_chain(context, files.certificate, files.key, "the TLS certificate and key")
    return context


def _load_chain(context: ssl.SSLContext, certificate: str, key: str, what: str) -> None:
    for path in (certificate, key):
        _must_be_readable(path, what)
    try:
        # A password would be asked for on the terminal of a service that has none.
        context.load_cert_chain(certificate, key or None, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise SettingsError(f"{what}: {certificate} can't be used ({_reason(error)}).") from error


def _load_authority(context: ssl.SSLContext, path: str, what: str) -> None:
    _must_be_readable(path, what)
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(f"{what}: {path} can't be used ({_reason(error)}).") from error


def _must_be_readable(path: str, what: str) -> None:
    if not path:
        return
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise SettingsError(f"{what}: {path} can't be read ({error.strerror or error}).") from error


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)


class AllowList:
    """The networks of `server.allow`: CIDR, or loopback, private, link-local, own-prefixes."""

    def __init__(
        self,
        entries: Iterable[str],
        own_prefixes: Callable[[], list[Network]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `SettingsError` for an entry that is no network."""
        entries = tuple(entries)
        self._networks = [network for entry in entries if entry != _OWN_PREFIXES for network in _networks(entry)]
        self._ask_own = (own_prefixes or _own_prefixes) if _OWN_PREFIXES in entries else None
        self._clock = clock
        self._own = self._ask_own() if self._ask_own else []
        self._asked = clock()

    def allows(self, address: str) -> bool:
        """Whether a peer of this IP address may connect."""
        ip = _plain(address)
        if any(ip in network for network in (*self._networks, *self._own)):
            return True
        if self._ask_own is None or ip.version == 4 or self._clock() - self._asked < ASK_AGAIN_S:
            return False
        # Providers renumber homes: the prefixes of a year ago are not those of today.
        self._own, self._asked = self._ask_own(), self._clock()
        return any(ip in network for network in self._own)


def is_loopback(address: str) -> bool:
    """Whether this is an address of the machine to itself; "" (a socket file, a pipe) is."""
    return not address or _plain(address).is_loopback


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Without the zone, and as IPv4 where it is that in IPv6's clothes."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


def _networks(entry: str) -> list[Network]:
    try:
        return [ipaddress.ip_network(network, strict=False) for network in _WORDS.get(entry, (entry,))]
    except ValueError:
        words = ", ".join((*_WORDS, _OWN_PREFIXES))
        raise SettingsError(f"server.allow: '{entry}' is no network; write a CIDR, or one of {words}.") from None


def _own_prefixes() -> list[Network]:
    """The on-link global IPv6 networks of this host (home networks use public IPv6 addresses), and its own IPv4
    addresses: Home Assistant on the same machine calls at the address that it has discovered, whatever that is."""
    import ifaddr  # comes with zeroconf

    networks: list[Network] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if ip.is_IPv6:
                network = ipaddress.ip_network(f"{ip.ip[0]}/{ip.network_prefix}", strict=False)
                if network.is_global and network.prefixlen > 0:
                    networks.append(network)
            else:
                networks.append(ipaddress.ip_network(str(ip.ip)))
    return networks
