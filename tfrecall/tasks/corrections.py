"""logQ corrections: the subtrahends of the logits in a softmax over sampled candidates, derived.

The full softmax needs the sum of `exp(s_d)` over all candidates `d` of a catalogue. A sample of
distinct candidates that holds `d` with the probability `q_d` estimates it without bias by the sum of
`exp(s_d) / q_d = exp(s_d - log q_d)` over the sample (Horvitz & Thompson, 1952). So `log q_d` is
subtracted, and `q_d` is the *inclusion* probability: of being in the sample at all, however often.

**Standard** (Yi et al., 2019): the positive is treated as one of the sample, its logit corrected like
the others'. But it is in the sample because it is the positive, not with the probability `q_p`: its
own term is too large by `1 / q_p`, so the model seems surer than it is, most of all of rare positives,
which then learn too slowly.

**Without the positive** (Khrylchenko et al., 2025). With `P` for the full softmax, its loss
`L = -s_p + log(sum_d exp s_d)` has the gradient

    dL = -ds_p + sum_d P(d) ds_d
       = (1 - P(p)) d[-s_p + log(sum_{d != p} exp s_d)],

in which only the sum over the *other* candidates is left to be sampled. They stand among the negatives
with `q'_d`, so the sum is estimated by `Z = sum exp(s_d - log q'_d)` over the negatives, and the weight
`1 - P(p)`, through which no gradient passes, by `Z / (exp(s_p) + Z)`. The paper writes the loss so:

    stop_gradient(Z / (exp(s_p) + Z)) (-s_p + log Z).

Its gradient is, term by term, that of `-s_p + log(exp(s_p) + Z)`: the plain cross entropy of the logits
`s_p` and `s_d - log q'_d`. That is what `InBatchSoftmax` computes. The weight is in it, its value
estimates the loss of the full softmax where the paper's can be below 0, and a batch without negatives
gives 0 instead of `log 0`.

The paper draws negatives one by one and gives each `q(d) / (1 - q(p))`, the chance of a draw that is not
the positive. Here each candidate stands once, and the other `b - 1` rows of the batch are draws from all
candidates, so that `q'_d = 1 - (1 - p_d)^(b - 1)`: draws of the positive itself need no rescaling.

References:
    Horvitz & Thompson, "A Generalization of Sampling Without Replacement From a Finite Universe",
    Journal of the American Statistical Association 47, 1952.
    Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations",
    RecSys 2019, section 3.
    Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations",
    WWW 2020 companion.
    Khrylchenko et al., "Correcting the LogQ Correction: Revisiting Sampled Softmax for Large-Scale
    Retrieval", RecSys 2025, section 4.
"""

from tfrecall._keras import tf

# Probabilities that float32 still tells from 0 and from 1. A candidate unseen in training has the share
# 0, and the logarithm of its probability has to stay finite.
SMALLEST, LARGEST = 1e-12, 1 - 1e-7


def log_inclusion_probability(
    share: tf.Tensor,
    draws: tf.Tensor,
    uniform_draws: tf.Tensor | int = 0,
    num_candidates: tf.Tensor | int | None = None,
) -> tf.Tensor:
    """Logarithm of the probability that a mixed sample holds a candidate at least once.

    A candidate is missing if none of the draws gave it, so `q = 1 - (1 - p)^draws (1 - 1/n)^uniform_draws`.

    Args:
        share: float `[candidates]`, `p`, the chance of one row of the log to hold the candidate.
        draws: rows drawn from the log.
        uniform_draws: draws from the whole catalogue, with replacement.
        num_candidates: `n`, the size of the catalogue; needed only for uniform draws.

    Returns:
        Float32 `[candidates]`, exact for small `p`.
    """
    share = tf.clip_by_value(tf.cast(share, tf.float32), SMALLEST, LARGEST)
    # `log1p` and `expm1`, not logarithms of 1 - p: float32 has only one digit left of 1 - 1e-6.
    log_absence = tf.cast(draws, tf.float32) * tf.math.log1p(-share)
    if num_candidates is not None:
        missed = tf.math.log1p(-tf.minimum(1 / tf.cast(num_candidates, tf.float32), LARGEST))
        log_absence += tf.cast(uniform_draws, tf.float32) * missed
    return tf.math.log(-tf.math.expm1(log_absence))


def share_of_rows(inclusion: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """The share `p` of a candidate that a batch of `rows` rows holds with the probability `inclusion`.

    The inverse of `1 - (1 - p)^rows`. The share of a candidate that every batch holds
    cannot be recovered; it gets one with which float32 takes its inclusion for certain.

    Returns:
        Float32, of the shape of `inclusion`.
    """
    inclusion = tf.clip_by_value(tf.cast(inclusion, tf.float32), SMALLEST, LARGEST)
    return -tf.math.expm1(tf.math.log1p(-inclusion) / tf.maximum(tf.cast(rows, tf.float32), 1))
