"""One name of a run's model in every table: that of the run."""

from collections.abc import Mapping
from typing import Any


def as_named(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a run with its model under the name of the run, as tables and pages show them.

    `metrics.json` calls the model by its type, but its other rows ("..., as of the newest event"), the
    release and the comparison by the name of the run. A model whose run is called like one of its baselines
    keeps its type.

    Args:
        metrics: `metrics.json`, or the answer of `tfrecall evaluate`; `name` goes before `recipe`.

    >>> figures = {"recipe": "films", "model": "two_tower", "baselines": {}, "intervals": {"two_tower": {}}}
    >>> as_named(figures)["model"], as_named(figures)["intervals"]
    ('films', {'films': {}})
    """
    kind = metrics.get("model", "")
    name = metrics.get("name", metrics.get("recipe", kind))
    if name in metrics.get("baselines", {}):
        return dict(metrics)
    intervals = {name if one == kind else one: of for one, of in metrics.get("intervals", {}).items()}
    return {**metrics, "model": name, **({"intervals": intervals} if intervals else {})}
