"""Which TensorFlow and which Keras are imported, and when; each in a fresh process."""

import os
import subprocess
import sys

import pytest


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        check=False,
    )


@pytest.mark.slow
def test_what_needs_no_tensorflow_does_not_import_it():
    modules = (
        "tfrecall, tfrecall.data, tfrecall.index, tfrecall.schema.features, tfrecall.evaluation.metrics, "
        "tfrecall.core.raw"
    )
    done = run(f"import sys; import {modules}; print('tensorflow' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.slow
def test_keras_3_already_in_use_is_refused_in_one_sentence():
    done = run(
        "import tensorflow as tf\n"
        "tf.keras.layers.Layer\n"
        "from tfrecall.errors import KerasVersionError\n"
        "try:\n"
        "    import tfrecall._keras\n"
        "except KerasVersionError as error:\n"
        "    print(isinstance(error, ImportError), error)\n"
    )
    assert done.stdout.startswith("True tfrecall needs Keras 2"), done.stderr
    assert "TF_USE_LEGACY_KERAS=1" in done.stdout
