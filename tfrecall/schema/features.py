"""What the towers see: one specification a feature, in a schema for query and candidate.

A specification names a column and says how it becomes a vector. It holds no TensorFlow; the layer of
the same name in `tfrecall.layers.features` does the work.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    PositiveInt,
    TypeAdapter,
    model_validator,
)
from pydantic.dataclasses import dataclass

from tfrecall.core.event_context import GAP, context_column
from tfrecall.core.raw import Form
from tfrecall.errors import ConfigError, MissingColumnError, nearest
from tfrecall.schema.encoders import Encoder, Mean
from tfrecall.schema.specs import STRICT, from_plain, readable

_Rate = Annotated[float, Field(ge=0, lt=1)]
# Encoders of which one event can be taken out again.
_ADDS_UP = ("mean", "sum", "root_sum")
# Other arguments of the signature of a release that recommends.
RESERVED = ("k", "exclude", "allow", "self")


def check_column(column: str) -> str:
    """Refuses, with a `ValueError`, a name that cannot be an argument of an exported model."""
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", column):
        better = re.sub("[^A-Za-z0-9]+", "_", column).strip("_0123456789") or "feature"
        raise ValueError(
            f'The column "{column}" cannot be a feature: it names an argument of the exported model, '
            f'so it takes letters, digits and underscores only, a letter first. Rename it to "{better}".'
        )
    return column


_Column = Annotated[str, AfterValidator(check_column)]


@readable
@dataclass(frozen=True, config=STRICT)
class Categorical:
    """One string a row, as an embedding (`StringLookup` + `Embedding`).

    Attributes:
        column: the column it reads.
        embedding_dim: length of the vector.
        unknown_rate: share of the values that training replaces by the unknown value, so that the
            row of unknown values is trained too.
        max_tokens: keep the most frequent values only; all when None.
        prefix: only the first so many characters count: of a zip code the region; all when None.
    """

    column: _Column
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    unknown_rate: _Rate = 0.01
    max_tokens: PositiveInt | None = None
    prefix: PositiveInt | None = None
    type: Literal["categorical"] = "categorical"
    form: ClassVar[Form] = "string"


@readable
@dataclass(frozen=True, config=STRICT)
class MultiCategorical:
    """A list of strings a row, as the masked mean of their embeddings: genres, tags.

    An empty list gives the zero vector.

    Attributes:
        column: the column it reads: lists of strings.
        embedding_dim: length of the vector.
        max_tokens: keep the most frequent values only; all when None.
    """

    column: _Column
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    max_tokens: PositiveInt | None = None
    type: Literal["multi_categorical"] = "multi_categorical"
    form: ClassVar[Form] = "strings"


@readable
@dataclass(frozen=True, config=STRICT)
class Numeric:
    """A number a row, shifted and scaled to mean 0 and variance 1 (`Normalization`).

    Attributes:
        column: the column it reads.
    """

    column: _Column
    _: KW_ONLY
    type: Literal["numeric"] = "numeric"
    form: ClassVar[Form] = "number"


@readable
@dataclass(frozen=True, config=STRICT)
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

    column: _Column
    num_buckets: Annotated[int, Field(ge=2)] = 100
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    method: Literal["quantile", "equal_width"] = "quantile"
    type: Literal["bucketized"] = "bucketized"
    form: ClassVar[Form] = "number"


@readable
@dataclass(frozen=True, config=STRICT)
class Text:
    """Free text, as the masked mean of the embeddings of its words (`TextVectorization`).

    Attributes:
        column: the column it reads.
        max_tokens: how many words the vocabulary keeps, the most frequent first.
        embedding_dim: length of the vector.
    """

    column: _Column
    max_tokens: Annotated[int, Field(ge=3)] = 10_000
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    type: Literal["text"] = "text"
    form: ClassVar[Form] = "string"


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"A history has each context once. Received: {list(names)}. Leave one out.")
    return names


ItemFeature = Annotated[Categorical | MultiCategorical | Text, Field(discriminator="type")]


@readable
@dataclass(frozen=True, config=STRICT)
class History:
    """What a user had before, as one vector of those items' vectors, or several; for queries only.

    Attributes:
        column: what requests and the exported model call it: a list of item ids, oldest first. Several
            features may read the same list, of the same events.
        of: the feature of the items that is embedded: their id, genres, title.
        history_length: the most recent events that count.
        encoder: how the vectors become one (`tfrecall.schema.encoders`).
        normalize: whether the vector of each item is scaled to length one first.
        table: histories that name the same table share the embeddings, if they are of the same feature;
            "candidate" shares those of the candidate tower, which has that feature, too. None for a
            table of its own.
        min_rating: only events rated so or higher: what a user liked.
        below_rating: only events rated lower: what a user disliked.
        context: what else is known of each event, each a vector that is added to the item's: names of
            columns of the log with few values, such as "rating" or "device", and "gap", the time since
            the user's event before, whether that is in the list or not (`tfrecall.core.event_context`).
            Requests and the exported model have them as lists beside the ids, `<column>_<context>`,
            where "" is not known.
        anytime: whether events after the moment of the query count as well: all that the user has in
            the log, of which training leaves out the row itself. That is the implicit feedback of
            SVD++ for a `Ranker`, and for a retriever the whole of a user's taste where order says
            little. It takes an encoder that adds up (`Mean`, `Sum`, `RootSum`), and all events, whatever
            their rating: a list of the liked ones would lack its own row just where that was liked. Where
            users come back to items, the other rows of an item stay and give it away: keep one of them
            (`filters.duplicates`).
    """

    column: _Column = "history"
    of: ItemFeature = Categorical("item_id")
    history_length: PositiveInt = 50
    encoder: Encoder = Mean()
    _: KW_ONLY
    normalize: bool = False
    table: str | None = None
    min_rating: Annotated[float | None, Field(allow_inf_nan=False)] = None
    below_rating: Annotated[float | None, Field(allow_inf_nan=False)] = None
    context: Annotated[tuple[_Column, ...], AfterValidator(_each_once)] = ()
    anytime: bool = False
    type: Literal["history"] = "history"
    form: ClassVar[Form] = "strings"

    @property
    def context_columns(self) -> dict[str, str]:
        """For each context what requests and the exported model call its list."""
        return {name: context_column(self.column, name) for name in self.context}

    @property
    def num_interests(self) -> int:
        """How many vectors it gives, each for a query vector of its own."""
        return getattr(self.encoder, "num_interests", 1)

    @model_validator(mode="after")
    def _check(self) -> "History":
        wrong = [
            told
            for told, there in (
                (f"the encoder {self.encoder}", self.encoder.type not in _ADDS_UP),
                ("ratings that decide what counts", self.is_rated),
                (f"the context {', '.join(self.context)}", bool(self.context)),
            )
            if there
        ]
        if self.anytime and wrong:
            raise ValueError(
                "with `anytime` a history is a sum of all events, which takes one of the encoders "
                f"{', '.join(_ADDS_UP)}, no ratings and no context. Received: {' and '.join(wrong)}"
            )
        return self

    @property
    def is_rated(self) -> bool:
        """Whether ratings decide which events count."""
        return self.min_rating is not None or self.below_rating is not None


@readable
@dataclass(frozen=True, config=STRICT)
class ExampleAge:
    """How long before the end of the training data an event was, 0 to 1; always 0 when it is asked.

    Lets the model tell what was popular when from what is good for a user, and answers as of the end.

    Attributes:
        column: the time of the event, in training only.

    Reference:
        Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016, section 3.3.
    """

    column: _Column = "timestamp"
    _: KW_ONLY
    type: Literal["example_age"] = "example_age"
    form: ClassVar[Form] = "number"


Feature = Annotated[
    Categorical | MultiCategorical | Numeric | Bucketized | Text | History | ExampleAge,
    Field(discriminator="type"),
]


@readable
@dataclass(frozen=True, config=STRICT)
class Schema:
    """The features of both towers.

    Attributes:
        query: what is known when recommendations are asked for: columns of the log and of the user
            table.
        candidate: what is known of an item: columns of the item table.
        candidate_id: the column that names a candidate, in the item table and in raw batches.

    Raises:
        ConfigError: if a tower has no feature, has the same feature twice, or reads one column both as
            a number and as text, or two histories are of several interests.

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
            check_forms(features)
        _check_sides(self.query, self.candidate)
        taken = [column for column in self.query_columns if column in RESERVED]
        if taken:
            raise ConfigError(
                f'A query feature cannot be called "{taken[0]}", which is an argument of the exported '
                "model already. Rename the column."
            )
        return self

    @property
    def query_columns(self) -> list[str]:
        """Columns of the log and the user table; histories are made of the log itself."""
        return _columns(feature for feature in self.query if not isinstance(feature, History))

    @property
    def histories(self) -> dict[str, History]:
        """The lists of items that queries come with, by name, each as its first feature has it.

        Its context is that of all its features.
        """
        found: dict[str, History] = {}
        for feature in self.query:
            if isinstance(feature, History):
                first = found.setdefault(feature.column, feature)
                more = tuple(name for name in feature.context if name not in first.context)
                if more:
                    found[feature.column] = replace(first, context=(*first.context, *more))
        return found

    @property
    def past(self) -> dict[str, History]:
        """Those of the histories that hold what came before the query."""
        return {name: spec for name, spec in self.histories.items() if not spec.anytime}

    @property
    def bags(self) -> dict[str, History]:
        """Those of the histories that hold what users have at any time."""
        return {name: spec for name, spec in self.histories.items() if spec.anytime}

    @property
    def contexts(self) -> dict[str, tuple[str, ...]]:
        """For each list with context what is known of its events."""
        return {name: spec.context for name, spec in self.histories.items() if spec.context}

    @property
    def history_columns(self) -> list[str]:
        """The columns that are made of the log: lists of ids, and their context."""
        beside = [c for spec in self.histories.values() for c in spec.context_columns.values()]
        return [*self.histories, *beside]

    @property
    def candidate_columns(self) -> list[str]:
        return _columns(self.candidate)

    def check_query(self, available: Iterable[str], of_log: bool = True) -> None:
        """Raises `MissingColumnError` for a query column that is not among those available.

        Args:
            available: the columns that there are.
            of_log: whether histories are made of them; else they are columns themselves.
        """
        if not of_log:
            needed = [*self.query_columns, *self.history_columns]
            _check_columns(needed, available, "query", "the dataset")
            return
        rated = ["rating"] if any(spec.is_rated for spec in self.histories.values()) else []
        told = [name for names in self.contexts.values() for name in names if name != GAP]
        needed = [*self.query_columns, *rated, *told]
        _check_columns(needed, available, "query", "the log or the user table")

    def check_candidate(self, available: Iterable[str]) -> None:
        """Raises `MissingColumnError` for a candidate column that the item table does not have."""
        of = [spec.of for spec in self.query if isinstance(spec, History)]
        needed = [*self.candidate_columns, self.candidate_id, *_columns(of)]
        _check_columns(needed, available, "candidate", "the item table")


def check_forms(features: Iterable[Feature]) -> None:
    """Refuses features that want one column in two raw forms, because a batch holds it once.

    Raises:
        ConfigError: naming the column.
    """
    first: dict[str, Feature] = {}
    for feature in features:
        other = first.setdefault(feature.column, feature)
        if other.form != feature.form:
            raise ConfigError(
                f'The column "{feature.column}" is read as a {other.form} by {type(other).__name__} and '
                f"as a {feature.form} by {type(feature).__name__}, but a batch holds it once. Copy it "
                "under a second name, or use Bucketized beside Numeric."
            )


def _check_sides(query: Iterable[Feature], candidate: Iterable[Feature]) -> None:
    """Refuses what makes sense for queries only, and histories that do not go together."""
    for feature in candidate:
        if isinstance(feature, History | ExampleAge):
            raise ConfigError(
                f"{type(feature).__name__} tells of the moment of a query, so a candidate has none. Move "
                f"{feature} to the query features."
            )
    if all(isinstance(feature, ExampleAge) for feature in query):
        raise ConfigError(
            "ExampleAge says nothing when recommendations are asked for, so it cannot be the only query "
            "feature. Add another one, such as History."
        )
    histories = [feature for feature in query if isinstance(feature, History)]
    _check_histories(histories)
    _check_contexts(histories, _columns(query))


def _check_histories(histories: Sequence[History]) -> None:
    """Refuses lists of one name with different events, and interests of more than one history."""
    several = [feature for feature in histories if feature.num_interests > 1]
    if len(several) > 1:
        raise ConfigError(
            "The interests of two histories would have to be matched one by one. Received: "
            f"{several[0].num_interests} of {several[0]} and {several[1].num_interests} of {several[1]}. "
            "Give one of them an encoder that makes one vector."
        )
    first: dict[str, History] = {}
    for feature in histories:
        other = first.setdefault(feature.column, feature)
        for name in ("history_length", "min_rating", "below_rating", "anytime"):
            if getattr(other, name) != getattr(feature, name):
                raise ConfigError(
                    f'Two features read the history "{feature.column}" with different `{name}`: '
                    f"{getattr(other, name)} and {getattr(feature, name)}. A request gives the list "
                    "once: make them equal, or give one of them another `column`."
                )


def _check_contexts(histories: Sequence[History], columns: Sequence[str]) -> None:
    """Refuses context under the name of another list or feature.

    Features that read the same list may each take other parts of its context.
    """
    owners = dict.fromkeys(columns, "a query feature")
    for feature in histories:
        for name, column in feature.context_columns.items():
            mine = f'the context "{name}" of the history "{feature.column}"'
            if owners.setdefault(column, mine) != mine:
                raise ConfigError(
                    f'"{column}" would be both {owners[column]} and {mine}. Give one of them another '
                    "`column`."
                )


def feature_from_dict(values: dict[str, Any]) -> Feature:
    """Reads one specification from its plain form, as `feature_to_dict` writes it.

    Raises:
        ConfigError: if it makes no sense.
    """
    return from_plain(Feature, values, "A feature")


def schema_from_dict(values: Schema | dict[str, Any]) -> Schema:
    """Reads a schema from its plain form, as `schema_to_dict` writes it.

    Raises:
        ConfigError: if it makes no sense.
    """
    return from_plain(Schema, values, Schema)


def schema_to_dict(schema: Schema) -> dict[str, Any]:
    """The plain form of a schema."""
    return TypeAdapter(Schema).dump_python(schema)


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
