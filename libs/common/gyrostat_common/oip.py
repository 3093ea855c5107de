"""The Open Inference Protocol in a descriptor pool of its own, and its tensors as numpy arrays.

Protobuf's default pool refuses a second copy of package `inference`, and Triton's, KServe's and MLServer's clients all
register one at import. So nothing here touches that pool: the committed descriptor set is loaded into POOL and the
message classes are made from it. Used by the inference service, the SDK and the tests; nobody imports a `_pb2` of it.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from gyrostat_common.errors import InvalidInput

PACKAGE: Final = "inference"
SERVICE: Final = "inference.GRPCInferenceService"


def _load_pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    described = descriptor_pb2.FileDescriptorSet.FromString(files("gyrostat.oip").joinpath("oip.binpb").read_bytes())
    for file in described.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


# Holds both files of the protocol; give it to gRPC reflection next to the default pool.
POOL: Final = _load_pool()


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


if TYPE_CHECKING:
    # isort: off
    from gyrostat.oip.grpc_service_pb2 import (
        InferBatchStatistics as InferBatchStatistics,
        InferParameter as InferParameter,
        InferStatistics as InferStatistics,
        InferTensorContents as InferTensorContents,
        ModelConfigRequest as ModelConfigRequest,
        ModelConfigResponse as ModelConfigResponse,
        ModelInferRequest as ModelInferRequest,
        ModelInferResponse as ModelInferResponse,
        ModelMetadataRequest as ModelMetadataRequest,
        ModelMetadataResponse as ModelMetadataResponse,
        ModelReadyRequest as ModelReadyRequest,
        ModelReadyResponse as ModelReadyResponse,
        ModelStatistics as ModelStatistics,
        ModelStatisticsRequest as ModelStatisticsRequest,
        ModelStatisticsResponse as ModelStatisticsResponse,
        ModelStreamInferResponse as ModelStreamInferResponse,
        RepositoryIndexRequest as RepositoryIndexRequest,
        RepositoryIndexResponse as RepositoryIndexResponse,
        RepositoryModelLoadRequest as RepositoryModelLoadRequest,
        RepositoryModelLoadResponse as RepositoryModelLoadResponse,
        RepositoryModelUnloadRequest as RepositoryModelUnloadRequest,
        RepositoryModelUnloadResponse as RepositoryModelUnloadResponse,
        ServerLiveRequest as ServerLiveRequest,
        ServerLiveResponse as ServerLiveResponse,
        ServerMetadataRequest as ServerMetadataRequest,
        ServerMetadataResponse as ServerMetadataResponse,
        ServerReadyRequest as ServerReadyRequest,
        ServerReadyResponse as ServerReadyResponse,
        StatisticDuration as StatisticDuration,
    )

    # isort: on
    from gyrostat.oip.model_config_pb2 import ModelConfig as ModelConfig
    from gyrostat.oip.model_config_pb2 import ModelInput as ModelInput
    from gyrostat.oip.model_config_pb2 import ModelInstanceGroup as ModelInstanceGroup
    from gyrostat.oip.model_config_pb2 import ModelOutput as ModelOutput
else:
    InferBatchStatistics = _class("InferBatchStatistics")
    InferParameter = _class("InferParameter")
    InferStatistics = _class("InferStatistics")
    InferTensorContents = _class("InferTensorContents")
    ModelConfig = _class("ModelConfig")
    ModelConfigRequest = _class("ModelConfigRequest")
    ModelConfigResponse = _class("ModelConfigResponse")
    ModelInferRequest = _class("ModelInferRequest")
    ModelInferResponse = _class("ModelInferResponse")
    ModelInput = _class("ModelInput")
    ModelInstanceGroup = _class("ModelInstanceGroup")
    ModelMetadataRequest = _class("ModelMetadataRequest")
    ModelMetadataResponse = _class("ModelMetadataResponse")
    ModelOutput = _class("ModelOutput")
    ModelReadyRequest = _class("ModelReadyRequest")
    ModelReadyResponse = _class("ModelReadyResponse")
    ModelStatistics = _class("ModelStatistics")
    ModelStatisticsRequest = _class("ModelStatisticsRequest")
    ModelStatisticsResponse = _class("ModelStatisticsResponse")
    ModelStreamInferResponse = _class("ModelStreamInferResponse")
    RepositoryIndexRequest = _class("RepositoryIndexRequest")
    RepositoryIndexResponse = _class("RepositoryIndexResponse")
    RepositoryModelLoadRequest = _class("RepositoryModelLoadRequest")
    RepositoryModelLoadResponse = _class("RepositoryModelLoadResponse")
    RepositoryModelUnloadRequest = _class("RepositoryModelUnloadRequest")
    RepositoryModelUnloadResponse = _class("RepositoryModelUnloadResponse")
    ServerLiveRequest = _class("ServerLiveRequest")
    ServerLiveResponse = _class("ServerLiveResponse")
    ServerMetadataRequest = _class("ServerMetadataRequest")
    ServerMetadataResponse = _class("ServerMetadataResponse")
    ServerReadyRequest = _class("ServerReadyRequest")
    ServerReadyResponse = _class("ServerReadyResponse")
    StatisticDuration = _class("StatisticDuration")


# --- service -------------------------------------------------------------------------------------------------------


def _methods() -> list[Any]:
    return list(POOL.FindServiceByName(SERVICE).methods)


def add_servicer(servicer: object, server: Any) -> None:
    """Register the methods that `servicer` has, by their RPC names; works for grpc and grpc.aio servers."""
    handlers = {}
    for method in _methods():
        behaviour = getattr(servicer, method.name, None)
        if behaviour is None:
            continue
        make = grpc.stream_stream_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler
        request = message_factory.GetMessageClass(method.input_type)
        response = message_factory.GetMessageClass(method.output_type)
        handlers[method.name] = make(
            behaviour, request_deserializer=request.FromString, response_serializer=response.SerializeToString
        )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


class Stub:
    """Callables named as the RPCs, over a grpc or a grpc.aio channel."""

    ServerLive: Any
    ServerReady: Any
    ModelReady: Any
    ServerMetadata: Any
    ModelMetadata: Any
    ModelInfer: Any
    ModelStreamInfer: Any
    ModelStatistics: Any
    ModelConfig: Any
    RepositoryIndex: Any
    RepositoryModelLoad: Any
    RepositoryModelUnload: Any

    def __init__(self, channel: Any) -> None:
        for method in _methods():
            make = channel.stream_stream if method.client_streaming else channel.unary_unary
            request = message_factory.GetMessageClass(method.input_type)
            response = message_factory.GetMessageClass(method.output_type)
            call = make(
                f"/{SERVICE}/{method.name}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            setattr(self, method.name, call)


# --- datatypes -----------------------------------------------------------------------------------------------------

# BF16 has no numpy type: its two bytes are carried as uint16. BYTES are object arrays of bytes.
NUMPY: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),
    "BYTES": np.dtype(object),
}
_OIP: Final = {dtype: name for name, dtype in NUMPY.items() if name not in ("BF16", "BYTES")}
# Where typed contents of a datatype lie; FP16 and BF16 have no field and travel as raw bytes only.
CONTENTS_FIELD: Final[dict[str, str]] = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def datatype_of(array: npt.NDArray[Any]) -> str:
    """The protocol's name for an array's type; strings and objects are BYTES. Raises InvalidInput for other types."""
    if array.dtype.kind in "OSU":
        return "BYTES"
    name = _OIP.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise InvalidInput(f"numpy type {array.dtype} has no Open Inference Protocol datatype")
    return name


# --- tensors -------------------------------------------------------------------------------------------------------


def pack_bytes(elements: Iterable[bytes | str]) -> bytes:
    """Each element behind its 4-byte little-endian length; text as UTF-8."""
    parts = []
    for element in elements:
        data = element.encode() if isinstance(element, str) else bytes(element)
        parts.append(struct.pack("<I", len(data)))
        parts.append(data)
    return b"".join(parts)


def unpack_bytes(raw: bytes) -> list[bytes]:
    """The reverse of pack_bytes. Raises InvalidInput when a length points past the end."""
    elements = []
    at, end = 0, len(raw)
    while at < end:
        if at + 4 > end:
            raise InvalidInput(f"a length of a BYTES element is cut off at byte {at} of {end}")
        size = int.from_bytes(raw[at : at + 4], "little")
        at += 4 + size
        if at > end:
            raise InvalidInput(f"a BYTES element of {size} bytes ends {at - end} bytes past the tensor's {end}")
        elements.append(raw[at - size : at])
    return elements


_MOST_DIMENSIONS, _MOST_ELEMENTS = 32, 2**48


def elements(shape: Sequence[int], what: str) -> int:
    """How many elements a tensor of this shape has. Raises InvalidInput, beginning with `what`, for no shape."""
    if any(size < 0 for size in shape):
        raise InvalidInput(f"{what}: shape {list(shape)} has a negative dimension")
    if len(shape) > _MOST_DIMENSIONS:
        raise InvalidInput(f"{what}: {len(shape)} dimensions; at most {_MOST_DIMENSIONS} are allowed")
    # An empty tensor needs no bytes, but numpy multiplies its other dimensions all the same.
    if math.prod(max(size, 1) for size in shape) >= _MOST_ELEMENTS:
        raise InvalidInput(f"{what}: shape {list(shape)} is larger than any tensor")
    return math.prod(shape)


def _object_array(values: Sequence[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(tuple(shape))


def from_raw(datatype: str, shape: Sequence[int], raw: bytes, what: str = "tensor") -> npt.NDArray[Any]:
    """A read-only view on `raw` in the tensor's shape (BYTES: an object array of bytes).

    Raises InvalidInput, beginning with `what`, for an unknown datatype or a wrong number of bytes or elements.
    """
    dtype = NUMPY.get(datatype)
    if dtype is None:
        raise InvalidInput(f"{what}: unknown datatype '{datatype}'; known: {', '.join(NUMPY)}")
    count = elements(shape, what)
    if datatype == "BYTES":
        texts = unpack_bytes(raw)
        if len(texts) != count:
            raise InvalidInput(f"{what}: shape {list(shape)} needs {count} BYTES elements, got {len(texts)}")
        return _object_array(texts, shape)
    if len(raw) != count * dtype.itemsize:
        raise InvalidInput(
            f"{what}: shape {list(shape)} of {datatype} needs {count * dtype.itemsize} bytes, got {len(raw)}"
        )
    return np.frombuffer(raw, dtype).reshape(tuple(shape))


def from_contents(datatype: str, shape: Sequence[int], contents: Any, what: str = "tensor") -> npt.NDArray[Any]:
    """An array from typed contents. Raises InvalidInput, beginning with `what`, where they do not fit."""
    field = CONTENTS_FIELD.get(datatype)
    if field is None:
        reason = "travels as raw bytes only" if datatype in NUMPY else f"is unknown; known: {', '.join(NUMPY)}"
        raise InvalidInput(f"{what}: datatype '{datatype}' {reason}")
    others = [f.name for f, _ in contents.ListFields() if f.name != field]
    if others:
        raise InvalidInput(f"{what}: {datatype} values belong in {field}, not in {', '.join(others)}")
    values = getattr(contents, field)
    count = elements(shape, what)
    if len(values) != count:
        raise InvalidInput(f"{what}: shape {list(shape)} needs {count} values in {field}, got {len(values)}")
    if datatype == "BYTES":
        return _object_array(list(values), shape)
    try:
        return np.array(values, dtype=NUMPY[datatype]).reshape(tuple(shape))
    except OverflowError as error:
        raise InvalidInput(f"{what}: a value does not fit {datatype}") from error


def to_raw(array: npt.NDArray[Any]) -> bytes:
    """Row-major little-endian bytes of any array that has a datatype."""
    if array.dtype.kind in "OSU":
        return pack_bytes(array.ravel().tolist())
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def fill_contents(contents: Any, datatype: str, array: npt.NDArray[Any]) -> None:
    """Put the array's values into typed contents. Raises InvalidInput for FP16 and BF16."""
    field = CONTENTS_FIELD.get(datatype)
    if field is None:
        raise InvalidInput(f"datatype '{datatype}' travels as raw bytes only")
    values = array.ravel().tolist()
    if datatype == "BYTES":
        values = [value.encode() if isinstance(value, str) else bytes(value) for value in values]
    getattr(contents, field).extend(values)


def add_input(request: ModelInferRequest, name: str, array: npt.NDArray[Any], datatype: str = "") -> None:
    """Append a tensor to a request, raw."""
    shape = list(array.shape)
    request.inputs.append(
        ModelInferRequest.InferInputTensor(name=name, datatype=datatype or datatype_of(array), shape=shape)
    )
    request.raw_input_contents.append(to_raw(array))


def outputs_of(reply: ModelInferResponse) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a reply by tensor name, raw or typed."""
    arrays = {}
    for i, tensor in enumerate(reply.outputs):
        if i < len(reply.raw_output_contents):
            arrays[tensor.name] = from_raw(tensor.datatype, tensor.shape, reply.raw_output_contents[i], tensor.name)
        else:
            arrays[tensor.name] = from_contents(tensor.datatype, tensor.shape, tensor.contents, tensor.name)
    return arrays


def parameter(value: bool | int | float | str) -> InferParameter:
    """A parameter of the fitting kind."""
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int):
        return InferParameter(int64_param=value)
    if isinstance(value, float):
        return InferParameter(double_param=value)
    return InferParameter(string_param=value)


def parameter_value(value: InferParameter) -> bool | int | float | str | None:
    """What a parameter holds; None for an empty one."""
    kind = value.WhichOneof("parameter_choice")
    return None if kind is None else getattr(value, kind)
