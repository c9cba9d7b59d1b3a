"""The names of `tfrecall.data`, and what importing them costs."""

import subprocess
import sys

import pytest

import tfrecall.data


def test_functions_win_over_modules_of_the_same_name():
    import tfrecall.data.datasets.movielens
    import tfrecall.data.datasets.synthetic

    assert callable(tfrecall.data.movielens)
    assert callable(tfrecall.data.synthetic)


@pytest.mark.slow
def test_all_names_but_the_pipelines_come_without_tensorflow():
    code = (
        "import sys, tfrecall.data as d\n"
        "[getattr(d, name) for name in d.__all__ if name != 'examples']\n"
        "d.split_random(d.synthetic())\n"
        "heavy = {'tensorflow', 'tensorflow_datasets', 'pandas', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = tfrecall.data.nonsense
