"""Repeats of fixed numbers, and releases of models that have them."""

from pathlib import Path
from typing import Any

import pytest

from tfrecall.exporting.export import export
from tfrecall.index.repeats import Repeats

REPEATS = Repeats(recency=0.7, decay=0.01, bias=3.0, blend=0.4, length=6)


def export_repeating(model: Any, root: Path, index: Any) -> None:
    """Export a shared model as one whose users come back; its lists keep what they had."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "repeats", REPEATS)
        export(model, root, index=index, k=5, exclude_seen=False)
