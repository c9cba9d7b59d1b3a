"""Graphs that touch files, Python or other processes are found before TensorFlow loads them."""

import json
import shutil

import pytest

from tests.release.test_malformed import reseal
from tfrecall.core.manifests import describe, manifest_checksum
from tfrecall.errors import ReleaseError
from tfrecall.release import load
from tfrecall.release.suspicious import _REASONS, check_graph


@pytest.fixture(scope="module")
def tf():
    from tfrecall._keras import tf

    return tf


@pytest.fixture
def root(tiny_root, tmp_path):
    return shutil.copytree(tiny_root, tmp_path / "release")


def query_model(tf, root, answer, **signature):
    """Replaces the query model by a function of the user id; every checksum is right."""
    directory = root / "query" / "1"
    manifest = json.loads((root / "manifest.json").read_text())
    spec = {
        name: tf.TensorSpec([None], tf.float64 if form == "number" else tf.string, name=name)
        for name, form in manifest["query"]["forms"].items()
        if form != "strings"
    }
    spec["tags"] = tf.TensorSpec([None, None], tf.string, name="tags")

    @tf.function(autograph=False)
    def embed(**features):
        rows = tf.shape(features["user_id"])[0]
        return {"vector": tf.zeros([rows, 8]) + answer(features["user_id"])}

    # Every release has warm-up requests.
    former = directory.rename(root / "former")
    module = tf.Module()
    concrete = embed.get_concrete_function(**spec)
    tf.saved_model.save(module, str(directory), signatures={"serving_default": concrete})
    (former / "assets.extra").rename(directory / "assets.extra")
    shutil.rmtree(former)

    def change(manifest):
        kept = {k: v for k, v in manifest["files"].items() if not k.startswith("query/")}
        made = {
            str(file.relative_to(root)): describe(file)
            for file in directory.rglob("*")
            if file.is_file()
        }
        manifest["files"] = {**kept, **made}

    reseal(root, change)


def length_of_file(tf, path):
    return lambda user: tf.cast(tf.strings.length(tf.io.read_file(str(path))), tf.float32)


def test_a_model_that_reads_a_file_is_refused_unless_it_is_trusted(tf, root, tmp_path):
    (tmp_path / "secret").write_text("12345")
    query_model(tf, root, length_of_file(tf, tmp_path / "secret"))
    with pytest.raises(
        ReleaseError, match=r"query/1/saved_model\.pb holds the operation ReadFile.*trust=True"
    ):
        load(root)
    # The vector of every user is 5 in each of 8 dimensions: trusted, the model does what it is told to.
    (vector,) = load(root, trust=True).embed(
        load(root, trust=True).users.build_queries(["u1"]).features
    )
    assert vector.tolist() == [5.0] * 8


@pytest.mark.parametrize(
    "op", ["WriteFile", "MatchingFiles", "EagerPyFunc", "PyFunc", "PrintV2", "SaveV2"]
)
def test_other_operations_are_found_too(tf, root, tmp_path, op):
    def answer(user):
        if op == "WriteFile":
            with tf.control_dependencies([tf.io.write_file(str(tmp_path / "x"), "x")]):
                return tf.constant(1.0)
        if op == "MatchingFiles":
            return tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32)
        if op == "EagerPyFunc":
            return tf.ensure_shape(tf.py_function(lambda: 1.0, [], tf.float32), [])
        if op == "PyFunc":
            return tf.ensure_shape(tf.numpy_function(lambda: 1.0, [], tf.float32), [])
        if op == "PrintV2":
            printed = tf.print("x", output_stream=f"file://{tmp_path / 'x'}")
        else:
            printed = tf.raw_ops.SaveV2(
                prefix=str(tmp_path / "x"), tensor_names=["a"], shape_and_slices=[""], tensors=[user]
            )
        with tf.control_dependencies([printed]):
            return tf.constant(1.0)

    query_model(tf, root, answer)
    with pytest.raises(ReleaseError, match=f"the operation {op},"):
        load(root)


def test_an_operation_in_a_branch_of_a_nested_function_is_found(tf, root, tmp_path):
    @tf.function
    def inner(user):
        if tf.size(user) > 1000:
            return tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32)
        return tf.constant(0.0)

    query_model(tf, root, inner)
    with pytest.raises(ReleaseError, match="ReadFile"):
        load(root)


def edited(tf, root, change):
    """Changes the graph of the query model as a message."""
    from tensorflow.core.protobuf import saved_model_pb2

    file = root / "query" / "1" / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(message.meta_graphs[0])
    file.write_bytes(message.SerializeToString())
    return file.parent


def test_the_functions_that_write_checkpoints_may_not_be_called_by_others(tf, root):
    """Every SavedModel has them, called by nothing but its saver."""

    def saver(meta):
        return next(
            f for f in meta.graph_def.library.function if "traced_save" in f.signature.name
        ).signature.name

    def call(meta):
        function = next(
            f for f in meta.graph_def.library.function if "signature_wrapper" in f.signature.name
        )
        node = function.node_def.add(name="evil", op="StatefulPartitionedCall")
        node.attr["f"].func.name = saver(meta)

    def call_in_a_list(meta):
        node = meta.graph_def.library.function[0].node_def.add(name="evil", op="Case")
        if "traced" in meta.graph_def.library.function[0].signature.name:
            pytest.skip("the first function is the saver itself")
        node.attr["branches"].list.func.add(name=saver(meta))

    def start(meta):
        meta.object_graph_def.concrete_functions[saver(meta)].CopyFrom(
            next(iter(meta.object_graph_def.concrete_functions.values()))
        )

    check_graph(root / "query" / "1")
    for change in (call, call_in_a_list, start):
        before = (root / "query" / "1" / "saved_model.pb").read_bytes()
        with pytest.raises(ReleaseError, match="checkpoints"):
            check_graph(edited(tf, root, change))
        (root / "query" / "1" / "saved_model.pb").write_bytes(before)


@pytest.mark.parametrize("op", ["_XlaCustomCall", "ExperimentalLMDBDataset", "TFRecordReaderV2", "Rpc"])
def test_variants_of_names_are_found(tf, root, op):
    directory = edited(tf, root, lambda meta: meta.graph_def.node.add(name="evil", op=op))
    with pytest.raises(ReleaseError, match=op):
        check_graph(directory)


def test_the_search_reads_what_a_parser_of_tensorflow_reads(tf, root):
    """On every exported model: the operations of the messages are those that the search comes by."""
    from tensorflow.core.protobuf import saved_model_pb2

    from tfrecall.release import suspicious

    for part in ("query", "candidate", "retrieval"):
        file = root / part / "1" / "saved_model.pb"
        (meta,) = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
        nodes = [*meta.graph_def.node]
        nodes += [n for f in meta.graph_def.library.function for n in f.node_def]
        seen = []
        with pytest.MonkeyPatch.context() as patch:
            original = suspicious._check_node

            def counting(node, *args, original=original, seen=seen, **kwargs):
                seen.extend(map(suspicious._text, suspicious._submessages(node, suspicious._OP)))
                original(node, *args, **kwargs)

            patch.setattr(suspicious, "_check_node", counting)
            check_graph(file.parent)
        assert sorted(seen) == sorted(node.op for node in nodes)
        assert len(seen) > 50


@pytest.mark.parametrize(
    "content",
    [b"of another time", b"\x12\xff", b"\x12\x03\x12\x7f", b"\x13", b"\xff" * 12],
    ids=["text", "length cut off", "field cut off", "no type", "no end"],
)
def test_what_is_no_protocol_buffer_is_refused(root, content):
    (root / "query" / "1" / "saved_model.pb").write_bytes(content)
    with pytest.raises(ReleaseError, match=r"query/1 cannot be loaded"):
        check_graph(root / "query" / "1")


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "saved_model.cpb"])
def test_other_encodings_of_a_graph_are_refused(root, name):
    file = root / "query" / "1" / name
    file.write_bytes(b"")
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["files"][f"query/1/{name}"] = describe(file)
    manifest["sha256"] = manifest_checksum(manifest)
    (root / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ReleaseError, match=f"{name} is foreign"):
        load(root)


# Arguments that name a place outside the graph.
OUTSIDE = [
    "filename",
    "filenames",
    "file_name",
    "file_pattern",
    "path",
    "logdir",
    "log_dir_path",
    "directory",
    "ckpt_path",
    "vocab_file",
    "debug_urls",
    "server_address",
    "address",
    "graph_def",
    "data_source_name",
    "output_file_path",
    "chunk_file",
    "snapshot_path",
    "shard_dir",
]


def test_every_operation_of_this_tensorflow_that_names_a_file_or_server_is_refused(tf):
    import re

    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    buffer = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    for op in op_def_pb2.OpList.FromString(buffer).op:
        names = {argument.name for argument in (*op.input_arg, *op.attr)}
        plain = re.sub(r"V\d+$", "", op.name.removeprefix("_").removeprefix("Experimental"))
        if names & {*OUTSIDE}:
            assert op.name in _REASONS or plain in _REASONS, op.name
