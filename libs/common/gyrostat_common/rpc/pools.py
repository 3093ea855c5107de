"""Several descriptor pools as one, for reflection: the Open Inference Protocol lives in a private pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool


class JoinedPools:
    """Asks the pools in turn. Has what reflection calls of a DescriptorPool."""

    def __init__(self, *pools: DescriptorPool) -> None:
        self._pools = pools

    def _first(self, ask: Callable[[DescriptorPool], Any]) -> Any:
        missing: KeyError | None = None
        for pool in self._pools:
            try:
                return ask(pool)
            except KeyError as error:
                missing = error
        raise missing or KeyError("no pool")

    def FindFileByName(self, name: str) -> Any:
        return self._first(lambda pool: pool.FindFileByName(name))

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        try:
            return self._first(lambda pool: pool.FindFileContainingSymbol(symbol))
        except KeyError:
            # Protobuf's pools do not know methods as symbols, and clients of reflection ask for them.
            service, _, method = symbol.rpartition(".")
            return self._first(
                lambda pool: pool.FindServiceByName(service).methods_by_name[method]
            ).containing_service.file

    def FindMessageTypeByName(self, name: str) -> Any:
        return self._first(lambda pool: pool.FindMessageTypeByName(name))

    def FindExtensionByNumber(self, message: Any, number: int) -> Any:
        return self._first(lambda pool: pool.FindExtensionByNumber(message, number))

    def FindAllExtensions(self, message: Any) -> list[Any]:
        return [extension for pool in self._pools for extension in pool.FindAllExtensions(message)]
