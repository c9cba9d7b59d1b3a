"""Feature specifications and the schema of both towers.

A specification names a column and how it becomes a vector. It is plain data without TensorFlow; the layer of
the same name in `tfrecall.layers.features` is built from it.
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

from tfrecall.core.columns import REQUEST_TIME, TIMESTAMP
from tfrecall.core.event_context import GAP, context_column
from tfrecall.core.raw import Form
from tfrecall.errors import ConfigError, MissingColumnError, nearest
from tfrecall.schema.encoders import Encoder, Mean
from tfrecall.schema.specs import STRICT, Finite, Positive, Rate, Seed, config_errors, from_plain

# Additive encoders: the share of a single event can be subtracted from their result, as training does with the
# target of an `anytime` list.
_ADDS_UP = ("mean", "sum", "root_sum")
# Further arguments of an exported model, whose signature has one argument a column; "self" is Python's.
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


@config_errors
@dataclass(frozen=True, config=STRICT)
class Categorical:
    """Embedding of a string (`StringLookup` and `Embedding`).

    Null and values outside the vocabulary share the embedding of the unknown value. With `hash_rows` only null
    does: hash functions give each value outside the vocabulary some of so many shared rows, whose sum is its
    vector, whether training saw it or not.

    Attributes:
        column: name of the column.
        embedding_dim: length of the vector.
        unknown_rate: share of the values that training replaces by the unknown value, so that its
            embedding is trained too.
        max_tokens: number of values that the vocabulary keeps, the most frequent first; None for all.
        prefix: number of leading characters that count, such as the region in a zip code; None for all.
        min_count: training events that a value of the vocabulary has at least; None for 1. With it, or one of
            the settings below, the most frequent values are those with the most events, of items too; else
            each item counts once.
        hash_rows: number of shared rows for all other values; None for none.
        hashes: number of shared rows of a value; None for 2.
        max_age_days: days from the last event of a value of the vocabulary to the end of the training data at
            most; None for any. In a warm start the rows of older ones go to new values.

    Raises:
        ConfigError: if a setting is invalid, or `hashes` is given without `hash_rows`.

    >>> Categorical("user_zip_code", 8, prefix=2).embedding_dim
    8
    >>> Categorical("user_id", min_count=5, hash_rows=10_000).is_selective
    True
    """

    column: _Column
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    unknown_rate: Rate = 0.01
    max_tokens: PositiveInt | None = None
    prefix: PositiveInt | None = None
    # None, not numbers, where nothing is set: configurations of earlier releases lack these settings.
    min_count: PositiveInt | None = None
    hash_rows: PositiveInt | None = None
    hashes: Annotated[int, Field(ge=1, le=8)] | None = None
    max_age_days: Positive | None = None
    type: Literal["categorical"] = "categorical"
    form: ClassVar[Form] = "string"

    @model_validator(mode="after")
    def _check(self) -> "Categorical":
        if self.hashes is not None and self.hash_rows is None:
            raise ValueError(
                "`hashes` is the number of shared rows of a value: give it with `hash_rows`, and only then. "
                f"Received: hashes={self.hashes}, hash_rows=None"
            )
        return self

    @property
    def is_selective(self) -> bool:
        """Whether values need more than to occur for a row of their own."""
        return any(one is not None for one in (self.min_count, self.hash_rows, self.max_age_days))


@config_errors
@dataclass(frozen=True, config=STRICT)
class MultiCategorical:
    """Masked mean of the embeddings of a list of strings: genres, tags.

    An empty list, or null, gives the zero vector.

    Attributes:
        column: name of the column of lists.
        embedding_dim: length of the vector.
        max_tokens: number of values that the vocabulary keeps, the most frequent first; None for all.

    Raises:
        ConfigError: if a setting is invalid.

    >>> MultiCategorical("movie_genres", embedding_dim=16).column
    'movie_genres'
    """

    column: _Column
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    max_tokens: PositiveInt | None = None
    type: Literal["multi_categorical"] = "multi_categorical"
    form: ClassVar[Form] = "strings"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Numeric:
    """A number, standardized to mean 0 and variance 1 over the training data.

    Attributes:
        column: name of the column; null and NaN are refused.

    Raises:
        ConfigError: if the name cannot be a feature.

    >>> Numeric("timestamp").form
    'number'
    """

    column: _Column
    _: KW_ONLY
    type: Literal["numeric"] = "numeric"
    form: ClassVar[Form] = "number"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Bucketized:
    """Embedding of the bucket that a number falls in (`Discretization`).

    Attributes:
        column: name of the column; null and NaN are refused.
        num_buckets: number of buckets; equal quantiles make fewer.
        embedding_dim: length of the vector.
        method: `quantile` fills all buckets with about equally many rows; `equal_width` puts
            `num_buckets` equally spaced boundaries from the smallest to the largest value, both
            included, as the tutorials of TensorFlow Recommenders do.

    Raises:
        ConfigError: if a setting is invalid.

    >>> Bucketized("timestamp", 1000, embedding_dim=32).method
    'quantile'
    """

    column: _Column
    num_buckets: Annotated[int, Field(ge=2)] = 100
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    method: Literal["quantile", "equal_width"] = "quantile"
    type: Literal["bucketized"] = "bucketized"
    form: ClassVar[Form] = "number"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Day:
    """Embedding of the day of a time, in UTC, or of a pair of a value and a day.

    Ratings of one user on one day resemble each other beyond the user's taste. Days without training rows,
    all days to come among them, share the embedding of unknown values.

    Attributes:
        column: name of the column of times, in seconds since 1970; null and NaN are refused.
        embedding_dim: length of the vector.
        per: column of a Categorical feature of the same side, whose values have days of their own; None for
            days that all rows share.

    Raises:
        ConfigError: if a setting is invalid.

    >>> Day(per="user_id").column
    'timestamp'

    Reference:
        Koren, "Collaborative Filtering with Temporal Dynamics", KDD 2009, section 3.
    """

    column: _Column = TIMESTAMP
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    per: _Column | None = None
    type: Literal["day"] = "day"
    form: ClassVar[Form] = "number"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Text:
    """Masked mean of the embeddings of the words of a text (`TextVectorization`).

    Words are what stands between spaces, in lower case, without punctuation and symbols, of every script. A
    text without words, or null, gives the zero vector.

    Attributes:
        column: name of the column.
        max_tokens: number of words that the vocabulary keeps, the most frequent first.
        embedding_dim: length of the vector.

    Raises:
        ConfigError: if a setting is invalid.

    >>> Text("movie_title", 10_000).max_tokens
    10000
    """

    column: _Column
    max_tokens: PositiveInt = 10_000
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    type: Literal["text"] = "text"
    form: ClassVar[Form] = "string"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Codes:
    """Codes of the content, whose rows similar items share: what the field calls semantic ids.

    The content is a ready-made embedding (`form = "vector"`), or a text or a list of words: words are weighted
    by TF-IDF and reduced to a few numbers (SVD). Residual k-means gives each item a code at every level: the
    nearest centre, then the nearest centre of what that leaves, and so on. The vector of the item is the sum of
    one trained row a level, so that an item without events has rows which others trained. All is fitted by
    `adapt` to the items with events, and equal seeds give equal codes. Null, and a text without a known word,
    give the zero vector.

    Attributes:
        column: name of the column.
        levels: number of codes of an item.
        size: number of centres of a level; fewer where there are fewer different items.
        embedding_dim: length of the vector.
        form: raw form of the column: `string`, a text; `strings`, a list of words; `vector`, an embedding.
        length: with `vector`, number of numbers in each embedding.
        dimension: number of numbers that words are reduced to.
        max_tokens: number of words that count, the most frequent first.
        seed: seed of the first centres.

    Raises:
        ConfigError: if a setting is invalid, or `length` is given without an embedding, or lacks with one.

    >>> Codes("title", levels=2, size=16).form
    'string'

    References:
        Rajput et al., "Recommender Systems with Generative Retrieval", NeurIPS 2023; Singh et al., "Better
        Generalization with Semantic IDs", RecSys 2024. Both quantize by a network (RQ-VAE); residual k-means
        takes seconds, and the rows of a level are added up here, as in the second one's unigrams.
    """

    column: _Column
    levels: Annotated[int, Field(ge=1, le=8)] = 3
    size: Annotated[int, Field(ge=2, le=65_536)] = 64
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    form: Literal["string", "strings", "vector"] = "string"
    length: PositiveInt | None = None
    dimension: PositiveInt = 32
    max_tokens: PositiveInt = 10_000
    seed: Seed = 42
    type: Literal["codes"] = "codes"

    @model_validator(mode="after")
    def _check(self) -> "Codes":
        if (self.form == "vector") != (self.length is not None):
            raise ValueError(
                '`length` of Codes is the number of numbers of an embedding: give it with `form = "vector"`, '
                f'and only then. Received: form="{self.form}", length={self.length}'
            )
        return self


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"`context` of a history must be distinct names. Received: {list(names)}.")
    return names


ItemFeature = Annotated[Categorical | MultiCategorical | Text | Codes, Field(discriminator="type")]


@config_errors
@dataclass(frozen=True, config=STRICT)
class History:
    """Encoding of the items that a user had before the query; for queries only.

    The result is one vector, or several with the encoder `Interests`.

    Attributes:
        column: name of the list in requests and in the exported model: item ids, oldest first. Several
            features may read the same list, then with the same events.
        of: the feature of an item that is embedded: its id, genres, title or codes.
        history_length: number of most recent events that count.
        encoder: encoder of the item vectors, one of `tr.encoders`.
        normalize: whether each item vector is scaled to length one first.
        table: name of the embedding table: features with the same name and the same `of` share it;
            "candidate" shares the table of the candidate tower, which must have that feature. None for a
            table of its own.
        min_rating: only events rated at least this count, the liked ones.
        below_rating: only events rated lower count, the disliked ones.
        context: further information on each event, embedded and added to the item's vector: names of
            columns of the log with few values, such as "rating" or "device", and "gap", the time since the
            user's previous event, in the list or not. In requests and in the exported model they are lists
            parallel to the ids, named `<column>_<context>`; "" is unknown. An encoder with `time` adds
            "timestamp", which it reads as seconds since 1970.
        anytime: whether events after the query count as well: all that the user has in the log, without the
            row itself in training. This is the implicit feedback of SVD++ for a `Ranker`, and for a
            retriever a user's whole taste where order says little. It takes an additive encoder (`Mean`,
            `Sum`, `RootSum`), no context and no ratings: a list of liked items would lack its own row
            exactly if that was liked. Where users repeat items, all rows of the target are left out of its
            list in training, and remain in a request's.
        empty: the vector of a history without events: `zeros`, which tells no item from another, or `popular`,
            which is fitted to the counts of the items after training, so that users of whom nothing is known
            get what is popular. Towers whose vectors are sums alone take it (`combine="sum"`, no dense layers).

    Raises:
        ConfigError: if a setting is invalid.

    >>> history = History(of=Categorical("item_id", 64), history_length=50, context=("gap",))
    >>> history.context_columns
    {'gap': 'history_gap'}
    """

    column: _Column = "history"
    of: ItemFeature = Categorical("item_id")
    history_length: PositiveInt = 50
    encoder: Encoder = Mean()
    _: KW_ONLY
    normalize: bool = False
    table: str | None = None
    min_rating: Finite = None
    below_rating: Finite = None
    context: Annotated[tuple[_Column, ...], AfterValidator(_each_once)] = ()
    anytime: bool = False
    empty: Literal["zeros", "popular"] = "zeros"
    type: Literal["history"] = "history"
    form: ClassVar[Form] = "strings"

    @property
    def context_columns(self) -> dict[str, str]:
        """Name of the list of each context in requests and in the exported model."""
        return {name: context_column(self.column, name) for name in self.context}

    @property
    def num_interests(self) -> int:
        """Number of vectors of the history, and so of query vectors."""
        return getattr(self.encoder, "num_interests", 1)

    @property
    def is_timed(self) -> bool:
        """Whether the encoder reads the times of events and of the request."""
        return getattr(self.encoder, "time", False)

    @model_validator(mode="after")
    def _check(self) -> "History":
        if self.is_timed and self.is_rated:
            raise ValueError(
                "an encoder with `time` asks each event for the next one, which ratings would leave out. "
                "Leave `min_rating` and `below_rating` out, or set `time` to false"
            )
        if self.is_timed and TIMESTAMP not in self.context:
            # The class is frozen, and the times are a context like others.
            object.__setattr__(self, "context", (*self.context, TIMESTAMP))
        wrong = [
            setting
            for setting, given in (
                (f"the encoder {self.encoder}", self.encoder.type not in _ADDS_UP),
                ("ratings that decide what counts", self.is_rated),
                (f"the context {', '.join(self.context)}", bool(self.context)),
            )
            if given
        ]
        if self.anytime and wrong:
            raise ValueError(
                "with `anytime` a history is a sum of all events, which takes one of the encoders "
                f"{', '.join(_ADDS_UP)}, no ratings and no context. Received: {' and '.join(wrong)}"
            )
        return self

    @property
    def is_rated(self) -> bool:
        """Whether only events with certain ratings count."""
        return self.min_rating is not None or self.below_rating is not None


@config_errors
@dataclass(frozen=True, config=STRICT)
class ExampleAge:
    """Time from an event to the end of the training data, scaled to 0 to 1; always 0 in a request.

    It lets the model separate the popularity of a time from a user's taste, and answer for the present.

    Attributes:
        column: name of the column of times, read in training only.

    >>> ExampleAge().column
    'timestamp'

    Reference:
        Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016, section 3.3.
    """

    column: _Column = "timestamp"
    _: KW_ONLY
    type: Literal["example_age"] = "example_age"
    form: ClassVar[Form] = "number"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Vector:
    """A ready-made embedding: a list of numbers, of a text or an image model, as it is.

    Null is the zero vector. The numbers are not trained; with `embedding_dim` a trained matrix makes shorter or
    longer vectors of them, which `combine = "sum"` needs.

    Attributes:
        column: name of the column of lists, all equally long.
        length: number of numbers in each.
        embedding_dim: length of the vector after a trained matrix; None for the numbers themselves.
        normalize: whether each is scaled to length one first.

    Raises:
        ConfigError: if a setting is invalid.

    >>> Vector("title_embedding", 384, embedding_dim=32).form
    'vector'
    """

    column: _Column
    length: PositiveInt
    embedding_dim: PositiveInt | None = None
    _: KW_ONLY
    normalize: bool = True
    type: Literal["vector"] = "vector"
    form: ClassVar[Form] = "vector"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Custom:
    """A feature of your own: a column, and the registered layer that makes a vector of it.

    The layer derives from `tfrecall.CustomFeature` and is registered with Keras
    (`keras.utils.register_keras_serializable`) before a schema that names it is used.

    Attributes:
        column: name of the column.
        layer: registered name of the layer, `package>Class`.
        embedding_dim: length of the vector.
        form: raw form that the layer takes: `string`, `strings`, `number` or `vector`.
        settings: further settings, for the layer alone: texts, numbers, and lists or tables of them.

    Raises:
        ConfigError: if a setting is invalid.

    >>> Custom("price", "shop>LogPrice", embedding_dim=1, form="number").layer
    'shop>LogPrice'
    """

    column: _Column
    layer: str
    embedding_dim: PositiveInt = 32
    _: KW_ONLY
    form: Literal["string", "strings", "number", "vector"] = "string"
    settings: dict[str, Any] = Field(default_factory=dict)
    type: Literal["custom"] = "custom"

    def __hash__(self) -> int:
        # Settings are a dictionary, which has no hash; equal features still have equal ones.
        return hash((self.column, self.layer, self.embedding_dim, self.form))


Feature = Annotated[
    Categorical
    | MultiCategorical
    | Numeric
    | Bucketized
    | Day
    | Text
    | Vector
    | Codes
    | History
    | ExampleAge
    | Custom,
    Field(discriminator="type"),
]


@config_errors
@dataclass(frozen=True, config=STRICT)
class Schema:
    """Features of the query tower and of the candidate tower.

    Attributes:
        query: features that are known when recommendations are requested: columns of the log and of the
            user table, and histories.
        candidate: features of an item: columns of the item table.
        candidate_id: column that identifies a candidate, in the item table and in raw batches.

    Raises:
        ConfigError: if a tower has no feature or the same feature twice, reads one column both as a number
            and as text, or two histories have several interests.

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
            # Equal in all settings: two embeddings of one column with different lengths are allowed.
            twice = [f for i, f in enumerate(features) if f in features[:i]]
            if twice:
                raise ConfigError(f"The {side} features name {twice[0]} twice. Remove one of them.")
            check_forms(features)
            _check_days(features, side)
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
        """Columns of the log and the user table, without histories, which are made of the log itself."""
        return _columns(feature for feature in self.query if not isinstance(feature, History))

    @property
    def histories(self) -> dict[str, History]:
        """Lists of items by name: settings of the first feature that reads each, context of all of them."""
        histories: dict[str, History] = {}
        for feature in self.query:
            if isinstance(feature, History):
                # Features of one list agree in its events, which `_check_histories` makes sure of, and
                # may differ in context.
                first = histories.setdefault(feature.column, feature)
                more = tuple(name for name in feature.context if name not in first.context)
                if more:
                    histories[feature.column] = replace(first, context=(*first.context, *more))
        return histories

    @property
    def past(self) -> dict[str, History]:
        """Ordered histories: the events before the query."""
        return {name: spec for name, spec in self.histories.items() if not spec.anytime}

    @property
    def bags(self) -> dict[str, History]:
        """Unordered histories (`anytime`): all events of a user."""
        return {name: spec for name, spec in self.histories.items() if spec.anytime}

    @property
    def contexts(self) -> dict[str, tuple[str, ...]]:
        """Names of the contexts of each list that has some."""
        return {name: spec.context for name, spec in self.histories.items() if spec.context}

    @property
    def history_columns(self) -> list[str]:
        """Columns that are made of the log: lists of ids, their contexts, and the time of the request."""
        contexts = [c for spec in self.histories.values() for c in spec.context_columns.values()]
        return [*self.histories, *contexts, *([REQUEST_TIME] if self.is_timed else [])]

    @property
    def is_timed(self) -> bool:
        """Whether a query has the time of its request, `request_time`."""
        return any(isinstance(feature, History) and feature.is_timed for feature in self.query)

    @property
    def candidate_columns(self) -> list[str]:
        """Columns of the item table, without the id."""
        return _columns(self.candidate)

    def check_query(self, available: Iterable[str], of_log: bool = True) -> None:
        """Refuses a table without a column of the query.

        Args:
            available: columns of the table.
            of_log: whether it is a log, from which histories are made; else histories are columns.

        Raises:
            MissingColumnError: if a column is missing.
        """
        if not of_log:
            needed = [*self.query_columns, *self.history_columns]
            _check_columns(needed, available, "query", "the dataset")
            return
        # Histories need columns of the log that are no features of their own; "gap" comes from the times.
        rated = ["rating"] if any(spec.is_rated for spec in self.histories.values()) else []
        contexts = [name for names in self.contexts.values() for name in names if name != GAP]
        needed = [*self.query_columns, *rated, *contexts]
        _check_columns(needed, available, "query", "the log or the user table")

    def check_candidate(self, available: Iterable[str]) -> None:
        """Refuses an item table without a column of the candidate, or of a history.

        Raises:
            MissingColumnError: if a column is missing.
        """
        of = [spec.of for spec in self.query if isinstance(spec, History)]
        needed = [*self.candidate_columns, self.candidate_id, *_columns(of)]
        _check_columns(needed, available, "candidate", "the item table")


def check_forms(features: Iterable[Feature]) -> None:
    """Refuses features that read one column in two raw forms, because a batch holds a column once.

    Raises:
        ConfigError: with the name of the column.
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
        lengths = [getattr(one, "length", None) for one in (other, feature)]
        if feature.form == "vector" and None not in lengths and lengths[0] != lengths[1]:
            raise ConfigError(
                f'The column "{feature.column}" is read as a vector of {lengths[0]} numbers and as one of '
                f"{lengths[1]}. Set `length` to the numbers that it has."
            )


def _check_days(features: Sequence[Feature], side: str) -> None:
    """Refuses days of a column that is no feature: requests would lack it."""
    known = [feature.column for feature in features if isinstance(feature, Categorical)]
    for feature in features:
        if isinstance(feature, Day) and feature.per is not None and feature.per not in known:
            raise ConfigError(
                f'The days of {feature} are apart by "{feature.per}", which is no Categorical feature of the '
                f"{side}. Those are: {', '.join(known) or 'none'}.{nearest(feature.per, known)}"
            )


def _check_sides(query: Iterable[Feature], candidate: Iterable[Feature]) -> None:
    """Refuses query features of a candidate, and histories that contradict each other."""
    for feature in candidate:
        if isinstance(feature, History | ExampleAge):
            raise ConfigError(
                f"{type(feature).__name__} describes a query, not a candidate. Move "
                f"{feature} to the query features."
            )
    if all(isinstance(feature, ExampleAge) for feature in query):
        raise ConfigError(
            "ExampleAge is constant in requests, so it cannot be the only query feature. Add another one, such "
            "as History."
        )
    histories = [feature for feature in query if isinstance(feature, History)]
    _check_histories(histories)
    _check_contexts(histories, _columns(query))


def _check_histories(histories: Sequence[History]) -> None:
    """Refuses one list with two sets of events, and several interests in more than one history."""
    several = [feature for feature in histories if feature.num_interests > 1]
    if len(several) > 1:
        raise ConfigError(
            "Only one history may have several interests. Received: "
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
    """Refuses a context with the name of another list or feature.

    Features that read the same list may each take different contexts of it.
    """
    owners = dict.fromkeys(columns, "a query feature")
    if any(feature.is_timed for feature in histories) and REQUEST_TIME in owners:
        raise ConfigError(
            f'"{REQUEST_TIME}" would be both a query feature and the time of the request, which an encoder '
            "with `time` reads. Rename the column."
        )
    for feature in histories:
        for name, column in feature.context_columns.items():
            mine = f'the context "{name}" of the history "{feature.column}"'
            # `setdefault` gives the owner before, if there is one; for the same context of the same list
            # that is `mine`, and two features may share it.
            if owners.setdefault(column, mine) != mine:
                raise ConfigError(
                    f'"{column}" would be both {owners[column]} and {mine}. Give one of them another '
                    "`column`."
                )


def feature_from_dict(values: dict[str, Any]) -> Feature:
    """Reads a feature from its plain form, as `feature_to_dict` writes it.

    Raises:
        ConfigError: if the settings are invalid.
    """
    return from_plain(Feature, values, "A feature")


def schema_from_dict(values: Schema | dict[str, Any]) -> Schema:
    """Reads a schema from its plain form, as `schema_to_dict` writes it.

    Raises:
        ConfigError: if the settings are invalid.
    """
    return from_plain(Schema, values, Schema)


def schema_to_dict(schema: Schema) -> dict[str, Any]:
    """The plain form of a schema."""
    return TypeAdapter(Schema).dump_python(schema)


def feature_to_dict(feature: Feature) -> dict[str, Any]:
    """The plain form of a feature, for configurations and manifests."""
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
