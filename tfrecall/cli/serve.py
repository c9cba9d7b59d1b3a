"""The command `serve`: releases over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from tfrecall.cli.options import IndexName, Trust, app, guarded
from tfrecall.errors import ConfigError


@app.command()
@guarded
def serve(
    releases: Annotated[
        list[str],
        typer.Argument(help="A release directory, or NAME=DIRECTORY; several are served at once."),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8500,
    grpc_port: Annotated[
        int | None,
        typer.Option(help="Port of the Open Inference Protocol by gRPC; 0 for a free one."),
    ] = None,
    index: IndexName = None,
    workers: Annotated[int, typer.Option(help="Processes that answer, on one port.")] = 1,
    trust: Trust = False,
) -> None:
    """Answer over HTTP: recommendations, similar items, a page to look at."""
    try:
        from tfrecall.serving.config import ServingConfig
        from tfrecall.serving.process import address, free_address, listen, run
    except ImportError as error:
        raise ConfigError(
            f"The service needs {error.name}. Install it: pip install 'tfrecall[serve]'."
        ) from error
    named = dict(_named(release) for release in releases)
    with listen(host, port) as bound:
        grpc_address = None if grpc_port is None else free_address(host, grpc_port)
        config = ServingConfig(named, index=index, grpc_address=grpc_address, trust=trust)
        also = "" if grpc_address is None else f" grpc://{grpc_address}"
        print(f"{', '.join(named)}: {address(bound)}{also}", flush=True)
        run(config, bound, workers=workers)


def _named(release: str) -> tuple[str, Path]:
    name, mark, directory = release.partition("=")
    return (name, Path(directory)) if mark else (Path(release).resolve().name, Path(release))
