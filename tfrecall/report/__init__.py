"""One self-contained HTML page for a run, and one for a comparison: no script, nothing to load."""

from tfrecall.report.comparison_page import comparison_page
from tfrecall.report.pages import write_page
from tfrecall.report.ranking_page import drawn_ranking, ranking_page
from tfrecall.report.run_page import Subject, drawn, page, run_page

__all__ = [
    "Subject",
    "comparison_page",
    "drawn",
    "drawn_ranking",
    "page",
    "ranking_page",
    "run_page",
    "write_page",
]
