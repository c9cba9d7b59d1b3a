"""Memory available to this process."""

import os
from pathlib import Path


def available_bytes() -> int | None:
    """Memory available to this process, the smaller of machine's and container's limit; None if unknown."""
    limits = [value for value in (_of_machine(), _of_container()) if value is not None]
    return min(limits, default=None)


def gigabytes(count: int) -> str:
    """Bytes in words.

    >>> gigabytes(2_700_000_000), gigabytes(30_000_000)
    ('2.7 GB', '30 MB')
    """
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def _of_machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                # The kernel writes "kB" and means 1,024 bytes.
                return int(line.split()[1]) * 1024
        return None
    except (OSError, ValueError, IndexError):
        pass
    try:  # macOS: total memory, since there is no /proc to tell free memory
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _of_container() -> int | None:
    """The limit of a control group, less the memory in use; file pages are freed on demand."""
    root = Path("/sys/fs/cgroup")
    for folder, limit, used, pages in (
        # Control groups of version 2, then of version 1.
        (root, "memory.max", "memory.current", "inactive_file "),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
    ):
        try:
            stat = (folder / "memory.stat").read_text().splitlines()
            # Counted as used, but a cache of files: a container that has read a large log is not full.
            cached = next((int(line.split()[1]) for line in stat if line.startswith(pages)), 0)
            taken = int((folder / used).read_text()) - cached
            return max(0, int((folder / limit).read_text()) - taken)
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return None
