"""`tfrecall evaluate`: a release on the test rows of its run."""

import sys
from contextlib import redirect_stdout
from typing import Annotated, Any

import typer

from tfrecall.cli.options import Json, MovedLog, ReleasePath, Trust, app, data_settings, guarded
from tfrecall.errors import ReleaseError


@app.command()
@guarded
def evaluate(
    release: ReleasePath,
    data: MovedLog = None,
    shuffled_histories: Annotated[
        bool,
        typer.Option(
            "--shuffled-histories",
            help="Ask again with the histories shuffled: what is the order worth?",
        ),
    ] = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Judge the exported models on the test rows of their run, beside the baselines."""
    from tfrecall.cli.console import Narrator, import_tensorflow, show, waiting
    from tfrecall.cli.tables import item_table, metric_notes, metric_tables, order_table, ranking_table
    from tfrecall.config.recipes import config_from_dict
    from tfrecall.release import load

    import_tensorflow()
    with redirect_stdout(sys.stderr):
        with waiting(f"Open {release}"):
            from tfrecall.runs.evaluate import evaluate_release

            loaded = load(release, trust=trust)
        if "config" not in loaded.manifest:
            raise ReleaseError(
                f"{release} was exported without a configuration, so its test rows are not known. Judge it "
                "in Python with `tfrecall.evaluate(release, test, seen=train)`."
            )
        # A shallow copy: `data` is replaced as a whole, so the manifest stays as it is.
        values = dict(loaded.manifest["config"])
        values["data"] = {**values["data"], **data_settings(data)}
        config = config_from_dict(values, str(release))
        answer, losses = evaluate_release(
            loaded, config, Narrator(), shuffled_histories=shuffled_histories
        )
    tables: list[Any] = (
        metric_tables(answer) if "leading" in answer else [ranking_table(answer), *metric_notes(answer)]
    )
    if "order" in answer:
        tables.append(order_table(answer["order"], answer["leading"]))
    if losses is not None:
        title = f"hit_rate@k by stage, {losses.n_candidates} candidates, {losses.rule}"
        tables.append(item_table(title, losses.table().to_dicts()))
    show({"release": str(release), **answer}, as_json, *tables)
