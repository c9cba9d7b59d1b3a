"""Search of a SavedModel's graph for operations that touch files, networks, Python or foreign code.

A SavedModel is a program. TensorFlow runs whatever its graph holds, some of it already when it is loaded,
so `saved_model.pb` is read here before TensorFlow sees it, by the wire format of protocol buffers and with
no import of TensorFlow. Only the fields on the way to operations are followed. All occurrences of a
repeated field are read, more than any parser would take.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from tfrecall.errors import ReleaseError

SAVED_MODEL = "saved_model.pb"
# Other encodings of a graph, which TensorFlow reads too.
_OTHER_ENCODINGS = ("saved_model.pbtxt", "saved_model.cpb")
GRAPH_FILES = (SAVED_MODEL, *_OTHER_ENCODINGS)
# Models that compute answers need none of these. Lookup tables of exported models are initialised from
# tensors (LookupTableImportV2), never from text files, so reading files can be refused altogether.
_REFUSED = {
    "reads files": (
        "ReadFile MatchingFiles MatchingFilesDataset WholeFileReader TextLineReader TFRecordReader "
        "FixedLengthRecordReader LMDBReader IdentityReader RecordInput TextLineDataset TFRecordDataset "
        "FixedLengthRecordDataset CSVDataset SqlDataset LMDBDataset LoadDataset SnapshotDatasetReader "
        "SnapshotNestedDatasetReader SnapshotChunkDataset ListSnapshotChunksDataset "
        "InitializeTableFromTextFile LoadAndRemapMatrix GenerateVocabRemapping "
        "FixedUnigramCandidateSampler Skipgram Restore RestoreSlice DTensorRestore"
    ),
    "writes files": (
        "WriteFile Save SaveSlices SaveDataset SnapshotDataset CacheDataset DatasetToTFRecord "
        "CreateSummaryFileWriter CreateSummaryDbWriter CalibrationStatisticsSaver CustomAggregator DumpTensor "
        # Their attributes can name a file or a server to write to.
        "Print DebugIdentity DebugNanCount DebugNumericSummary"
    ),
    "runs Python": "PyFunc PyFuncStateless EagerPyFunc",
    "runs code of another process or library": (
        "RemoteCall RemoteFusedGraphExecute Rpc TryRpc RpcCall RpcClient RpcServer RpcServerStart "
        "RpcServerRegister DataServiceDataset RegisterDataset DistributedSave FileSystemSetConfiguration "
        "XlaCustomCall TRTEngineOp CreateTRTResourceHandle InitializeTRTResource"
    ),
    # A graph in a tensor is out of sight here.
    "runs a hidden graph": "DatasetFromGraph",
}
_REASONS = {name: reason for reason, names in _REFUSED.items() for name in names.split()}
# Each SavedModel has these for its own variables, in functions that its signatures do not call.
_CHECKPOINTS = ("SaveV2", "RestoreV2", "MergeV2Checkpoints")
_SAVER = re.compile(r"__inference__traced_(save|restore)_\d+")

# Numbers of fields in the messages of tensorflow/core/protobuf/saved_model.proto and meta_graph.proto, and
# tensorflow/core/framework/graph.proto, function.proto, node_def.proto, attr_value.proto.
_META_GRAPHS, _GRAPH, _OBJECTS = 2, 2, 7
_NODE, _LIBRARY, _FUNCTION, _SIGNATURE, _FUNCTION_NODE = 1, 2, 1, 1, 3
_OP, _ATTRIBUTE, _VALUE, _LIST, _CALLED, _LIST_CALLED, _NAME = 2, 5, 2, 1, 10, 9, 1
_CONCRETE_FUNCTIONS, _KEY = 2, 1


def check_graph(directory: Path) -> None:
    """Refuse a SavedModel whose graph may touch more than its own variables.

    Args:
        directory: of the SavedModel.

    Raises:
        ReleaseError: naming the operation, or saying why the graph cannot be read.
    """
    file = directory / SAVED_MODEL
    for name in _OTHER_ENCODINGS:
        if (directory / name).exists():
            raise ReleaseError(
                f"{directory / name} is foreign: exported models have {SAVED_MODEL} only."
            )
    try:
        graph = memoryview(file.read_bytes())
        for meta_graph in _submessages(graph, _META_GRAPHS):
            _check_meta_graph(meta_graph, file)
    except OSError as error:
        raise ReleaseError(f"{file} cannot be read: {error}.") from error
    except (IndexError, UnicodeDecodeError, _WireError) as error:
        raise ReleaseError(f"{directory} cannot be loaded: {SAVED_MODEL} is no SavedModel.") from error


class _WireError(Exception):
    """Bytes are no protocol buffer."""


def _check_meta_graph(meta_graph: memoryview, file: Path) -> None:
    # Concrete functions of the object graph can be called by name after loading. Such a function may not
    # pass as the saver of variables, whatever its name.
    started = {
        _text(key)
        for objects in _submessages(meta_graph, _OBJECTS)
        for entry in _submessages(objects, _CONCRETE_FUNCTIONS)
        for key in _submessages(entry, _KEY)
    }
    for graph in _submessages(meta_graph, _GRAPH):
        for node in _submessages(graph, _NODE):
            _check_node(node, file, in_saver=False, may_call_saver=True)
        for library in _submessages(graph, _LIBRARY):
            for function in _submessages(library, _FUNCTION):
                name = _function_name(function)
                in_saver = _SAVER.fullmatch(name) is not None and name not in started
                for node in _submessages(function, _FUNCTION_NODE):
                    _check_node(node, file, in_saver=in_saver, may_call_saver=False)


def _check_node(node: memoryview, file: Path, *, in_saver: bool, may_call_saver: bool) -> None:
    for op in map(_text, _submessages(node, _OP)):
        # Variants of one operation differ in such affixes: SaveDatasetV2, ExperimentalCSVDataset.
        plain = re.sub(r"V\d+$", "", op.removeprefix("_").removeprefix("Experimental"))
        reason = _REASONS.get(op) or _REASONS.get(plain)
        if op in _CHECKPOINTS:
            reason = None if in_saver else "reads or writes checkpoints"
        elif _SAVER.fullmatch(op):
            reason = "reads or writes checkpoints"
        if reason is not None:
            raise _refusal(file, op, reason)
    if not may_call_saver:
        for name in _called(node):
            if _SAVER.fullmatch(name):
                raise _refusal(file, name, "reads or writes checkpoints")


def _refusal(file: Path, op: str, reason: str) -> ReleaseError:
    return ReleaseError(
        f"{file} holds the operation {op}, which {reason}: a model that answers queries has no need of it. "
        "Load the release only if you trust its author, with `trust=True` (on the command line `--trust`)."
    )


def _function_name(function: memoryview) -> str:
    names = [
        _text(name)
        for signature in _submessages(function, _SIGNATURE)
        for name in _submessages(signature, _NAME)
    ]
    # Parsers let the last one of a repeated single field win.
    return names[-1] if names else ""


def _called(node: memoryview) -> Iterator[str]:
    """Names of functions in the attributes of a node."""
    for entry in _submessages(node, _ATTRIBUTE):
        for value in _submessages(entry, _VALUE):
            functions = list(_submessages(value, _CALLED))
            for values in _submessages(value, _LIST):
                functions += _submessages(values, _LIST_CALLED)
            for function in functions:
                yield from map(_text, _submessages(function, _NAME))


def _text(value: memoryview) -> str:
    return bytes(value).decode()


def _submessages(message: memoryview, number: int) -> Iterator[memoryview]:
    """Contents of all length-delimited fields of one number, in the order of the message."""
    at, end = 0, len(message)
    while at < end:
        # A field begins with number << 3 | wire type: 0 varint, 1 eight bytes, 2 length-delimited, 5 four.
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(message, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            length, at = _varint(message, at)
            if at + length > end:
                raise _WireError
            # Tags have 32 bits, the rest of a longer number is dropped by other parsers too.
            if (key & 0xFFFFFFFF) >> 3 == number:
                yield message[at : at + length]
            at += length
        else:  # groups, which none of these messages has
            raise _WireError
    if at > end:
        raise _WireError


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and the place after it."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        # 64 bits at most; a longer run of continuation bytes is no number of the format.
        if shift > 63:
            raise _WireError
