"""The year as requests: flights of one airport in the same half hour are asked about together.

Owns the order of the requests, their ids and their bytes. Nothing here touches the network; `replay` sends.
"""

import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from flights.policy import MODEL
from flights.year import CATEGORIES, FEATURES, Flights
from gyrostat_common import oip
from gyrostat_common.oip import ModelInferRequest

SLOT_US: Final = 30 * 60 * 1_000_000
# Names of predictions derive from it: the same seed asks the same questions under the same ids.
NAMESPACE: Final = uuid.UUID("6d3f3b3e-8f4c-5f0a-9a53-0d1f5b7f2013")


@dataclass(frozen=True)
class Traffic:
    """Flights in the order of their requests; request i is the rows starts[i] to starts[i + 1]."""

    flights: Flights
    starts: np.ndarray
    seed: int

    @classmethod
    def of(cls, flights: Flights, seed: int) -> "Traffic":
        """Groups flights by half hour and airport, in event time."""
        slots = flights.event_us // SLOT_US
        origins = np.unique(flights.origin, return_inverse=True)[1]
        order = np.lexsort((np.arange(len(flights)), origins, slots))
        group = slots[order] * 16 + origins[order]
        changes = np.flatnonzero(np.diff(group)) + 1
        starts = np.concatenate([[0], changes, [len(flights)]]) if len(flights) else np.zeros(1, int)
        return cls(flights.take(order), starts.astype(np.int64), seed)

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return len(self.starts) - 1

    @cached_property
    def request_us(self) -> np.ndarray:
        """Event time of each request: the first scheduled departure in it."""
        # A request is in the order of the year, so its first row is its earliest.
        times: np.ndarray = self.flights.event_us[self.starts[:-1]]
        return times

    @cached_property
    def request_of_row(self) -> np.ndarray:
        """The request that each row travels in."""
        return np.repeat(np.arange(self.requests), np.diff(self.starts))

    def prediction_id(self, request: int) -> uuid.UUID:
        """The id of a request's prediction."""
        return uuid.uuid5(NAMESPACE, f"{self.seed}/{request}")

    def row_id(self, row: int) -> str:
        """The id that an outcome names: `<uuid>/<row of its request>`."""
        request = int(self.request_of_row[row])
        return f"{self.prediction_id(request)}/{row - int(self.starts[request])}"

    def message(self, request: int) -> ModelInferRequest:
        """The bytes that a backend would send."""
        first, last = int(self.starts[request]), int(self.starts[request + 1])
        message = ModelInferRequest(model_name=MODEL)
        message.parameters["gyrostat_prediction_id"].string_param = str(self.prediction_id(request))
        message.parameters["gyrostat_event_time"].int64_param = int(self.request_us[request])
        for name in FEATURES:
            values = self.flights.features[name][first:last]
            text = name in CATEGORIES
            message.inputs.add(name=name, datatype="BYTES" if text else "FP32", shape=[last - first, 1])
            message.raw_input_contents.append(oip.pack_bytes(values.tolist()) if text else values.tobytes())
        return message
