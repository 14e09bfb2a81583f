"""Who may connect: the allow-list of networks, checked when a connection is accepted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from wyoming_superwhisper.errors import SettingsError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LOOPBACK = ("127.0.0.0/8", "::1/128")
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918, RFC 4193
_LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")  # RFC 3927, RFC 4291
_WORDS = {"loopback": _LOOPBACK, "private": _PRIVATE, "link-local": _LINK_LOCAL}
_OWN_PREFIXES = "own-prefixes"


class AllowList:
    """The networks of `server.allow`: CIDR, or loopback, private, link-local, own-prefixes."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises `SettingsError` for an entry that is no network."""
        self._networks: list[Network] = []
        for entry in entries:
            self._networks += _networks(entry)

    def allows(self, address: str) -> bool:
        """Whether a peer of this IP address may connect."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self._networks)


def _networks(entry: str) -> list[Network]:
    if entry == _OWN_PREFIXES:
        return _own_prefixes()
    try:
        return [ipaddress.ip_network(network, strict=False) for network in _WORDS.get(entry, (entry,))]
    except ValueError:
        words = ", ".join((*_WORDS, _OWN_PREFIXES))
        raise SettingsError(f"server.allow: '{entry}' is no network; write a CIDR, or one of {words}.") from None


def _own_prefixes() -> list[Network]:
    """The on-link global IPv6 networks of this host: home networks use public IPv6 addresses."""
    import ifaddr  # comes with zeroconf; only asked once

    networks: list[Network] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if ip.is_IPv6:
                network = ipaddress.ip_network(f"{ip.ip[0]}/{ip.network_prefix}", strict=False)
                if network.is_global and network.prefixlen > 0:
                    networks.append(network)
    return networks
