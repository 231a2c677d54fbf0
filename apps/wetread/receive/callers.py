"""Who may send: AE titles, each from anywhere or from one network."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from wetread.config import Config
from wetread.metrics import OTHER

# Told of everybody who is not let in: name or AE title, address, why.
Refused = Callable[[str, str, str], None]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Caller:
    """`calling_ae_title` may be `*`; without a `network` it may call from anywhere."""

    calling_ae_title: str
    network: Network | None

    @classmethod
    def parse(cls, entry: str) -> Caller:
        """`MR1`, `MR1@10.1.0.5`, `*@10.1.0.0/16`; an @ without an address is part of the title."""
        title, at, place = entry.rpartition("@")
        if at:
            try:
                return cls(title, ipaddress.ip_network(place, strict=False))
            except ValueError:
                pass
        return cls(entry, None)

    def is_meant(self, calling_ae_title: str, address: str) -> bool:
        """Whether a caller of that title and IP address is this one."""
        if self.calling_ae_title not in ("*", calling_ae_title):
            return False
        return self.network is None or _plain(address) in self.network


def nobody_told(name: str, address: str, why: str) -> None:
    """Where no one asks."""


def is_allowed(callers: Iterable[Caller], calling_ae_title: str, address: str) -> bool:
    """Whether one of them is meant; nobody is, where nobody is named."""
    return any(caller.is_meant(calling_ae_title, address) for caller in callers)


def named_callers(config: Config) -> frozenset[str]:
    """The AE titles of senders that the settings know, wherever they name them."""
    entries = map(Caller.parse, config.listener.accept_calling_ae_titles)
    allowed = {each.calling_ae_title for each in entries}
    asked_for = {title for rule in config.rules for title in rule.when.calling_ae_title or ()}
    timed = {*config.assembly.callers, *config.commitment.callers}
    return frozenset(allowed | asked_for | timed) - {"*"}


def counted_as(calling_ae_title: str, named: Collection[str]) -> str:
    """How a caller is called in a metric: anybody may call himself as he likes."""
    return calling_ae_title if calling_ae_title in named else OTHER


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """IPv4 in the form of IPv6 (::ffff:10.1.0.5), as a door for both sees it, is IPv4."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found
