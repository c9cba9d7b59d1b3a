"""Warm-up requests: TF Serving replays them before a version takes traffic."""

from pathlib import Path
from typing import Any

from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfrecall._keras import tf

# Where TF Serving looks, below a SavedModel.
FILE = Path("assets.extra") / "tf_serving_warmup_requests"


def write_warmup(saved_model: Path, name: str, requests: list[tuple[str, dict[str, Any]]]) -> None:
    """Writes the warm-up records of a SavedModel.

    Args:
        saved_model: its directory.
        name: what the model is served as.
        requests: signature names, and for each the tensors of one request. At most 1,000: TF Serving
            reads no more, and one that fails keeps the version from loading.
    """
    file = saved_model / FILE
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
