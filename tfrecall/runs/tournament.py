"""Tournament of configurations on the validation rows, within a budget of seconds; its winner is run."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfrecall.config.inference.entrants import Entrant
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.core.retriever import Retriever
from tfrecall.core.seen import Seen
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.interactions import Interactions
from tfrecall.errors import TfrecallError
from tfrecall.evaluation.ranks import rank
from tfrecall.evaluation.standings import Standing, standings
from tfrecall.release.layout import check_writable
from tfrecall.runs.build import baseline_of
from tfrecall.runs.halving import halve
from tfrecall.runs.kinds import kind_of
from tfrecall.runs.memory import check_memory
from tfrecall.runs.preparation import DataSplits, prepare
from tfrecall.runs.records import Record, Records
from tfrecall.runs.run import Outcome, run
from tfrecall.runs.train import checkpoints_of, first_fit
from tfrecall.runs.verdict import Verdict, duration

# Validation rows that are judged at most: with so many, a hit rate of .1 has a standard error of .003.
MOST_ROWS = 10_000


def run_best(
    invited: Sequence[Entrant],
    budget_seconds: float,
    out: str | Path | None = None,
    progress: ProgressReporter | None = None,
    *,
    fresh: bool = False,
    tensorboard: str | Path | None = None,
    unless_worse_than: float | None = None,
    splits: DataSplits | None = None,
) -> Outcome:
    """Choose among configurations on the validation rows, and run the best.

    Baselines are fitted and judged first. Networks train in turns of a share of the budget; after each round
    the worse half of them stops (successive halving). The last one trains to its end, beyond the budget if need
    be, unless it leads already. It wins if its mean ratio to the best figures of baselines is above theirs by a
    standard error, otherwise the best baseline does. The run of the winner goes on to its end and asks the test
    rows, once. Its configuration, which the release keeps, gives the same model in a run of its own.

    A tournament that is interrupted goes on where it ended: what was judged is not repeated.

    Args:
        invited: configurations of the same rows, networks in the order of hope, and who is not invited.
        budget_seconds: seconds of the tournament.
        out: the release directory; `saved_models/<recipe>` by default.
        progress: receives steps, notes and counts; without it the logger "tfrecall" does.
        fresh: whether to discard what an interrupted run or tournament left.
        tensorboard: a directory for TensorBoard, of the winner's training.
        unless_worse_than: as for `run`, of the winner.
        splits: the rows of all entrants, if they were prepared already; None prepares them.

    Raises:
        TfrecallError: if data, settings or directories are unusable, with the way out.

    Reference:
        Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
        AISTATS 2016.
    """
    progress = progress or LogProgress()
    playing = [one for one in invited if one.config is not None]
    configs = [one.config for one in playing if one.config is not None]
    inferred = next((config for config in configs if not config.counts), configs[0])
    root = Path(out or Path("saved_models") / inferred.recipe)
    check_writable(root)
    kind = kind_of(inferred)
    with progress.step("Prepare the data" if splits is None else "Check the data"):
        splits = splits or prepare(inferred, progress)
        check_memory(inferred, splits.known, progress)
        kind.check(splits)
    if splits.validation is None or len(playing) < 2:
        if splits.validation is None:
            progress.note(
                "There are no validation rows to choose by: what is inferred is run as it is."
            )
        return run(
            inferred,
            root,
            progress,
            fresh=fresh,
            tensorboard=tensorboard,
            unless_worse_than=unless_worse_than,
            splits=splits,
        )
    kept = Records(root, splits, fresh=fresh)
    leading = Seen(str(kind.leading_rule(splits.known)))
    with progress.step(f"Choose among {len(playing)} models within {duration(budget_seconds)}"):
        verdict = _Tournament(playing, splits, leading, budget_seconds, kept, progress).play()
        progress.note(verdict.words)
    winner = next(one for one in playing if one.name == verdict.chosen)
    kept.hand_over(winner)
    outcome = run(
        verdict.config(winner),
        root,
        progress,
        tensorboard=tensorboard,
        unless_worse_than=unless_worse_than,
        splits=splits,
        tournament=verdict.to_dict(invited),
    )
    kept.discard()
    return outcome


class _Tournament:
    """One tournament: entrants are judged on the same validation rows, one after the other."""

    def __init__(
        self,
        playing: Sequence[Entrant],
        splits: DataSplits,
        leading: Seen,
        budget: float,
        kept: Records,
        progress: ProgressReporter,
    ) -> None:
        self.playing = {one.name: one for one in playing}
        self.splits = splits
        self.leading = leading
        self.budget = budget
        self.kept = kept
        self.progress = progress
        self.rows = _some_rows(splits)
        ids = self.rows.log["user_id"]
        self._users = Vocabulary(ids.unique(maintain_order=True)).rows(ids)

    def play(self) -> Verdict:
        """Judge the baselines, then halve the networks."""
        for one in self.playing.values():
            if one.config is not None and one.config.counts and not self.kept.of(one).turns:
                self._try(one, 0.0)
        networks = [n for n, one in self.playing.items() if one.config and not one.config.counts]
        left = self.budget - sum(self.kept.of(one).seconds for one in self.playing.values())
        for name in halve(networks, left, self._turn, self._score):
            self._finish(name)
        records = {name: self.kept.of(one) for name, one in self.playing.items()}
        found, rows = self._standings(), len(self.rows)
        return Verdict(
            found, records, self._counting(), self._solved(), rows, self.leading, self.budget
        )

    def _finish(self, name: str) -> None:
        """Train the last network to its end, unless it is above counting already: then its run does.

        Beyond the budget if need be: on a busy machine a budget is over after an epoch, which decides nothing.
        """
        one = self.playing[name]
        record = self.kept.of(one)
        if record.turns and not record.finished and not self._standings()[name].leads:
            self._try(one, np.inf)

    def _turn(self, name: str, seconds: float, number: int) -> float:
        """One turn of a network in a round; the seconds it took."""
        one, record = self.playing[name], self.kept.of(self.playing[name])
        if record.finished or record.failed or record.turns >= number:
            return 0.0
        # The first network has its turn in any case: there is nothing else to compare baselines with.
        if seconds <= 0 and set(self._standings()) - set(self._counting()):
            if not record.turns:
                self.kept.add(one, Record(failed="the budget ended before its turn"))
            return 0.0
        self._try(one, seconds)
        return self.kept.of(one).seconds - record.seconds

    def _try(self, one: Entrant, seconds: float) -> None:
        """Train and judge an entrant; one that cannot be, such as for its memory, is out, with the reason."""
        before, started = self.kept.of(one), time.perf_counter()
        try:
            retriever, epochs, finished = self._fitted(one, seconds)
            ranks = self._ranks(retriever)
        except (TfrecallError, MemoryError) as error:
            self.progress.warning(f"{one.name} is out: {error}")
            self.kept.add(one, Record(failed=f"{error}"))
            return
        spent = before.seconds + time.perf_counter() - started
        self.kept.add(one, Record(round(spent, 3), before.turns + 1, epochs, finished), ranks)
        of_all = self._standings()[one.name]
        figures = ", ".join(f"{name} {value:.4f}" for name, value in of_all.figures.items())
        after = f" after {epochs} epochs" if epochs else ""
        self.progress.note(f"{one.name}{after}, {spent:.1f} s: {figures}")

    def _fitted(self, one: Entrant, seconds: float) -> tuple[Retriever, int, bool]:
        """The model of an entrant after a turn, its epochs, and whether it has nothing more to learn."""
        assert one.config is not None
        if one.config.counts:
            model = baseline_of(one.config)
            model.check(self.splits.before_validation)
            return model.fit(self.splits.before_validation), 0, True
        quiet = _Counts(self.progress)
        checkpoints = checkpoints_of(one.config, self.splits, self.kept.folder_of(one), quiet)
        checkpoints.until = time.monotonic() + seconds
        network, fitted = first_fit(one.config, self.splits, quiet, checkpoints)
        retriever = network.retriever(self.splits.before_validation)
        return retriever, fitted.epochs, not checkpoints.paused

    def _ranks(self, retriever: Retriever) -> np.ndarray:
        ks = [1]  # exposure is not asked for
        ranking = rank(
            retriever, self.rows, seen=self.splits.before_validation, ks=ks, progress=self.progress
        )
        return ranking.by(self.leading).rows

    def _counting(self) -> list[str]:
        return [name for name, one in self.playing.items() if one.config and one.config.counts]

    def _solved(self) -> list[str]:
        return [
            name for name, one in self.playing.items() if one.config and one.config.model.type == "ease"
        ]

    def _standings(self) -> dict[str, Standing]:
        ranks = {name: self.kept.ranks(one) for name, one in self.playing.items()}
        judged = {name: rows for name, rows in ranks.items() if rows is not None}
        (ks, *_) = [one.config.evaluation.ks for one in self.playing.values() if one.config]
        return standings(judged, self._counting(), self._users, ks)

    def _score(self, name: str) -> float:
        found = self._standings().get(name)
        return -np.inf if found is None else found.score


class _Counts(ProgressReporter):
    """Passes on counts alone: the epochs of all entrants would be many lines."""

    def __init__(self, progress: ProgressReporter) -> None:
        self._progress = progress

    def progress(self, title: str, done: int, total: int, unit: str = "rows") -> None:
        self._progress.progress(title, done, total, unit)


def _some_rows(splits: DataSplits) -> Interactions:
    """The validation rows, or those of a sample of their users."""
    rows = splits.validation
    assert rows is not None
    if len(rows) <= MOST_ROWS:
        return rows
    counts = (
        rows.log.group_by("user_id", maintain_order=True).len().sample(fraction=1, shuffle=True, seed=0)
    )
    some = counts.filter(counts["len"].cum_sum() <= MOST_ROWS)["user_id"]
    return rows.with_log(rows.log.filter(rows.log["user_id"].is_in(some.implode())))
