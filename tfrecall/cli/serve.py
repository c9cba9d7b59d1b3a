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
    index: IndexName = None,
    trust: Trust = False,
) -> None:
    """Answer over HTTP: recommendations, similar items, a page to look at."""
    try:
        import uvicorn

        from tfrecall.serving.app import create_app
        from tfrecall.serving.config import ServingConfig
    except ImportError as error:
        raise ConfigError(
            f"The service needs {error.name}. Install it: pip install 'tfrecall[serve]'."
        ) from error
    named = dict(_named(release) for release in releases)
    config = ServingConfig(named, index=index, trust=trust)
    uvicorn.run(create_app(config), host=host, port=port)


def _named(release: str) -> tuple[str, Path]:
    name, mark, directory = release.partition("=")
    return (name, Path(directory)) if mark else (Path(release).resolve().name, Path(release))
