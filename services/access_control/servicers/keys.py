"""KeyService: protobuf in, protobuf out."""

import base64
import binascii
from datetime import UTC, date

import grpc

from kept.access_control.v1 import keys_pb2, keys_pb2_grpc
from services.access_control.custody import Custody, DestructionRow, KeyStatus, ToRetain
from shared import fields
from shared.errors import KeptError, Reason, invalid
from shared.terms import lot_of, parts_of

_PAGE = 1_000
_WRAPPED = "access control's database, wrapped"


class KeyServicer(keys_pb2_grpc.KeyServiceServicer):
    """Custody for logging, retention and operators."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody

    def GetEpochKey(
        self, request: keys_pb2.GetEpochKeyRequest, context: grpc.ServicerContext
    ) -> keys_pb2.GetEpochKeyResponse:
        key = self._custody.epoch_key(
            request.organization_id, fields.day("day", request.day), request.application
        )
        return keys_pb2.GetEpochKeyResponse(epoch_key_id=key.epoch_key_id, public_key=key.public_key)

    def DestroyEpochs(
        self, request: keys_pb2.DestroyEpochsRequest, context: grpc.ServicerContext
    ) -> keys_pb2.DestroyEpochsResponse:
        if request.destruction_id.startswith("release_"):
            raise invalid("destruction_id", "release_ belongs to ReleaseRecords")
        if request.WhichOneof("target") == "organization_id":
            row = self._custody.destroy_organization(request.destruction_id, request.organization_id)
        elif request.WhichOneof("target") == "content":
            early = request.content
            day = fields.day("content.through_day", early.through_day)
            row = self._custody.destroy_early(request.destruction_id, early.organization_id, day)
        else:
            row = self._custody.destroy_through(
                request.destruction_id,
                fields.day("through_day", request.through_day),
                {
                    lot_of(one.organization_id, one.application): fields.day("own", one.through_day)
                    for one in request.own
                },
            )
        return keys_pb2.DestroyEpochsResponse(destruction=_destruction(row))

    def ListDestroyedEpochs(
        self, request: keys_pb2.ListDestroyedEpochsRequest, context: grpc.ServicerContext
    ) -> keys_pb2.ListDestroyedEpochsResponse:
        size = request.page_size or _PAGE
        after = _after(request.page_token) if request.page_token else None
        rows = self._custody.destroyed_epochs(request.destruction_id, after, size + 1)
        response = keys_pb2.ListDestroyedEpochsResponse(
            epochs=[
                keys_pb2.DestroyedEpoch(
                    organization_id=row.organization_id,
                    day=row.day.isoformat(),
                    epoch_key_id=row.epoch_key_id,
                    application=row.application,
                )
                for row in rows[:size]
            ]
        )
        if len(rows) > size:
            last = rows[size - 1]
            token = f"{lot_of(last.organization_id, last.application)} {last.day.isoformat()}"
            response.next_page_token = base64.urlsafe_b64encode(token.encode()).decode()
        return response

    def RetainRecords(
        self, request: keys_pb2.RetainRecordsRequest, context: grpc.ServicerContext
    ) -> keys_pb2.RetainRecordsResponse:
        kept = self._custody.retain_records(
            request.hold_id,
            request.organization_id,
            [
                ToRetain(record.record_id, record.data_key_id, record.sealed_data_key, record.application)
                for record in request.records
            ],
            is_confidential=request.confidential,
        )
        return keys_pb2.RetainRecordsResponse(retained=kept.retained, lost=kept.lost)

    def ReleaseRecords(
        self, request: keys_pb2.ReleaseRecordsRequest, context: grpc.ServicerContext
    ) -> keys_pb2.ReleaseRecordsResponse:
        return keys_pb2.ReleaseRecordsResponse(
            destruction=_destruction(self._custody.release(request.hold_id))
        )

    def DiscloseHold(
        self, request: keys_pb2.DiscloseHoldRequest, context: grpc.ServicerContext
    ) -> keys_pb2.DiscloseHoldResponse:
        return keys_pb2.DiscloseHoldResponse(disclosed=self._custody.disclose_hold(request.hold_id))

    def WithholdRecords(
        self, request: keys_pb2.WithholdRecordsRequest, context: grpc.ServicerContext
    ) -> keys_pb2.WithholdRecordsResponse:
        records, at = self._custody.withhold(request.erasure_id, request.organization_id, request.record_ids)
        response = keys_pb2.WithholdRecordsResponse(withheld=records)
        response.withheld_at.FromDatetime(at.astimezone(UTC))
        return response

    def ListWithheldRecords(
        self, request: keys_pb2.ListWithheldRecordsRequest, context: grpc.ServicerContext
    ) -> keys_pb2.ListWithheldRecordsResponse:
        organization_id, _, record_id = request.page_token.partition("/")
        limit = request.page_size or _PAGE
        found = self._custody.withheld_records((organization_id, bytes.fromhex(record_id)), limit)
        response = keys_pb2.ListWithheldRecordsResponse(
            records=[keys_pb2.WithheldRecord(organization_id=one, record_id=record) for one, record in found]
        )
        if len(found) == limit:
            response.next_page_token = f"{found[-1][0]}/{found[-1][1].hex()}"
        return response

    def GetKeyStatus(
        self, request: keys_pb2.GetKeyStatusRequest, context: grpc.ServicerContext
    ) -> keys_pb2.GetKeyStatusResponse:
        status = self._custody.status()
        response = keys_pb2.GetKeyStatusResponse(
            keys=_key_counts(status),
            root_key_id=status.root.root_id,
            key_store_statement=status.key_store_statement,
            survivors_must_be_on=status.survivors_must_be_on,
            unused_root_key_ids=status.unused_root_ids,
        )
        response.root_created_at.FromDatetime(status.root.created_at.astimezone(UTC))
        for root in status.retired_roots:
            retired = response.retired_roots.add(root_key_id=root.root_id, waits_for=root.waits_for)
            retired.retired_at.FromDatetime(root.retired_at.astimezone(UTC))
        for row, waits_for in status.pending:
            pending = response.pending_destructions.add(
                destruction_id=row.destruction_id,
                epochs=row.epochs,
                organizations=row.organizations,
                root_key_id=row.root_id or "",
                waits_for=waits_for,
            )
            pending.begun_at.FromDatetime(row.begun_at.astimezone(UTC))
        if status.usable_backups is not None:
            response.usable_backups_from.FromDatetime(status.usable_backups.since.astimezone(UTC))
            response.usable_backups_lsn = status.usable_backups.position
        return response


def _key_counts(status: KeyStatus) -> list[keys_pb2.KeyCount]:
    counts = status.counts
    in_store = 1 + len(status.retired_roots) + len(status.unused_root_ids)
    return [
        keys_pb2.KeyCount(
            kind=keys_pb2.KEY_KIND_ROOT,
            living=in_store,
            destroyed=counts.destroyed_roots,
            place=status.key_store,
        ),
        *(
            keys_pb2.KeyCount(kind=kind, living=living, destroyed=destroyed, place=_WRAPPED)
            for kind, living, destroyed in (
                (keys_pb2.KEY_KIND_ORGANIZATION, counts.organization_keys, counts.closed_organizations),
                (keys_pb2.KEY_KIND_EPOCH, counts.epochs, counts.destroyed_epochs),
                (keys_pb2.KEY_KIND_HOLD, counts.holds, counts.released_holds),
                (keys_pb2.KEY_KIND_RECORD, counts.retained_records, 0),
            )
        ),
    ]


def _destruction(row: DestructionRow) -> keys_pb2.Destruction:
    done = row.state == "done"
    destruction = keys_pb2.Destruction(
        destruction_id=row.destruction_id,
        state=keys_pb2.DESTRUCTION_STATE_DONE if done else keys_pb2.DESTRUCTION_STATE_PENDING,
        epochs=row.epochs,
        organizations=row.organizations,
        root_key_id=(row.root_id or "") if done else "",
        key_store_statement=row.key_store_statement,
    )
    if row.marked_at is not None:
        destruction.marked_at.FromDatetime(row.marked_at.astimezone(UTC))
    if row.destroyed_at is not None:
        destruction.destroyed_at.FromDatetime(row.destroyed_at.astimezone(UTC))
    return destruction


def _after(token: str) -> tuple[str, date, str]:
    try:
        lot, day = base64.urlsafe_b64decode(token).decode().split(" ")
        organization_id, application = parts_of(lot)
        return organization_id, date.fromisoformat(day), application
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise KeptError(
            Reason.REASON_INVALID_ARGUMENT,
            "The page token is none of ours.",
            fields=[("page_token", "is none of ours")],
        ) from error
