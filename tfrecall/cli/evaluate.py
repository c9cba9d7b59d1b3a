"""`tfrecall evaluate`: a release on the test rows of its run."""

import copy
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfrecall.cli.options import Json, ReleasePath, app, data_overrides, guarded

if TYPE_CHECKING:
    from tfrecall.console import Narrator
    from tfrecall.evaluation import Evaluation, StageLosses
    from tfrecall.preparation import Prepared
    from tfrecall.release.release import Release


@app.command()
@guarded
def evaluate(
    release: ReleasePath,
    data: Annotated[
        Path | None, typer.Option(help="The log or MovieLens folder, if not where the run found it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge the exported models on the test rows of their run, beside the baselines."""
    from tfrecall.console import Narrator, import_tensorflow, item_table, metric_table, show
    from tfrecall.errors import ReleaseError
    from tfrecall.recipes import config_from_dict

    import_tensorflow()
    with redirect_stdout(sys.stderr):
        from tfrecall.data.repeated import leading_rule
        from tfrecall.evaluation import baselines_of
        from tfrecall.evaluation import evaluate as judge
        from tfrecall.preparation import prepare
        from tfrecall.release import load

        loaded, narrator = load(release), Narrator()
        if "config" not in loaded.manifest:
            raise ReleaseError(
                f"{release} was exported without a configuration, so its test rows are not known. Judge it "
                "in Python with `tfrecall.evaluate(release, test, seen=train)`."
            )
        values = copy.deepcopy(loaded.manifest["config"])
        for override in data_overrides(data):
            key, _, value = override.removeprefix("data.").partition("=")
            values["data"][key] = json.loads(value)
        config = config_from_dict(values, str(release))
        with narrator.step("Prepare the data"):
            prepared = prepare(config, narrator.note)
        facts = loaded.manifest.get("data", {})
        if prepared.known.fingerprint != facts.get("fingerprint"):
            narrator.note("These are not the data of the run: the test rows may be others.")
        with narrator.step("Evaluate on the test rows"):
            evaluation = judge(
                loaded,
                prepared.test,
                seen=prepared.known,
                ks=config.evaluation.ks,
                baselines=baselines_of(prepared.known, sequences=bool(config.schema.histories)),
                progress=narrator.progress,
            )
            stages = _stages(loaded, prepared, evaluation, config.evaluation.ks, narrator)
        judged = evaluation.to_dict()
    answer = {
        "recipe": config.recipe,
        "release": str(release),
        "version": loaded.version,
        "data": {"test_rows": judged["rows"], "fingerprint": prepared.known.fingerprint},
        **judged,
        **({} if stages is None else {"stages": stages.to_dict()}),
        "model": config.model.type if stages is None else loaded.name,
        "leading": leading_rule(config.evaluation.seen, prepared.known),
    }
    tables: list[Any] = [metric_table(answer)]
    if stages is not None:
        title = f"hit_rate@k by stage, {stages.n_candidates} candidates, {stages.rule}"
        tables.append(item_table(title, stages.table().to_dicts()))
    show(answer, as_json, *tables)


def _stages(
    release: "Release",
    prepared: "Prepared",
    evaluation: "Evaluation",
    ks: Sequence[int],
    narrator: "Narrator",
) -> "StageLosses | None":
    """What each stage of a pipeline loses; None of any other release."""
    from tfrecall.evaluation import stage_losses
    from tfrecall.release.two_stages import TwoStages

    if not isinstance(release, TwoStages):
        return None
    ranking = evaluation.rankings[release.name]
    return stage_losses(
        release,
        prepared.test,
        seen=prepared.known,
        ks=ks,
        ranking=ranking,
        progress=narrator.progress,
    )
