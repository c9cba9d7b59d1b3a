"""Messages of TF Serving's text files that `tensorflow-serving-api` leaves out, field by field.

Names, numbers and types are those of `servables/tensorflow/session_bundle_config.proto` and
`config/monitoring_config.proto`.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_FILE = wrappers_pb2.DESCRIPTOR.name
_PACKAGE = "tfrecall.tests"
_MESSAGES = {
    "BatchingParameters": [
        ("max_batch_size", 1, ".google.protobuf.Int64Value"),
        ("batch_timeout_micros", 2, ".google.protobuf.Int64Value"),
        ("max_enqueued_batches", 3, ".google.protobuf.Int64Value"),
        ("num_batch_threads", 4, ".google.protobuf.Int64Value"),
        ("thread_pool_name", 5, ".google.protobuf.StringValue"),
        ("allowed_batch_sizes", 6, "repeated int64"),
        ("pad_variable_length_inputs", 7, "bool"),
    ],
    "PrometheusConfig": [("enable", 1, "bool"), ("path", 2, "string")],
    "MonitoringConfig": [("prometheus_config", 1, f".{_PACKAGE}.PrometheusConfig")],
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="tfrecall_tests.proto", package=_PACKAGE, syntax="proto3", dependency=[_FILE]
    )
    field_type = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            label, _, plain = kind.rpartition(" ")
            added = message.field.add(name=field, number=number)
            added.label = field_type.LABEL_REPEATED if label else field_type.LABEL_OPTIONAL
            if plain.startswith("."):
                added.type, added.type_name = field_type.TYPE_MESSAGE, plain
            else:
                added.type = getattr(field_type, f"TYPE_{plain.upper()}")
    return file


_POOL = descriptor_pool.Default()
_POOL.AddSerializedFile(_file().SerializeToString())


def _message(name: str) -> type:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


BatchingParameters = _message("BatchingParameters")
MonitoringConfig = _message("MonitoringConfig")
