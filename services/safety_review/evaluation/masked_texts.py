"""Where the texts of a set come from: logging, which reads and masks an upheld case's records under a grant that the person who builds
the set asked for and somebody else approved. A person never hands a text in, so a text of a set is its record's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from kept.logging.v1 import evaluation_texts_pb2, evaluation_texts_pb2_grpc, interactions_pb2
from shared.errors import invalid

MOST_GRANTS: Final = 1_000
MOST_RECORDS: Final = 5_000
# What one set may hold in memory while it is made.
MOST_BYTES: Final = 64_000_000
# Seconds for the records of one case.
_PATIENCE: Final = 60.0
# (case id, record id)
RecordOfCase: TypeAlias = tuple[str, bytes]


@dataclass(frozen=True)
class MaskedText:
    """What logging gave of a record, and whose it says the record is."""

    organization_id: str
    content: interactions_pb2.InteractionContent = field(repr=False)


class MaskedTexts:
    """Asks logging for them."""

    def __init__(self, texts: evaluation_texts_pb2_grpc.EvaluationTextServiceStub) -> None:
        self._texts = texts

    def under(self, person_id: str, grant_ids: Iterable[str]) -> Mapping[RecordOfCase, MaskedText]:
        """The masked content of what that person's grants are for, each record of a case once. Raises INVALID_ARGUMENT for more than a
        set takes, or nothing; GRANT_REQUIRED, NOT_UPHELD, BUDGET_EXHAUSTED and what else ends a read under a grant."""
        found: dict[RecordOfCase, MaskedText] = {}
        size = 0
        for grant_id in _distinct(grant_ids):
            asked = evaluation_texts_pb2.ReadMaskedRequest(grant_id=grant_id, person_id=person_id)
            for answer in self._texts.ReadMasked(asked, timeout=_PATIENCE):
                for record in answer.records:
                    place = (answer.case_id, record.record_id)
                    found.setdefault(place, MaskedText(answer.organization_id, record.content))
                    size += record.content.ByteSize()
                if len(found) > MOST_RECORDS or size > MOST_BYTES:
                    raise invalid(
                        "grant_ids", f"cover more than {MOST_RECORDS} records, or {MOST_BYTES} bytes in all"
                    )
        if not found:
            raise invalid("grant_ids", "cover no record that has content")
        return found


def _distinct(grant_ids: Iterable[str]) -> list[str]:
    """Each once, all of them seen before the first is used: a stream that is refused at its end reads nothing."""
    distinct = dict.fromkeys(grant_ids)
    if len(distinct) > MOST_GRANTS:
        raise invalid("grant_ids", f"are more than {MOST_GRANTS}")
    return list(distinct)
