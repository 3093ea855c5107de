"""Bodies of the REST twin: JSON, and behind it the binary data of tensors, to the protocol's messages and back.

A request is made into the message that gRPC would have brought, raw, so that one decoder checks both.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gyrostat_common import oip
from gyrostat_inference.domain.errors import AnswerTooLarge, NotARequest, WrongParameter, WrongTensor
from gyrostat_inference.domain.json_tensors import array_of, values_of

MOST_JSON_BYTES = 4 * 1024**2
"""Reading JSON holds up every other caller; so much takes tens of milliseconds. Binary data has no such limit."""
HEADER_LENGTH = "Inference-Header-Content-Length"
JSON, BINARY = "application/json", "application/octet-stream"
_SIZE, _WANTED, _WANTED_ALL = "binary_data_size", "binary_data", "binary_data_output"
_SMALLEST, _LARGEST = -(2**63), 2**64


class InferBody:
    """One infer request: `request` reads it, `reply` answers in the form that it asked for."""

    def __init__(self, model: str, version: str, body: bytes, header_length: str | None) -> None:
        self._model, self._version, self._body, self._header_length = model, version, body, header_length
        self._all_binary = False
        self._binary: dict[str, bool] = {}

    def request(self) -> oip.ModelInferRequest:
        """Raises NotARequest, WrongParameter, WrongTensor."""
        head, rest = self._parted()
        given = _document(head)
        request = oip.ModelInferRequest(model_name=self._model, model_version=self._version)
        try:
            request.id = _text(given.get("id", ""), "id")
            parameters = dict(_mapping(given.get("parameters"), "parameters"))
            self._all_binary = _flag(parameters.pop(_WANTED_ALL, False), _WANTED_ALL)
            _put(request.parameters, parameters)
            for tensor in _list(given.get("inputs", []), "inputs"):
                rest = self._add_input(request, _mapping(tensor, "an input"), rest)
            for output in _list(given.get("outputs", []), "outputs"):
                self._add_output(request, _mapping(output, "an output"))
        except UnicodeEncodeError:
            raise NotARequest(
                f"{self._model}: a text of the body is not Unicode: it has half a surrogate pair"
            ) from None
        if rest:
            raise NotARequest(f"{self._model}: {len(rest)} bytes of binary data belong to no input")
        return request

    def reply(self, response: oip.ModelInferResponse) -> tuple[bytes, dict[str, str]]:
        """Body and headers. Raises AnswerTooLarge for more than should be written as JSON."""
        outputs, binary, left = [], [], MOST_JSON_BYTES
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True):
            said: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
            if self._binary.get(tensor.name, self._all_binary):
                said["parameters"] = {_SIZE: len(raw)}
                binary.append(raw)
            elif (left := left - len(raw)) < 0:
                raise AnswerTooLarge(
                    f"{self._model}: output '{tensor.name}' has {len(raw)} bytes; JSON is written of {MOST_JSON_BYTES} "
                    f"at most: ask for it with {_WANTED}"
                )
            else:
                array = oip.from_raw(tensor.datatype, tensor.shape, raw, tensor.name)
                said["data"] = values_of(tensor.datatype, array)
            outputs.append(said)
        document: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
        if response.id:
            document["id"] = response.id
        document["parameters"] = {name: oip.parameter_value(value) for name, value in response.parameters.items()}
        document["outputs"] = outputs
        head = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        if not binary:
            return head, {"Content-Type": JSON}
        return b"".join([head, *binary]), {"Content-Type": BINARY, HEADER_LENGTH: str(len(head))}

    def _parted(self) -> tuple[bytes, memoryview]:
        """The JSON, and what follows it."""
        size = len(self._body)
        if self._header_length is not None:
            given = self._header_length
            if not (given.isascii() and given.isdecimal()) or not 0 < int(given[:19]) <= size:
                raise NotARequest(
                    f"{self._model}: {HEADER_LENGTH} {given[:40]!r}: the size of the JSON at the front of the body's "
                    f"{size} bytes expected"
                )
            size = int(given)
        if size > MOST_JSON_BYTES:
            raise NotARequest(
                f"{self._model}: {size} bytes of JSON; at most {MOST_JSON_BYTES} are read: send tensors as binary data"
            )
        return self._body[:size], memoryview(self._body)[size:]

    def _add_input(self, request: oip.ModelInferRequest, given: Mapping[str, Any], rest: memoryview) -> memoryview:
        """Adds one input, and gives back what it left of the binary data."""
        name, datatype = _text(given.get("name"), "an input's name"), _text(given.get("datatype"), "datatype")
        what = f"{self._model}: input '{name[:200]}'"
        shape = [_whole(size, f"{what}: a dimension") for size in _list(given.get("shape"), f"{what}: its shape")]
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        parameters = dict(_mapping(given.get("parameters"), f"{what}: its parameters"))
        size = parameters.pop(_SIZE, None)
        _put(tensor.parameters, parameters)
        if size is None:
            if "data" not in given and not parameters:
                raise WrongTensor(f"{what}: has neither data nor {_SIZE}")
            array = array_of(datatype, shape, given.get("data", []), what) if "data" in given else None
            request.raw_input_contents.append(b"" if array is None else oip.to_raw(array))
            return rest
        if "data" in given:
            raise WrongTensor(f"{what}: has data beside {_SIZE}")
        if not 0 <= _whole(size, f"{what}: {_SIZE}") <= len(rest):
            raise WrongTensor(f"{what}: {_SIZE} {size}: {len(rest)} bytes of binary data are left")
        request.raw_input_contents.append(bytes(rest[:size]))
        return rest[size:]

    def _add_output(self, request: oip.ModelInferRequest, given: Mapping[str, Any]) -> None:
        name = _text(given.get("name"), "an output's name")
        parameters = dict(_mapping(given.get("parameters"), f"{self._model}: parameters of output '{name[:200]}'"))
        if _WANTED in parameters:
            self._binary[name] = _flag(parameters.pop(_WANTED), _WANTED)
        _put(request.outputs.add(name=name).parameters, parameters)


def document_of(body: bytes) -> Mapping[str, Any]:
    """A small JSON object; nothing stands for an empty one. Raises NotARequest."""
    return _document(body) if body.strip() else {}


def plain(message: Any) -> dict[str, Any]:
    """A message as JSON has it: numbers as numbers, enums by name, fields that were not set with their default."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            found[field.name] = {key: _scalar(field.message_type.fields_by_name["value"], value[key]) for key in value}
        elif field.is_repeated:
            found[field.name] = [_scalar(field, each) for each in value]
        elif not field.has_presence or message.HasField(field.name):
            found[field.name] = _scalar(field, value)
    return found


def _scalar(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    return field.enum_type.values_by_number[value].name if field.enum_type is not None else value


def _document(text: bytes) -> Mapping[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotARequest(f"the body is no JSON: {str(error)[:200]}") from None
    return _mapping(given, "the body")


def _mapping(given: Any, what: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise NotARequest(f"{what}: a JSON object expected")
    return given


def _list(given: Any, what: str) -> Sequence[Any]:
    if not isinstance(given, list):
        raise NotARequest(f"{what}: a JSON list expected")
    return given


def _text(given: Any, what: str) -> str:
    if not isinstance(given, str):
        raise NotARequest(f"{what}: a text expected")
    return given


def _whole(given: Any, what: str) -> int:
    if type(given) is not int or abs(given) >= 2**62:
        raise NotARequest(f"{what}: a whole number expected")
    return given


def _flag(given: Any, name: str) -> bool:
    if not isinstance(given, bool):
        raise WrongParameter(f"parameter '{name}' is true or false")
    return given


def _put(parameters: Any, given: Mapping[str, Any]) -> None:
    """Into a map of parameters. Raises WrongParameter for what the protocol cannot carry."""
    for name, value in given.items():
        if not isinstance(value, bool | int | float | str) or (
            type(value) is int and not _SMALLEST <= value < _LARGEST
        ):
            raise WrongParameter(f"parameter '{name[:200]}' is a text, a number of 64 bits, true or false")
        if type(value) is int and value >= 2**63:
            parameters[name].uint64_param = value
        else:
            parameters[name].CopyFrom(oip.parameter(value))
