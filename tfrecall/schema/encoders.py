"""Encoder specifications: how the item vectors of a history become one vector, or several.

A specification is plain data without TensorFlow. `tfrecall.layers.encoders.make` builds its layer.

>>> import tfrecall as tr
>>> tr.History(encoder=tr.encoders.Windows([20, 5, 1])).encoder.sizes
(20, 5, 1)
"""

from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from tfrecall.schema.specs import STRICT, Fraction, Rate, config_errors, from_plain


def _windows(values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError(
            "`sizes` of Windows must be one or more distinct lengths, such as [50, 5, 1]. "
            f"Received: {list(values)}."
        )
    return values


@config_errors
@dataclass(frozen=True, config=STRICT)
class Mean:
    """Masked mean of all events (YouTubeDNN; Covington et al., RecSys 2016, section 3.2).

    An empty history gives the zero vector.

    >>> Mean().type
    'mean'
    """

    # Keyword-only: `type` is a constant that tells classes apart in their plain form.
    _: KW_ONLY
    type: Literal["mean"] = "mean"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Sum:
    """Masked sum of all events. An empty history gives the zero vector.

    >>> Sum().type
    'sum'
    """

    _: KW_ONLY
    type: Literal["sum"] = "sum"


@config_errors
@dataclass(frozen=True, config=STRICT)
class RootSum:
    """Masked sum of all events divided by the square root of their number (SVD++; Koren, KDD 2008).

    Between sum and mean: longer histories have longer vectors, but not in proportion to their length.

    >>> RootSum().type
    'root_sum'
    """

    _: KW_ONLY
    type: Literal["root_sum"] = "root_sum"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Windows:
    """Concatenated masked means of the last `n` events for each `n`: recency pooling.

    Attributes:
        sizes: lengths of the windows, each once; 1 is the last event.
        last: number of newest events whose vectors are appended unpooled, the newest first.

    >>> Windows([50, 5, 1], last=2).sizes
    (50, 5, 1)
    """

    sizes: Annotated[tuple[PositiveInt, ...], AfterValidator(_windows)] = (50, 5, 1)
    _: KW_ONLY
    last: Annotated[int, Field(ge=0)] = 0
    type: Literal["windows"] = "windows"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Decay:
    """Weighted mean whose weights fall by the factor `rate` from each event to the one before.

    Attributes:
        rate: weight of an event relative to the one after it, above 0 and below 1.

    >>> Decay(0.9).rate
    0.9
    """

    rate: Fraction = 0.8
    _: KW_ONLY
    type: Literal["decay"] = "decay"


@config_errors
@dataclass(frozen=True, config=STRICT)
class GRU:
    """Recurrent network over the events (GRU4Rec; Hidasi et al., ICLR 2016).

    Attributes:
        units: length of the state.
        layers: number of stacked recurrent layers.
        dropout: share of the values dropped at the input and between layers, in training.

    >>> GRU(32, layers=2).units
    32
    """

    units: PositiveInt = 64
    _: KW_ONLY
    layers: PositiveInt = 1
    dropout: Rate = 0.0
    type: Literal["gru"] = "gru"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Attention:
    """Blocks of causal self-attention (SASRec; Kang and McAuley, ICDM 2018).

    Attributes:
        blocks: number of stacked blocks, each of attention and feed-forward layers.
        heads: attention heads of a block; they divide the length of the item vectors among them.
        dropout: share of the values dropped at the input and in each block, in training.
        max_length: number of learned positions, counted from the oldest event, and the most events a row
            may have; None for the `history_length` of the feature.
        activation: activation of the feed-forward layers.
        expansion: inner length of the feed-forward layers as a multiple of the outer.
        ages: whether each head learns a weight for the number of events between two events.

    >>> Attention(blocks=1, heads=2).dropout
    0.2
    """

    blocks: PositiveInt = 2
    _: KW_ONLY
    heads: PositiveInt = 1
    dropout: Rate = 0.2
    max_length: PositiveInt | None = None
    activation: Literal["relu", "gelu"] = "relu"
    expansion: PositiveInt = 1
    ages: bool = False
    type: Literal["attention"] = "attention"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Gated:
    """Blocks of causal attention whose values are gated (HSTU; Zhai et al., ICML 2024).

    A block has no feed-forward layer: one projection gives gates, values, queries and keys, and the attended
    values times the gates are its output. So blocks are cheap, and many of them can be stacked.

    Attributes:
        blocks: number of stacked blocks.
        heads: attention heads of a block; they divide the length of the item vectors among them.
        dropout: share of the values dropped at the input and in each block, in training.
        attention: weights of the attended values: `silu`, each by itself, or `softmax`, which add up to 1.
        products: whether the inner products of queries and keys count; without them positions and times
            alone decide.
        positions: whether each block learns a weight for the number of events between two events.
        time: whether each block learns weights for the time from each event to the moment for which the
            answer is asked, and the input one for the time since the newest event. The history then has the
            context `timestamp`, and queries the number `request_time`.
        hidden_requests: share of the training rows that are not told that moment, so that the model can also
            answer as of the newest event.

    Raises:
        ConfigError: if a setting is invalid, or there is nothing to attend by.

    >>> Gated(blocks=8, heads=2, time=True).attention
    'silu'
    """

    blocks: PositiveInt = 4
    _: KW_ONLY
    heads: PositiveInt = 1
    dropout: Rate = 0.2
    attention: Literal["silu", "softmax"] = "silu"
    products: bool = True
    positions: bool = True
    time: bool = False
    hidden_requests: Rate = 0.0
    type: Literal["gated"] = "gated"

    @model_validator(mode="after")
    def _check(self) -> "Gated":
        if not (self.products or self.positions or self.time):
            raise ValueError(
                "attention needs inner products, positions or times. Received: products=False, "
                "positions=False, time=False"
            )
        if self.hidden_requests and not self.time:
            raise ValueError(
                "`hidden_requests` hides times, which `time = true` asks for. Received: hidden_requests="
                f"{self.hidden_requests:g}, time=False"
            )
        return self


@config_errors
@dataclass(frozen=True, config=STRICT)
class Interests:
    """Several attention-weighted means of all events (ComiRec-SA; Cen et al., KDD 2020).

    Each becomes a query vector; the score of an item is the largest of their scores.

    Attributes:
        num_interests: number of vectors; with 1 the history has one vector, as with other encoders.
        units: length of the inner layer of the attention.

    >>> Interests(4).num_interests
    4
    """

    num_interests: PositiveInt = 4
    units: PositiveInt = 64
    _: KW_ONLY
    type: Literal["interests"] = "interests"


Encoder = Annotated[
    Mean | Sum | RootSum | Windows | Decay | GRU | Attention | Gated | Interests,
    Field(discriminator="type"),
]


def encoder_from_dict(value: Encoder | dict[str, Any]) -> Encoder:
    """Reads a specification from its plain form, as `encoder_to_dict` writes it.

    Raises:
        ConfigError: if the settings are invalid.
    """
    return from_plain(Encoder, value, "encoder")


def encoder_to_dict(spec: Encoder) -> dict[str, Any]:
    """The plain form of a specification, for configurations."""
    return TypeAdapter(Encoder).dump_python(spec, mode="json")
