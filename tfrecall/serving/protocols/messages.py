"""Messages of `inference.proto`, made at run time from its descriptors.

Generated modules are made for one version of protobuf, and the TensorFlow versions that we run with span three
major ones. They also register their names with the process, as client libraries of the protocol do, and a name
can be registered once; here the messages live in a pool of their own.
"""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

DESCRIPTORS = Path(__file__).with_name("inference.binpb")
SERVICE = "inference.GRPCInferenceService"


_POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
    _POOL.Add(_file)

# Method -> classes of its request and of its response.
METHODS: dict[str, tuple[Any, Any]] = {
    method.name: (
        message_factory.GetMessageClass(method.input_type),
        message_factory.GetMessageClass(method.output_type),
    )
    for method in _POOL.FindServiceByName(SERVICE).methods
}
# The value of a parameter, which is made before the message that holds it: protobuf 5 takes no dictionary.
InferParameter: Any = message_factory.GetMessageClass(
    _POOL.FindMessageTypeByName("inference.InferParameter")
)
