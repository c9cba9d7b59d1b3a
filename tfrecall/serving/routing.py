"""Shares of users: a stable choice of a release for each user."""

from collections.abc import Mapping
from hashlib import blake2b


def share_of(name: str, user: str) -> float:
    """A number from 0 to below 1 for a user, equal on all machines, independent among names.

    >>> round(share_of("b", "42"), 4), round(share_of("c", "42"), 4)
    (0.2299, 0.0973)
    """
    digest = blake2b(f"{name}\0{user}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    # 53 bits: as many as a float holds, so that no number is rounded up to 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def chosen(shares: Mapping[str, float], user: str) -> str | None:
    """The name in whose share a user is; None for the users who are left.

    A share that grows keeps its users. Changes of a share do not move users among the names before it.

    Args:
        shares: name -> share of all users; their sum is at most 1.
        user: user id, or whatever stands for somebody without one.
    """
    left = 1.0
    for name, share in shares.items():
        if share_of(name, user) * left < share:
            return name
        left -= share
    return None
