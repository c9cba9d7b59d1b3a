"""Training on several replicas: devices of one machine, or workers on several (`training.strategy`).

The replicas train a copy of the model, which `tf.distribute` mirrors; its weights come back at the end, so
that evaluation and export have a model without a strategy. Keras 2 is the one Keras that trains so.
"""

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from tfrecall._keras import keras, tf
from tfrecall.core.parts import Part
from tfrecall.errors import ConfigError, WorkerLostError
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.negatives import is_mined
from tfrecall.schema.training import TrainingConfig
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tasks.pairwise import PairTask
from tfrecall.tasks.replicas import gathered
from tfrecall.tasks.sampled_softmax import SampledSoftmax
from tfrecall.training.checkpoints import differences
from tfrecall.training.cluster import Cluster
from tfrecall.training.inputs.feed import Feed
from tfrecall.training.progress import lasting_weights, optimizer_variables

# Tasks whose loss of a batch does not depend on how replicas divide it; the tests say so of each.
TASKS = (InBatchSoftmax, FullSoftmax, SampledSoftmax, PairTask)
# Kinds of TensorFlow's errors where a connection between workers breaks.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
_REGULARIZERS = (
    "kernel_regularizer",
    "bias_regularizer",
    "embeddings_regularizer",
    "activity_regularizer",
)


class OneReplica:
    """A training of one process on one device: the model itself is trained, and nothing is exchanged."""

    cluster: Cluster | None = None

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what the workers have in common."""
        return self.cluster is None or self.cluster.is_chief

    def check(self, model: TwoTower | Ranker, training: TrainingConfig) -> None:
        """Refuses what replicas would train otherwise than one process.

        Raises:
            ConfigError: naming it.
        """

    def copy_of(self, model: Any) -> Any:
        """The model to train, of an adapted and compiled one."""
        return model

    def give_back(self, copy: Any, model: Any) -> None:
        """Assigns the model what its copy has learned, and its optimizer the state."""

    def watched(self) -> AbstractContextManager[None]:
        """Names the loss of a worker, which TensorFlow reports as one of its connections.

        Raises:
            WorkerLostError: if a worker is gone.
        """
        return nullcontext()

    def inputs(self, feed: Feed) -> dict[str, Any]:
        """Batches as arguments of Keras' `fit`."""
        return {"x": feed.batches(), "validation_data": feed.measured()}

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Callbacks between those that measure and those that decide."""
        return []

    def check_alike(self, identity: Callable[[], dict[str, Any]]) -> None:
        """Refuses workers that would train something else than the chief.

        Raises:
            ConfigError: on all workers, with what differs.
        """


class Replicas(OneReplica):
    """Several replicas, of which each trains on a part of every batch.

    Args:
        strategy: a strategy of TensorFlow that keeps a copy of the weights on each replica.
        cluster: the workers, if there are several.
    """

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster | None = None) -> None:
        self.strategy = strategy
        self.cluster = cluster

    def check(self, model: TwoTower | Ranker, training: TrainingConfig) -> None:
        check_supported(model, training)

    def copy_of(self, model: Any) -> Any:
        model.create_weights()
        with self.strategy.scope():
            copy = type(model).from_config(model.get_config())
            copy.build_from_config(model.get_build_config())
            optimizer = model.optimizer
            copy.compile(optimizer=type(optimizer).from_config(optimizer.get_config()))
            copy.create_weights()
        copy.interactions = model.interactions
        copy.catalogue.sampling = model.catalogue.sampling
        _assign(lasting_weights(copy), lasting_weights(model))
        return copy

    def give_back(self, copy: Any, model: Any) -> None:
        _assign(lasting_weights(model), lasting_weights(copy))
        model.optimizer.build(model.trainable_variables)
        _assign(optimizer_variables(model), optimizer_variables(copy))

    @contextmanager
    def watched(self) -> Iterator[None]:
        try:
            yield
        except _LOST as error:
            if self.cluster is None:
                raise
            raise WorkerLostError(
                f"Another of the {len(self.cluster.addresses)} workers is gone, and they train together only. "
                "Start all workers again: they go on from the chief's last checkpoint. TensorFlow says: "
                f"{error.message.splitlines()[0]}"
            ) from error

    def inputs(self, feed: Feed) -> dict[str, Any]:
        inputs = {"x": self.dataset(feed.batches), "steps_per_epoch": feed.examples.steps}
        if feed.validation is not None:
            inputs["validation_data"] = self.dataset(feed.measured)
            inputs["validation_steps"] = feed.validation_steps
        return inputs

    def dataset(self, batches: Callable[[Part], tf.data.Dataset]) -> Any:
        """Batches of which each replica has a part: those of all epochs, without an end.

        Args:
            batches: makes the dataset of the parts of one replica. Each worker calls it for its own replicas.
        """

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            count = context.num_replicas_in_sync
            local = count // context.num_input_pipelines
            first = context.input_pipeline_id * local
            parts = [batches(Part(first + i, count)).repeat() for i in range(local)]
            if local == 1:
                return parts[0]
            # One after the other, as a worker hands batches to its replicas.
            turns = tf.data.Dataset.range(local).repeat()
            return tf.data.Dataset.choose_from_datasets(parts, turns)

        return self.strategy.distribute_datasets_from_function(of_worker)

    def exchange(self, message: bytes) -> list[bytes]:
        """Messages of all workers, the chief's first. Each of them has to call this at the same point."""
        if self.cluster is None:
            return [message]
        padded = message + bytes(-len(message) % 4)
        # As whole numbers of 32 bits, the shortest that workers exchange.
        lengths = self._gathered(np.array([len(message)], np.int32))
        words = self._gathered(np.frombuffer(padded, np.int32))
        ends = np.cumsum(-(-lengths // 4))
        starts = ends - -(-lengths // 4)
        every = range(0, len(lengths), len(lengths) // len(self.cluster.addresses))
        return [words[starts[i] : ends[i]].tobytes()[: lengths[i]] for i in every]

    def from_chief(self, message: bytes) -> bytes:
        """The chief's message; what the other workers give is not sent."""
        return self.exchange(message if self.is_chief else b"")[0]

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return [] if self.cluster is None else [ChiefsMetrics(self)]

    def check_alike(self, identity: Callable[[], dict[str, Any]]) -> None:
        if self.cluster is None:
            return
        found = [json.loads(text) for text in self.exchange(json.dumps(identity()).encode())]
        for worker, theirs in enumerate(found):
            differing = differences(found[0], theirs)
            if differing:
                lines = "\n".join(f"  {name}: {chief}, but {other}" for name, chief, other in differing)
                raise ConfigError(
                    f"Worker {worker} would train something else than the chief, worker 0:\n{lines}\nStart all "
                    "workers with the same configuration, the same data and the same versions."
                )

    def _gathered(self, values: np.ndarray) -> np.ndarray:
        return self.strategy.experimental_local_results(self._gather(tf.constant(values)))[0].numpy()

    @functools.cached_property
    def _gather(self) -> Callable[[tf.Tensor], Any]:
        return tf.function(
            lambda values: self.strategy.run(lambda own: gathered([own])[0], (values,)),
            input_signature=[tf.TensorSpec([None], tf.int32)],
            autograph=False,
        )


class ChiefsMetrics(keras.callbacks.Callback):
    """Gives all workers the chief's metrics of an epoch, so that all of them stop at the same one.

    Machines of another kind may compute another last digit. It comes after the callbacks that measure and
    before those that decide.
    """

    def __init__(self, replicas: Replicas) -> None:
        super().__init__()
        self.replicas = replicas

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {} if logs is None else logs
        own = {name: float(value) for name, value in logs.items()}
        logs.update(json.loads(self.replicas.from_chief(json.dumps(own).encode())))


@functools.cache
def connect(name: str) -> OneReplica:
    """The replicas of a strategy, by its name in `TrainingConfig`.

    With workers on several machines this waits until all of them are there, and has to come before any
    computation with TensorFlow. A process has one cluster.

    Raises:
        ConfigError: if TF_CONFIG is missing or malformed, its port is taken, or TensorFlow has computed
            something already.
    """
    if name == "none":
        return OneReplica()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return Replicas(tf.distribute.MirroredStrategy([device.name for device in devices]))
    cluster = Cluster.from_environment()
    cluster.check_port()
    try:
        return Replicas(tf.distribute.MultiWorkerMirroredStrategy(), cluster)
    except tf.errors.OpError as error:
        raise ConfigError(
            "The workers do not come together: TF_CONFIG has to name the same workers, in the same order, on "
            f"all of them. TensorFlow says: {error.message.splitlines()[0]}"
        ) from error
    except RuntimeError as error:
        raise ConfigError(
            f"Workers have to find each other before TensorFlow computes anything: {error} Call "
            '`tfrecall.training.connect("multi_worker_mirrored")` first, right after the imports.'
        ) from error


def check_supported(model: TwoTower | Ranker, training: TrainingConfig) -> None:
    """Refuses what replicas would train otherwise than one process.

    Raises:
        ConfigError: naming it.
    """
    if isinstance(model, Ranker):
        raise _unsupported(training, "this is a ranker", "retrievers are trained so")
    task = model.task
    if not isinstance(task, TASKS):
        raise _unsupported(
            training,
            f"{type(task).__name__} would see the part of a batch that its replica has",
            "take `InBatchSoftmax`, `FullSoftmax`, `SampledSoftmax` or a loss over pairs",
        )
    if _mines_its_own(task):
        raise _unsupported(
            training, "one process mines the model's own lists", "give the negatives a `release`"
        )
    if training.mixed_precision:
        raise _unsupported(training, "`mixed_precision` is for one", "leave one of both out")
    for layer in model.submodules:
        if isinstance(layer, keras.layers.BatchNormalization):
            raise _unsupported(
                training, "batch normalization would see a part of each batch", "leave it out"
            )
        named = [name for name in _REGULARIZERS if getattr(layer, name, None) is not None]
        if named:
            raise _unsupported(
                training,
                f"the `{named[0]}` of {layer.name} would count once on each replica",
                "leave it out, or use `embedding_regularization`",
            )


def _mines_its_own(task: keras.layers.Layer) -> bool:
    return (
        isinstance(task, PairTask)
        and is_mined(task.negatives)
        and getattr(task.negatives, "release", None) is None
    )


def _unsupported(training: TrainingConfig, why: str, way: str) -> ConfigError:
    return ConfigError(
        f'`training.strategy = "{training.strategy}"` trains on several replicas, but {why}: {way}, or set it '
        'to "none".'
    )


def _assign(variables: list[tf.Variable], values: list[tf.Variable]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value.read_value())
