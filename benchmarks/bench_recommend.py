"""Milliseconds of `recommend` for one user in process, exact search and Annoy."""

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import tfrecall as tr
from benchmarks.measure import report, seconds_of
from benchmarks.tutorial import movielens_split

REQUESTS = 500

train, _ = movielens_split()
schema = tr.Schema(
    query=[tr.Categorical("user_id"), tr.Bucketized("timestamp", 1000)],
    candidate=[tr.Categorical("item_id"), tr.Text("movie_title")],
)
model = tr.TwoTower(schema, [64, 32])
tr.fit(model, train, epochs=1, verbose=0)
users = train.users["user_id"].to_list()
with TemporaryDirectory() as folder:
    release = tr.export(model, Path(folder) / "release")
    p50 = {}
    for index in ("exact", "annoy"):
        release.recommend(users[:1], index=index)
        p50[index] = 1000 * median(
            seconds_of(lambda i=i, index=index: release.recommend([users[i % len(users)]], index=index))
            for i in range(REQUESTS)
        )
report(
    "recommend",
    items=len(release.item_ids),
    exact_p50_ms=p50["exact"],
    annoy_p50_ms=p50["annoy"],
    ratio=p50["annoy"] / p50["exact"],
)
