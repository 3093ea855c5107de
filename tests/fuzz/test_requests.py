"""What callers send and people write: inference requests, ModelSpecs, settings, model files."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import cast

from google.protobuf.message import DecodeError

from fuzz import mutating
from fuzz.conftest import Fuzz
from gyrostat.registry.v1 import model_pb2
from gyrostat_client import specs
from gyrostat_common import oip
from gyrostat_common.errors import GyrostatError
from gyrostat_common.ids import Uuids
from gyrostat_common.settings import ServiceSettings, SettingsError, variables
from gyrostat_inference.domain.calls import Call
from gyrostat_inference.domain.live import LiveModels
from gyrostat_inference.domain.plan import Signature, TensorSpec
from gyrostat_inference.domain.tensors import rows_of
from gyrostat_inference.service.decoding import call_of
from gyrostat_inference.service.heads import Decoder
from gyrostat_inference.settings import Settings as InferenceSettings
from gyrostat_monitor.settings import Settings as MonitorSettings
from gyrostat_registry.domain.spec import ModelSpec, settled
from gyrostat_registry.engine import graph
from gyrostat_registry.service.mapping import opened
from gyrostat_registry.settings import Settings as RegistrySettings
from gyrostat_trainer.settings import Settings as TrainerSettings
from support import golden, graphs
from support.registry import a_spec

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 3)), TensorSpec("word", "BYTES", (-1,))), ())
WORDS = b"".join(len(word).to_bytes(4, "little") + word for word in (b"one", b"\xc3\xa4"))


def a_request(random: Random) -> oip.ModelInferRequest:
    """A request with something wrong; raw or typed."""
    good = oip.ModelInferRequest(model_name="flights", id="one")
    good.parameters["gyrostat_event_time"].string_param = "2013-03-01T12:00:00Z"
    good.parameters["gyrostat_entity"].string_param = "N14228"
    x, word = good.inputs.add(name="x", datatype="FP32", shape=[2, 3]), good.inputs.add(name="word", datatype="BYTES")
    word.shape.append(2)
    if random.random() < 0.5:
        good.raw_input_contents.extend([bytes(24), WORDS])
    else:
        x.contents.fp32_contents.extend([0.5] * 6)
        word.contents.bytes_contents.extend([b"one", b"two"])
    return cast(oip.ModelInferRequest, mutating.message(random, good))


def test_a_request_is_understood_or_refused(fuzz: Fuzz) -> None:
    def read(request: oip.ModelInferRequest) -> None:
        limited = call_of(request, (), 4096)
        rows_of("flights:1", SIGNATURE, limited.tensors, frozenset(("x", "word")), 4096)

    fuzz(a_request, read)


def test_a_request_known_by_its_head_is_understood_as_if_it_were_read(fuzz: Fuzz) -> None:
    known = Decoder(LiveModels(), Uuids())

    def make(random: Random) -> bytes:
        usual = a_request(random).SerializeToString()
        return mutating.raw(random, usual) if random.random() < 0.5 else usual

    def said(decode: Callable[[], Call]) -> object:
        try:
            call = decode()
        except GyrostatError as error:
            return type(error), str(error)
        tensors = {name: (t.datatype, t.shape, t.raw, repr(t.values.tolist())) for name, t in call.tensors.items()}
        return call.model, call.version, call.request_id, call.entity, call.event_time_us, list(call.outputs), tensors

    def understood(request: oip.ModelInferRequest, message: bytes) -> Call:
        return known.known(message, lambda _: "") or known.call_of(request, message, lambda _: "")

    def read(message: bytes) -> None:
        try:
            request = oip.ModelInferRequest.FromString(message)
        except DecodeError:
            assert known.known(message, lambda _: "") is None
            raise
        expected = said(lambda: call_of(request, ()))
        for _ in range(3):  # the second time its head is known, the third time its length too
            assert said(lambda: understood(request, message)) == expected

    fuzz(make, read, DecodeError)


def test_a_datatype_of_any_shape_is_decoded_or_refused(fuzz: Fuzz) -> None:
    def make(random: Random) -> tuple[str, list[int], bytes]:
        datatype = random.choice(("BOOL", "INT8", "UINT16", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES", "X"))
        shape = [random.choice((0, 1, 2, 3, 4)) for _ in range(random.randint(0, 4))]
        if datatype == "BYTES":
            good = b"".join(random.choice((b"\0\0\0\0", WORDS[:7], WORDS[7:])) for _ in range(math.prod(shape)))
        else:
            good = bytes(math.prod(shape) * (oip.NUMPY[datatype].itemsize if datatype in oip.NUMPY else 1))
        if random.random() < 0.4:
            shape.insert(random.randint(0, len(shape)), random.choice(mutating.INTEGERS))
        return datatype, shape, mutating.raw(random, good) if random.random() < 0.4 else good

    def read(given: tuple[str, list[int], bytes]) -> None:
        request = oip.ModelInferRequest(model_name="flights")
        request.inputs.add(name="x", datatype=given[0], shape=given[1])
        request.raw_input_contents.append(given[2])
        call_of(request, ())

    fuzz(make, read)


def test_a_spec_on_the_wire_is_settled_or_refused(fuzz: Fuzz) -> None:
    good = a_spec(
        entity_input="tail", slices=["origin"], sensitivity={"tail": model_pb2.SENSITIVITY_HASH}, log_sample_rate=0.5
    )
    settled(opened(ModelSpec, good))

    def read(message: model_pb2.ModelSpec) -> None:
        settled(opened(ModelSpec, message))

    fuzz(lambda random: mutating.message(random, good), read)


def test_a_spec_as_text_is_read_or_refused(fuzz: Fuzz) -> None:
    good = specs.write(golden.filled(model_pb2.ModelSpec))

    def make(random: Random) -> str:
        lines = good.splitlines()
        for _ in range(random.randint(0, 3)):
            at = random.randrange(len(lines))
            name, colon, _ = lines[at].partition(":")
            lines[at] = name + colon + " " + random.choice(mutating.TEXTS)
        changed = "\n".join(lines)
        return mutating.text(random, changed) if random.random() < 0.5 else changed

    fuzz(make, specs.read)


def test_settings_are_taken_or_named(fuzz: Fuzz) -> None:
    classes: tuple[type[ServiceSettings], ...] = (RegistrySettings, InferenceSettings, MonitorSettings, TrainerSettings)
    known = {cls: [variable for variable, _, _ in variables(cls)] for cls in classes}

    def make(random: Random) -> tuple[type[ServiceSettings], dict[str, str]]:
        cls = random.choice(classes)
        names = random.sample(known[cls], random.randint(1, 4))
        values = (
            *mutating.TEXTS,
            '["a"]',
            '{"a": 1}',
            "[" * 3000,
            "1e999",
            "-5",
            "12",
            "0.5",
            "127.0.0.1:0",
            "s3://x/y",
        )
        return cls, {
            mutating.text(random, name) if random.random() < 0.1 else name: random.choice(values) for name in names
        }

    fuzz(make, lambda given: given[0].load(given[1]), SettingsError)


class Crashed(Exception):
    """The reader ended with an exception that is no refusal."""


def test_a_model_file_is_read_or_refused(fuzz: Fuzz, tmp_path: Path) -> None:
    """In a child each, as the service does it: that native code may end on rubbish is what the child is for."""
    import onnx

    good = onnx.load_from_string(graphs.a_scorer({"x": 1.0}, texts=("word",)).raw)
    file = tmp_path / "model.onnx"

    def make(random: Random) -> bytes:
        if random.random() < 0.3:
            return mutating.raw(random, good.SerializeToString())
        return bytes(mutating.message(random, good).SerializeToString())

    def read(content: bytes) -> None:
        file.write_bytes(content)
        end, said = os.pipe()
        child = os.fork()
        if child == 0:
            code = 0
            try:
                graph.read(str(file))
            except (graph.Refused, MemoryError):
                pass
            except BaseException:  # the parent is told, and the child must not run on as a test
                os.write(said, traceback.format_exc().encode()[-60_000:])
                code = 1
            os._exit(code)
        os.close(said)
        with open(end, "rb") as pipe:
            complaint = pipe.read().decode()
        os.waitpid(child, 0)
        if complaint:
            raise Crashed(complaint)

    fuzz(make, read)
