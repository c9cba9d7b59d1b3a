"""The command `serve`: releases over HTTP."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar, cast

import typer

from tfrecall.cli.options import IndexName, Trust, app, guarded
from tfrecall.errors import ConfigError, nearest

Value = TypeVar("Value", int, float)


@app.command()
@guarded
def serve(
    releases: Annotated[
        list[str],
        typer.Argument(help="A release directory, or NAME=DIRECTORY; several are served at once."),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for a free one.")] = 8500,
    grpc_port: Annotated[
        int | None,
        typer.Option(help="Port of the Open Inference Protocol by gRPC; 0 for a free one."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that answer, on one port; they share the vectors.")
    ] = 1,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of BLAS and TensorFlow in each process.")
    ] = 1,
    index: IndexName = None,
    pin: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VERSION: serve it whatever is published; VERSION for a single release."
        ),
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(help="NAME=0.1: a tenth of the users is answered by that release; repeatable."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with a token that requests must bring as a bearer.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Name under which requests ask, such as that of a proxy; repeatable. On the loopback others "
            "than localhost and addresses are refused without it; * for any."
        ),
    ] = None,
    queue: Annotated[
        int, typer.Option(min=1, help="Requests that may wait for a release; more are refused (429).")
    ] = 256,
    connections: Annotated[
        int, typer.Option(min=1, help="Open connections of each process; more are refused (503).")
    ] = 4096,
    max_batch: Annotated[int, typer.Option(min=1, help="Most requests of one call of a model.")] = 64,
    timeout_ms: Annotated[
        int,
        typer.Option(
            min=1,
            help="Time for the model before popular items stand in, or requests that name no time fail.",
        ),
    ] = 10_000,
    max_body: Annotated[int, typer.Option(min=1, help="Largest body of a request, in bytes.")] = 1
    << 20,
    reload_seconds: Annotated[
        float, typer.Option(min=0, help="Time between two looks for a new version; 0 for none.")
    ] = 10.0,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="Time after SIGTERM in which requests are still taken.")
    ] = 1.0,
    events: Annotated[
        Path | None, typer.Option(help="Directory of the feedback log; without it feedback is refused.")
    ] = None,
    unknown_users: Annotated[
        str,
        typer.Option(help="Lists of unknown users who give nothing of themselves: model or popular."),
    ] = "model",
    fallback: Annotated[
        bool,
        typer.Option(
            help="Popular items, marked as such, for a model that fails, is late or has none; otherwise errors."
        ),
    ] = True,
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error; with warning no line for each request.")
    ] = "info",
    log_format: Annotated[str, typer.Option(help="json or text, on standard error.")] = "json",
    otel: Annotated[
        bool,
        typer.Option("--otel", help="Send spans by OTLP over HTTP; the variables OTEL_* say where."),
    ] = False,
    trust: Trust = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Answer over HTTP: recommendations, similar items, a page to look at."""
    try:
        from tfrecall.serving import process
        from tfrecall.serving.config import ServingConfig
    except ImportError as error:
        raise ConfigError(
            f"The service needs {error.name}. Install it: pip install 'tfrecall[serve]'."
        ) from error
    named = _directories(releases)
    config = ServingConfig(
        named,
        index=index,
        pins=_values("--pin", pin, int, named),
        shares=_values("--share", share, float, named),
        max_batch=max_batch,
        max_waiting=queue,
        max_connections=connections,
        timeout_ms=timeout_ms,
        max_body=max_body,
        reload_seconds=reload_seconds,
        drain_seconds=drain_seconds,
        grpc_address=None if grpc_port is None else process.free_address(host, grpc_port),
        token=None if token_file is None else _token(token_file),
        events=events,
        unknown_users=cast(Literal["model", "popular"], unknown_users),
        fallback=fallback,
        threads=threads,
        log_level=log_level,
        log_format=log_format,
        trust=trust,
        otel=otel,
    )
    process.check_releases(config)
    with process.listen(host, port) as bound:
        if config.token is None and not process.is_loopback(bound):
            print(
                "Warning: anyone who reaches this machine can ask. Give --token-file, or a --host that only "
                "you reach.",
                file=sys.stderr,
            )
        url = process.address(bound)
        also = "" if config.grpc_address is None else f" grpc://{config.grpc_address}"
        print(f"Serve {', '.join(named)}: {url} (a page in browsers){also}", flush=True)
        if open_page:
            process.open_when_ready(url)
        hosts = _hosts(allowed_host, is_loopback=process.is_loopback(bound))
        process.run(replace(config, hosts=hosts), bound, workers=workers)


def _hosts(allowed: list[str] | None, *, is_loopback: bool) -> tuple[str, ...] | None:
    """Names that requests may have as their Host; None for any.

    A service that others reach has the names that they call it by, which are not known here.
    """
    if "*" in (allowed or ()) or (allowed is None and not is_loopback):
        return None
    return tuple(allowed or ())


def _directories(releases: list[str]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for release in releases:
        name, mark, directory = release.partition("=")
        if not mark or Path(release).exists():
            # Not resolved: a link has the name under which its release is known.
            name, directory = Path(os.path.abspath(release)).name, release
        if name in named:
            raise ConfigError(
                f'Two releases are called "{name}". Give them names: {name}={named[name]} '
                f"{name}_2={directory}."
            )
        named[name] = Path(directory)
    return named


def _values(
    option: str, given: list[str] | None, kind: Callable[[str], Value], named: dict[str, Path]
) -> dict[str, Value]:
    """Values by name of an option such as --pin NAME=VERSION."""
    values: dict[str, Value] = {}
    for text in given or []:
        name, mark, value = text.rpartition("=")
        if not mark and len(named) == 1:
            name = next(iter(named))
        if name not in named:
            raise ConfigError(
                f"{option} {text} names no release.{nearest(name, named)} There are: {', '.join(named)}."
            )
        try:
            values[name] = kind(value)
        except ValueError as error:
            raise ConfigError(f"{option} takes NAME=NUMBER. Received: {text!r}.") from error
    return values


def _token(file: Path) -> str:
    """The token in a file, without the end of its line.

    Raises:
        ConfigError: if there is none that a header can carry.
    """
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {file} cannot be read: {error}.") from error
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise ConfigError(f"--token-file {file} holds no token: one line of printable ASCII signs.")
    return token
