"""Has access control keep the keys of rows that logging keeps."""

from collections.abc import Iterable

from kept.access_control.v1 import keys_pb2
from kept.logging.v1 import lifecycle_pb2
from services.retention.holds.hold import Hold
from services.retention.peers import Peers


def retain(peers: Peers, hold: Hold, held: Iterable[lifecycle_pb2.HeldRecord]) -> frozenset[bytes]:
    """Which of these came too late, by record id: their keys were marked before. Raises what the call raises."""
    kept = peers.keys.RetainRecords(
        keys_pb2.RetainRecordsRequest(
            hold_id=hold.hold_id,
            organization_id=hold.organization_id,
            records=[
                keys_pb2.RetainedRecord(
                    record_id=record.record_id,
                    data_key_id=record.data_key_id,
                    sealed_data_key=record.sealed_data_key,
                    application=record.application,
                )
                for record in held
            ],
            confidential=hold.is_secret,
        )
    )
    return frozenset(kept.lost)
