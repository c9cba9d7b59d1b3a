"""Verdict of a tournament: who is chosen, why, and the table of all entrants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfrecall.config.inference.entrants import Entrant
from tfrecall.config.recipes import with_settings
from tfrecall.config.run import RunConfig
from tfrecall.core.seen import Seen
from tfrecall.errors import ConfigError
from tfrecall.evaluation.standings import Standing
from tfrecall.runs.records import Record


def duration(seconds: float) -> str:
    """Write a number of seconds for people.

    >>> duration(45), duration(600), duration(5400)
    ('45 s', '10 min', '90 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


@dataclass(frozen=True)
class Verdict:
    """Standings of the entrants of a tournament on the validation rows.

    Attributes:
        standings: of each entrant that was judged, in the order of the table.
        records: of each entrant that took part.
        counting: names of the baselines.
        solved: those of them whose weights are solved for, such as EASE.
        rows: validation rows that were judged.
        leading: rule of the figures.
        budget: seconds of the tournament.

    Raises:
        ConfigError: if no entrant could be judged.
    """

    standings: Mapping[str, Standing]
    records: Mapping[str, Record]
    counting: Sequence[str]
    solved: Sequence[str]
    rows: int
    leading: Seen
    budget: float

    def __post_init__(self) -> None:
        if not self.standings:
            reasons = "\n".join(f"  {name}: {one.failed}" for name, one in self.records.items())
            raise ConfigError(f"No model could be judged on this log:\n{reasons}")

    @property
    def network(self) -> str | None:
        """The best network; None if none was judged."""
        return self._best([name for name in self.standings if name not in self.counting])

    @property
    def baseline(self) -> str | None:
        """The best baseline; None if none was judged.

        Weights that are solved for have to be above counts by more than noise, as networks have: a mean of
        three ratios hides that they list fewer targets among a hundred and more among ten.
        """
        plain = [name for name in self._baselines if name not in self.solved and self._is_near(name)]
        return self._best(plain or self._baselines)

    @property
    def chosen(self) -> str:
        """The best network if it is above the best baseline by more than noise, otherwise that baseline."""
        network, baseline = self.network, self.baseline
        if network is None or baseline is None:
            return str(network or baseline)
        return network if self.standings[network].leads else baseline

    @property
    def words(self) -> str:
        """The verdict in one or two sentences."""
        chosen, network = self.chosen, self.network
        if chosen == network:
            rival = f" of the best that counts, {self.baseline}" if self.baseline else ""
            return (
                f"{chosen} is chosen: {self._score(chosen)}{rival}, on {self.rows:,} validation rows."
            )
        above = self._best(self._baselines)
        noise = "" if above == chosen else f" {above} is above it by no more than noise."
        if network is None:
            return f"{chosen} is chosen: no network was judged.{noise}"
        return (
            f"{chosen} is chosen, which counts: {network}, the best network, has {self._score(network)} of it "
            f"on {self.rows:,} validation rows.{noise}"
        )

    def config(self, winner: Entrant) -> RunConfig:
        """The configuration of the winner, whose description says how it was chosen."""
        if winner.config is None:
            raise ConfigError(f"{winner.name} was not invited, so there is nothing to run.")
        said = " ".join(f"{winner.config.description} {self.words}".split())
        return with_settings(winner.config, {"description": said})

    def to_dict(self, invited: Sequence[Entrant]) -> dict[str, Any]:
        """Plain Python types, as `metrics.json` has them: the table with who was not invited, and why."""
        return {
            "budget_seconds": self.budget,
            "seconds": round(sum(one.seconds for one in self.records.values()), 3),
            "rows": self.rows,
            "rule": self.leading.value,
            "chosen": self.chosen,
            "because": self.words,
            "metrics": list(next(iter(self.standings.values())).figures),
            "entrants": [self._row(one) for one in invited],
        }

    @property
    def _baselines(self) -> list[str]:
        """Names of the baselines that were judged."""
        return [name for name in self.standings if name in self.counting]

    def _best(self, names: Sequence[str]) -> str | None:
        return max(names, key=lambda name: self.standings[name].score, default=None)

    def _is_near(self, name: str) -> bool:
        """Whether a baseline is below the best one by a standard error at most."""
        return -self.standings[name].lead <= self.standings[name].noise

    def _score(self, name: str) -> str:
        one = self.standings[name]
        return f"{one.score:.3f} (+-{one.noise:.3f})"

    def _row(self, one: Entrant) -> dict[str, Any]:
        record, standing = self.records.get(one.name, Record()), self.standings.get(one.name)
        row = {
            "name": one.name,
            "model": None if one.config is None else one.config.model.type,
            "why": record.failed or one.why,
            "state": self._state(one),
            "seconds": record.seconds,
            "epochs": record.epochs,
        }
        if standing is None:
            return row
        judged = {"score": standing.score, "lead": standing.lead, "noise": standing.noise}
        return {**row, **judged, "figures": standing.figures}

    def _state(self, one: Entrant) -> str:
        if one.name == self.chosen:
            return "chosen"
        if one.config is None:
            return "not invited"
        if one.name not in self.standings:
            return "failed"
        return "finished" if self.records[one.name].finished else "stopped"
