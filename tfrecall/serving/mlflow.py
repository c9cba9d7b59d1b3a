"""A release as a model of MLflow: saved, loaded and served as any other pyfunc.

    import tfrecall as tr
    from tfrecall.serving.mlflow import save_model

    save_model(tr.load("saved_models/shop"), "mlflow_model")
    # mlflow models serve -m mlflow_model --env-manager local

A row of the input is a query: columns are `user_id`, features and histories; a cell that is null or a column
that is missing is not given, and what is stored of a known user stands for it. A release that recommends gives
`candidate_ids` and `scores`, lists of equal length, best first; one that ranks takes `item_id`, too, and gives
`score`. Nothing is pickled: the model is the files of the release.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

from tfrecall import __version__
from tfrecall.errors import DataError, UnsupportedError
from tfrecall.release.base import Release
from tfrecall.release.loading import load
from tfrecall.release.manifest import MANIFEST, manifest_file
from tfrecall.release.ranker import RankerRelease

DEFAULT_K = 10
_TEXTS = Array(DataType.string)
_TYPES = {
    "string": DataType.string,
    "strings": _TEXTS,
    "number": DataType.double,
    "vector": Array(DataType.double),
}


def save_model(release: Release, path: str | Path, **options: Any) -> None:
    """Save the version of a release as a model of MLflow.

    Args:
        release: a release of any kind.
        path: a new directory.
        options: further arguments of `mlflow.pyfunc.save_model`, such as `input_example`.

    Raises:
        mlflow.exceptions.MlflowException: if the directory exists.
    """
    with _copied(release) as directory:
        mlflow.pyfunc.save_model(str(path), **{**_arguments(release, directory), **options})


def log_model(release: Release, name: str, **options: Any) -> Any:
    """Log the version of a release as a model of the active run.

    Args:
        release: a release of any kind.
        name: name of the model in MLflow.
        options: further arguments of `mlflow.pyfunc.log_model`, such as `registered_model_name`.

    Returns:
        Facts of the logged model, a `mlflow.models.model.ModelInfo`.
    """
    with _copied(release) as directory:
        return mlflow.pyfunc.log_model(name=name, **{**_arguments(release, directory), **options})


def _arguments(release: Release, directory: Path) -> dict[str, Any]:
    return {
        "loader_module": __name__,
        "data_path": str(directory),
        "signature": signature(release),
        "input_example": _example(release),
        "pip_requirements": [f"tfrecall[mlflow]=={__version__}"],
    }


def _example(release: Release) -> pd.DataFrame | None:
    """A query of the first user, which MLflow tries and stores."""
    columns = {"user_id": release.users.ids[:1]}
    if isinstance(release, RankerRelease):
        columns["item_id"] = release.item_ids[:1].tolist()
    return pd.DataFrame(columns) if columns["user_id"] else None


@contextmanager
def _copied(release: Release) -> Iterator[Path]:
    """A release directory with the version alone; gone after the block."""
    manifest = release.manifest
    text = json.dumps(manifest, indent=2)
    with TemporaryDirectory() as folder:
        root = Path(folder) / "release"
        for name in manifest["files"]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(release.root / name, root / name)
        for file in (root / MANIFEST, manifest_file(root, release.version)):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        yield root


def signature(release: Release) -> ModelSignature:
    """Columns of queries, all optional, and parameters of a release."""
    users = release.users
    types: dict[str, Any] = {name: _TYPES[form] for name, form in users.forms.items()}
    types = {"user_id": DataType.string, **types, **dict.fromkeys(users.item_lists, _TEXTS)}
    inputs: list[Any] = [ColSpec(kind, name, required=False) for name, kind in types.items()]
    outputs: list[Any] = [ColSpec(DataType.double, "score")]
    params: Any = None
    if isinstance(release, RankerRelease):
        inputs.append(ColSpec(DataType.string, "item_id"))
    else:
        lists = {"candidate_ids": _TEXTS, "scores": Array(DataType.double)}
        outputs = [ColSpec(kind, name) for name, kind in lists.items()]
        params = ParamSchema(_parameters(release))
    return ModelSignature(Schema(inputs), Schema(outputs), params)


def _parameters(release: Any) -> list[ParamSpec]:
    return [
        ParamSpec("k", DataType.long, DEFAULT_K),
        ParamSpec("exclude_seen", DataType.boolean, bool(release.exclude_seen)),
        ParamSpec("exclude", DataType.string, [], shape=(-1,)),
        # No list of MLflow can be null: the empty one restricts nothing.
        ParamSpec("allow", DataType.string, [], shape=(-1,)),
        ParamSpec("index", DataType.string, None),
    ]


class Model:
    """A loaded release, as MLflow calls it.

    Args:
        release: a release of any kind.
    """

    def __init__(self, release: Any) -> None:
        self.release = release

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Lists, or scores of a ranker, one row for each row of the input.

        Args:
            model_input: queries.
            params: of a release that recommends: `k`, `exclude_seen`, `exclude`, `allow` (the empty list
                restricts nothing), `index`.

        Raises:
            DataError: if the input is no table with columns, or a query cannot be used.
            ConfigError: if a parameter is impossible.
        """
        if not isinstance(model_input, pd.DataFrame) or not len(model_input.columns):
            raise DataError(
                "The input is a table with a row for each query. Give `user_id`, or columns of the query "
                f"model: {', '.join(self.release.users.forms)}."
            )
        queries = [_query(row) for row in model_input.to_dict("records")]
        if isinstance(self.release, RankerRelease):
            return self._scores(queries)
        options = {"k": DEFAULT_K, **(params or {})}
        allow = options.pop("allow", None)
        # MLflow passes lists as arrays.
        options["exclude"] = list(options.get("exclude", ()))
        options["allow"] = list(allow) if allow is not None and len(allow) else None
        found = self.release.recommend(queries, **options)
        return pd.DataFrame(
            {
                "candidate_ids": [answer.item_ids for answer in found],
                "scores": [answer.scores for answer in found],
            },
            index=model_input.index,
        )

    def _scores(self, queries: list[dict[str, Any]]) -> pd.DataFrame:
        if not all("item_id" in query for query in queries):
            raise UnsupportedError(
                "The release scores pairs of a query and an item: each row needs an `item_id`."
            )
        items = [str(query.pop("item_id")) for query in queries]
        return pd.DataFrame({"score": self.release.predict(queries, items).astype(np.float64)})


def _query(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the cells that are null."""
    given = {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()
    }
    return {
        name: value for name, value in given.items() if isinstance(value, list) or not pd.isna(value)
    }


def _load_pyfunc(path: str) -> Model:
    """The model of a directory: MLflow calls it by this name.

    Raises:
        ReleaseError: if it is no release, or may touch more than its own files.
    """
    return Model(load(path))
