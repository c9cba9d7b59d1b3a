"""The losses over a positive and its negatives, held against loops in NumPy."""

import numpy as np
import pytest

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.schema.negatives import CrossBatch, Hard, InBatch, Mixed, Uniform
from tfrecall.tasks.candidates import Candidates
from tfrecall.tasks.pairwise import BPR, DSSMSoftmax, Pointwise, keep_hardest
from tfrecall.tasks.triplet import Triplet

GAMMA = 3.0
LOGISTIC = [Pointwise, BPR, DSSMSoftmax]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loss_by_hand(task, query, positive, negatives):
    """The loss of one target from its vectors, by the formula of the paper."""
    if isinstance(task, Triplet):
        if task.distance == "euclidean":
            away = lambda c: np.sqrt(np.sum((query - c) ** 2))  # noqa: E731
        else:
            away = lambda c: 1 - query @ c / np.linalg.norm(query) / np.linalg.norm(c)  # noqa: E731
        near, far = away(positive), np.array([away(c) for c in negatives])
        if task.semi_hard and len(far):
            farther = far[far > near]
            far = np.array([farther.min() if len(farther) else far.max()])
        return np.maximum(task.margin + near - far, 0).mean() if len(far) else 0.0
    p, n = GAMMA * query @ positive, GAMMA * np.array([query @ c for c in negatives])
    if isinstance(task, Pointwise):
        return -np.log(sigmoid(p)) - np.log(1 - sigmoid(n)).sum()
    if isinstance(task, BPR):
        return -np.log(sigmoid(p - n)).mean() if len(n) else 0.0
    return -np.log(np.exp(p) / (np.exp(p) + np.exp(n).sum()))


def tasks(negatives):
    yield from (cls(negatives, gamma=GAMMA) for cls in LOGISTIC)
    for distance in ("euclidean", "cosine"):
        for semi_hard in (False, True):
            yield Triplet(negatives, margin=0.4, distance=distance, semi_hard=semi_hard)


def unit(*shape, seed=0):
    vectors = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def ids_of(tasks):
    return [
        f"{type(t).__name__} {getattr(t, 'distance', '')} {getattr(t, 'semi_hard', '')}" for t in tasks
    ]


DRAWN = list(tasks(Uniform(3)))
IN_BATCH = list(tasks("in_batch"))


@pytest.mark.parametrize("task", DRAWN, ids=ids_of(DRAWN))
def test_drawn_negatives_come_to_the_formula(task):
    queries, targets, drawn = unit(5, 4), unit(5, 4, seed=1), unit(5, 3, 4, seed=2)
    counts = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0]], bool)
    weights = np.array([1, 2, 1, 1, 0], np.float32)
    found = task(queries, targets, sample_weight=weights, negative_embeddings=drawn, counts=counts)
    expected = [
        w * loss_by_hand(task, q, t, d[c])
        for q, t, d, c, w in zip(queries, targets, drawn, counts, weights, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", IN_BATCH, ids=ids_of(IN_BATCH))
def test_in_batch_each_other_candidate_counts_once_and_the_own_never(task):
    # Items 7, 8, 7, 9; the row of 9 has weight 0, so it is there for nobody.
    vectors = unit(3, 4, seed=1)
    items, ids = vectors[[0, 1, 0, 2]], np.array([7, 8, 7, 9])
    queries, weights = unit(4, 4), np.array([1, 1, 2, 0], np.float32)
    found = task(queries, items, sample_weight=weights, candidate_ids=ids)
    others = [[1], [0], [1], [0, 1]]
    expected = [
        w * loss_by_hand(task, q, t, vectors[o])
        for q, t, o, w in zip(queries, items, others, weights, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("task", [*DRAWN, *IN_BATCH], ids=ids_of([*DRAWN, *IN_BATCH]))
def test_gradients_are_those_of_small_steps(task):
    queries, targets, drawn = unit(4, 3), unit(4, 3, seed=1), unit(4, 3, 3, seed=2)

    def loss(values):
        options = {"negative_embeddings": drawn} if task.is_drawn else {"candidate_ids": np.arange(4)}
        return tf.reduce_sum(task(values, targets, **options))

    values = tf.constant(queries)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = loss(values)
    gradient = tape.gradient(total, values).numpy()
    direction = unit(4, 3, seed=3)
    step = 1e-2
    moved = (loss(queries + step * direction) - loss(queries - step * direction)) / (2 * step)
    assert float(moved) == pytest.approx(float((gradient * direction).sum()), abs=0.02)


@pytest.mark.parametrize("task", DRAWN, ids=ids_of(DRAWN))
def test_a_vector_at_its_target_has_finite_gradients(task):
    vectors = tf.constant(unit(2, 4))
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        drawn = tf.tile(vectors[:, tf.newaxis], [1, 3, 1])
        loss = tf.reduce_sum(task(vectors, vectors, negative_embeddings=drawn))
    assert np.isfinite(tape.gradient(loss, vectors).numpy()).all()


@pytest.mark.parametrize("task", [*DRAWN, *IN_BATCH], ids=ids_of([*DRAWN, *IN_BATCH]))
def test_a_row_of_weight_zero_counts_for_nothing(task):
    queries, targets, drawn = unit(4, 3), unit(4, 3, seed=1), unit(4, 2, 3, seed=2)
    weights = np.array([1, 1, 1, 0], np.float32)

    def losses(n):
        options = (
            {"negative_embeddings": drawn[:n]} if task.is_drawn else {"candidate_ids": np.arange(n)}
        )
        return task(queries[:n], targets[:n], sample_weight=weights[:n], **options).numpy()

    np.testing.assert_allclose(losses(4), [*losses(3), 0], rtol=1e-5, atol=1e-6)


def test_mixed_adds_what_was_drawn_for_all():
    task, queries, targets = BPR(Mixed(2), gamma=GAMMA), unit(2, 4), unit(2, 4, seed=1)
    more = unit(2, 4, seed=5)
    # Item 1 was drawn, too: it stays one column, and for row 0 the positive.
    uniform = Candidates(np.array([1, 9]), np.stack([targets[0], more[1]]), np.zeros(2))
    found = task(queries, targets, candidate_ids=np.array([1, 2]), uniform=uniform)
    expected = [
        loss_by_hand(task, queries[0], targets[0], np.stack([targets[1], more[1]])),
        loss_by_hand(task, queries[1], targets[1], np.stack([targets[0], more[1]])),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_cross_batch_adds_what_past_batches_held():
    task, queries, targets = DSSMSoftmax(CrossBatch(3), gamma=GAMMA), unit(2, 4), unit(4, 4, seed=1)
    task.build([None, 4])
    task(queries, targets[:2], candidate_ids=np.array([1, 2]), training=True)
    found = task(queries, targets[2:], candidate_ids=np.array([3, 1]), training=True)
    # Row 1 is item 1 of now; item 2 comes from the past, item 1 of the past gives way.
    expected = [
        loss_by_hand(task, queries[0], targets[2], targets[[3, 1]]),
        loss_by_hand(task, queries[1], targets[3], targets[[2, 1]]),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    judged = task(queries, targets[2:], candidate_ids=np.array([3, 1]))
    alone = [loss_by_hand(task, q, targets[2 + i], targets[[3 - i]]) for i, q in enumerate(queries)]
    np.testing.assert_allclose(judged, alone, rtol=1e-4)


def test_the_hardest_of_the_batch_count():
    task, queries, targets = BPR(Hard(1), gamma=GAMMA), unit(4, 3), unit(4, 3, seed=1)
    found = task(queries, targets, candidate_ids=np.arange(4))
    for row, query in enumerate(queries):
        others = np.delete(targets, row, axis=0)
        hardest = others[[np.argmax(others @ query)]]
        assert float(found[row]) == pytest.approx(
            loss_by_hand(task, query, targets[row], hardest), rel=1e-4
        )


def test_fewer_than_the_hardest_are_kept_whole():
    counts = np.array([[True, False, True]])
    assert keep_hardest(tf.constant([[1.0, 9.0, 2.0]]), counts, 5).numpy().tolist() == counts.tolist()
    assert keep_hardest(tf.constant([[1.0, 9.0, 2.0]]), counts, 1).numpy().tolist() == [
        [False, False, True]
    ]


@pytest.mark.parametrize("cls", LOGISTIC)
def test_of_several_interests_the_best_scores_each_candidate(cls):
    queries, targets, drawn = unit(3, 2, 4), unit(3, 4, seed=1), unit(3, 2, 4, seed=2)
    task = cls(gamma=GAMMA)
    found = task(queries, targets, negative_embeddings=drawn).numpy()
    best = np.maximum(*(np.einsum("nd,nkd->nk", queries[:, i], drawn) for i in range(2)))
    own = np.maximum(*(np.einsum("nd,nd->n", queries[:, i], targets) for i in range(2)))
    judged = task.compute_loss(tf.constant(own), tf.constant(best), tf.ones_like(best, tf.bool))
    np.testing.assert_allclose(found, judged, rtol=1e-5)


def test_one_sigmoid_is_binary_cross_entropy_on_the_logits():
    queries, targets, drawn = unit(3, 4), unit(3, 4, seed=1), unit(3, 1, 4, seed=2)
    found = Pointwise(gamma=GAMMA)(queries, targets, negative_embeddings=drawn)
    logits = GAMMA * np.stack([(queries * targets).sum(1), (queries * drawn[:, 0]).sum(1)], axis=1)
    labels = np.tile([1.0, 0.0], (3, 1))
    expected = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits.astype(np.float64))
    np.testing.assert_allclose(found, tf.reduce_sum(expected, axis=1), rtol=1e-5)


@pytest.mark.parametrize("task", [*DRAWN, *IN_BATCH, BPR(Mixed(3)), BPR(CrossBatch(3)), BPR(Hard(3))])
def test_a_task_survives_its_configuration(task):
    copy = keras.layers.deserialize(keras.layers.serialize(task))
    assert copy.get_config() == task.get_config()
    assert copy.negatives == task.negatives


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: Pointwise(gamma=0), "`gamma` must be above 0. Received: 0"),
        (lambda: BPR(gamma=-1), "Received: -1"),
        (lambda: DSSMSoftmax(gamma=float("nan")), "Received: nan"),
        (lambda: Triplet(margin=-0.1), "`margin` must be 0 or more. Received: -0.1"),
        (lambda: Triplet(distance="manhattan"), "euclidean or cosine. Received: 'manhattan'"),
        (lambda: Triplet(Hard(2), semi_hard=True), "Received both"),
        (lambda: Pointwise("populrity"), 'no source "populrity".*Did you mean "popularity"'),
        (lambda: Pointwise(InBatch())(unit(2, 3), unit(2, 3)), "needs `candidate_ids`"),
    ],
)
def test_what_makes_no_sense_is_refused(construct, message):
    with pytest.raises(ConfigError, match=message):
        construct()
