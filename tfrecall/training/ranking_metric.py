"""Exact ranking metrics of the validation rows as monitors: the figures of the final table."""

import re
from typing import Any

from tfrecall._keras import keras
from tfrecall.core.seen import Seen
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError
from tfrecall.evaluation import metrics, rank
from tfrecall.models.two_tower import TwoTower

_NAME = re.compile(r"(?P<rule>seen_removed|seen_kept)/(?P<metric>hit_rate|ndcg)@(?P<k>[1-9]\d*)")


class RankingMetrics(keras.callbacks.Callback):
    """Adds a ranking metric of the towers on the validation rows to the logs of each validated epoch.

    Keras' own metrics see a batch at a time and leave seen items in the lists, whose scores training has
    raised the most: a model that learns its rows well is worse by them from the second epoch on, and
    better where seen items are removed, as in serving.

    Args:
        monitor: `seen_removed/hit_rate@50`, or with `kept`, `ndcg`, another length.
        validation: the rows to rank.
        seen: the log before them: histories, and the items to remove.

    Raises:
        ConfigError: if `monitor` is no such name.
    """

    def __init__(self, monitor: str, validation: Interactions, seen: Interactions) -> None:
        super().__init__()
        match = _NAME.fullmatch(monitor)
        if match is None:
            raise ConfigError(
                '`monitor` is "seen_removed/" or "seen_kept/", then "hit_rate@" or "ndcg@" and the length '
                f'of the lists, such as "seen_removed/hit_rate@50". Received: "{monitor}".'
            )
        self.monitor = monitor
        self.validation = validation
        self.seen = seen
        self._rule = Seen(match["rule"])
        self._metric = {"hit_rate": metrics.hit_rate, "ndcg": metrics.ndcg}[match["metric"]]
        self._k = int(match["k"])

    @staticmethod
    def is_meant(monitor: str) -> bool:
        """Whether a monitor is a ranking metric, not one of the model."""
        return monitor.startswith("seen_")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Only after validated epochs, which Keras tells by its own metrics of validation.
        if logs is not None and any(name.startswith("val_") for name in logs):
            logs[f"val_{self.monitor}"] = self._value(self.model)

    def _value(self, model: TwoTower) -> float:
        retriever = model.towers_retriever(self.seen)
        ranking = rank(retriever, self.validation, seen=self.seen, ks=(self._k,))
        return float(self._metric(ranking.by(self._rule).rows, self._k).mean())
