"""`gyrostat predict`: an answer, its id, and the same call as a grpcurl line."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gyrostat_client.cli.options import Json, complete_model, moment
from gyrostat_client.cli.output import details, print_json, say, table
from gyrostat_client.cli.session import session

if TYPE_CHECKING:
    from gyrostat_client.inference import Prediction
    from gyrostat_client.settings import Settings
    from gyrostat_common import oip

Served = Annotated[
    str, typer.Argument(help="fraud, or pinned: fraud:3, fraud@champion.", autocompletion=complete_model)
]
RowsFile = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="JSON: a row, a list of rows, or lists by input name; - reads from stdin."),
]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", "-i", help="name=value; a list is written [1,2]. May be given again.")
]


def predict(
    ctx: typer.Context,
    model: Served,
    file: RowsFile = None,
    given: Inputs = None,
    event_time: Annotated[str, typer.Option("--event-time", help="RFC 3339; default: arrival.")] = "",
    entity: Annotated[str, typer.Option(help="Routing key of the request.")] = "",
    request_id: Annotated[str, typer.Option("--request-id", help="The caller's own id; an outcome may name it.")] = "",
    prediction_id: Annotated[str, typer.Option("--prediction-id", help="UUID; default: the server mints one.")] = "",
    as_json: Json = False,
) -> None:
    """Asks a served model for an answer."""
    from gyrostat_client.references import parse

    named = parse(model)
    inputs = {**_from_file(file), **dict(_pair(text) for text in given or ())}
    if not inputs:
        raise typer.BadParameter("give a FILE or --input name=value for every input of the model")
    at = moment(event_time, "--event-time")
    with session(ctx) as client:
        options: dict[str, Any] = {
            "version": named.version,
            "event_time": at,
            "entity": entity,
            "request_id": request_id,
            "prediction_id": prediction_id,
        }
        request = client.inference.request(named.model, inputs, **options)
        line = grpcurl(request, client.settings)
        answer = client.inference.predict(named.model, inputs, **options)
    print_json(_plain(answer, line)) if as_json else _print(answer, line)


def grpcurl(request: "oip.ModelInferRequest", settings: "Settings") -> str:
    """The same call for grpcurl, with typed contents instead of raw bytes."""
    import base64

    from gyrostat_common import oip

    tensors = []
    for number, tensor in enumerate(request.inputs):
        array = oip.from_raw(tensor.datatype, tensor.shape, request.raw_input_contents[number])
        field = oip.CONTENTS_FIELD.get(tensor.datatype, "bytes_contents")
        values = [_shortest(value) for value in array.ravel()]
        if tensor.datatype == "BYTES":
            values = [base64.b64encode(value).decode() for value in values]  # protobuf's JSON has bytes so
        tensors.append(
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "contents": {field: [_number(value) for value in values]},
            }
        )
    body: dict[str, Any] = {"model_name": request.model_name, "inputs": tensors}
    if request.model_version:
        body["model_version"] = request.model_version
    if request.id:
        body["id"] = request.id
    if request.parameters:
        body["parameters"] = {name: {"string_param": value.string_param} for name, value in request.parameters.items()}
    data = shlex.quote(json.dumps(body, separators=(",", ":"), ensure_ascii=False))
    return f"grpcurl {_spoken(settings)}-d {data} {_name(settings)} inference.GRPCInferenceService/ModelInfer"


def _name(settings: "Settings") -> str:
    from gyrostat_common.addresses import TLS

    return settings.inference_address.removeprefix(TLS)


def _spoken(settings: "Settings") -> str:
    """What grpcurl must be told about TLS."""
    if _name(settings) == settings.inference_address:
        return "-plaintext "
    options = {"cacert": settings.tls.ca, "cert": settings.tls.certificate, "key": settings.tls.key}
    return "".join(f"-{name} {shlex.quote(file)} " for name, file in options.items() if file)


def _plain(answer: "Prediction", line: str) -> dict[str, Any]:
    return {
        "prediction_id": answer.id,
        "model": answer.model,
        "version": answer.version,
        "variant": answer.variant,
        "revision": answer.revision,
        "outputs": answer.outputs,
        "grpcurl": line,
    }


def _print(answer: "Prediction", line: str) -> None:
    rows = max((len(array) for array in answer.outputs.values() if array.ndim), default=1)
    names = list(answer.outputs)
    shown = min(rows, 20)
    table([">row", *names], ([row, *(_cell(answer.outputs[name], row) for name in names)] for row in range(shown)))
    if rows > shown:
        say(f"… and {rows - shown:,} rows more; --json prints all", style="dim")
    details(
        {
            "prediction": answer.id,
            "answered by": f"{answer.model}:{answer.version} ({answer.variant}, plan revision {answer.revision})",
        }
    )
    say(f"\n{line}", style="dim")


def _cell(array: Any, row: int) -> str:
    value = array[row].tolist() if array.ndim else array.item()
    flat = value if isinstance(value, list) else [value]
    return "  ".join(f"{one:.6g}" if isinstance(one, float) else str(one) for one in flat)


def _from_file(file: Path | None) -> dict[str, Any]:
    """Inputs by name from a JSON file: a row, a list of rows, or lists by name."""
    import sys

    from gyrostat_client.tensors import columns
    from gyrostat_common.errors import InvalidInput

    if file is None:
        return {}
    try:
        given = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"cannot read {file}: {error}") from None
    return columns(given)


def _pair(text: str) -> tuple[str, Any]:
    """name=value; the value is JSON where it can be, else text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is not name=value", param_hint="--input")
    try:
        parsed = json.loads(value)
    except ValueError:
        return name, value
    # A bare true or null is more likely meant as JSON; an object never is an input.
    return name, value if isinstance(parsed, dict) else parsed


def _shortest(value: Any) -> Any:
    """A Python value; a short float with no more digits than it needs."""
    import numpy as np

    if isinstance(value, np.floating):
        return float(np.format_float_positional(value, unique=True))
    return value.item() if isinstance(value, np.generic) else value


def _number(value: Any) -> Any:
    return str(value) if isinstance(value, float) and value != value else value
