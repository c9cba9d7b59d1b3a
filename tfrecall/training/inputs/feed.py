"""Batches that a fit reads: of training rows and of validation rows, whole or the parts of replicas."""

from dataclasses import dataclass

from tfrecall._keras import tf
from tfrecall.core.parts import WHOLE, Part
from tfrecall.data.interactions import Interactions
from tfrecall.models.ranker import Ranker
from tfrecall.training.inputs.examples import TrainingExamples, validation_examples

# Most rows and most scores of a validation batch: 2^26 float32 scores fill a quarter of a gigabyte.
VALIDATION_ROWS, VALIDATION_SCORES = 4096, 2**26


@dataclass(frozen=True)
class Feed:
    """Batches of a fit.

    Attributes:
        examples: the training rows.
        validation: rows to stop by; None for none.
        seen: the log before them.
        first_epoch: number of the first epoch that is read.
    """

    examples: TrainingExamples
    validation: Interactions | None
    seen: Interactions
    first_epoch: int

    def batches(self, part: Part = WHOLE) -> tf.data.Dataset:
        """Training batches; each reading gives the next epoch."""
        return self.examples.batches(self.first_epoch, part)

    def measured(self, part: Part = WHOLE) -> tf.data.Dataset | None:
        """Validation batches, if there are such rows."""
        if self.validation is None:
            return None
        return validation_examples(
            self.examples.model, self.validation, self.seen, self._rows_at_once, part
        )

    @property
    def validation_steps(self) -> int:
        """Number of validation batches."""
        return -(-len(self.validation or ()) // self._rows_at_once)

    @property
    def _rows_at_once(self) -> int:
        """Number of validation rows a batch: each is scored for the whole catalogue at once.

        A ranker scores pairs, so its batches do not depend on the catalogue.
        """
        model = self.examples.model
        if isinstance(model, Ranker):
            return VALIDATION_ROWS
        return max(1, min(VALIDATION_ROWS, VALIDATION_SCORES // len(model.catalogue.ids)))
