"""A model beside popularity and ItemCF on the same test rows."""

from collections.abc import Sequence

from tfrecall.baselines.registry import fit_baselines, usual_baselines
from tfrecall.core.progress import ProgressReporter
from tfrecall.core.retriever import GivesRetriever, Retriever
from tfrecall.data.interactions import Interactions
from tfrecall.data.sequences import check_apart
from tfrecall.errors import ConfigError
from tfrecall.evaluation.ranks import Ranking, rank
from tfrecall.evaluation.report import Evaluation
from tfrecall.evaluation.slices import slice_masks
from tfrecall.evaluation.summary import Figures, summarize, summarize_slices


def evaluate(
    model: Retriever | GivesRetriever,
    test: Interactions,
    *,
    seen: Interactions,
    ks: Sequence[int] = (1, 5, 10, 20, 50, 100),
    baselines: bool | Sequence[Retriever] = True,
    block_size: int = 2048,
    progress: ProgressReporter | None = None,
) -> Evaluation:
    """Computes every metric over the whole catalogue, seen items kept and removed, in one pass.

    See `rank` for what a rank is, and `tfrecall.evaluation.metrics` for the metrics. Row metrics (hit_rate,
    ndcg, mrr) are means over test rows; user metrics (user_recall, user_precision, user_ndcg,
    user_map) are means over the users of the test rows, of one list each; coverage, novelty,
    popularity_share and gini describe those lists.

    Args:
        model: a fitted retriever, or a model that gives one, such as `TwoTower`.
        test: rows to find; targets outside the model's catalogue count as misses.
        seen: what users have seen before: the training log, or training and validation together.
        ks: lengths of lists.
        baselines: True fits those of `baselines_of(seen)`; fitted retrievers are taken as they are;
            False or an empty sequence leaves baselines out.
        block_size: most queries scored at once; fewer where a block would exceed 512 MB.
        progress: receives the model's name, rows done and all rows after each block; without it the
            logger "tfrecall" does.

    Raises:
        DataError: if `test` is empty, or one of its rows is in the log that the model takes histories from.
        ConfigError: if an argument makes no sense or a model's scores are unusable.
    """
    told = getattr(model, "history_log", None)
    if told is not None:
        check_apart(test, told)
    retriever = model if isinstance(model, Retriever) else model.retriever()

    def ranked(one: Retriever) -> Ranking:
        return rank(one, test, seen=seen, ks=ks, block_size=block_size, progress=progress)

    def figures(ranking: Ranking, one: Retriever) -> dict[str, Figures]:
        return summarize(ranking, seen, one.item_ids, ks)

    ranking = ranked(retriever)
    beside = {one.name: (ranked(one), one) for one in _fitted(baselines, seen)}
    return Evaluation(
        model=retriever.name,
        rows=len(test),
        users=test.log["user_id"].n_unique(),
        unknown_targets=ranking.unknown_targets,
        test=figures(ranking, retriever),
        slices=summarize_slices(ranking, slice_masks(test, seen), ks),
        baselines={name: figures(*pair) for name, pair in beside.items()},
        rankings={**{name: pair[0] for name, pair in beside.items()}, retriever.name: ranking},
    )


def baselines_of(
    seen: Interactions, *, sequences: bool = False, names: Sequence[str] | None = None
) -> list[Retriever]:
    """Fits the baselines that a model is shown beside.

    Args:
        seen, sequences: see `tfrecall.baselines.registry.usual_baselines`.
        names: other ones, of `tfrecall.schema.baselines.BASELINES`; None for the usual ones.
    """
    chosen = usual_baselines(seen, sequences=sequences) if names is None else names
    return list(fit_baselines(chosen, seen))


def _fitted(baselines: bool | Sequence[Retriever], seen: Interactions) -> Sequence[Retriever]:
    if isinstance(baselines, bool):
        return baselines_of(seen) if baselines else []
    names = [model.name for model in baselines]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"Baselines are told apart by name, and two have the same. Received: {names}."
        )
    return baselines
