"""Content is sealed before it touches a disk. docs/formats.md gives the byte formats.

Each process makes a data key of its own for each lot (shared.terms) and day of creation, seals it at once to that day's epoch public key
with HPKE (RFC 9180), and keeps the key itself in memory only: ten minutes after its last use, an hour at most. Each record's key is
HMAC-SHA-256(data key, label and record id), so that access control can give out the key of one record and no other. Records are
compressed with zstd, small ones with a dictionary, and encrypted with AES-256-GCM (NIST SP 800-38D) under a random 96-bit nonce; a record
key seals one record once.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, TypeAlias

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PublicKey, Suite

from services.logging import dictionaries
from shared import ids
from shared.clock import Clock
from shared.terms import lot_of

SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_DATA_KEY_LABEL: Final = b"kept/data-key/v1\0"
_RECORD_KEY_LABEL: Final = b"kept/record-key/v1\0"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_MLKEM_PUBLIC_BYTES: Final = 1184
_X25519_PUBLIC_BYTES: Final = 32
_IDLE_SECONDS: Final = 600.0
_LIFETIME_SECONDS: Final = 3600.0
# No content is larger than a message; more is a fault, or somebody who wants our memory.
_LARGEST_CONTENT: Final = 16 * 1024 * 1024
# Level 1 looks for matches of five bytes in contents up to 16 KiB. Of six, a small exchange takes an eighth less time and 1.3 % more room.
_COMPRESSION: Final = zstandard.ZstdCompressionParameters.from_level(1, min_match=6, write_dict_id=True)

_DICTIONARY: Final = dictionaries.load()
_DICTIONARY.precompute_compress(compression_params=_COMPRESSION)

_Data: TypeAlias = "bytes | bytearray | memoryview[int]"

# Gives an epoch's public key as 1,216 bytes, for organization, day and application. Raises KeptError.
PublicKeySource = Callable[[str, date, str], bytes]


class _Threads(threading.local):
    """A thread's own contexts of zstd: to make one takes longer than to compress a record, and two threads may not share one."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(compression_params=_COMPRESSION)
        self.small = zstandard.ZstdCompressor(compression_params=_COMPRESSION, dict_data=_DICTIONARY)
        self.decompressor = zstandard.ZstdDecompressor(dict_data=_DICTIONARY)  # of what needs none, too


_threads: Final = _Threads()


class Unsealable(Exception):
    """Sealed content does not open with the key that belongs to it."""


@dataclass
class DataKey:
    """A data key in memory. record_key: see `record_keys`. stored: its sealed form is known to be committed; until then every transaction
    that uses it writes it. application: whose own epoch it is sealed to; "" for none."""

    data_key_id: bytes
    organization_id: str
    day: date
    record_key: Callable[[bytes], bytes] = field(repr=False)
    sealed: bytes
    made_at: float
    used_at: float
    application: str = ""
    stored: bool = False


def data_key_info(organization_id: str, day: date, data_key_id: bytes, application: str = "") -> bytes:
    """What binds a sealed data key to its place: HPKE's `info`. A data key's id has 16 bytes: what follows is the application's name."""
    place = _DATA_KEY_LABEL + organization_id.encode() + b"\0" + day.isoformat().encode() + b"\0"
    return place + data_key_id + application.encode()


def parse_public_key(public_key: bytes) -> MLKEM768X25519PublicKey:
    """An epoch's public key from its 1,216 bytes. Raises ValueError."""
    if len(public_key) != _MLKEM_PUBLIC_BYTES + _X25519_PUBLIC_BYTES:
        raise ValueError("not an ML-KEM-768 + X25519 public key")
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public_key[:_MLKEM_PUBLIC_BYTES]),
        X25519PublicKey.from_public_bytes(public_key[_MLKEM_PUBLIC_BYTES:]),
    )


def seal_data_key(
    public_key: bytes, organization_id: str, day: date, data_key_id: bytes, key: bytes, application: str = ""
) -> bytes:
    """The data key for the holder of the epoch's private key: encapsulation and ciphertext, 1,168 bytes. Raises
    ValueError for a public key that is none."""
    recipient = parse_public_key(public_key)
    return SUITE.encrypt(key, recipient, info=data_key_info(organization_id, day, data_key_id, application))


def record_keys(data_key: bytes) -> Callable[[bytes], bytes]:
    """What gives the key of a record, 32 bytes, for its id."""
    keyed = HMAC(data_key, SHA256())
    keyed.update(_RECORD_KEY_LABEL)

    def record_key(record_id: bytes) -> bytes:
        mac = keyed.copy()
        mac.update(record_id)
        return mac.finalize()

    return record_key


def _associated(organization_id: str, record_id: bytes, data_key_id: bytes) -> bytes:
    return organization_id.encode() + b"\0" + record_id + data_key_id


# What is to be sealed: a record's id, its data key, and a serialized InteractionContent.
Unsealed = tuple[bytes, DataKey, bytes]


def seal_contents(batch: Sequence[Unsealed], *, with_dictionary: bool = True) -> list[bytes]:
    """The contents, each compressed and encrypted by itself: nonce (12 bytes) and ciphertext. with_dictionary: small ones are compressed
    with it. A batch at once, for each call that lets other threads run in between costs a switch of threads, which takes longer than to
    encrypt a record."""
    nonces = ids.entropy(_NONCE_BYTES * len(batch))
    sealed: list[bytes] = []
    at = 0
    contents = _compressed([content for _, _, content in batch], with_dictionary=with_dictionary)
    for (record_id, data_key, _), packed in zip(batch, contents, strict=True):
        nonce = nonces[at : at + _NONCE_BYTES]
        at += _NONCE_BYTES
        bound = _associated(data_key.organization_id, record_id, data_key.data_key_id)
        sealed.append(nonce + AESGCM(data_key.record_key(record_id)).encrypt(nonce, packed, bound))
    return sealed


def _compressed(contents: Sequence[bytes], *, with_dictionary: bool) -> list[bytes]:
    small: list[_Data] = []
    others: list[_Data] = []
    are_small = [with_dictionary and len(content) <= dictionaries.LARGEST for content in contents]
    for content, is_small in zip(contents, are_small, strict=True):
        (small if is_small else others).append(content)
    of_small, of_others = iter(_packed(_threads.small, small)), iter(_packed(_threads.compressor, others))
    return [next(of_small if is_small else of_others) for is_small in are_small]


def _packed(compressor: zstandard.ZstdCompressor, contents: list[_Data]) -> list[bytes]:
    if not any(contents):  # nothing, and all of nothing, is what the library takes for a mistake
        return [compressor.compress(content) for content in contents]
    packed = compressor.multi_compress_to_buffer(contents)
    return [packed[index].tobytes() for index in range(len(packed))]


def open_content(
    sealed: bytes, key: bytes, organization_id: str, record_id: bytes, data_key_id: bytes
) -> bytes:
    """The content that `seal_contents` sealed, with the record's own key. Raises Unsealable."""
    try:
        bound = _associated(organization_id, record_id, data_key_id)
        packed = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
        return _threads.decompressor.decompress(packed, max_output_size=_LARGEST_CONTENT)
    except (InvalidTag, zstandard.ZstdError, ValueError) as error:
        raise Unsealable from error


class DataKeys:
    """This process's data keys, by lot and day."""

    def __init__(self, public_keys: PublicKeySource, clock: Clock) -> None:
        self._public_keys = public_keys
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[tuple[str, date], DataKey] = {}

    def for_writing(self, organization_id: str, day: date, application: str = "") -> DataKey:
        """The data key to seal with now, made when there is none. Raises what the source of public keys raises."""
        place = (lot_of(organization_id, application), day)
        with self._lock:
            found = self._fresh(place)
        if found is not None:
            return found
        # May call another service: not under the lock.
        public_key = self._public_keys(organization_id, day, application)
        made = self._make(organization_id, day, public_key, application)
        with self._lock:
            found = self._fresh(place)  # another thread may have been quicker: one key serves both
            if found is None:
                found = self._keys[place] = made
            return found

    def forget(self, is_closed: Callable[[str], bool]) -> None:
        """Drops keys that are idle or too old, and those of organizations that are closed: what erases them means all keys."""
        with self._lock:
            for place in list(self._keys):
                if self._is_old(self._keys[place]) or is_closed(self._keys[place].organization_id):
                    del self._keys[place]

    def _fresh(self, place: tuple[str, date]) -> DataKey | None:
        found = self._keys.get(place)
        if found is None:
            return None
        if self._is_old(found):
            del self._keys[place]
            return None
        found.used_at = self._clock.boottime()
        return found

    def _is_old(self, key: DataKey) -> bool:
        now = self._clock.boottime()
        return now - key.used_at >= _IDLE_SECONDS or now - key.made_at >= _LIFETIME_SECONDS

    def _make(self, organization_id: str, day: date, public_key: bytes, application: str) -> DataKey:
        data_key_id, key = ids.entropy(16), ids.entropy(_KEY_BYTES)
        sealed = seal_data_key(public_key, organization_id, day, data_key_id, key, application)
        now = self._clock.boottime()
        return DataKey(data_key_id, organization_id, day, record_keys(key), sealed, now, now, application)
