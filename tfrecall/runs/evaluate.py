"""The test rows of a run judged as its configuration says."""

from tfrecall.config.run import RunConfig
from tfrecall.core.progress import ProgressReporter
from tfrecall.evaluation import Evaluation, baselines_of, evaluate
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.retriever import Release
from tfrecall.runs.preparation import Prepared


def judge(
    config: RunConfig, prepared: Prepared, model: TwoTower | Release, progress: ProgressReporter
) -> Evaluation:
    """A retriever on the test rows, beside the baselines that the configuration names."""
    return evaluate(
        model,
        prepared.test,
        seen=prepared.known,
        ks=config.evaluation.ks,
        baselines=baselines_of(
            prepared.known,
            sequences=bool(config.schema.histories),
            names=config.evaluation.baselines,
        ),
        progress=progress,
    )
