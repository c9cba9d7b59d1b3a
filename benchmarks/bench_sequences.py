"""Training targets per second on whole sequences, against one padded window a target.

YouTubeDNN on MovieLens-1M: histories of 50, vectors of 32, 255 shared negatives, about 6,000 targets a
step, Adagrad. Both forms train the same model on the same targets in the same run. DeepMatch's authors
report 25,600 targets a second for theirs on a laptop.
"""

import tfrecall as tr
from benchmarks.measure import fastest_in_turn, movielens_folder, report
from tfrecall.schema.encoders import Mean
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.training.inputs.examples import TrainingExamples
from tfrecall.training.optimizers import make_optimizer

BATCH, ROUNDS = 6_000, 3
ITEM = tr.Categorical("item_id", 32)

data = tr.data.movielens("1m", movielens_folder("1m"))
schema = tr.Schema(query=[tr.History("history", ITEM, 50, Mean())], candidate=[ITEM])
works, targets = [], 0
for form in ("sequences", "windows"):
    model = tr.YouTubeDNN(schema, [64, 32], task=tr.SampledSoftmax(255))
    model.adapt(data)
    model.compile(optimizer=make_optimizer("adagrad", 0.1))
    examples = TrainingExamples(model, data, BATCH, histories=HistoriesConfig(form=form))
    batches, targets = examples.batches(), len(examples)
    model.fit(batches.take(10), epochs=1, verbose=0)  # traces
    works.append(lambda model=model, batches=batches: model.fit(batches, epochs=1, verbose=0))
rates = [targets / seconds for seconds in fastest_in_turn(works, ROUNDS)]
report(
    "sequences",
    targets_per_second=rates[0],
    windows_targets_per_second=rates[1],
    ratio=rates[0] / rates[1],
)
