"""The command `deploy`: files that serve a release with TF Serving."""

from pathlib import Path
from typing import Annotated

import typer

from tfrecall.cli.options import Json, ReleasePath, Trust, app, guarded


@app.command()
@guarded
def deploy(
    release: ReleasePath,
    out: Annotated[Path, typer.Option(help="The directory to write.")] = Path("deploy"),
    version: Annotated[
        int | None, typer.Option(help="The version to serve; by default the current one.")
    ] = None,
    previous: Annotated[
        bool, typer.Option("--previous", help="Serve the version before, too, labelled previous.")
    ] = False,
    batching: Annotated[
        bool,
        typer.Option(
            "--batching", help="Let the server join requests: signatures without scalars alone."
        ),
    ] = False,
    service: Annotated[
        bool, typer.Option("--service", help="Put `tfrecall serve` beside it, with Docker Compose.")
    ] = False,
    image: Annotated[
        str | None, typer.Option(help="Image of TF Serving, with its tag; by default a recent one.")
    ] = None,
    cores: Annotated[int, typer.Option(help="CPU cores of one server.")] = 2,
    replicas: Annotated[int, typer.Option(help="Servers on Kubernetes.")] = 2,
    claim: Annotated[
        str, typer.Option(help="On Kubernetes, the volume claim that holds the release.")
    ] = "tfrecall-release",
    replace: Annotated[
        bool, typer.Option("--replace", help="Lose files of the directory that were changed by hand.")
    ] = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Write the files that serve a release with TF Serving: Docker Compose, Kubernetes, monitoring."""
    from tfrecall.cli.console import show, waiting
    from tfrecall.release import load
    from tfrecall.serving.deploy import IMAGE, Settings
    from tfrecall.serving.deploy import deploy as write

    settings = Settings(image or IMAGE, cores, replicas, claim, batching, service, previous)
    with waiting(f"Open {release}"):
        loaded = load(release, version, trust=trust)
    written = write(loaded, out, settings, replace=replace)
    text = (
        f"{', '.join(written['models'])} of version {written['version']} in {out}, with "
        f"{written['memory_mib']} MiB a server. Start: cd {out} && docker compose up --detach --wait"
    )
    show({"release": str(release), "out": str(out), **written}, as_json, text)
