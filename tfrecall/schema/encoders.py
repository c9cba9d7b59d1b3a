"""How the items of a history become one vector: one specification an encoder.

A specification holds no TensorFlow; the layer of the same name in `tfrecall.layers.encoders.make` does the
work.
"""

from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt, TypeAdapter
from pydantic.dataclasses import dataclass

from tfrecall.schema.specs import STRICT, from_plain, readable

_Rate = Annotated[float, Field(ge=0, lt=1)]


def _windows(values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError(
            "Windows takes the lengths of one or more windows, each once. "
            f"Received: {list(values)}. Give such as [50, 5, 1]."
        )
    return values


@readable
@dataclass(frozen=True, config=STRICT)
class Mean:
    """The masked mean of all events (YouTubeDNN; Covington et al., RecSys 2016, section 3.2)."""

    _: KW_ONLY
    type: Literal["mean"] = "mean"


@readable
@dataclass(frozen=True, config=STRICT)
class Sum:
    """The masked sum of all events."""

    _: KW_ONLY
    type: Literal["sum"] = "sum"


@readable
@dataclass(frozen=True, config=STRICT)
class RootSum:
    """The masked sum of all events over the square root of their number (SVD++; Koren, KDD 2008).

    Between the sum and the mean: who had more says more, but not in proportion.
    """

    _: KW_ONLY
    type: Literal["root_sum"] = "root_sum"


@readable
@dataclass(frozen=True, config=STRICT)
class Windows:
    """The masked means of the last `n` events for each `n`, concatenated: recency pooling.

    Attributes:
        sizes: lengths of the windows; 1 is the last event.
        last: the vectors of so many of the newest events, newest first, each by itself, beside.
    """

    sizes: Annotated[tuple[PositiveInt, ...], AfterValidator(_windows)] = (50, 5, 1)
    _: KW_ONLY
    last: Annotated[int, Field(ge=0)] = 0
    type: Literal["windows"] = "windows"


@readable
@dataclass(frozen=True, config=STRICT)
class Decay:
    """A weighted mean whose weights fall by the factor `rate` from one event to the one before.

    Attributes:
        rate: the weight of an event relative to the one after it.
    """

    rate: Annotated[float, Field(gt=0, lt=1)] = 0.8
    _: KW_ONLY
    type: Literal["decay"] = "decay"


@readable
@dataclass(frozen=True, config=STRICT)
class GRU:
    """A recurrent network over the events (GRU4Rec; Hidasi et al., ICLR 2016).

    Attributes:
        units: length of the state.
        layers: recurrent layers, one on the other.
        dropout: share of the values dropped between them and at the entry.
    """

    units: PositiveInt = 64
    _: KW_ONLY
    layers: PositiveInt = 1
    dropout: _Rate = 0.0
    type: Literal["gru"] = "gru"


@readable
@dataclass(frozen=True, config=STRICT)
class Attention:
    """Blocks of causal self-attention (SASRec; Kang and McAuley, ICDM 2018).

    Attributes:
        blocks: attention and feed-forward layers, one on the other.
        heads: of each attention; they share the length of the item vectors.
        dropout: share of the values dropped, at the entry and in each block.
        max_length: positions that have a vector of their own, counted from the oldest event; a row may
            have so many events. None for the `history_length` of the feature.
        activation: of the feed-forward layers.
        expansion: how many times longer their inner vectors are.
        ages: whether each head learns what the number of events between two of them says.
    """

    blocks: PositiveInt = 2
    _: KW_ONLY
    heads: PositiveInt = 1
    dropout: _Rate = 0.2
    max_length: PositiveInt | None = None
    activation: Literal["relu", "gelu"] = "relu"
    expansion: PositiveInt = 1
    ages: bool = False
    type: Literal["attention"] = "attention"


@readable
@dataclass(frozen=True, config=STRICT)
class Interests:
    """Several vectors, each a mean of all events under weights of its own (ComiRec-SA; Cen et al., KDD 2020).

    Each of them becomes a query vector, and the score of an item is the largest of their scores.

    Attributes:
        num_interests: how many vectors; with 1 the history has one vector, as with other encoders.
        units: length of the inner layer that weighs the events.
    """

    num_interests: PositiveInt = 4
    units: PositiveInt = 64
    _: KW_ONLY
    type: Literal["interests"] = "interests"


Encoder = Annotated[
    Mean | Sum | RootSum | Windows | Decay | GRU | Attention | Interests, Field(discriminator="type")
]


def encoder_from_dict(value: Encoder | dict[str, Any]) -> Encoder:
    """Reads a specification from its plain form, as `encoder_to_dict` writes it.

    Raises:
        ConfigError: if it makes no sense.
    """
    return from_plain(Encoder, value, "encoder")


def encoder_to_dict(spec: Encoder) -> dict[str, Any]:
    """The plain form of a specification, for configurations."""
    return TypeAdapter(Encoder).dump_python(spec, mode="json")
