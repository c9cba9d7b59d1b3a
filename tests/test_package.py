"""The package as a whole: its public names, its version."""

import configparser
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import tfrecall

PUBLIC = {
    "ALS",
    "BPR",
    "BayesianRanker",
    "Boost",
    "Bucketized",
    "CandidateTower",
    "Categorical",
    "Clicks",
    "Codes",
    "Custom",
    "CustomFeature",
    "DSSM",
    "DSSMSoftmax",
    "Day",
    "EASE",
    "ExactTopK",
    "ExampleAge",
    "FeaturePopularity",
    "FullSoftmax",
    "History",
    "InBatchSoftmax",
    "ItemCF",
    "ItemTransitions",
    "Label",
    "Lists",
    "MultiCategorical",
    "MultiTask",
    "Numeric",
    "PairAUC",
    "Pipeline",
    "Pointwise",
    "Popularity",
    "ProgressReporter",
    "QueryTower",
    "Ranker",
    "Ratings",
    "Rules",
    "SampledSoftmax",
    "ScalableCrossEntropy",
    "Schema",
    "StreamingFrequency",
    "Swing",
    "Text",
    "TfrecallError",
    "TrainingExamples",
    "Trending",
    "Triplet",
    "TwoTower",
    "UserCF",
    "Vector",
    "YouTubeDNN",
    "__version__",
    "change_items",
    "compare",
    "cross_validate",
    "data",
    "encoders",
    "evaluate",
    "export",
    "export_ranker",
    "export_pipeline",
    "fit",
    "index",
    "keras",
    "load",
    "load_config",
    "order_test",
    "negatives",
    "report",
    "stage_losses",
    "validation_examples",
    "warm_start",
}


# Rooms that answer, evaluate and configure, which start without TensorFlow; of `data` all but what makes
# `tf.data` datasets.
LIGHT = (
    "baselines",
    "batch",
    "config",
    "core",
    "data",
    "engines",
    "evaluation",
    "index",
    "release",
    "report",
    "schema",
    "serving",
)
HEAVY_MODULES = {"tfrecall.data.batches", "tfrecall.serving.tf_serving_grpc"}


@pytest.mark.slow
def test_light_rooms_start_without_tensorflow():
    root = Path(tfrecall.__file__).parent
    names = [
        module.name
        for room in LIGHT
        for module in pkgutil.walk_packages([str(root / room)], f"tfrecall.{room}.")
        if module.name not in HEAVY_MODULES
    ]
    assert len(names) > 80
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'tensorflow' in sys.modules: sys.exit(name + ' imports TensorFlow')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_scann_of_another_tensorflow_does_not_stand_in_the_way(tmp_path):
    """The import of TFRS imports ScaNN, whose operations fit one version of TensorFlow."""
    (tmp_path / "scann").mkdir()
    (tmp_path / "scann" / "__init__.py").write_text(
        "import tensorflow as tf\nraise tf.errors.NotFoundError(None, None, 'undefined symbol')\n"
    )
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from tfrecall._keras import tfrs\n"
        "print(tfrs.tasks.Retrieval.__name__, 'scann' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "Retrieval False\n"), done.stderr


def test_public_names_are_pinned():
    assert set(tfrecall.__all__) == PUBLIC


def test_every_public_name_can_be_had():
    for name in PUBLIC:
        assert getattr(tfrecall, name) is not None


def test_an_installation_has_every_file_that_is_no_code():
    """Recipes, templates of pages, scripts: an editable installation would not miss them."""
    root = Path(tfrecall.__file__).parent
    config = configparser.ConfigParser()
    config.read(root.parent / "setup.cfg")
    # As setuptools reads them: a pattern a line, and commas are none of its marks where there are lines.
    lines = config["options.package_data"]["tfrecall"].splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    taken = {file for pattern in patterns for file in root.glob(pattern)}
    there = {file for file in root.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    assert sorted(file for file in there - taken if file.suffix not in (".py", ".pyc")) == []
    assert len(there & taken) > 20


def test_version_is_the_newest_of_the_changelog():
    changelog = Path(__file__).parents[1].joinpath("CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## \[(\d[^\]]*)\] - (?:\d{4}-\d\d-\d\d|unreleased)$", changelog, re.MULTILINE)
    assert newest is not None
    assert version("tfrecall") == newest[1] == tfrecall.__version__
