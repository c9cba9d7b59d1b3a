"""A run that was never trained: vectors at random, figures that `evaluate` made of them."""

from html.parser import HTMLParser

import numpy as np
import polars as pl

from tfrecall.core.retriever import VectorRetriever
from tfrecall.data.interactions import Interactions
from tfrecall.data.splits import split_random
from tfrecall.evaluation import evaluate
from tfrecall.report import RunReportData

TUNING = {
    "k": 10,
    "target_recall": 0.95,
    "n_queries": 5,
    "exact_p50_us": 20.0,
    "rows": [
        {"search_k": 10, "recall": 0.7, "standard_error": 0.1, "p50_us": 5.0, "p95_us": 6.0},
        {"search_k": 20, "recall": 0.96, "standard_error": 0.0, "p50_us": 9.0, "p95_us": 11.0},
    ],
}
MONITOR = "hit_rate@5"


def a_run(data: Interactions, baselines: bool = True, **changes) -> RunReportData:
    """A run on `data` with made-up training; `changes` are set in its metrics."""
    known, test = split_random(data, 0.2, seed=1)
    retriever = a_retriever(data.items["item_id"].to_list())
    evaluation = evaluate(retriever, test, seen=known, ks=(1, 5, 10, 20), baselines=baselines)
    judged = evaluation.to_dict()
    history = {"loss": [3.0, 2.5, 2.25], "val_loss": [3.5, 3.0, 3.1], f"val_{MONITOR}": [0.1, 0.3, 0.2]}
    metrics = {
        "recipe": "made_up",
        "model": "two_tower",
        "version": 7,
        "data": {"name": "tiny", "users": 61, "items": data.items.height, "test_rows": len(test)},
        **{key: judged[key] for key in ("test", "baselines", "slices", "unknown_targets")},
        "training": {"best_epoch": 2, "history": history},
        "timings": {"fit_seconds": 1.5, "epochs": 3},
        "index": {"annoy": {"recall@10": 0.96, "search_k": 20}},
        "notes": ["5 rows were filtered"],
        **changes,
    }
    manifest = {
        "schema": {"query": [], "candidate": [{"type": "text", "column": "title"}]},
        "config": {"recipe": "made_up", "training": {"monitor": MONITOR, "validate_every": 1}},
        "tuning": TUNING,
        "made_with": {"python": "3.11.7"},
        "created_at": "2024-05-06T07:08:09+00:00",
    }
    return RunReportData(metrics, manifest, retriever, known, test, evaluation)


def a_retriever(item_ids: list[str], name: str = "made_up", seed: int = 0) -> VectorRetriever:
    """Vectors at random; those of a user follow from the user id."""
    vectors = np.random.default_rng(seed).normal(size=(len(item_ids), 4)).astype(np.float32)

    def embed(queries: pl.DataFrame) -> np.ndarray:
        own = [
            np.random.default_rng([seed, *user.encode()]).normal(size=4) for user in queries["user_id"]
        ]
        return np.array(own, dtype=np.float32)

    return VectorRetriever(name, np.array(item_ids, dtype=object), vectors, embed)


VOID = {"meta", "br", "hr", "img", "input", "link", "source", "wbr"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order. Collects texts and elements.

    Attributes:
        elements: (name, attributes, open elements around it).
        texts: (innermost element, text).
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attributes):
        around = [f"{name}.{a.get('class')}" for name, a in self._open]
        self.elements.append((tag, dict(attributes), around))
        if tag not in VOID:
            self._open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> without a beginning"
        assert self._open[-1][0] == tag, f"</{tag}> closes <{self._open[-1][0]}>"
        self._open.pop()

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self._open[-1][0] if self._open else "", data.strip()))

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes, _ in self.elements if tag == name]

    @property
    def text(self) -> str:
        return " ".join(text for name, text in self.texts if name not in ("style", "script"))
