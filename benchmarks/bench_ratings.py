"""RMSE of `ranking_ml100k` on the published folds of MovieLens-100K, beside myFM where it is installed."""

import argparse
import importlib.util
from time import process_time
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from benchmarks.measure import movielens_folder, report
from tfrecall.config.recipes import load_config
from tfrecall.data import Interactions, movielens
from tfrecall.runs.build import make_model
from tfrecall.training import fit

DAY = 86_400
FOLDS, RANK, SWEEPS, KEPT = 5, 10, 512, 504


def folds_of(data: Interactions) -> list[tuple[Interactions, Interactions]]:
    """Known and test rows of u1 to u5: u1.test is the first fifth of `u.data`, u2.test the second."""
    place = np.arange(len(data)) * FOLDS // len(data)
    return [
        (data.with_log(data.log.filter(place != fold)), data.with_log(data.log.filter(place == fold)))
        for fold in range(FOLDS)
    ]


def ours(known: Interactions, test: Interactions) -> np.ndarray:
    """Predictions of the recipe, trained on the known rows."""
    config = load_config("ranking_ml100k")
    model: Any = make_model(config)
    fit(model, known, training=config.training, verbose=0)
    return model.predictions(test)


def myfm(known: Interactions, test: Interactions) -> np.ndarray:
    """Predictions of myFM with users, movies, all that a user rated, all who rated a movie, and days."""
    from myfm import MyFMRegressor, RelationBlock

    shape = known.users.height, known.items.height
    ones = np.ones(len(known))
    rated = sp.csr_matrix((ones, (known.user_rows, known.item_rows)), shape=shape)
    of_users = ("raw_user_age", "user_gender", "user_occupation_text")
    users = [sp.identity(shape[0]), _roots(rated), *(_one_hot(known.users, c) for c in of_users)]
    names = sorted(set(known.items["movie_genres"].explode().drop_nulls()))
    listed = np.stack(
        [known.items["movie_genres"].list.contains(name).to_numpy().astype(float) for name in names],
        axis=1,
    )
    items = [sp.identity(shape[1]), _roots(rated.T), listed, _one_hot(known.items, "release_year")]
    blocks = [sp.csr_matrix(sp.hstack(parts)) for parts in (users, items)]
    days = np.unique(known.log["timestamp"].to_numpy() // DAY)

    def rows_of(rows: Interactions) -> tuple[sp.csr_matrix, list[Any]]:
        items = known.item_vocabulary.rows(rows.log["item_id"])
        places = known.user_vocabulary.rows(rows.log["user_id"]), items
        day = (rows.log["timestamp"].to_numpy() // DAY)[:, np.newaxis] == days
        return sp.csr_matrix(day, dtype=float), [
            RelationBlock(place, block) for place, block in zip(places, blocks, strict=True)
        ]

    model = MyFMRegressor(rank=RANK, random_seed=42)
    main, relations = rows_of(known)
    labels = known.log["rating"].to_numpy()
    shapes = [len(days), *(part.shape[1] for part in (*users, *items))]
    model.fit(main, labels, X_rel=relations, n_iter=SWEEPS, n_kept_samples=KEPT, group_shapes=shapes)
    main, relations = rows_of(test)
    return np.clip(model.predict(main, X_rel=relations), 1, 5)


def _roots(matrix: sp.spmatrix) -> sp.csr_matrix:
    """Each row over the root of its number of entries."""
    counts = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1)
    return sp.csr_matrix(sp.diags(1 / np.sqrt(counts)) @ matrix)


def _one_hot(table: pl.DataFrame, column: str) -> sp.csr_matrix:
    values = table[column].cast(pl.String).fill_null("").to_numpy()
    _, places = np.unique(values.astype(str), return_inverse=True)
    return sp.csr_matrix((np.ones(len(places)), (np.arange(len(places)), places)))


def main() -> None:
    """Trains on the other folds, and prints a line a fold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=1, help="how many of u1 to u5")
    parser.add_argument("--other", action="store_true", help="myFM, too, which takes a minute a fold")
    options = parser.parse_args()
    models = {"ours": ours}
    if options.other and importlib.util.find_spec("myfm"):
        models["myfm"] = myfm
    figures: dict[str, list[float]] = {}
    for fold, (known, test) in enumerate(
        folds_of(movielens("100k", movielens_folder()))[: options.folds]
    ):
        labels = test.log["rating"].to_numpy()
        for name, model in models.items():
            started = process_time()
            error = float(np.sqrt(np.square(model(known, test) - labels).mean()))
            figures.setdefault(f"{name}_rmse", []).append(error)
            figures.setdefault(f"{name}_cpu_seconds", []).append(process_time() - started)
            report("ratings", fold=f"u{fold + 1}", model=name, rmse=error)
    first = {"u1_rmse": figures["ours_rmse"][0]}
    report("ratings", **first, **{name: float(np.mean(values)) for name, values in figures.items()})


if __name__ == "__main__":
    main()
