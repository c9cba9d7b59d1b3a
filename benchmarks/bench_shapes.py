"""Logs of seven shapes through `run` without a recipe: the chosen model beside popularity and others."""

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from benchmarks.measure import report
from tfrecall.config.inference import default_budget, entrants, propose
from tfrecall.core.seen import Seen
from tfrecall.evaluation.bootstrap import ratio_intervals
from tfrecall.evaluation.metrics import hit_rate, ndcg
from tfrecall.runs.run import run
from tfrecall.runs.tournament import run_best

DAY = 86_400
START = 1.6e9


def repeated(
    n_users: int = 2000,
    n_items: int = 1000,
    events: int = 20,
    again: float = 0.6,
    n_groups: int = 20,
    seed: int = 0,
    by_recency: bool = False,
) -> pl.DataFrame:
    """Users of two groups each, who with the probability `again` come back to what they had.

    Else four in five choices are of their groups, popular ones first, and one is of all items.
    """
    random, rows = np.random.default_rng(seed), []
    weights = 1 / (np.arange(n_items) + 5) ** 0.9
    group = random.integers(n_groups, size=n_items)
    members = [np.flatnonzero(group == g) for g in range(n_groups)]
    inside, anywhere = [_edges(weights[m]) for m in members], _edges(weights)
    for user in range(n_users):
        own = random.choice(n_groups, 2, replace=False)
        count, had, time = max(3, random.poisson(events)), [], START + random.random() * 1e6
        for _ in range(count):
            if had and random.random() < again:
                back = random.geometric(0.3) - 1 if by_recency else None
                place = random.integers(len(had)) if back is None else -1 - min(len(had) - 1, back)
                item = had[place]
            elif random.random() < 0.8:
                g = own[random.integers(2)]
                item = members[g][np.searchsorted(inside[g], random.random())]
            else:
                item = np.searchsorted(anywhere, random.random())
            had.append(int(item))
            time += random.exponential(3 * DAY)
            rows.append((user, int(item), time))
    return _log(rows)


def grouped(
    n_users: int, n_items: int, events: int, n_groups: int, seed: int, moving: bool = False
) -> pl.DataFrame:
    """Users of one group each, or who move from group to group, and choose no item twice if they can."""
    random, rows = np.random.default_rng(seed), []
    weights = 1 / (np.arange(n_items) + 10) ** 0.8
    group = random.integers(n_groups, size=n_items)
    members = [np.flatnonzero(group == g) for g in range(n_groups)]
    inside, anywhere = [_edges(weights[m]) for m in members], _edges(weights)
    following = random.permutation(n_groups)
    for user in range(n_users):
        g = random.integers(n_groups)
        count, had, time = max(3, random.poisson(events)), set(), START + random.random() * 1e7
        for _ in range(count):
            if moving:
                g = following[g] if random.random() < 0.7 else g
            for _ in range(20):
                if random.random() < 0.75:
                    item = members[g][np.searchsorted(inside[g], random.random())]
                else:
                    item = np.searchsorted(anywhere, random.random())
                if item not in had:
                    break
            had.add(int(item))
            time += random.exponential(DAY)
            rows.append((user, int(item), time))
    return _log(rows)


def baskets(
    n_users: int,
    n_items: int,
    trips: int,
    size: float,
    again: float,
    n_groups: int,
    seed: int,
    items_again: float = 0.5,
) -> pl.DataFrame:
    """Users of some groups each, who fill baskets of items of one time, with what they had or with new items.

    A line of a basket comes back, with the probability `again`, to an event of the user's past: any, or with
    the probability `items_again` one of the latest baskets. Else it is new: four in five of the groups
    that the user likes, more or less, popular items first. Numbers of trips differ widely between users.
    """
    random, users, items, times = np.random.default_rng(seed), [], [], []
    weights = 1 / (np.arange(n_items) + 10) ** 0.9
    group = random.integers(n_groups, size=n_items)
    members = [np.flatnonzero(group == g) for g in range(n_groups)]
    inside, anywhere = [_edges(weights[m]) for m in members], _edges(weights)
    for user in range(n_users):
        tastes = _edges(random.gamma(0.1, size=n_groups) + 1e-9)
        past, time = np.empty(0, np.int64), START + random.random() * 1e6
        for _ in range(max(3, int(random.gamma(2.0, trips / 2)))):
            count = 1 + random.poisson(random.gamma(2.0, (size - 1) / 2))
            draws = random.random((3, count))
            liked = np.searchsorted(tastes, draws[0])
            new = np.searchsorted(anywhere, draws[1])
            for line in np.flatnonzero(draws[2] < 0.8):
                new[line] = members[liked[line]][np.searchsorted(inside[liked[line]], draws[1, line])]
            lines = new
            if len(past):
                recent = np.minimum(random.geometric(1 / (3 * size), count), len(past))
                old = np.where(
                    random.random(count) < items_again, recent, random.integers(1, len(past) + 1, count)
                )
                lines = np.where(random.random(count) < again, past[len(past) - old], lines)
            lines = random.permutation(np.unique(lines))
            past = np.concatenate([past, lines])
            items.append(lines)
            users.append(np.full(len(lines), user))
            times.append(np.full(len(lines), round(time)))
            time += random.exponential(7 * DAY)
    columns = {"user_id": users, "item_id": items, "timestamp": times}
    return pl.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})


SHAPES: dict[str, Callable[[], pl.DataFrame]] = {
    "repeated by count": repeated,
    "repeated by recency": lambda: repeated(again=0.7, seed=1, by_recency=True),
    "dense": lambda: grouped(1500, 1000, 80, 20, 3),
    "in sequence": lambda: grouped(5000, 5000, 15, 50, 4, moving=True),
    "sparse": lambda: grouped(20_000, 100_000, 6, 500, 0),
    "grocery": lambda: baskets(600, 20_000, 16, 10, 0.55, 130, 5),
    "retail": lambda: baskets(2500, 100_000, 16, 10, 0.45, 300, 6),
}


# Figures of a list, by which the model is compared with baselines that count.
METRICS = ("hit_rate@10", "hit_rate@100", "ndcg@10")
# Baselines, by the beginnings of their names, which the model is to beat in every column.
COUNTING = ("popularity", "item_cf", "item_transitions", "own")
Figures = dict[str, dict[str, float]]


def judge(shape: str, folder: Path, budget: float | None = None) -> Figures:
    """`METRICS` of each model under the leading rule, of a run of what is proposed for the log.

    Args:
        shape: name of the log.
        folder: where log and release are written.
        budget: seconds of the tournament that chooses the model; None for those of the size of the log, 0 for
            what is inferred, without rivals.
    """
    file = folder / "log.parquet"
    SHAPES[shape]().write_parquet(file)
    proposal, out = propose(file), folder / shape.replace(" ", "_")
    if budget is None:
        budget = default_budget(proposal.description.usable_rows)
    if budget:
        outcome = run_best(entrants(proposal, [], budget), budget, out)
        print(shape, outcome.metrics["tournament"]["because"], flush=True)
    else:
        outcome = run(proposal.config(), out)
    metrics, evaluation = outcome.metrics, outcome.evaluation
    models = {"chosen": metrics["test"], **metrics["baselines"]}
    rule = metrics["leading"]
    # Baselines that answer with seen items only have no figures where these are removed.
    judged = {name: rules for name, rules in models.items() if rule in rules}
    ranks = {
        name: evaluation.rankings[evaluation.model if name == "chosen" else name].by(Seen(rule)).rows
        for name in judged
    }
    users = outcome.splits.test.log["user_id"].rank("dense").to_numpy() - 1
    print(*(f"{shape}: {line}\n" for line in behind(ranks, users)), sep="", end="", flush=True)
    return {name: {m: rules[rule][m] for m in METRICS} for name, rules in judged.items()}


def behind(ranks: dict[str, np.ndarray], users: np.ndarray) -> list[str]:
    """A line for people for each baseline that counts and each metric in which it is above the chosen model.

    Args:
        ranks: model -> int64 `[n_rows]`, the rank of each test row's item from 0.
        users: int `[n_rows]`, the user of each row, from 0, over whom the interval of the ratio is.
    """
    values = {name: row_values(rows) for name, rows in ranks.items()}
    lines = []
    for name, of_rows in values.items():
        for metric in METRICS if name.startswith(COUNTING) else ():
            own, other = values["chosen"][metric], of_rows[metric]
            if own.mean() < other.mean():
                ((low, high),) = ratio_intervals([own], [other], users)
                ratio = own.mean() / other.mean()
                lines.append(f"{metric} is {ratio:.3f} ({low:.3f} to {high:.3f}) of that of {name}")
    return lines


def row_values(rows: np.ndarray) -> dict[str, np.ndarray]:
    """`METRICS` of each test row: float64 `[n_rows]`, from ranks from 0."""
    return dict(zip(METRICS, (hit_rate(rows, 10), hit_rate(rows, 100), ndcg(rows, 10)), strict=True))


def least_over(
    judged: dict[str, Figures], kinds: tuple[str, ...], metrics: tuple[str, ...] = ("hit_rate@100",)
) -> float:
    """The smallest ratio of the model to the best baseline whose name starts so, over logs and metrics."""
    ratios = []
    for figures in judged.values():
        others = [one for name, one in figures.items() if name.startswith(kinds)]
        for metric in metrics if others else ():
            ratios.append(figures["chosen"][metric] / max(one[metric] for one in others))
    return min(ratios)


def best_of(figures: Figures) -> dict[str, str]:
    """The name of the best model of each metric; of equal ones the baseline, which costs nothing to train."""
    metrics = next(iter(figures.values()))
    return {m: max(figures, key=lambda name: (figures[name][m], name != "chosen")) for m in metrics}


def winners(shape: str, figures: Figures) -> str:
    """A line for people: the best model of each column, and beside another one the model's figure."""
    columns = []
    for metric, name in best_of(figures).items():
        own = "" if name == "chosen" else f" (chosen {figures['chosen'][metric]:.3f})"
        columns.append(f"{metric} {name} {figures[name][metric]:.3f}{own}")
    return f"{shape}: " + ", ".join(columns)


def _edges(weights: np.ndarray) -> np.ndarray:
    total = np.cumsum(weights)
    return total / total[-1]


def _log(rows: list[tuple[int, int, float]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


def main() -> None:
    """Judges the shapes that are asked for, all by default, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--shape", action="append", choices=list(SHAPES), help="one of the logs; repeatable"
    )
    parser.add_argument(
        "--budget", type=float, help="seconds of each tournament; 0 for the inferred model alone"
    )
    arguments = parser.parse_args()
    shapes = arguments.shape or list(SHAPES)
    with TemporaryDirectory() as folder:
        judged = {}
        for shape in shapes:
            judged[shape] = judge(shape, Path(folder), arguments.budget)
            print(winners(shape, judged[shape]), flush=True)
    own = {shape: figures for shape, figures in judged.items() if "own_most_frequent" in figures}
    report(
        "shapes",
        over_popularity=least_over(judged, ("popularity",)),
        **({"over_own_items": least_over(own, ("own",))} if own else {}),
        over_counting=least_over(judged, COUNTING, METRICS),
        **{
            shape: {
                name: {metric: round(value, 3) for metric, value in one.items()}
                for name, one in figures.items()
            }
            for shape, figures in judged.items()
        },
    )


if __name__ == "__main__":
    main()
