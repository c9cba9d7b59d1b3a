"""The two-tower model as a Keras model: data in, loss and metrics out."""

import json

import numpy as np
import polars as pl
import pytest

from tfrecall._keras import keras, tf, tfrs
from tfrecall.core.retriever import Retriever
from tfrecall.data import synthetic
from tfrecall.data.batches import examples
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.evaluation.metrics import hit_rate
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Bucketized, Categorical, MultiCategorical, Numeric, Schema, Text
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.in_batch import InBatchSoftmax

DATA = synthetic(n_users=30, n_items=20, n_rows=400)
SCHEMA = Schema(
    query=[Categorical("user_id", 4), Bucketized("timestamp", 4, 3), Numeric("timestamp")],
    candidate=[Categorical("item_id", 4), Text("title", 50, 4)],
)
# Of 400 rows: two whole batches and a shorter one.
BATCH = 150
TOP_5 = "hit_rate@5"
TASKS = {"in_batch": InBatchSoftmax, "full": FullSoftmax, "tfrs": tfrs.tasks.Retrieval}
every_task = pytest.mark.parametrize("task", TASKS)


def build(data=DATA, schema=SCHEMA, learning_rate=0.1, eager=False, **options):
    """An adapted model; eager where tracing a graph would take longer than running it."""
    model = TwoTower(schema, [8, 4], **options)
    model.adapt(data)
    model.compile(keras.optimizers.Adagrad(learning_rate), run_eagerly=eager)
    return model


def encoded(model, data=DATA, batch_size=BATCH, **options):
    return examples(data, batch_size, encode=model.encode, forms=model.forms, **options)


def measure(model, dataset=None):
    return model.evaluate(dataset or encoded(model, shuffle=False), return_dict=True, verbose=0)


def train(model, epochs=1, **options):
    return model.fit(encoded(model, **options), epochs=epochs, verbose=0).history


def without_chance(rate=0.0):
    """A schema whose model draws nothing in training."""
    return Schema(
        query=[Categorical("user_id", 4, unknown_rate=rate)],
        candidate=[Categorical("item_id", 4, unknown_rate=rate)],
    )


@pytest.fixture(scope="module")
def trained():
    """A model after an epoch, for tests that only ask."""
    model = build()
    train(model)
    measure(model)
    return model


# What it reports


@pytest.mark.slow
def test_the_loss_is_the_mean_over_all_examples():
    # All vectors zero: of 16 candidates in every batch each loss is ln 16. 400 rows in batches of 150
    # leave a tail of 100: TFRS reports the last batch's sum, 100 ln 16.
    log = DATA.log.with_columns(item_id=pl.format("i{}", pl.int_range(400) % 16))
    model = build(DATA.with_log(log), correct_sampling_bias=False, learning_rate=1e-12, eager=True)
    measure(model)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    dataset = encoded(model, DATA.with_log(log), shuffle=False)
    assert measure(model, dataset)["loss"] == pytest.approx(np.log(16), rel=1e-6)
    assert model.fit(dataset, verbose=0).history["loss"] == [pytest.approx(np.log(16), rel=1e-5)]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["full", "in_batch"])
def test_the_loss_agrees_with_numpy(task):
    model = build(eager=True, task=TASKS[task](), schema=without_chance(), correct_sampling_bias=False)
    train(model)
    scores = model.retriever().scores(DATA.queries).astype(np.float64)
    losses = []
    for start in range(0, 400, BATCH):
        rows = np.arange(start, min(start + BATCH, 400))
        own = DATA.item_rows[rows]
        rivals = np.unique(own) if task == "in_batch" else np.arange(20)
        total = np.log(np.exp(scores[rows][:, rivals]).sum(axis=1))
        losses.extend(total - scores[rows, own])
    assert measure(model)["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.slow
@every_task
def test_evaluate_ranks_with_the_weights_of_now(task):
    # A graph that keeps weights of before would do so with any task.
    model = build(task=TASKS[task](), eager=task != "in_batch")
    for _ in range(2):
        train(model)
        metrics = measure(model)  # first: a retriever embeds the catalogue anew, too
        scores = model.retriever().scores(DATA.queries)
        own = scores[np.arange(400), DATA.item_rows][:, np.newaxis]
        ranks = (scores >= own).sum(axis=1) - 1
        for k in (1, 5, 10):
            name = f"hit_rate@{k}"
            # One row in 400 may stand the other way by a rounding.
            assert metrics[name] == pytest.approx(hit_rate(ranks, k).mean(), abs=0.0026)


@pytest.mark.slow
def test_validation_gives_what_evaluate_gives():
    model = build(eager=True)
    validation = examples(DATA, BATCH, shuffle=False)
    history = model.fit(
        encoded(model), validation_data=validation, validation_freq=2, epochs=4, verbose=0
    ).history
    metrics = measure(model)
    assert len(history["val_loss"]) == 2
    assert {name: history[f"val_{name}"][-1] for name in metrics} == metrics
    assert [name for name in history if not name.startswith("val_")] == ["loss"]


@pytest.mark.slow
def test_a_cached_validation_set_of_raw_features_is_taken():
    model = build(eager=True)
    cached = examples(DATA, BATCH, shuffle=False).cache()
    history = model.fit(encoded(model), validation_data=cached, epochs=2, verbose=0).history
    assert history["val_loss"][-1] == measure(model)["loss"]


# Weights


def weighted(weights):
    return DATA.with_log(DATA.log.with_columns(weight=pl.Series(weights, dtype=pl.Float64)))


@pytest.mark.slow
def test_rows_of_weight_0_change_nothing_in_a_full_softmax():
    keep = np.arange(400) % 3 > 0
    model = build(eager=True, task=FullSoftmax(), schema=without_chance())
    train(model)
    masked = measure(model, encoded(model, weighted(keep), shuffle=False))
    kept = DATA.with_log(DATA.log.filter(pl.Series(keep)))
    only = measure(model, encoded(model, kept, shuffle=False))
    assert masked == pytest.approx(only, rel=1e-5)


@pytest.mark.slow
@every_task
def test_weights_that_are_all_alike_do_not_change_the_mean(task):
    model = build(eager=True, task=TASKS[task]())
    train(model)
    doubled = measure(model, encoded(model, weighted([2.0] * 400), shuffle=False))
    assert doubled == pytest.approx(measure(model), rel=1e-5)


@pytest.mark.slow
@every_task
def test_an_epoch_of_weight_0_trains_nothing(task):
    model = build(eager=True, task=TASKS[task]())
    measure(model)
    before = [variable.numpy() for variable in model.trainable_variables]
    model.fit(encoded(model, weighted([0.0] * 400)), verbose=0)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, old)


# Data as people have them


def test_raw_and_encoded_batches_give_equal_losses(trained):
    assert measure(trained, examples(DATA, BATCH, shuffle=False)) == measure(trained)


@pytest.mark.slow
def test_a_whole_number_is_the_same_string_in_raw_and_in_encoded_batches():
    data = DATA.with_log(DATA.log.with_columns(hour=pl.int_range(400) % 24))
    schema = Schema(query=[Categorical("hour", 4)], candidate=[Categorical("item_id", 4)])
    model = build(data, schema)
    raw = next(iter(examples(data, 400, shuffle=False)))
    np.testing.assert_array_equal(
        model.encode(raw)["query"]["hour_categorical"],
        next(iter(encoded(model, data, 400, shuffle=False)))["query"]["hour_categorical"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("batched", [False, True])
def test_datasets_as_tutorials_write_them(batched):
    joined = DATA.queries.join(DATA.items, on="item_id", maintain_order="left")
    ratings = tf.data.Dataset.from_tensor_slices(
        {
            "movie_title": joined["title"].to_list(),
            "user_id": joined["user_id"].to_list(),
            "timestamp": joined["timestamp"].cast(pl.Int64).to_numpy(),
        }
    )
    ratings = ratings.batch(BATCH) if batched else ratings
    schema = Schema(
        query=SCHEMA.query,
        candidate=[Categorical("movie_title", 4), Text("movie_title", 50, 4)],
        candidate_id="movie_title",
    )
    model = TwoTower(schema, [8, 4])
    model.adapt(ratings, candidates=ratings)
    model.compile(keras.optimizers.Adagrad(0.1), run_eagerly=True)
    assert model.catalogue.ids.tolist() == joined["title"].unique(maintain_order=True).to_list()
    shares = [(joined["title"] == title).sum() / 400 for title in model.catalogue.ids]
    np.testing.assert_allclose(model.catalogue.probability[2:], shares, rtol=1e-6, atol=1e-7)
    batches = ratings if batched else ratings.batch(BATCH)
    history = model.fit(batches, validation_data=batches, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.slow
def test_bare_candidate_ids_will_do_where_they_are_the_only_feature():
    ratings = tf.data.Dataset.from_tensor_slices({"user_id": ["1", "2"], "movie_title": ["b", "a"]})
    movies = tf.data.Dataset.from_tensor_slices(["a", "b", "c"])
    schema = Schema(
        query=[Categorical("user_id")],
        candidate=[Categorical("movie_title")],
        candidate_id="movie_title",
    )
    model = TwoTower(schema)
    model.adapt(ratings, candidates=movies)
    assert model.catalogue.ids.tolist() == ["a", "b", "c"]


@pytest.mark.slow
def test_lists_of_several_lengths_are_taken_one_by_one():
    rows = [{"id": 7, "genres": [1]}, {"id": 8, "genres": [2, 1]}, {"id": 9, "genres": []}]
    signature = {"id": tf.TensorSpec([], tf.int64), "genres": tf.TensorSpec([None], tf.int64)}
    dataset = tf.data.Dataset.from_generator(lambda: rows, output_signature=signature)
    genres = MultiCategorical("genres", 2)
    model = TwoTower(Schema(query=[genres], candidate=[genres], candidate_id="id"))
    model.adapt(dataset, candidates=dataset)
    assert model.catalogue.ids.tolist() == ["7", "8", "9"]
    encoded_genres = model.catalogue.encoded["genres_multi_categorical"][2:]
    assert encoded_genres.numpy().tolist() == [[2, 0], [3, 2], [0, 0]]


def test_a_dataset_without_candidates_is_refused():
    with pytest.raises(DataError, match="Pass `candidates=`"):
        TwoTower(SCHEMA).adapt(examples(DATA))


def test_examples_that_share_no_candidate_with_the_catalogue_are_refused():
    ratings = tf.data.Dataset.from_tensor_slices({"user_id": ["1"], "item_id": ["a"]})
    movies = tf.data.Dataset.from_tensor_slices({"item_id": ["b"]})
    schema = Schema(query=[Categorical("user_id")], candidate=[Categorical("item_id")])
    with pytest.raises(DataError, match="None of the 1 candidates occurs in the examples"):
        TwoTower(schema).adapt(ratings, candidates=movies)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (Schema(query=[Categorical("segmnt")], candidate=SCHEMA.candidate), 'Did you mean "segment"'),
        (Schema(query=SCHEMA.query, candidate=[Text("tilte")]), 'Did you mean "title"'),
        (Schema(query=SCHEMA.query, candidate=SCHEMA.candidate, candidate_id="item"), '"item_id"'),
    ],
)
def test_a_schema_that_names_a_column_that_is_not_there_is_refused(schema, message):
    with pytest.raises(MissingColumnError, match=message):
        TwoTower(schema).adapt(DATA)


def test_batches_that_lack_something_are_refused_by_name(trained):
    for column, message in (("item_id", "name its candidates"), ("user_id", 'feature "user_id"')):
        dataset = examples(DATA, BATCH).map(
            lambda raw, c=column: {k: v for k, v in raw.items() if k != c}
        )
        with pytest.raises(MissingColumnError, match=message):
            trained.fit(dataset, verbose=0)


def test_what_is_no_dataset_of_batches_is_refused(trained):
    with pytest.raises(DataError, match="takes batches"):
        trained.fit(examples(DATA, BATCH).unbatch(), verbose=0)
    with pytest.raises(DataError, match="Received: dict"):
        trained.fit({"user_id": np.array(["u1"])}, verbose=0)
    with pytest.raises(DataError, match="dictionaries of features"):
        trained.evaluate(examples(DATA, BATCH).map(lambda raw: (raw, 1)))


def test_a_model_that_has_not_seen_data_is_refused():
    model = TwoTower(SCHEMA)
    model.compile("adagrad")
    assert not model.is_adapted
    asks = (
        lambda: model.fit(examples(DATA), verbose=0),
        model.retriever,
        lambda: model.load_weights("weights"),
    )
    for ask in asks:
        with pytest.raises(DataError, match="has not seen data yet"):
            ask()


@pytest.mark.slow
def test_new_data_want_a_new_model_once_there_are_weights():
    model = build()
    model.adapt(DATA)  # nothing depends on it yet
    model.embed_candidates()
    with pytest.raises(DataError, match="Make a new model"):
        model.adapt(DATA)


# What is not known


@pytest.mark.slow
def test_unknown_users_and_items_are_answered_and_counted_as_misses():
    model = build(DATA.with_log(DATA.log.filter(pl.col("user_id") != "u3")), eager=True)
    train(model)
    queries = DATA.queries.with_columns(user_id=pl.lit("nobody"))
    assert np.isfinite(model.retriever().scores(queries)).all()
    strange = examples(DATA, BATCH, shuffle=False).map(lambda raw: {**raw, "item_id": raw["user_id"]})
    metrics = measure(model, strange)
    assert metrics[TOP_5] == 0
    assert metrics["loss"] == 0  # no row counts


@pytest.mark.slow
def test_the_rows_of_unknown_values_move_in_training():
    model = build(eager=True, schema=without_chance(rate=0.2))
    measure(model)
    tables = model.query_tower.weights[0], model.candidate_tower.weights[0]
    before = [table.numpy() for table in tables]
    train(model)
    for table, old in zip(tables, before, strict=True):
        assert (table.numpy()[1] != old[1]).all()
        np.testing.assert_array_equal(table.numpy()[0], old[0])  # nothing is padding here


@pytest.mark.slow
def test_an_item_that_no_training_row_holds_has_the_vector_of_the_unknown():
    cold = DATA.with_log(DATA.log.filter(pl.col("item_id") != "i7"))
    model = build(cold, without_chance(rate=0.2), eager=True)
    train(model, seed=1)
    unknown = model.candidate_tower(model.catalogue.features(tf.constant([1])))
    np.testing.assert_allclose(model.embed_candidates()[7], unknown[0], rtol=1e-6, atol=1e-7)


# Keras


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights", "model.weights.h5", "model.h5"])
def test_saved_weights_give_the_same_answers(name, tmp_path):
    model = build(eager=True)
    train(model)
    model.save_weights(str(tmp_path / name))
    copy = TwoTower.from_config(model.get_config())
    copy.adapt(DATA)
    copy.compile("adagrad", run_eagerly=True)
    copy.load_weights(str(tmp_path / name))
    np.testing.assert_array_equal(
        copy.retriever().scores(DATA.queries), model.retriever().scores(DATA.queries)
    )
    assert measure(copy) == measure(model)


def test_every_weight_is_tracked_and_nothing_else(trained):
    # Query: tables of users and buckets; candidate: of items and words; two layers each of kernel, bias.
    assert len(trained.trainable_weights) == 2 + 2 + 2 * 4
    # Hits, gains and count, total and count, two numbers for each of two random unknowns: neither vectors nor
    # probabilities of the catalogue.
    assert sum(np.prod(w.shape) for w in trained.non_trainable_weights) == 2 * 5 + 1 + 1 + 1 + 2 * 2


@pytest.mark.slow
@every_task
def test_every_trainable_weight_gets_a_gradient(task):
    model = build(task=TASKS[task]())
    batch = next(iter(encoded(model, batch_size=400)))
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    gradients = tape.gradient(loss, model.trainable_variables)
    names = [v.name for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None]
    assert names == []
    assert len(gradients) == 12


def test_the_configuration_is_plain_and_complete():
    model = TwoTower(
        SCHEMA,
        [8],
        task=InBatchSoftmax(0.1, 5),
        dropout=0.2,
        candidate_dropout=0.1,
        normalize=True,
        embedding_regularization=0.01,
        correct_sampling_bias=False,
        ks=(3,),
        name="mine",
    )
    config = json.loads(json.dumps(model.get_config()))
    copy = TwoTower.from_config(config)
    assert json.loads(json.dumps(copy.get_config())) == config
    assert copy.task.num_hard_negatives == 5
    assert copy.candidate_tower.normalize


@pytest.mark.parametrize(
    ("rates", "dropped"),
    [
        ({"dropout": 0.5}, (True, True)),
        ({"dropout": 0.5, "candidate_dropout": 0.0}, (True, False)),
        ({"candidate_dropout": 0.5}, (False, True)),
    ],
)
def test_each_tower_drops_by_its_own_rate(rates, dropped):
    model = TwoTower(without_chance(), [], **rates)
    model.adapt(DATA)
    batch = model.encode(next(iter(examples(DATA, 100))))
    towers = {"query": model.query_tower, "candidate": model.candidate_tower}
    items = {"item_id": DATA.items["item_id"].to_numpy().astype(object)}
    inputs = {"query": batch["query"], "candidate": model.candidate_tower.preprocess(items)}
    # Of 80 values and more at a rate of one half none is dropped with the probability 2 ** -80.
    has_zeros = [
        bool((tower(inputs[side], training=True).numpy() == 0).any()) for side, tower in towers.items()
    ]
    assert has_zeros == list(dropped)


@pytest.mark.slow
def test_equal_seeds_give_equal_models():
    def scores(seed):
        model = TwoTower(SCHEMA, [8, 4], dropout=0.3)  # before the seed
        keras.utils.set_random_seed(seed)
        model.adapt(DATA)
        model.compile(keras.optimizers.Adagrad(0.1))
        train(model, epochs=2)
        return model.retriever().scores(DATA.queries)

    first, again, other = scores(1), scores(1), scores(2)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.slow
def test_batches_may_be_trained_and_tested_one_by_one():
    model = build(eager=True)
    batch = next(iter(encoded(model)))
    model.embed_candidates()
    trained = model.train_on_batch(batch, return_dict=True)
    tested = model.test_on_batch(batch, return_dict=True)
    assert np.isfinite(trained["loss"])
    assert tested["loss"] < trained["loss"]


@pytest.mark.slow
def test_eager_mode_gives_what_the_graph_gives():
    model = build()
    train(model)
    metrics = measure(model)
    model.compile("adagrad", run_eagerly=True)
    assert measure(model) == pytest.approx(metrics, rel=1e-5)


@pytest.mark.slow
def test_predict_scores_the_whole_catalogue(trained):
    scores = trained.predict(encoded(trained, shuffle=False), verbose=0)
    np.testing.assert_allclose(scores, trained.retriever().scores(DATA.queries), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["in_batch", "full"])
def test_regularization_shrinks_the_embeddings_and_is_not_part_of_the_loss(task):
    lengths = []
    for weight in (0.0, 1.0):
        keras.utils.set_random_seed(1)
        model = build(
            eager=True, task=TASKS[task](), schema=without_chance(), embedding_regularization=weight
        )
        history = train(model, epochs=3, batch_size=64)
        assert ("regularization_loss" in history) == (weight > 0), "listed where there is one"
        assert weight == 0 or history["regularization_loss"][-1] > 0
        assert history["loss"][-1] < 3.5  # about ln 20
        lengths.append(np.square(model.query_tower.weights[0]).sum())
    assert lengths[1] < lengths[0] / 2


@pytest.mark.slow
def test_the_candidate_tower_pays_for_each_distinct_candidate_once():
    model = build(schema=without_chance(), embedding_regularization=1.0)
    model.compute_loss(next(iter(encoded(model, batch_size=400))), training=True)
    (loss,) = model.candidate_tower.losses
    used = np.unique(DATA.item_rows)
    table = model.candidate_tower.weights[0].numpy()
    lookup = model.catalogue.encoded["item_id_categorical"].numpy()
    assert loss.numpy() == pytest.approx(np.square(table[lookup[used + 2]]).sum(), rel=1e-5)


def test_the_model_is_a_retriever(trained):
    retriever = trained.retriever()
    assert isinstance(retriever, Retriever)
    assert retriever.item_ids.tolist() == DATA.items["item_id"].to_list()
    assert retriever.scores(DATA.queries[:3]).shape == (3, 20)
    assert retriever.scores(DATA.queries.clear()).shape == (0, 20)


def test_a_log_names_its_candidates_by_item_id():
    schema = Schema(
        query=[Categorical("user_id")], candidate=[Categorical("title")], candidate_id="title"
    )
    with pytest.raises(ConfigError, match=r'names candidates by "title".*Leave `candidate_id` out'):
        TwoTower(schema).adapt(DATA)


def test_towers_without_layers_must_give_vectors_of_equal_length():
    schema = Schema(
        query=[Categorical("user_id", 4), Numeric("timestamp")], candidate=[Categorical("item_id", 4)]
    )
    with pytest.raises(ConfigError, match=r"query tower .* 5 numbers .* candidate tower of 4"):
        TwoTower(schema, [])
