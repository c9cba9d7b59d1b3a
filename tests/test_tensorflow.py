"""TensorFlow starts without notes on CUDA, TensorRT, CPU features and retracing; all other lines are kept."""

import gc
import json
import logging
import os
import subprocess
import sys
from contextlib import suppress

import pytest

from tfrecall._tensorflow import is_note, is_of_interest, without_garbage_collection, without_notes

NOTES = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795816535.559403   13310 cudart_stub.cc:31] Could not find cuda drivers on your machine",
    "W0000 00:00:1795816535.559403   13310 py_utils.cc:38] TF-TRT Warning: Could not find TensorRT",
    "2024-05-31 10:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.",
    "2024-05-31 10:00:00.123456: W tensorflow/compiler/tf2tensorrt/utils/py_utils.cc:38] TF-TRT Warning",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow",
    "E0000 00:00:1795816535.559403   13310 cuda_dnn.cc:8310] Unable to register cuDNN factory: attempting",
]
CUDA_ERROR = "E0000 00:00:1.419688   1 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error"
OTHERS = [
    "F0000 00:00:1.419688   1 cpu_feature_guard.cc:86] built with AVX, which your machine lacks",
    "E0000 00:00:1.419688   1 allocator.cc:1] out of memory",
    "Traceback (most recent call last):",
    "I like films",
    "",
]
# A model trained several times, so that Keras traces its steps again, exported and asked; then commands, in the
# same process, because an import of TensorFlow takes longer than a command.
SCRIPT = """
import json, sys, tfrecall as tr
from tfrecall.cli import main
assert tr.keras.layers.Layer.__module__.startswith("tf_keras"), "Keras 2 where nobody chose"
log = tr.data.synthetic(n_users=20, n_items=10, n_rows=100)
schema = tr.Schema(query=[tr.Categorical("user_id")], candidate=[tr.Categorical("item_id")])
for _ in range(6):
    model = tr.TwoTower(schema, layer_sizes=[4])
    model.adapt(log)
    model.compile(optimizer=tr.keras.optimizers.Adagrad(0.1))
    model.fit(tr.data.examples(log, batch_size=50), epochs=1, verbose=0)
tr.export(model, sys.argv[1], index=tr.index.Annoy(n_trees=2), k=5)
print(len(tr.load(sys.argv[1]).recommend(["u1"], k=3)[0].item_ids))
for command in json.loads(sys.argv[2]):
    sys.argv = ["tfrecall", *command]
    try:
        main()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{command}: {end.code}")
"""


@pytest.mark.parametrize("has_gpu", [True, False])
def test_notes_are_told_from_other_lines(has_gpu):
    assert [line for line in NOTES if not is_note(line, has_gpu)] == []
    assert [line for line in OTHERS if is_note(line, has_gpu)] == []
    assert is_note(CUDA_ERROR, has_gpu) is not has_gpu


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        ("Model.make_train_function.<locals>.train_function", False),
        ("PreprocessingLayer.make_adapt_function.<locals>.adapt_step", False),
        ("Tower.embed_batch", False),
        ("my_function", True),
    ],
)
def test_retracing_is_told_of_functions_of_users_only(function, shown):
    text = (
        f"6 out of the last 6 calls to <function {function} at 0x7f> triggered tf.function retracing."
    )
    record = logging.LogRecord("tensorflow", logging.WARNING, "", 0, text, None, None)
    assert is_of_interest(record) is shown


def test_lines_that_are_no_notes_reach_standard_error(capfd):
    with without_notes(has_gpu=False):
        os.write(2, "\n".join([NOTES[0], "kept: ü", NOTES[1], "and this"]).encode())
    assert capfd.readouterr().err == "kept: ü\nand this"


def test_standard_error_is_back_after_an_import_that_fails(capfd):
    with suppress(ImportError), without_notes(has_gpu=False):
        os.write(2, f"{NOTES[0]}\nthe reason\n".encode())
        raise ImportError
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "the reason\nlater\n"


@pytest.mark.parametrize("collects", [True, False])
def test_the_garbage_collector_is_as_before_after_an_import_that_fails(collects):
    set_before = gc.enable if collects else gc.disable
    set_before()
    try:
        with suppress(ImportError), without_garbage_collection():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() is collects
    finally:
        gc.enable()


def test_a_closed_standard_error_is_left_alone():
    code = (
        "import os; os.close(2)\nfrom tfrecall._tensorflow import without_notes\n"
        "with without_notes(has_gpu=False): print('done')"
    )
    # The module imports TensorFlow, so a stub takes its place: only the descriptor is of interest here.
    stub = "import sys, types, logging; tf = types.ModuleType('tensorflow')\n" + (
        "tf.config = types.SimpleNamespace(list_physical_devices=lambda kind: [])\n"
        "tf.get_logger = lambda: logging.getLogger('tensorflow'); sys.modules['tensorflow'] = tf\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", stub + code], stdout=subprocess.PIPE, check=False, text=True
    )
    assert (done.returncode, done.stdout) == (0, "done\n")


def heard(*command):
    """What a program writes to standard error where nobody has set anything for TensorFlow."""
    # The round trip of an export in a process of its own, as users have it, too.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "TFRECALL_REPLAY"))}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
def test_python_and_commands_are_quiet_from_import_to_answer(tmp_path):
    release, table = str(tmp_path / "release"), tmp_path / "all.parquet"
    commands = [
        ["index", release, "--n-trees", "3"],
        ["recommend", release, "--user", "u1"],
        ["similar", release, "i1"],
        ["recommend-all", release, "--out", str(table)],
    ]
    assert heard("-c", SCRIPT, release, json.dumps(commands)) == ""
    assert table.exists()
