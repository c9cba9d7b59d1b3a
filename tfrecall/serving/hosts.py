"""Names under which a service may be asked: the guard against DNS rebinding.

A page of another site cannot read answers of this service, unless the name of that site is made to lead here
after the page was loaded: then browsers take both for one site. The header Host still has the foreign name.
"""

from collections.abc import Callable, Collection
from functools import lru_cache
from ipaddress import ip_address

# Values that are accepted are few: those of this service's own clients.
_KNOWN = 256


def accepts(names: Collection[str]) -> Callable[[bytes], bool]:
    """Whether a value of the header Host may ask: localhost, any address, or one of the names.

    Addresses cannot be made to lead elsewhere. An empty value, of clients older than the header, is no
    browser's.

    Args:
        names: names without port, whatever their case.

    Example:

    >>> is_accepted = accepts(["shop.example"])
    >>> [is_accepted(host) for host in (b"localhost:8500", b"[::1]", b"Shop.example:80", b"evil.example")]
    [True, True, True, False]
    """
    wanted = {name.lower().rstrip(".") for name in names} | {"localhost"}

    @lru_cache(_KNOWN)
    def is_accepted(told: bytes) -> bool:
        name = _name(told.decode("latin-1").strip().lower())
        return name in wanted or name.endswith(".localhost") or _is_address(name)

    return is_accepted


def _name(host: str) -> str:
    """A host without its port, an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return name == ""
    return True
