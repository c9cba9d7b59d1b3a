"""Schemas of manifests: keys and types that a release of each kind must have, others are allowed."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tfrecall.core.manifests import Facts, FileFacts

Kind = Literal["retriever", "baseline", "ranker", "pipeline"]
# Becomes part of a file name, so it may not lead out of the release directory.
Name = Annotated[str, Field(pattern=r"^[^/\\]+$")]
# Of an array of a scorer: no hidden file, which no manifest lists.
ArrayName = Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")]
AtLeastOne = Annotated[int, Field(ge=1)]


class Header(Facts):
    """Facts of every version: number, kind, files."""

    format: int
    version: AtLeastOne
    # Version 0.4.0 exported retrievers only and wrote no kind.
    kind: Kind | None = None
    files: dict[str, FileFacts]
    sha256: str

    @model_validator(mode="after")
    def _files_are_those_of_the_version(self) -> "Header":
        for name in self.files:
            parts = PurePosixPath(name).parts
            # A manifest from elsewhere must not make `check_files` read outside the release directory, nor
            # look for unlisted files in another directory than the one that answers.
            if len(parts) < 3 or ".." in parts or parts[0] == "/" or parts[1] != str(self.version):
                raise ValueError(
                    f'"{name}" is no file of version {self.version}, such as '
                    f'"index/{self.version}/vectors.npy"'
                )
        return self


class ModelFacts(Facts):
    """The model that was exported."""

    name: str
    type: str
    fingerprint: str


class VectorModelFacts(ModelFacts):
    """A model of query and candidate vectors."""

    dimension: AtLeastOne
    normalize: bool
    interests: AtLeastOne = 1


class QueryFacts(Facts):
    """Columns of a query: the raw form of each, and its value where nothing is known."""

    forms: dict[str, Literal["string", "strings", "number", "vector"]]
    defaults: dict[str, str | float | list[float] | None]

    @model_validator(mode="after")
    def _numbers_have_defaults(self) -> "QueryFacts":
        for column, form in self.forms.items():
            if form == "number" and not isinstance(self.defaults.get(column), int | float):
                raise ValueError(f'the number "{column}" has no default')
            if form == "vector" and not isinstance(self.defaults.get(column), list):
                raise ValueError(f'the vector "{column}" has no default')
        return self


class HistoryFacts(Facts):
    """A list of items that a query may hold."""

    history_length: AtLeastOne
    min_rating: float | None = None
    below_rating: float | None = None
    context: list[str] = Field(default_factory=list)


class FeatureFacts(Facts):
    """Declared features of queries and candidates."""

    query: list[dict[str, Any]]
    candidate: list[dict[str, Any]]


class BeatenFacts(Facts):
    """Baselines of the run's table that were better than the model."""

    metric: str
    rule: Literal["seen_removed", "seen_kept"] | None = None
    model: float
    baselines: dict[str, float]


class ReleaseFacts(Facts):
    """Facts of every kind of release beyond the header."""

    model: ModelFacts
    schema_: FeatureFacts = Field(alias="schema")
    query: QueryFacts
    exclude_seen: bool = True
    histories: dict[Name, HistoryFacts] = Field(default_factory=dict)
    # Histories with files of their own; before version 0.9.0 nobody told.
    stored_histories: list[Name] = Field(default_factory=list)
    made_with: dict[str, str] = Field(default_factory=dict)
    repeats: dict[str, Any] | None = None
    # Before version 0.6.0 nobody compared.
    beaten_by: BeatenFacts | None = None

    @model_validator(mode="after")
    def _histories_are_columns(self) -> "ReleaseFacts":
        for name in self.histories:
            if self.query.forms.get(name) != "strings":
                raise ValueError(f'the history "{name}" is no column of queries')
        return self


class RetrieverFacts(ReleaseFacts):
    """A two-tower model with its index."""

    model: VectorModelFacts


class ScorerFacts(Facts):
    """The scorer of a baseline: its arrays are files."""

    kind: str
    arrays: list[ArrayName]
    facts: dict[str, Any]
    weights: dict[str, Any]


class BaselineFacts(ReleaseFacts):
    """A model without gradients."""

    scorer: ScorerFacts


class LabelFacts(Facts):
    """The column that a ranker predicts."""

    column: str


class RankerFacts(ReleaseFacts):
    """A model of scores of pairs."""

    label: LabelFacts


class StagesFacts(Facts):
    """Number of candidates and rules of a pipeline."""

    n_candidates: AtLeastOne
    rules: dict[str, Any]


class PipelineFacts(RetrieverFacts):
    """A retriever and a ranker, each with its own facts."""

    pipeline: StagesFacts
    retrieval: RetrieverFacts
    ranker: RankerFacts


FACTS: dict[str, type[ReleaseFacts]] = {
    "retriever": RetrieverFacts,
    "baseline": BaselineFacts,
    "ranker": RankerFacts,
    "pipeline": PipelineFacts,
}
