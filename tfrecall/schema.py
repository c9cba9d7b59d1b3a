"""What the towers see: one specification a feature, in a schema for query and candidate.

A specification names a column and says how it becomes a vector. It holds no TensorFlow; the layer of
the same name in `tfrecall.layers.features` does the work.
"""

from collections.abc import Iterable
from dataclasses import KW_ONLY
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveInt, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from tfrecall.errors import ConfigError, MissingColumnError, nearest

_STRICT = ConfigDict(extra="forbid")
_Rate = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=_STRICT)
class Categorical:
    """One string a row, as an embedding (`StringLookup` + `Embedding`).

    Attributes:
        column: the column it reads.
        embedding_dim: length of the vector.
        unknown_rate: share of the values that training replaces by the unknown value, so that the
            row of unknown values is trained too.
        max_tokens: keep the most frequent values only; all when None.
    """

    column: str
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    unknown_rate: _Rate = 0.01
    max_tokens: PositiveInt | None = None
    type: Literal["categorical"] = "categorical"
    numeric: ClassVar[bool] = False


@dataclass(frozen=True, config=_STRICT)
class MultiCategorical:
    """A list of strings a row, as the masked mean of their embeddings: genres, tags.

    Attributes: as `Categorical`. An empty list gives the zero vector.
    """

    column: str
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    max_tokens: PositiveInt | None = None
    type: Literal["multi_categorical"] = "multi_categorical"
    numeric: ClassVar[bool] = False


@dataclass(frozen=True, config=_STRICT)
class Numeric:
    """A number a row, shifted and scaled to mean 0 and variance 1 (`Normalization`)."""

    column: str
    _: KW_ONLY
    type: Literal["numeric"] = "numeric"
    numeric: ClassVar[bool] = True


@dataclass(frozen=True, config=_STRICT)
class Bucketized:
    """A number a row, as the embedding of the bucket it falls in (`Discretization`).

    Attributes:
        column: the column it reads.
        num_buckets: how many buckets to make; quantiles that coincide make fewer.
        embedding_dim: length of the vector.
        method: `quantile` puts about equally many rows in each bucket; `equal_width` puts
            `num_buckets` equally spaced boundaries between the smallest and the largest value, both
            included, as the tutorials of TensorFlow Recommenders do.
    """

    column: str
    num_buckets: Annotated[int, Field(ge=2)] = 100
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    method: Literal["quantile", "equal_width"] = "quantile"
    type: Literal["bucketized"] = "bucketized"
    numeric: ClassVar[bool] = True


@dataclass(frozen=True, config=_STRICT)
class Text:
    """Free text, as the masked mean of the embeddings of its words (`TextVectorization`).

    Attributes:
        column: the column it reads.
        max_tokens: how many words the vocabulary keeps, the most frequent first.
        embedding_dim: length of the vector.
    """

    column: str
    max_tokens: Annotated[int, Field(ge=3)] = 10_000
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    type: Literal["text"] = "text"
    numeric: ClassVar[bool] = False


Feature = Annotated[
    Categorical | MultiCategorical | Numeric | Bucketized | Text, Field(discriminator="type")
]


@dataclass(frozen=True, config=_STRICT)
class Schema:
    """The features of both towers.

    Attributes:
        query: what is known when recommendations are asked for: columns of the log and of the user
            table.
        candidate: what is known of an item: columns of the item table.
        candidate_id: the column that names a candidate, in the item table and in raw batches.

    Raises:
        ConfigError: if a tower has no feature, or has the same feature twice.

    >>> schema = Schema(query=[Categorical("user_id")], candidate=[Categorical("item_id")])
    >>> schema.query_columns
    ['user_id']
    """

    query: tuple[Feature, ...]
    candidate: tuple[Feature, ...]
    candidate_id: str = "item_id"

    @model_validator(mode="after")
    def _check(self) -> "Schema":
        for side in ("query", "candidate"):
            features = getattr(self, side)
            if not features:
                raise ConfigError(f"A schema needs at least one {side} feature. Received: none.")
            twice = [f for i, f in enumerate(features) if f in features[:i]]
            if twice:
                raise ConfigError(f"The {side} features name {twice[0]} twice. Remove one of them.")
        return self

    @property
    def query_columns(self) -> list[str]:
        return _columns(self.query)

    @property
    def candidate_columns(self) -> list[str]:
        return _columns(self.candidate)

    def check_query(self, available: Iterable[str]) -> None:
        """Raises `MissingColumnError` for a query column that is not among those available."""
        _check_columns(self.query_columns, available, "query", "the log or the user table")

    def check_candidate(self, available: Iterable[str]) -> None:
        """Raises `MissingColumnError` for a candidate column that the item table does not have."""
        needed = [*self.candidate_columns, self.candidate_id]
        _check_columns(needed, available, "candidate", "the item table")


def feature_from_dict(values: dict[str, Any]) -> Feature:
    """Reads one specification from its plain form, as `feature_to_dict` writes it."""
    return TypeAdapter(Feature).validate_python(values)


def feature_to_dict(feature: Feature) -> dict[str, Any]:
    """The plain form of a specification, for configurations and manifests."""
    return TypeAdapter(Feature).dump_python(feature)


def _columns(features: Iterable[Feature]) -> list[str]:
    return list(dict.fromkeys(feature.column for feature in features))


def _check_columns(needed: list[str], available: Iterable[str], side: str, where: str) -> None:
    available = list(available)
    for column in needed:
        if column not in available:
            raise MissingColumnError(
                f'The schema names the {side} column "{column}", but {where} has only: '
                f"{', '.join(available)}.{nearest(column, available)}"
            )
