"""Files and directories written whole or not at all, and locks among processes.

Every writer of the package goes through `atomic_file` or `staged_directory`. Both write next to the target
under a temporary name, bring contents and names to disk (`fsync` of files and directories) and rename: a
reader, a crash or a power cut finds the old state or the new one, never a part. A process that is killed
leaves a temporary name behind, which the next writer of the same target removes; those of live writers are
locked and stay.
"""

import ctypes
import errno
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

LOCK = ".lock"
# Ends the temporary names; each begins with a dot, so that globs and TF Serving pass over it.
_SUFFIX = ".unfinished"
_HEX_DIGITS = 12
# Of linux/fs.h and fcntl.h.
_RENAME_EXCHANGE, _AT_FDCWD = 2, -100


@contextmanager
def locked(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock of a directory, among all processes that see its file system.

    The lock ends with the process that holds it, even if that is killed.

    Args:
        directory: where the lock file lies.
        wait: whether to wait for another holder.

    Raises:
        BlockingIOError: if another process holds it and `wait` is False.
        OSError: if the directory cannot be written, or its file system has no locks.
    """
    file = directory / LOCK
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # The holder before may have removed the file: a lock on a removed file keeps nobody out.
            if _is_open(descriptor, file):
                yield
                return
        finally:
            os.close(descriptor)


@contextmanager
def atomic_file(file: Path) -> Iterator[IO[bytes]]:
    """Opens a binary stream whose contents become the file when the block ends well.

    The directory is made if it is missing. After an exception, in the block or here, the file is as before.

    Args:
        file: the target.

    Raises:
        OSError: if it cannot be written, or is a directory, a device or a pipe.

    Example:

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp(), "answer.txt")
    >>> with atomic_file(target) as stream:
    ...     _ = stream.write(b"42")
    ...     there_already = target.exists()
    >>> there_already, target.read_text()
    (False, '42')
    """
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(file))
    # A rename would put a file in the place of /dev/null for all programs of the machine.
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is a device, a pipe or a socket and no file", str(file))
    make_directory(file.parent)
    remove_unfinished(file.parent, file.name)
    temporary = _temporary(file)
    try:
        with _create_locked(temporary) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            # Inside the block: closing ends the lock, and an unlocked temporary file may be swept.
            os.replace(temporary, file)
        sync_directory(file.parent)
    finally:
        with suppress(OSError):  # a full or vanished disk must not hide the first error
            temporary.unlink(missing_ok=True)


def write_atomically(file: Path, text: str) -> None:
    """Replaces a text file in one step, in UTF-8.

    Raises:
        OSError: if it cannot be written; the text before stays.
    """
    with atomic_file(file) as stream:
        stream.write(text.encode())


@contextmanager
def staged_directory(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Gives a new directory that becomes the target when the block ends well, and vanishes otherwise.

    Parents are made if they are missing. On Linux a directory is replaced in one step. Elsewhere, and on file
    systems that cannot exchange names, it takes two renames: between them neither is there, and the next writer
    puts back the old one if the process was killed in that moment.

    Args:
        target: the directory to be.
        replace: whether it may exist already.

    Raises:
        FileExistsError: if the target exists and `replace` is False.
        OSError: if it cannot be written.

    Example:

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp(), "index")
    >>> with staged_directory(target) as staged:
    ...     _ = (staged / "ids.txt").write_text("a")
    >>> [file.name for file in target.iterdir()]
    ['ids.txt']
    """
    with scratch_directory(target) as scratch:
        staged, before = scratch / "new", scratch / "old"
        staged.mkdir()
        yield staged
        sync_tree(staged)
        if target.exists() and not replace:
            raise FileExistsError(errno.EEXIST, "it exists already", str(target))
        try:
            if not target.exists():
                os.rename(staged, target)
            elif not _exchange(staged, target):
                os.rename(target, before)
                os.rename(staged, target)
        # Not `Exception`: Ctrl-C between the two renames must put the old directory back, too.
        except BaseException:
            if before.exists() and not target.exists():
                os.rename(before, target)
            raise
        sync_directory(target.parent)


@contextmanager
def scratch_directory(target: Path) -> Iterator[Path]:
    """Gives a directory next to the target, locked as long as it is in use and gone afterwards.

    Args:
        target: names the scratch directory; need not exist.

    Raises:
        OSError: if it cannot be made.
    """
    make_directory(target.parent)
    remove_unfinished(target.parent, target.name)
    scratch = _temporary(target)
    try:
        with ExitStack() as stack:
            while True:
                scratch.mkdir(exist_ok=True)
                try:
                    stack.enter_context(locked(scratch))
                    break
                except FileNotFoundError:  # swept by another writer before it was locked: once more
                    continue
                except OSError:  # no locks on this file system: others then leave the directory alone
                    break
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_unfinished(folder: Path, name: str | None = None) -> None:
    """Removes temporary files and directories of writers that were killed.

    Args:
        folder: where the targets lie.
        name: name of the target; None for all targets in the folder.
    """
    prefix = "*" if name is None else glob.escape(name)
    pattern = f".{prefix}.{'[0-9a-f]' * _HEX_DIGITS}{_SUFFIX}"
    for path in folder.glob(pattern):
        # Locked by a live writer, just removed by another writer, or on a file system without locks.
        with suppress(OSError):
            _remove_dead_directory(path) if path.is_dir() else _remove_dead_file(path)


def make_directory(directory: Path) -> None:
    """Makes a directory and its parents where they are missing, and brings their names to disk.

    Raises:
        OSError: if one cannot be made, or a file has its name.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_directory(path.parent)


def sync_tree(directory: Path) -> None:
    """Brings all files of a directory and their names to disk, those of its subdirectories too."""
    for folder, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(folder, name), "rb") as stream:
                os.fsync(stream.fileno())
        sync_directory(Path(folder))


def sync_directory(directory: Path) -> None:
    """Brings the names in a directory to disk: a rename outlives a power cut only after this."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(one), os.fsencode(other)
    return rename is not None and not rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)


def _temporary(target: Path) -> Path:
    # In the folder of the target, not in /tmp: a rename is atomic within one file system only.
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:_HEX_DIGITS]}{_SUFFIX}")


def _create_locked(temporary: Path) -> IO[bytes]:
    """Opens a new file and locks it by its own descriptor, so that no other writer sweeps it."""
    while True:
        stream = temporary.open("xb")
        with suppress(OSError):  # no locks on this file system: others then leave the file alone
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
        if _is_open(stream.fileno(), temporary):
            return stream
        stream.close()  # swept between opening and locking: once more


def _is_open(descriptor: int, file: Path) -> bool:
    """Whether a name still stands for the file behind a descriptor."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _remove_dead_file(path: Path) -> None:
    with path.open("rb+") as stream:
        # Refused while a live writer holds the lock, so its file is left alone.
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _remove_dead_directory(path: Path) -> None:
    with locked(path, wait=False):
        before = path / "old"
        # The inverse of `_temporary`: ".index.0123456789ab.unfinished" stands for "index".
        target = path.with_name(path.name[1 : -len(_SUFFIX) - _HEX_DIGITS - 1])
        if before.exists() and not target.exists():  # killed between the two renames
            os.rename(before, target)
        shutil.rmtree(path, ignore_errors=True)
