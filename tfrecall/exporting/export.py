"""`tfrecall.export`: one function that writes a release of any model."""

import inspect
from collections.abc import Callable
from functools import singledispatch
from pathlib import Path
from typing import Any, overload

from tfrecall.baselines.base import HistoryModel
from tfrecall.errors import ConfigError
from tfrecall.exporting.baseline import export_baseline
from tfrecall.exporting.pipeline import export_pipeline
from tfrecall.exporting.ranker import export_ranker
from tfrecall.exporting.retriever import export_retriever
from tfrecall.index.bundle import IndexSettings
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.base import Release
from tfrecall.release.pipeline import BasePipeline, PipelineRelease
from tfrecall.release.ranker import RankerRelease


@overload
def export(
    model: TwoTower,
    path: str | Path,
    *,
    index: IndexSettings | None = ...,
    k: int = ...,
    exclude_seen: bool = ...,
    facts: dict[str, Any] | None = ...,
) -> Release: ...
@overload
def export(model: Ranker, path: str | Path, *, facts: dict[str, Any] | None = ...) -> RankerRelease: ...
@overload
def export(
    model: BasePipeline,
    path: str | Path,
    *,
    index: IndexSettings | None = ...,
    k: int = ...,
    facts: dict[str, Any] | None = ...,
) -> PipelineRelease: ...
@overload
def export(
    model: HistoryModel,
    path: str | Path,
    *,
    exclude_seen: bool = ...,
    facts: dict[str, Any] | None = ...,
) -> Release: ...
def export(model: Any, path: str | Path, **options: Any) -> Release:
    """Write the next version of a release and open it.

    The version appears whole or not at all: a Keras model is saved, compared with the live model in a
    fresh process, and published in one step. If anything fails before, nothing changes. Versions before
    stay as they are.

    Args:
        model: a trained `TwoTower` (or a subclass), a `Ranker`, a `Pipeline`, or a fitted
            baseline such as `ItemCF`.
        path: the release directory; created if it does not exist.
        index: of a `TwoTower` or a `Pipeline` of live models: an approximate index to build and tune; None
            for exact search only. Default: `Annoy()`.
        k: of a `TwoTower` or a `Pipeline`: length of the lists that the `serving_default` signature of
            the SavedModel gives. Default: 10.
        exclude_seen: of a `TwoTower` or a baseline: whether lists leave out seen items unless a query
            says otherwise. Default: True.
        facts: further facts for the manifest, as JSON can hold them: metrics, configuration, data.

    Returns:
        The release that was written, as `tfrecall.load` opens it.

    Raises:
        ConfigError: if the model cannot be exported, it does not take an option, `k` is impossible, or
            the manifest cannot hold the facts.
        ExportError: if the directory cannot be written, or the exported model answers unlike the live
            one.

    Example:

    >>> import tempfile
    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=20, n_items=10, n_rows=100)
    >>> release = tr.export(tr.Popularity().fit(log), tempfile.mkdtemp())
    >>> release.version, len(release.recommend(["u1"], k=3)[0].item_ids)
    (1, 3)
    """
    write = _exporter_of(model)
    # From the exporter's own signature, without model and path, so that the message cannot go stale.
    allowed = list(inspect.signature(write).parameters)[2:]
    if wrong := [name for name in options if name not in allowed]:
        raise ConfigError(
            f"The export of a {type(model).__name__} takes no `{wrong[0]}`. It takes: "
            f"{', '.join(allowed)}."
        )
    return write(model, path, **options)


@singledispatch
def _exporter_of(model: Any) -> Callable[..., Release]:
    """The function that exports models of this kind."""
    raise ConfigError(
        f"A {type(model).__name__} cannot be exported. Give a trained `TwoTower` or `Ranker`, a `Pipeline`, "
        "or a fitted baseline."
    )


@_exporter_of.register
def _(model: TwoTower) -> Callable[..., Release]:
    return export_retriever


@_exporter_of.register
def _(model: Ranker) -> Callable[..., Release]:
    return export_ranker


@_exporter_of.register
def _(model: BasePipeline) -> Callable[..., Release]:
    return export_pipeline


@_exporter_of.register
def _(model: HistoryModel) -> Callable[..., Release]:
    return export_baseline
