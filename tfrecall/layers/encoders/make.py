"""From the specification of an encoder to its layer."""

from tfrecall.layers.encoders.attention import AttentionEncoder
from tfrecall.layers.encoders.causal import CausalEncoder
from tfrecall.layers.encoders.gated import GatedEncoder
from tfrecall.layers.encoders.gru import GRUEncoder
from tfrecall.layers.encoders.interests import InterestsEncoder
from tfrecall.layers.encoders.means import (
    DecayEncoder,
    MeanEncoder,
    RootSumEncoder,
    SumEncoder,
    WindowsEncoder,
)
from tfrecall.schema import encoders

LAYERS: dict[type, type[CausalEncoder]] = {
    encoders.Mean: MeanEncoder,
    encoders.Sum: SumEncoder,
    encoders.RootSum: RootSumEncoder,
    encoders.Windows: WindowsEncoder,
    encoders.Decay: DecayEncoder,
    encoders.GRU: GRUEncoder,
    encoders.Attention: AttentionEncoder,
    encoders.Gated: GatedEncoder,
    encoders.Interests: InterestsEncoder,
}


def make_encoder(spec: encoders.Encoder, history_length: int) -> CausalEncoder:
    """Makes the layer of a specification, for histories of at most `history_length` events.

    Raises:
        ConfigError: if the specification asks for longer ones.

    >>> make_encoder(encoders.Windows([5, 1]), history_length=50).output_dim(32)
    64
    """
    return LAYERS[type(spec)](spec, history_length)
