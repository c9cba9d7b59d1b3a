"""Self-contained HTML reports of runs and comparisons: one script at most, nothing to load from elsewhere.

`tfrecall run` writes a report to the release directory, next to `metrics.json`; from Python:

>>> from tfrecall.runs.run import run  # doctest: +SKIP
>>> outcome = run(config, "saved_models/mine")  # doctest: +SKIP
>>> _ = write_page("again.html", outcome.report())  # doctest: +SKIP
"""

from tfrecall.report.comparison_page import comparison_page
from tfrecall.report.ranked_lists import example_lists
from tfrecall.report.ranking_page import ranking_page
from tfrecall.report.render import page_or_error, write_page
from tfrecall.report.run_page import RunReportData, run_page

__all__ = [
    "RunReportData",
    "comparison_page",
    "example_lists",
    "page_or_error",
    "ranking_page",
    "run_page",
    "write_page",
]
