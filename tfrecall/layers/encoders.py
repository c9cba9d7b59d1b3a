"""From the specification of an encoder to its layer."""

from tfrecall import encoders
from tfrecall.layers.attention import AttentionEncoder
from tfrecall.layers.causal import CausalEncoder
from tfrecall.layers.gru import GRUEncoder
from tfrecall.layers.interests import InterestsEncoder
from tfrecall.layers.means import (
    DecayEncoder,
    MeanEncoder,
    RootSumEncoder,
    SumEncoder,
    WindowsEncoder,
)

LAYERS: dict[type, type[CausalEncoder]] = {
    encoders.Mean: MeanEncoder,
    encoders.Sum: SumEncoder,
    encoders.RootSum: RootSumEncoder,
    encoders.Windows: WindowsEncoder,
    encoders.Decay: DecayEncoder,
    encoders.GRU: GRUEncoder,
    encoders.Attention: AttentionEncoder,
    encoders.Interests: InterestsEncoder,
}


def make_encoder(spec: encoders.Encoder, history_length: int) -> CausalEncoder:
    """The layer of a specification, for histories of at most so many events.

    Raises:
        ConfigError: if the specification asks for longer ones.

    >>> make_encoder(encoders.Windows([5, 1]), history_length=50).output_dim(32)
    64
    """
    return LAYERS[type(spec)](spec, history_length)
