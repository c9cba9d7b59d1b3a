"""Candidates drawn from a whole catalogue, each at most once, with probabilities that are known exactly.

Weights by which candidates are drawn:

- `uniform`: all candidates alike.
- `log_uniform`: the candidate of rank r by training rows, from 0, with the weight
  `log(r + 2) - log(r + 1)`: Zipf's law, as `tf.random.log_uniform_candidate_sampler`.
- `unigram`: with the weight `share^alpha`. 0 is uniform, 1 as often as in the log, .75 is that of
  word2vec.

A softmax estimated from a sample wants distinct candidates and the *inclusion* probability of each
(`tfrecall.tasks.corrections`). Draws with replacement waste half of themselves on the head of a
catalogue, draws without replacement have inclusion probabilities without a closed form, and sorting
random keys touches the whole catalogue in every step. So the draws are stratified: the target
inclusion probabilities `q_i`, whose sum is `num_sampled`, are laid end to end, the most frequent
candidate first. One point is drawn in each interval of length one, and with it the candidate that covers
the point. A step costs `num_sampled` searches in sorted numbers, whatever the size of the catalogue.

- A candidate within one interval is drawn with `q_i`. One that lies across two, with the parts `a` and
  `b`, may be drawn in either, is then taken once, and so is drawn with `1 - (1 - a)(1 - b)`: a step
  gives a few less than `num_sampled` candidates.
- Candidates whose weight asks for more than one draw get `q_i = 1`, and the rest is shared by the others.
- As many draws as candidates draw each of them once.
- Each sample has its part of the head and of the tail. That makes the estimated sum more even than
  independent draws do, and biases nothing: inclusion probabilities are all that counts.

References:
    Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality",
    NeurIPS 2013, section 2.2, on the exponent.
    Madow, "On the Theory of Systematic Sampling, II", Annals of Mathematical Statistics 20, 1949, on
    probabilities laid end to end; Kitagawa, "Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear
    State Space Models", Journal of Computational and Graphical Statistics 5, 1996, on a point an
    interval ("stratified resampling").
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfrecall._keras import tf
from tfrecall.errors import ConfigError

Sampler = Literal["uniform", "log_uniform", "unigram"]


@dataclass(frozen=True, eq=False)
class StratifiedSampler:
    """Draws distinct rows of a catalogue, by one point in each interval of its weights laid end to end.

    Attributes:
        num_sampled: draws a step.
        order: int32 `[n]`, the catalogue rows in the order they are laid out, the most frequent first.
        ends: float64 `[n]`, the end of each of them.
        probability: float32 `[n]`, probability of each row of the catalogue to be drawn in a step.
    """

    num_sampled: int
    order: tf.Tensor
    ends: tf.Tensor
    probability: tf.Tensor

    @classmethod
    def build(
        cls, sampler: Sampler, num_sampled: int, share: np.ndarray, alpha: float
    ) -> "StratifiedSampler":
        """Lays a catalogue out.

        Args:
            sampler: the weights: `uniform`, `log_uniform` or `unigram`.
            num_sampled: draws a step.
            share: float `[n]`, the share of the training rows that hold each candidate, above 0.
            alpha: the exponent of `unigram`.

        Raises:
            ConfigError: if there are fewer candidates than draws, or a share is not above 0.
        """
        share = np.asarray(share, np.float64)
        _check_catalogue(num_sampled, share)
        order = np.argsort(-share, kind="stable")
        wanted = inclusion(draw_weights(sampler, share[order], alpha), num_sampled)
        ends = np.cumsum(wanted)
        probability = np.empty(len(share), np.float32)
        probability[order] = _drawn_at_least_once(wanted, ends)
        return cls(
            num_sampled,
            tf.constant(order, tf.int32),
            tf.constant(ends, tf.float64),
            tf.constant(probability),
        )

    def draw(self, seed: tf.Tensor) -> tf.Tensor:
        """The rows of a step: int32, distinct, `num_sampled` or a few less.

        Args:
            seed: seed of one stateless operation (`RandomStream.next_seed`).
        """
        within = tf.random.stateless_uniform([self.num_sampled], seed, dtype=tf.float64)
        points = tf.range(self.num_sampled, dtype=tf.float64) + within
        places = tf.searchsorted(self.ends, points, side="right")
        # Rounding may leave the last end below `num_sampled`, and the last point beyond it.
        places = tf.minimum(places, tf.size(self.order) - 1)
        # Points ascend, so a candidate drawn in two intervals stands twice in succession.
        fresh = tf.concat([[True], places[1:] != places[:-1]], axis=0)
        return tf.gather(self.order, tf.boolean_mask(places, fresh))


def draw_weights(sampler: Sampler, share: np.ndarray, alpha: float) -> np.ndarray:
    """Weights by which candidates are drawn: float64 `[n]`, not scaled.

    Args:
        sampler: `uniform`, `log_uniform` or `unigram`.
        share: share of the training rows of each candidate, the largest first.
        alpha: the exponent of `unigram`.
    """
    if sampler == "uniform":
        return np.ones(len(share))
    if sampler == "log_uniform":
        return np.log1p(1 / np.arange(1, len(share) + 1))
    return (share / share[0]) ** alpha


def inclusion(weights: np.ndarray, num_sampled: int) -> np.ndarray:
    """Probabilities in proportion to weights, none above 1, whose sum is `num_sampled`.

    Args:
        weights: above 0, the largest first.
        num_sampled: number of draws, at most the number of weights.

    >>> inclusion(np.array([6.0, 1.0, 1.0]), 2).tolist()
    [1.0, 0.5, 0.5]
    """
    # rest[i] is the weight from i on; scaled[i] what i may get when all before it are certain.
    # Weights [6, 1, 1] and 2 draws: rest [8, 2, 1], scaled [1.5, .5, 0]; 6 is certain, the others
    # share one draw.
    rest = np.cumsum(weights[::-1])[::-1]
    scaled = (num_sampled - np.arange(len(weights))) * weights / rest
    # The first that does not ask for more than one draw once those before it have one each.
    (fitting,) = np.nonzero(scaled <= 1)
    certain = fitting[0] if len(fitting) else len(weights)
    others = (num_sampled - certain) * weights[certain:] / (rest[certain] if len(fitting) else 1)
    return np.concatenate([np.ones(certain), others])


def _drawn_at_least_once(wanted: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Probability of each candidate to be drawn; one across two intervals may come from either."""
    # As no probability is above 1, a candidate crosses one border at most: `before` is its part a in
    # front of the border, ends - border its part b behind. 1 - (1 - a)(1 - b) = a + b - a b.
    border = np.floor(ends)
    before = np.maximum(border - (ends - wanted), 0)
    return wanted - before * (ends - border)


def _check_catalogue(num_sampled: int, share: np.ndarray) -> None:
    if num_sampled > len(share):
        raise ConfigError(
            f"`num_sampled` draws {num_sampled:,} distinct candidates, but the catalogue has "
            f"{len(share):,}. Lower it, or use `FullSoftmax`, which so small a catalogue allows."
        )
    if not np.all(share > 0):
        raise ConfigError(
            "`share` must be above 0 for each candidate: one that is never drawn has no correction. "
            f"Received: {share.min()}. Count a candidate without training rows as one row."
        )
