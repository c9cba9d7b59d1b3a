"""Every exported SavedModel of every kind of release keeps TF Serving's contract."""

import json
import re

import numpy as np
import pytest
from tensorflow.core.framework.types_pb2 import DataType

from tests.serving.tf_serving_contract import (
    ROOTS,
    check_float32,
    check_layout,
    check_rows_apart,
    check_signatures,
    check_warm_up,
    models,
    open_models,
    same_rows,
)
from tfrecall._keras import tf

# Every kind of model, and the inputs that only some models have. The command loads a model at each call.
CLI_ROOTS = ["repeating_root", "context_root", "numbers_root"]
KINDS = {"query", "candidate", "retrieval", "ranker", "pipeline"}


@pytest.fixture(scope="module", params=ROOTS)
def root(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def opened(root):
    return open_models(root)


def test_models_lie_where_the_server_looks(root):
    check_layout(root)


def test_each_model_has_a_signature_for_batching(opened):
    for _, served, _ in opened:
        check_signatures(served)


def test_numbers_may_come_as_float32_wherever_there_are_numbers(opened):
    for _, served, asked in opened:
        check_float32(served, asked)


def test_warm_up_records_pass(opened):
    pytest.importorskip("tensorflow_serving")
    for model, served, _ in opened:
        check_warm_up(served, model)


def test_a_row_is_answered_alike_alone_and_in_a_batch(opened):
    for _, served, asked in opened:
        check_rows_apart(served, asked)


def test_saved_model_cli_shows_each_signature_with_its_inputs(opened, capsys):
    """What the command prints of each model, by its functions: it reads the graph and runs nothing."""
    from tensorflow.python.tools import saved_model_cli

    for model, served, asked in opened:
        saved_model_cli._show_signature_def_map_keys(str(model), "serve")
        keys = re.findall(r'SignatureDef key: "([^"_][^"]*)"', capsys.readouterr().out)
        assert set(keys) == {name for name in served.signatures if not name.startswith("__")}
        for signature in asked:
            definition = served.signatures[signature]
            saved_model_cli._show_inputs_outputs(str(model), "serve", signature)
            told = capsys.readouterr().out
            shown = re.findall(r"inputs\['(.+?)'\] tensor_info:\s+dtype: (\w+)", told)
            types = {name: DataType.Name(info.dtype) for name, info in definition.inputs.items()}
            assert dict(shown) == types
            outputs = set(re.findall(r"outputs\['(.+?)'\] tensor_info:", told))
            assert outputs == set(definition.outputs)


@pytest.mark.slow
def test_the_roots_have_every_kind_of_model(request):
    found = {model.parent.name for name in ROOTS for model in models(request.getfixturevalue(name))}
    assert found == KINDS


@pytest.mark.slow
@pytest.mark.parametrize("name", CLI_ROOTS)
def test_saved_model_cli_runs_each_signature(name, request, tmp_path, capsys):
    """The command's own functions, in this process: a process of its own takes seconds a call."""
    from tensorflow.python.tools import saved_model_cli

    for model, served, asked in open_models(request.getfixturevalue(name)):
        for signature, inputs in asked.items():
            out = tmp_path / f"{model.parent.name}-{signature}"
            out.mkdir()
            given = ";".join(f"{key}={_stored(out, key, values)}" for key, values in inputs.items())
            feed = saved_model_cli.load_inputs_from_input_arg_string(given, "", "")
            saved_model_cli.run_saved_model_with_feed_dict(
                str(model), "serve", signature, feed, str(out), False
            )
            outputs = served.signatures[signature].outputs
            answer = {key: np.load(out / f"{key}.npy", allow_pickle=True) for key in outputs}
            same_rows(answer, served.ask(signature, **inputs))
    capsys.readouterr()


def _stored(folder, key, values):
    file = folder / f"input-{key}.npy"
    np.save(file, values)
    return file


def test_a_pipeline_takes_numbers_of_both_stages_as_float32(numbers_root):
    """Ages of the query and prices of the ranker's candidates: both stages have numbers."""
    manifest = json.loads((numbers_root / "manifest.json").read_text("utf-8"))
    forms = manifest["query"]["forms"], manifest["ranker"]["candidate"]["forms"]
    assert [sorted(name for name, form in kind.items() if form == "number") for kind in forms] == [
        ["age", "timestamp"],
        ["price"],
    ]
    for part in ("ranker", "pipeline"):
        signatures = tf.saved_model.load(str(numbers_root / part / "1")).signatures
        given = signatures["serving_float32"].structured_input_signature[1]
        assert given["age"].dtype == given["timestamp"].dtype == tf.float32
