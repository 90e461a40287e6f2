"""Of which lots records are (shared.terms): as their rows say, and whether those say what they must."""

from collections.abc import Iterator
from datetime import timedelta

from services.logging.store.lots import APPLICATION
from shared.terms import lot_of
from tests.simulation.looks import Looks
from tests.simulation.model import Model
from tests.simulation.rules import RulesOverTime

# How far from a change of terms it is no matter to which keys a record is sealed: so long a call may take, and a clock be wrong.
_MARGIN = timedelta(minutes=10)


def look(model: Model, looks: Looks) -> Iterator[str]:
    """Notes of which lot each row is; whether that is another than it was, or than its application's term asks for."""
    rules = RulesOverTime(looks)
    for record, organization_id, application in looks.rows(
        "logging",
        f"SELECT record_id, organization_id, {APPLICATION} FROM interactions "
        f"UNION SELECT record_id, organization_id, {APPLICATION} FROM retained",
    ):
        lot = lot_of(organization_id, application)
        known = model.lots.get(record.bytes)
        if known is not None:
            if known != lot:
                yield f"3: {record} was of {known} and is of {lot}"
            continue
        model.lots[record.bytes] = lot
        sent = model.records[record.bytes]
        own = lot_of(organization_id, sent.application)
        if application and lot != own:
            yield f"3: {record} of {own} is of {lot}"
        if sent.stored_at is not None:
            has_term = rules.has_own(own, sent.stored_at - _MARGIN, sent.stored_at + _MARGIN)
            if has_term is not None and has_term != bool(application):
                yield f"3: {record} of {own} is of {lot}, and that application has {'a' if has_term else 'no'} term"
