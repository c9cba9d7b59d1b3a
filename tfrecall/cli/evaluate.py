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
    from tfrecall.cli.console import Narrator
    from tfrecall.evaluation import Evaluation, StageLosses
    from tfrecall.release.retriever import Release
    from tfrecall.runs.preparation import Prepared


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
    from tfrecall.cli.console import (
        Narrator,
        import_tensorflow,
        item_table,
        metric_table,
        ranking_table,
        show,
    )
    from tfrecall.config.recipes import config_from_dict
    from tfrecall.errors import ReleaseError

    import_tensorflow()
    with redirect_stdout(sys.stderr):
        from tfrecall.baselines.registry import check_baselines
        from tfrecall.data.repeat_consumption import leading_rule
        from tfrecall.evaluation.ranking import evaluate_ranking
        from tfrecall.evaluation.released import ReleasedRanker
        from tfrecall.release import load
        from tfrecall.release.ranker import RankerRelease
        from tfrecall.runs.evaluate import judge
        from tfrecall.runs.preparation import prepare
        from tfrecall.runs.ranking import judge_of

        loaded, narrator, stages = load(release), Narrator(), None
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
            prepared = prepare(config, narrator)
            check_baselines(config.evaluation.baselines or (), prepared.known)
        facts = loaded.manifest.get("data", {})
        if prepared.known.fingerprint != facts.get("fingerprint"):
            narrator.note("These are not the data of the run: the test rows may be others.")
        with narrator.step("Evaluate on the test rows"):
            if isinstance(loaded, RankerRelease):
                asked, more = ReleasedRanker(loaded.name, loaded), {}
                judged = evaluate_ranking(
                    asked, prepared.test, judge_of(config), known=prepared.known
                ).to_dict()
            else:
                more = {"leading": leading_rule(config.evaluation.seen, prepared.known)}
                evaluation = judge(config, prepared, loaded, narrator)
                judged = evaluation.to_dict()
                stages = _stages(loaded, prepared, evaluation, config.evaluation.ks, narrator)
    answer = {
        "recipe": config.recipe,
        "release": str(release),
        "version": loaded.version,
        "data": {"test_rows": judged["rows"], "fingerprint": prepared.known.fingerprint},
        **judged,
        "model": config.model.type,
        **more,
    }
    if stages is not None:
        answer.update(stages=stages.to_dict(), model=loaded.name)
    tables: list[Any] = [ranking_table(answer) if config.ranks else metric_table(answer)]
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
    from tfrecall.release.pipeline import TwoStages

    if not isinstance(release, TwoStages):
        return None
    ranking = evaluation.rankings[release.name]
    return stage_losses(
        release,
        prepared.test,
        seen=prepared.known,
        ks=ks,
        ranking=ranking,
        progress=narrator,
    )
