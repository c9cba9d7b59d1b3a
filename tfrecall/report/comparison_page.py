"""Report of a comparison of releases."""

from typing import Any

from tfrecall.core.seen import Seen
from tfrecall.evaluation.report import note_on_had
from tfrecall.evaluation.summary import primary_metrics
from tfrecall.report.charts import recall_curves
from tfrecall.report.render import render
from tfrecall.report.svg import intervals
from tfrecall.report.tables import rule_table


def comparison_page(compared: dict[str, Any]) -> str:
    """Render releases side by side as HTML.

    Args:
        compared: result of `Comparison.to_dict`.
    """
    # The first release is the reference of all differences.
    first, *others = compared["models"]
    leading = compared["leading"]
    shown = {**compared["models"], **compared["baselines"]}
    tables = [
        rule_table(rule, shown, list(compared["models"][first][rule])) for rule in Seen.ordered(leading)
    ]
    return render(
        "compare.html",
        title=f"{first} and {', '.join(others)}",
        compared=compared,
        had=note_on_had(compared["targets_had"], compared["rows"]),
        leading=leading,
        tables=tables,
        recall=recall_curves(shown, compared["baselines"], leading),
        differences={
            name: {
                **difference,
                "pictures": [
                    _picture(rule, difference["intervals"][rule])
                    for rule in Seen.ordered(leading)
                    if rule in difference["intervals"]
                ],
                "tables": [
                    {"rule": rule, "intervals": difference["intervals"][rule]}
                    for rule in Seen.ordered(leading)
                    if rule in difference["intervals"]
                ],
            }
            for name, difference in compared["differences"].items()
        },
    )


def _picture(rule: str, differences: dict[str, dict[str, float]]) -> Any:
    rows = [
        (name, differences[name]["difference"], differences[name]["low"], differences[name]["high"])
        for name in primary_metrics(differences)
    ]
    return intervals(f"Difference to the first, seen items {rule.removeprefix('seen_')}", rows)
