"""OpenRecords of 500 records under 50 data keys, as logging calls it for a granted read, against the bare cryptography of the same: HPKE
open 50 times, HMAC 500 times, in a loop, with nothing around them. Each call opens records that were never opened before: the budget is
counted by rows that are new.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import grpc
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from bench.access_control import Running, running
from bench.figures import Figure, median_ratio, seconds
from bench.grants import Engineers
from bench.leases import leases_on
from kept.access_control.v1 import (
    authz_pb2,
    authz_pb2_grpc,
    grants_pb2,
    keys_pb2,
    keys_pb2_grpc,
)
from services.access_control.custody.sealing import EpochPrivateKey, data_key_info, record_key
from shared.clock import SystemClock
from shared.ids import entropy, new_id, new_record_id

_RECORDS: Final = 500
_DATA_KEYS: Final = 50
_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_ML_KEM_BYTES: Final = 1184


@dataclass(frozen=True)
class DataKeys:
    """Data keys sealed to one epoch, as logging stores them: (id, sealed)."""

    organization_id: str
    day: date
    sealed: Sequence[tuple[bytes, bytes]]


def _seal(organization_id: str, day: date, public_bytes: bytes) -> DataKeys:
    public_key = hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public_bytes[:_ML_KEM_BYTES]),
        X25519PublicKey.from_public_bytes(public_bytes[_ML_KEM_BYTES:]),
    )
    sealed = []
    for _ in range(_DATA_KEYS):
        data_key_id = entropy(16)
        info = data_key_info(organization_id, day, data_key_id)
        sealed.append((data_key_id, _SUITE.encrypt(entropy(32), public_key, info)))
    return DataKeys(organization_id, day, sealed)


def _records(keys: DataKeys) -> list[tuple[bytes, bytes]]:
    """Records made just now, each with the id of its data key."""
    now = SystemClock().now()
    return [(new_record_id(now), keys.sealed[each % _DATA_KEYS][0]) for each in range(_RECORDS)]


class Bare:
    """The same cryptography with nothing around it."""

    def __init__(self, keys: DataKeys) -> None:
        self._private_key = EpochPrivateKey.generate()
        self._keys = _seal(keys.organization_id, keys.day, self._private_key.public_bytes)
        self._records = _records(self._keys)

    def __call__(self) -> dict[bytes, bytes]:
        keys, opened = self._keys, {}
        for data_key_id, sealed in keys.sealed:
            opened[data_key_id] = self._private_key.unseal(
                keys.organization_id, keys.day, data_key_id, sealed
            )
        return {
            record_id: record_key(opened[data_key_id], record_id) for record_id, data_key_id in self._records
        }


class Reader:
    """An engineer's granted read, as logging carries it out."""

    def __init__(self, there: Running, channel: grpc.Channel, organization_id: str) -> None:
        self._organization_id = organization_id
        self._open = authz_pb2_grpc.AuthzServiceStub(channel).OpenRecords
        day = SystemClock().now().date()
        request = keys_pb2.GetEpochKeyRequest(organization_id=organization_id, day=day.isoformat())
        epoch = keys_pb2_grpc.KeyServiceStub(channel).GetEpochKey(request, timeout=30)
        self.keys = _seal(organization_id, day, epoch.public_key)
        engineers = Engineers(there)
        self._token = engineers.token("logging")
        self._grant_id = engineers.granted(organization_id, grants_pb2.DETAIL_MASKED, budget=100_000)
        self._request = self._next()

    def __call__(self) -> authz_pb2.OpenRecordsResponse:
        answer: authz_pb2.OpenRecordsResponse = self._open(self._request, timeout=30)
        return answer

    def prepare(self) -> None:
        """Records for the next call: making them is not access control's."""
        self._request = self._next()

    def _next(self) -> authz_pb2.OpenRecordsRequest:
        return authz_pb2.OpenRecordsRequest(
            token=self._token,
            grant_id=self._grant_id,
            organization_id=self._organization_id,
            detail=grants_pb2.DETAIL_MASKED,
            records=[
                authz_pb2.RecordReference(record_id=record_id, data_key_id=data_key_id)
                for record_id, data_key_id in _records(self.keys)
            ],
            data_keys=[
                authz_pb2.SealedDataKey(data_key_id=data_key_id, sealed=sealed)
                for data_key_id, sealed in self.keys.sealed
            ],
        )


def measure(small: bool) -> Iterator[Figure]:
    """`open_ratio`, and the milliseconds of a call."""
    rounds = 20 if small else 150
    organization_id = new_id("org")
    with running(people=1, leases=leases_on(organization_id)) as there, there.channel("logging") as channel:
        reader = Reader(there, channel, organization_id)
        bare = Bare(reader.keys)
        samples: list[tuple[float, float]] = []
        for _ in range(rounds + 5):
            reader.prepare()
            samples.append((seconds(reader), seconds(bare)))
    opened_all, looped_all = zip(*samples[5:], strict=True)
    yield Figure(
        "open_ratio",
        median_ratio(list(opened_all), list(looped_all)),
        "ratio",
        False,
        f"OpenRecords of {_RECORDS} new records under {_DATA_KEYS} data keys, decision, budget and audit entry durable, over mTLS, ÷ "
        f"{_DATA_KEYS} HPKE opens and {_RECORDS} HMACs in a bare loop; {rounds} of each in turns",
    )
    yield Figure(
        "open_ms", statistics.median(opened_all) * 1e3, "milliseconds", False, "the median call of it"
    )
