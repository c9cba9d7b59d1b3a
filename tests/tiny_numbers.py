"""A pipeline with numbers in the queries and candidates of both stages, small enough for tests."""

import polars as pl

from tfrecall.data import Interactions
from tfrecall.schema.features import Bucketized, Categorical, Numeric, Schema

N_CANDIDATES = 12
SCHEMA = Schema(
    query=[Categorical("user_id", 4), Numeric("age"), Bucketized("timestamp", 5, 4)],
    candidate=[Categorical("item_id", 4), Numeric("price")],
)


def export_numbers(retriever, data: Interactions, root) -> None:
    """Export `retriever`, a model of `data`, with a ranker of ratings that follow from prices."""
    from tests.tiny import ANNOY
    from tfrecall.exporting.pipeline import Pipeline, export_pipeline
    from tfrecall.models.ranker import Ranker
    from tfrecall.training import fit

    price = pl.col("item_id").str.slice(1).cast(pl.Int64) % 5 + 1.0
    rated = data.with_log(data.log.with_columns(rating=price))
    ranker = Ranker(SCHEMA, layer_sizes=[8], crosses=["concat"], name="priced")
    fit(ranker, rated, epochs=1, batch_size=256, seed=1, verbose=0)
    export_pipeline(Pipeline(retriever, ranker, n_candidates=N_CANDIDATES), root, k=5, index=ANNOY)
