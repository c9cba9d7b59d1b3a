"""Contents of files as they lie on disk, plain or compressed: .gz, .zst, .zip."""

import gzip
import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, cast

from tfrecall.errors import DataError

COMPRESSED = (".gz", ".zst", ".zip")


def inner_name(file: Path) -> str:
    """Name of the table in a file: that of the file, without the suffix of compression.

    An archive is named after its only member, so that `archive.zip` with `log.csv` is a .csv.

    >>> inner_name(Path("logs/day.csv.gz"))
    'day.csv'
    """
    suffix = file.suffix.lower()
    if suffix == ".zip":
        name = PurePosixPath(_member(file)).name
        return name if PurePosixPath(name).suffix else file.stem
    return file.stem if suffix in COMPRESSED else file.name


def content(file: Path) -> Path | bytes:
    """The path of a plain file, the decompressed bytes of another.

    Raises:
        DataError: if the compressed data are damaged, or an archive does not hold exactly one file.
    """
    if file.suffix.lower() not in COMPRESSED:
        return file
    with opened(file) as stream:
        return stream.read()


def opened(file: Path) -> IO[bytes]:
    """Opens a file for reading, decompressed on the way.

    Raises:
        DataError: as `content`; reading from the stream raises it, too.
    """
    suffix = file.suffix.lower()
    if suffix not in COMPRESSED:
        return file.open("rb")
    return cast(IO[bytes], io.BufferedReader(_Guarded(file, _decompressed(file, suffix))))


def _decompressed(file: Path, suffix: str) -> IO[bytes]:
    if suffix == ".gz":
        return cast(IO[bytes], gzip.open(file))
    if suffix == ".zip":
        name = _member(file)
        try:
            return zipfile.ZipFile(file).open(name)
        except (RuntimeError, NotImplementedError) as error:  # a password, an unknown method
            raise DataError(
                f"{file} cannot be unpacked: {error}. Unpack it, or pack it without a password."
            ) from error
    import pyarrow  # not at the top: plain files do without it

    return cast(IO[bytes], pyarrow.input_stream(str(file), compression="zstd"))


def _member(file: Path) -> str:
    """Name of the only file of an archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [
                one.filename
                for one in archive.infolist()
                # macOS adds such entries beside each file.
                if not one.is_dir() and not one.filename.startswith(("__MACOSX/", "."))
            ]
    except (zipfile.BadZipFile, OSError) as error:
        raise _damaged(file, error) from error
    if len(names) != 1:
        listed = ", ".join(names[:5]) or "none"
        raise DataError(
            f"The archive {file} must hold one file. It holds {len(names):,}: {listed}. "
            "Unpack it and give the file."
        )
    return names[0]


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} cannot be decompressed: {error}. Compress it again or fetch it anew.")


class _Guarded(io.RawIOBase):
    """A stream whose errors of decompression are ours."""

    def __init__(self, file: Path, stream: IO[bytes]) -> None:
        self.file = file
        self.stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        try:
            part = self.stream.read(len(buffer))
        except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
            raise _damaged(self.file, error) from error
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self.stream.close()
        super().close()
