"""Exact evaluation over the whole catalogue, compared with baselines.

One pass over the test rows in blocks of bounded memory gives ranks; all metrics are computed from
those ranks by `tfrecall.evaluation.metrics`.
"""

from tfrecall.core.top_k import top_k
from tfrecall.evaluation.bootstrap import Interval, PerUser, paired_bootstrap, per_user
from tfrecall.evaluation.offline import baselines_of, evaluate
from tfrecall.evaluation.order import OrderTest, order_test
from tfrecall.evaluation.per_user_lists import UserLists, user_lists
from tfrecall.evaluation.ranks import Ranking, RuleRanks, rank
from tfrecall.evaluation.report import Evaluation
from tfrecall.evaluation.slices import slice_masks
from tfrecall.evaluation.stages import StageLosses, stage_losses

__all__ = [
    "Evaluation",
    "Interval",
    "OrderTest",
    "PerUser",
    "Ranking",
    "RuleRanks",
    "StageLosses",
    "UserLists",
    "baselines_of",
    "evaluate",
    "order_test",
    "paired_bootstrap",
    "per_user",
    "rank",
    "slice_masks",
    "stage_losses",
    "top_k",
    "user_lists",
]
