"""The join of a round whose updates were summed where they were made: numpy, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import numpy as np
from numpy.typing import NDArray

from disdel.errors import AggregationError
from disdel.protocol.client_messages import CombineRequest
from disdel.protocol.messages import FROZEN, FURTHER, LARGEST, SUMS, Advance, CollectReply
from disdel.store.base import Blob, Buffer, Store
from disdel.store.codec import Header, TensorInfo, encoded, read_header
from disdel.store.states import Part, is_sum_of, named_in, part_of, passed_on, summed_elements
from disdel.strategies.exact_sum import ExactSum, mean_of
from disdel.types.arrays import Array
from disdel.worker.advance import advance
from disdel.worker.context import Context
from disdel.worker.spans import SPAN_BYTES, spans
from disdel.worker.sums import named_header, trained_tensors
from disdel.worker.unprotected import UnprotectedSum

_UNIT_BYTES = 8


def encoded_sum(
    total: ExactSum, metadata: Mapping[str, str], further: Mapping[str, ExactSum] | None = None
) -> Iterator[Buffer]:
    """The blob of a sum, for `combine`, with further ones by name."""
    beside = {f"{FURTHER}{name}": one.sums for name, one in (further or {}).items()}
    others = {f"{LARGEST}{name}": value for name, value in total.largest.items()}
    told = {"updates": str(total.updates), "weight": repr(total.weight), **metadata}
    told["exponent"] = str(total.exponent)
    return encoded({SUMS: total.sums, **beside, **others}, told)


def combine(request: CombineRequest, context: Context) -> CollectReply:
    """Make the next state of a round's sums and publish it.

    Raises:
        AggregationError: a sum is missing, is not what the request says, or is of another network
            or another round than the others.
    """
    wanted = request.advance
    mean_key = request.state_key if wanted is None else wanted.mean_key
    header, counts = write_mean(context.store, request, mean_key)
    if wanted is not None:
        if wanted.sums_key is not None:
            _write_further(context.store, request, wanted)
        advance(context.store, wanted, request.state_key)
    context.clock.ended("computed")
    return CollectReply(
        updates=(),
        tensors=len(header.tensors),
        bytes=header.data_bytes,
        counts=counts,
        peak_mb=context.peak_mb(),
        working_set_mb=context.working_set_mb(),
        phases=context.clock.phases(),
    )


def write_mean(
    store: Store, request: CombineRequest, key: str, *, span_bytes: int = SPAN_BYTES // 2
) -> tuple[Header, tuple[int, ...]]:
    """Write the mean of the updates under `key`, span by span.

    Returns:
        The header of what it is a mean of, and the counts at the end of the sum.

    Memory is a few spans, whatever the size of the model and the number of sums.

    Raises:
        AggregationError: as `combine` does.
    """
    sums = [_open(store, sum_key) for sum_key in request.sum_keys]
    updates = sum(part.updates for part in sums)
    factors = request.factors or (1.0,) * len(sums)
    weight = math.fsum(part.weight * one for part, one in zip(sums, factors, strict=True))
    if updates != request.updates or not math.isclose(weight, request.weight):
        raise AggregationError(
            f"the sums of round {request.round} are made of {updates} updates of weight "
            f"{weight:g}, and {request.updates} of weight {request.weight:g} were reported"
        )
    if not sums and request.divisor is None:
        raise AggregationError("a round without updates has no average")
    before = store.existing(request.before_key)
    header = read_header(before)
    _check_alike(header, sums, request)
    total = _Sum(sums, _exponent(request, sums), _protected(store, request), factors)
    divisor = request.divisor or request.weight
    store.put_stream(key, _mean(before, header, total, divisor, span_bytes))
    floats = summed_elements(header)
    counts = total.units(floats, floats + request.counts, noise=False)
    return header, tuple(map(int, counts))


@dataclass(frozen=True, slots=True)
class _Part:
    """A sum that is being read."""

    blob: Blob
    header: Header
    key: str

    @property
    def updates(self) -> int:
        return int(self.header.metadata["updates"])

    @property
    def weight(self) -> float:
        return float(self.header.metadata["weight"])

    @property
    def exponent(self) -> int:
        return int(self.header.metadata["exponent"])

    def tensor(self, name: str) -> TensorInfo | None:
        return next((one for one in self.header.tensors if one.name == name), None)

    def units(self, start: int, stop: int, name: str = SUMS) -> NDArray[np.int64]:
        """Elements `start` to `stop` of a sum that it has."""
        tensor = self.tensor(name)
        assert tensor is not None
        first, last = (tensor.start + at * _UNIT_BYTES for at in (start, stop))
        return np.frombuffer(self.header.read_range(self.blob, first, last), np.int64)

    def largest(self, name: str, dtype: np.dtype[np.generic]) -> Array:
        tensor = self.tensor(LARGEST + name)
        assert tensor is not None
        return np.frombuffer(self.header.read_range(self.blob, tensor.start, tensor.stop), dtype)


def _open(store: Store, key: str) -> _Part:
    blob = store.open(key)
    if blob is None:
        raise AggregationError(f"a sum of updates is missing ({key}), so the round has no average")
    part = _Part(blob, read_header(blob), key)
    if {"updates", "weight", "exponent"} - part.header.metadata.keys():
        raise AggregationError(f"{key} is no sum of updates")
    return part


@dataclass(frozen=True, slots=True)
class _Sum:
    """All sums of a round together, without masks and with noise where there are some."""

    parts: Sequence[_Part]
    exponent: int
    protected: UnprotectedSum
    factors: Sequence[float]

    def weighted(self, start: int, stop: int) -> NDArray[np.int64] | NDArray[np.float64]:
        """Elements of all sums, each times its factor.

        Those of one factor are added up first, which is exact, and then by factor: the same bits in
        whatever order the sums are.
        """
        if set(self.factors) <= {1.0}:
            return self.units(start, stop)
        by_factor: dict[float, NDArray[np.int64]] = {}
        for part, factor in zip(self.parts, self.factors, strict=True):
            known = by_factor.get(factor)
            units = part.units(start, stop)
            by_factor[factor] = units if known is None else known + units
        total = np.zeros(stop - start)
        for factor in sorted(by_factor):
            total += factor * by_factor[factor]
        return total

    def units(self, start: int, stop: int, *, noise: bool = True) -> NDArray[np.int64]:
        total = np.zeros(stop - start, np.int64)
        for part in self.parts:
            total += part.units(start, stop)
        self.protected.unmask(total, start)
        if noise:
            self.protected.add_noise(total, start, self.exponent)
        return total

    def largest(self, one: TensorInfo, before: Blob, header: Header) -> bytes:
        """Of what is no floating point; as it was, where the sums do not have it."""
        values = [
            part.largest(one.name, one.dtype)
            for part in self.parts
            if part.tensor(LARGEST + one.name)
        ]
        if not values:
            return bytes(header.read_range(before, one.start, one.stop))
        return np.asarray(np.maximum.reduce(values)).tobytes()


def _protected(store: Store, request: CombineRequest) -> UnprotectedSum:
    if request.noise is None and request.secure is None:
        return UnprotectedSum()
    from disdel.worker.protecting import protected

    return protected(store, request)


def _exponent(request: CombineRequest, sums: Sequence[_Part]) -> int:
    """The one that the request names; else that of the sums, of which there are some."""
    return sums[0].exponent if request.exponent is None else request.exponent


def _check_alike(header: Header, sums: Sequence[_Part], request: CombineRequest) -> None:
    for part in sums:
        counts, further = request.counts, request.exponents
        if not is_sum_of(part.header, header, counts=counts, further=further):
            raise AggregationError(f"{part.key} is a sum of updates of another network")
        if part.exponent != sums[0].exponent:
            raise AggregationError(f"{part.key} is a sum of another round than {sums[0].key}")


def _mean(
    before: Blob, header: Header, total: _Sum, divisor: float, span_bytes: int
) -> Iterator[bytes]:
    yield header.with_metadata(passed_on(header, [part.header for part in total.parts]))
    done = 0
    for part, group in _by_part(header):
        if part == "other":
            yield from (total.largest(one, before, header) for one in group)
            continue
        if part == "frozen":
            for span in spans(group, span_bytes):
                yield bytes(header.read_range(before, span.start, span.stop))
            continue
        for span in spans(group, span_bytes):
            data = header.read_range(before, span.start, span.stop)
            old = np.frombuffer(data, span.dtype)
            units = total.weighted(done, done + len(old))
            done += len(old)
            yield mean_of(old, units, exponent=total.exponent, weight=divisor).tobytes()


def _by_part(header: Header) -> Iterator[tuple[Part, list[TensorInfo]]]:
    """Neighbouring tensors of a state that are in the same part of a sum."""
    frozen = named_in(header.metadata, FROZEN)
    for part, group in groupby(header.tensors, lambda one: part_of(one, frozen)):
        yield part, list(group)


def _write_further(store: Store, request: CombineRequest, wanted: Advance) -> None:
    """Write the further sums of a round, whose mean is there, in the unit of the changes."""
    assert wanted.sums_key is not None
    parts = [_open(store, key) for key in request.sum_keys]
    trained = trained_tensors(read_header(store.existing(wanted.mean_key)))

    def pieces() -> Iterator[bytes]:
        yield named_header(wanted.sums, trained).with_metadata({})
        for name in wanted.sums:
            unit, done = 2.0 ** -request.exponents[name], 0
            for span in chain.from_iterable(spans([tensor], SPAN_BYTES // 2) for tensor in trained):
                count = (span.stop - span.start) // span.dtype.itemsize
                total = np.zeros(count, np.int64)
                for part in parts:
                    total += part.units(done, done + count, FURTHER + name)
                done += count
                yield (total * unit).astype(span.dtype).tobytes()

    store.put_stream(wanted.sums_key, pieces())
