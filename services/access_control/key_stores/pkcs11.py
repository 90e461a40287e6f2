"""A key store in a PKCS#11 token: an HSM, or SoftHSM. Roots are AES-256 keys that are made in the token and never leave it.

An operation of an HSM takes up to milliseconds, and replacing a root means wrapping every organization's key again. So the root wraps no
key itself: each call of `wrap` makes a *batch key*, which the root wraps once and which wraps the keys of that call. A wrapped key is

    batch key under the root (nonce 12 ‖ ciphertext 32 ‖ tag 16) ‖ key under the batch key (nonce 12 ‖ ciphertext ‖ tag 16)

both AES-256-GCM. The batch key is in memory during a call, as the keys that it wraps are, and opens nothing once the root is gone.

What a token must have: AES-256 key generation, CKM_AES_GCM with the caller's nonce, CKM_EDDSA (Ed25519), private data objects. One token
serves one installation: every root in it is taken for this one's.
"""

import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, TypeVar, cast

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, MechanismFlag, ObjectClass
from pkcs11.mechanisms import Mechanism
from pkcs11.util.ec import encode_named_curve_parameters

from services.access_control.key_stores import (
    DoesNotOpen,
    Item,
    KeyStoreError,
    RememberedHead,
    RootAbsent,
    wrapping,
)
from services.access_control.key_stores.signers import Signer, Signers, key_id_of, parsed
from services.access_control.key_stores.token_session import TokenSession
from shared.ids import new_id

T = TypeVar("T")

# CKA_ID tells ours from others' and what each is for; CKA_LABEL says which.
_ROOT: Final = b"kept root"
_SIGNER: Final = b"kept signer"
_HEAD: Final = "kept newest head"
_SIGNERS: Final = "kept signers"
_APPLICATION: Final = "kept"
_ED25519: Final = "1.3.101.112"  # RFC 8410
_NONCE_BYTES: Final = 12
_TAG_BITS: Final = 128
_BATCH_KEY_BYTES: Final = _NONCE_BYTES + wrapping.KEY_BYTES + _TAG_BITS // 8
# What a root must be, in the token's own words, before anything hangs on it.
_NEVER_LEAVES: Final = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.NEVER_EXTRACTABLE: True,
    Attribute.ALWAYS_SENSITIVE: True,
}
# A tag that does not fit: by the standard the first; the second where the end is cut off; SoftHSM says the third.
_TAMPERED: Final = (pkcs11.EncryptedDataInvalid, pkcs11.EncryptedDataLenRange, pkcs11.GeneralError)


class _Key(Protocol):
    """A key as the bindings give it: their own types leave out what only some keys can."""

    def __getitem__(self, attribute: Attribute) -> object: ...

    def encrypt(self, data: bytes, *, mechanism: Mechanism, mechanism_param: GCMParams) -> bytes: ...

    def decrypt(self, data: bytes, *, mechanism: Mechanism, mechanism_param: GCMParams) -> bytes: ...

    def sign(self, data: bytes, *, mechanism: Mechanism) -> bytes: ...


class TokenSigningKey:
    """An Ed25519 key in the token."""

    def __init__(self, session: TokenSession, label: str, public_key: bytes) -> None:
        self._session = session
        self._label = label
        self._public_key = public_key

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self._public_key

    @property
    def key_id(self) -> str:
        """First 16 bytes of SHA-256 of the public key, in hex."""
        return key_id_of(self._public_key)

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""

        def work(session: pkcs11.Session) -> bytes:
            key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=self._label, id=_SIGNER)
            return cast(_Key, key).sign(message, mechanism=Mechanism.EDDSA)

        return self._session.run(work)


class Pkcs11KeyStore:
    """A key store in the token called `token` of the PKCS#11 library `module`. Raises KeyStoreError when it cannot be used."""

    def __init__(self, module: Path, token: str, pin_file: Path) -> None:
        self._session = TokenSession(module, token, pin_file)
        self._place, self._statement = self._session.run(lambda session: _self_description(session.token))

    @property
    def place(self) -> str:
        """The token."""
        return self._place

    @property
    def statement(self) -> str:
        """What destroying is worth here: it depends on whose token it is."""
        return self._statement

    def close(self) -> None:
        """Ends the log-in."""
        self._session.close()

    def create(self) -> str:
        """Makes a root in the token, looks it up again, has the token confirm that it cannot leave, and opens something with it."""
        root_id = new_id("root")

        def work(session: pkcs11.Session) -> None:
            session.generate_key(
                KeyType.AES,
                wrapping.KEY_BYTES * 8,
                id=_ROOT,
                label=root_id,
                store=True,
                capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                template={
                    Attribute.PRIVATE: True,
                    Attribute.SENSITIVE: True,
                    Attribute.EXTRACTABLE: False,
                    Attribute.WRAP: False,
                    Attribute.UNWRAP: False,
                },
            )

        self._session.run(work)
        try:
            self._require_sound(root_id)
        except KeyStoreError:
            self.destroy(root_id)
            raise
        return root_id

    def wrap(self, root_id: str, items: Sequence[Item]) -> list[bytes]:
        """Wraps keys, in order, in one operation of the token."""
        if not items:
            return []
        batch_key, nonce = wrapping.new_key(), secrets.token_bytes(_NONCE_BYTES)
        head = nonce + self._with_root(
            root_id,
            lambda root: root.encrypt(
                batch_key, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(nonce, root_id)
            ),
        )
        return [head + wrapped for wrapped in wrapping.wrap_all(batch_key, items)]

    def unwrap(self, root_id: str, items: Sequence[Item]) -> list[bytes]:
        """Opens wrapped keys, in order, in one operation of the token for each `wrap` that made them."""
        batches: dict[bytes, list[int]] = {}
        for position, item in enumerate(items):
            batches.setdefault(item.value[:_BATCH_KEY_BYTES], []).append(position)
        opened: dict[int, bytes] = {}
        batch_keys = self._with_root(
            root_id, lambda root: [_open_batch(root, root_id, head) for head in batches]
        )
        for batch_key, positions in zip(batch_keys, batches.values(), strict=True):
            inner = [Item(items[at].name, items[at].value[_BATCH_KEY_BYTES:]) for at in positions]
            opened |= dict(zip(positions, wrapping.unwrap_all(batch_key, inner), strict=True))
        return [opened[position] for position in range(len(items))]

    def destroy(self, root_id: str) -> None:
        """C_DestroyObject, and a look-up that finds nothing."""

        def work(session: pkcs11.Session) -> None:
            for root in list(session.get_objects(_root(root_id))):
                root.destroy()
            if list(session.get_objects(_root(root_id))):
                raise KeyStoreError(f"root {root_id} is still in the token after it was destroyed")

        self._session.run(work)

    def root_ids(self) -> list[str]:
        """Labels of all roots."""
        template = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.ID: _ROOT}
        return self._session.run(
            lambda session: sorted(str(root[Attribute.LABEL]) for root in list(session.get_objects(template)))
        )

    def remember_head(self, head: RememberedHead) -> None:
        """Remembers a tree head if it is the largest so far. The new object is there before the older ones go: a crash, or another
        process at the same time, leaves more than one and never none, and the largest counts."""
        text = json.dumps({"size": head.size, "root_hash": head.root_hash.hex()}).encode()

        def work(session: pkcs11.Session) -> None:
            known = [(_parsed(stored), stored) for stored in list(session.get_objects(_HEAD_TEMPLATE))]
            newest = max((known_head.size for known_head, _ in known), default=-1)
            if head.size > newest:
                session.create_object(
                    {**_HEAD_TEMPLATE, Attribute.TOKEN: True, Attribute.PRIVATE: True, Attribute.VALUE: text}
                )
            for known_head, stored in known:
                if known_head.size < max(newest, head.size):
                    _destroy_if_there(stored)

        self._session.run(work)

    def newest_head(self) -> RememberedHead | None:
        """The largest head remembered."""

        def work(session: pkcs11.Session) -> RememberedHead | None:
            heads = [_parsed(stored) for stored in list(session.get_objects(_HEAD_TEMPLATE))]
            return max(heads, key=lambda head: head.size, default=None)

        return self._session.run(work)

    def signing_key(self) -> TokenSigningKey:
        """The Ed25519 key that signs, made when first asked for."""
        return self._signing_key(self._session.run(_known_signers))

    def signers(self) -> Signers:
        """All signing keys that there ever were here."""
        return self._session.run(_known_signers)

    def replace_signing_key(self, key_id: str, at: datetime) -> TokenSigningKey:
        """The new key is in the token before it is the one that signs, and the old one destroyed after that: a crash leaves one that
        signs."""

        def work(session: pkcs11.Session) -> Signers:
            known = _known_signers(session)
            if known.current.key_id == key_id:
                known = known.replaced_by(_new_signer(session), at)
                _write_signers(session, known)
                _destroy_past_signers(session, known)
            return known

        return self._signing_key(self._session.run(work))

    def add_past_signing_key(self, public_key: bytes, at: datetime) -> None:
        """Remembered in the token."""

        def work(session: pkcs11.Session) -> None:
            known = _known_signers(session).with_past(public_key, at)
            _write_signers(session, known)
            _destroy_past_signers(session, known)

        self._session.run(work)

    def revoke_signing_key(self, key_id: str, at: datetime) -> None:
        """Remembered in the token."""
        self._session.run(
            lambda session: _write_signers(session, _known_signers(session).revoked(key_id, at))
        )

    def _signing_key(self, known: Signers) -> TokenSigningKey:
        return TokenSigningKey(self._session, known.current.label, known.current.public_key)

    def _with_root(self, root_id: str, work: Callable[[_Key], T]) -> T:
        def with_session(session: pkcs11.Session) -> T:
            try:
                root = session.get_key(object_class=ObjectClass.SECRET_KEY, label=root_id, id=_ROOT)
            except pkcs11.NoSuchKey:
                raise RootAbsent(f"root {root_id} is not in the token") from None
            return work(cast(_Key, root))

        return self._session.run(with_session)

    def _require_sound(self, root_id: str) -> None:
        wrong = self._with_root(
            root_id, lambda root: [name.name for name, value in _NEVER_LEAVES.items() if root[name] != value]
        )
        if wrong:
            raise KeyStoreError(
                f"the token made a root that could leave it ({', '.join(wrong)}); it is not used"
            )
        probe = Item(wrapping.name_of("probe"), wrapping.new_key())
        [wrapped] = self.wrap(root_id, [probe])
        if not hmac.compare_digest(self.unwrap(root_id, [Item(probe.name, wrapped)])[0], probe.value):
            raise KeyStoreError("a root that was just made opens something else than it wrapped")


_HEAD_TEMPLATE: Final = {
    Attribute.CLASS: ObjectClass.DATA,
    Attribute.LABEL: _HEAD,
    Attribute.APPLICATION: _APPLICATION,
}

_SIGNERS_TEMPLATE: Final = {
    Attribute.CLASS: ObjectClass.DATA,
    Attribute.LABEL: _SIGNERS,
    Attribute.APPLICATION: _APPLICATION,
}


def _root(root_id: str) -> dict[Attribute, object]:
    return {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.ID: _ROOT, Attribute.LABEL: root_id}


def _gcm(nonce: bytes, root_id: str) -> GCMParams:
    return GCMParams(nonce, wrapping.name_of("batch-key", root_id), _TAG_BITS)


def _open_batch(root: _Key, root_id: str, head: bytes) -> bytes:
    nonce, wrapped = head[:_NONCE_BYTES], head[_NONCE_BYTES:]
    if len(head) != _BATCH_KEY_BYTES:
        raise DoesNotOpen("a wrapped key is too short to be one")
    try:
        return root.decrypt(wrapped, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(nonce, root_id))
    except _TAMPERED:
        raise DoesNotOpen("a wrapped key does not open under the root it should") from None


def _parsed(stored: pkcs11.Object) -> RememberedHead:
    try:
        state = json.loads(stored[Attribute.VALUE])
        return RememberedHead(int(state["size"]), bytes.fromhex(state["root_hash"]))
    except (ValueError, KeyError, TypeError) as error:
        raise KeyStoreError("the remembered tree head cannot be read") from error


def _destroy_if_there(stored: pkcs11.Object) -> None:
    try:
        stored.destroy()
    except pkcs11.ObjectHandleInvalid:  # another process was faster
        return


def _known_signers(session: pkcs11.Session) -> Signers:
    """The longest list that is in the token: a crash, or another process at the same time, leaves the shorter one as well."""
    lists = [parsed(stored[Attribute.VALUE]) for stored in list(session.get_objects(_SIGNERS_TEMPLATE))]
    if not lists:
        lists = [Signers((_new_signer(session),))]
        _write_signers(session, lists[0])
    return max(lists, key=_age)


def _age(known: Signers) -> tuple[int, int]:
    return len(known.known), sum(signer.revoked_at is not None for signer in known.known)


def _write_signers(session: pkcs11.Session, known: Signers) -> None:
    older = list(session.get_objects(_SIGNERS_TEMPLATE))
    text = known.as_text().encode()
    session.create_object(
        {**_SIGNERS_TEMPLATE, Attribute.TOKEN: True, Attribute.PRIVATE: True, Attribute.VALUE: text}
    )
    for stored in older:
        _destroy_if_there(stored)


def _destroy_past_signers(session: pkcs11.Session, known: Signers) -> None:
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        for key in list(session.get_objects({Attribute.CLASS: kind, Attribute.ID: _SIGNER})):
            if key[Attribute.LABEL] != known.current.label:
                _destroy_if_there(key)


def _new_signer(session: pkcs11.Session) -> Signer:
    label = new_id("signer")
    curve = session.create_domain_parameters(
        KeyType.EC_EDWARDS,
        {Attribute.EC_PARAMS: encode_named_curve_parameters(_ED25519)},
        local=True,
    )
    public_key, _ = curve.generate_keypair(
        mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        id=_SIGNER,
        label=label,
        store=True,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )
    return Signer(_raw_public_key(public_key[Attribute.EC_POINT]), label)


def _raw_public_key(point: bytes) -> bytes:
    """CKA_EC_POINT is a DER OCTET STRING of the 32 bytes; some tokens leave the DER out."""
    raw = point[2:] if len(point) == 34 and point[:2] == b"\x04\x20" else point
    if len(raw) != 32:
        raise KeyStoreError("the token's signing key is no Ed25519 key")
    return raw


def _self_description(token: pkcs11.Token) -> tuple[str, str]:
    """Where the roots are, and what destroying them is worth."""
    maker, model = token.manufacturer_id.strip(), token.model.strip()
    serial = token.serial.decode("ascii", "replace").strip()
    place = f"PKCS#11 token {token.label} ({maker}, {model}, serial {serial})"
    made = f"Root keys are made in the {place} and never leave it: "
    if "softhsm" in maker.lower():
        return place, made + (
            "destroyed means deleted by SoftHSM, which is software that keeps its objects in files on one disk. Copies of that disk's "
            "backups or snapshots, and blocks that a flash disk keeps for itself, are not reached; the token's directory must be left "
            "out of every backup."
        )
    return place, made + (
        "destroyed means that the token deleted the key and finds it no more. Backups and clones of the token that its operator or its "
        "maker's service keeps, and flash blocks inside it, are not reached, for as long as these are kept."
    )
