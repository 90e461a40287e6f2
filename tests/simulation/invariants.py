"""The invariants of docs/architecture.md, checked on the databases as they are.

After every act, what may be broken at no instant: 1, 2, 7, 8, 9, 10, 12 and 13, and of 3 that nothing is left of what a run has certified.
In quiet moments, when everything that was to be done by now has been, what has its time: the rest of 3, and that the log is complete. Reads
are checked as they come (3, 4, 5, 8, 11; actors/engineers.py). 6 is of a service that is not here yet.
"""

import json
import re
import uuid
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import chain

from kept.client.record_ids import created_at
from services.safety_review.reviewing.cases import APPEAL, DISMISSED, UPHELD
from shared.clock import CLOCK_TOLERANCE
from shared.terms import lot_of, parts_of
from tests.simulation import lots
from tests.simulation.faults import Broken
from tests.simulation.looks import Looks
from tests.simulation.model import Model
from tests.simulation.rules import RulesOverTime
from tests.simulation.scene import Scene

# Of what lies in `retained`: what a hold keeps; the rest is there for its term.
_HELD = "NOT by_term OR EXISTS (SELECT FROM holds WHERE holds.record_id = retained.record_id)"
_EPOCH_ID = re.compile(rb"epoch_[0-9a-z]{26}")
_Row = tuple[str, uuid.UUID, bool]


def check(scene: Scene) -> None:
    """What holds at any instant. Raises Broken."""
    rows, kept = _unheld(scene), _rows(scene, f"retained WHERE {_HELD}")
    looks = scene.world.databases.looks
    _raise_first(
        chain(
            lots.look(scene.model, looks),
            _policies(scene.model, [*rows, *kept]),
            _acknowledged(
                scene, {(organization_id, record.bytes) for organization_id, record, _ in [*rows, *kept]}
            ),
            _readable(scene, [*rows, *kept]),
            _held(scene.model, looks, rows, kept, scene.world.roots()),
            scene.model.witness.look(looks),
            _certified(scene, rows),
            _erased(scene.model, looks, rows, kept),
            _subjects_erased(scene.model, looks, rows, kept),
            _contents_erased(looks, rows, kept),
            _counted(scene.model, looks),
            _decided_by_others(looks),
        )
    )


def check_settled(scene: Scene) -> None:
    """What holds once everything that was to be done by now has been. Raises Broken."""
    looks = scene.world.databases.looks
    _raise_first(
        chain(
            scene.model.witness.look_at_all(looks),
            _gone(scene, _unheld(scene)),
            _let_go(looks),
            _contents_on_their_way(scene),
            _dismissed(looks),
            _old_keys(scene),
            _unfolded(scene),
            _old_pseudonyms(scene),
        )
    )


def uuid_text(record_id: bytes) -> str:
    """A record's id as the audit log writes it."""
    return str(uuid.UUID(bytes=record_id))


def _raise_first(broken: Iterator[str]) -> None:
    for sentence in broken:
        raise Broken(sentence)


def _rows(scene: Scene, table: str) -> list[_Row]:
    return scene.world.databases.looks.rows(
        "logging", f"SELECT organization_id, record_id, content IS NOT NULL FROM {table}"
    )


def _unheld(scene: Scene) -> list[_Row]:
    """Rows of partitions, and those that terms keep beyond them."""
    return [*_rows(scene, "interactions"), *_rows(scene, f"retained WHERE NOT ({_HELD})")]


def _policies(model: Model, rows: list[_Row]) -> Iterator[str]:
    for organization_id, record, has_content in rows:
        organization = model.organizations.get(organization_id)
        if organization is None or organization.deployment != "SAAS":
            yield f"2: a row of {organization_id}, which sends nothing"
            return
        since = organization.zdr_from
        if has_content and since is not None and model.records[record.bytes].made_at >= since:
            yield f"1: content of {organization_id} in {record}, zero data retention since {since}"


def _acknowledged(scene: Scene, present: set[tuple[str, bytes]]) -> Iterator[str]:
    rules = RulesOverTime(scene.world.databases.looks)
    for sent in scene.model.records.values():
        organization = scene.model.organizations[sent.organization_id]
        if not sent.stored or organization.leaving_at is not None or sent.due_at is None:
            continue
        if any(subject.covers(sent) for subject in scene.model.subjects):
            continue
        due_at = rules.first_due_at(scene.model.lot_of(sent), sent.created_at.date())
        if due_at > scene.now and (sent.organization_id, sent.record_id) not in present:
            yield f"8: acknowledged record {uuid_text(sent.record_id)} of {sent.organization_id} is not there"


def _readable(scene: Scene, rows: list[_Row]) -> Iterator[str]:
    """Whether what was acknowledged with its content still opens, as long as it is not due and nobody wanted it gone."""
    looks = scene.world.databases.looks
    rules = RulesOverTime(looks)
    contents = {record.bytes for _, record, has_content in rows if has_content}
    living = {(lot, day) for lot, day, _ in _living_epochs(looks)}
    cleared: dict[str, datetime] = dict(
        looks.rows("retention", "SELECT organization_id, max(before) FROM content_erasures GROUP BY 1")
    )
    for sent in scene.model.records.values():
        organization = scene.model.organizations[sent.organization_id]
        if not sent.with_content or organization.leaving_at is not None:
            continue
        before = cleared.get(sent.organization_id)
        if before is not None and sent.created_at.date() <= before.date():
            continue
        if any(subject.covers(sent) for subject in scene.model.subjects):
            continue
        lot, day = scene.model.lot_of(sent), sent.created_at.date()
        if rules.first_due_at(lot, day) <= scene.now:
            continue
        if sent.record_id not in contents or (lot, day) not in living:
            yield f"8: acknowledged content of {uuid_text(sent.record_id)} of {sent.organization_id} does not open any more"


def _gone(scene: Scene, rows: list[_Row]) -> Iterator[str]:
    rules = RulesOverTime(scene.world.databases.looks)
    for organization_id, record, _ in rows:
        if rules.is_too_old(scene.model.lots[record.bytes], created_at(record.bytes).date(), scene.now):
            yield f"3: {record} of {organization_id} is older than its rule allows"


def _hanging(looks: Looks, roots: Collection[str]) -> Iterator[str]:
    """Whether the key of a hold, or of an organization, hangs on a root that is there no more."""
    for number, whose, root_id in looks.rows(
        "access_control",
        "SELECT 7, hold_id, root_id FROM hold_keys WHERE wrapped IS NOT NULL UNION ALL "
        "SELECT 8, organization_id, root_id FROM organization_keys WHERE wrapped IS NOT NULL",
    ):
        if root_id not in roots:
            yield f"{number}: the key of {whose} hangs on {root_id}, which is gone"


def _held(
    model: Model, looks: Looks, rows: list[_Row], kept: list[_Row], roots: Collection[str]
) -> Iterator[str]:
    # Copies of confidential holds lie apart, and everything but this goes on as if they were not there.
    apart = looks.rows("logging", "SELECT record_id, content IS NOT NULL FROM confidential_rows")
    held = [
        *((record.bytes, has_content) for _, record, has_content in kept),
        *((record.bytes, has) for record, has in apart),
    ]
    present = {record.bytes for _, record, _ in rows} | {record_id for record_id, _ in held}
    with_content = {record_id for record_id, has_content in held if has_content}
    keys = {
        bytes(record_id)
        for table in ("retained_records", "confidential_records")
        for (record_id,) in looks.rows(
            "access_control", f"SELECT record_id FROM {table} WHERE wrapped IS NOT NULL"
        )
    }
    contents = with_content | {record.bytes for _, record, has_content in rows if has_content}
    yield from _held_by_scope(model, looks, present, contents, keys)
    yield from _hanging(looks, roots)
    for hold in model.holds.values():
        if hold.is_active and not hold.releasing and (gone := hold.with_content - contents):
            yield f"7: content of {uuid_text(min(gone))} is gone while hold {hold.hold_id} stands"
    for record_id, hold in model.held().items():
        if record_id not in present:
            yield f"7: {uuid_text(record_id)} is gone while hold {hold.hold_id} stands"
        if record_id in with_content and record_id not in keys:
            yield f"7: {uuid_text(record_id)} has no key while hold {hold.hold_id} stands"


def _held_by_scope(
    model: Model, looks: Looks, present: set[bytes], contents: set[bytes], keys: set[bytes]
) -> Iterator[str]:
    """Whether anything is gone that a hold with a scope is on: what was stored after it was placed, or was there and is not named as lost.
    Until the next look keys may still be those of the day."""
    living = {(lot, day) for lot, day, _ in _living_epochs(looks)}
    for hold in model.holds.values():
        if hold.scope is None or not hold.is_active or hold.releasing or hold.placed_at is None:
            continue
        for sent in model.records.values():
            # What was sent before may have been due, or erased, when it was placed: what is gone of that, its own tests see.
            if not sent.stored or not hold.is_on(sent) or sent.first_sent_at < hold.placed_at:
                continue
            if sent.record_id not in present:
                yield f"7: {uuid_text(sent.record_id)} is gone while hold {hold.hold_id} is on it"
            if sent.with_content and sent.record_id not in contents:
                yield f"7: content of {uuid_text(sent.record_id)} is gone while hold {hold.hold_id} is on it"
            opens = (model.lot_of(sent), sent.created_at.date()) in living or sent.record_id in keys
            if sent.record_id in contents and not opens:
                yield f"7: {uuid_text(sent.record_id)} has no key while hold {hold.hold_id} is on it"


def _let_go(looks: Looks) -> Iterator[str]:
    """Whether anything is kept for a hold that is over."""
    standing = {
        hold_id
        for (hold_id,) in looks.rows(
            "retention", "SELECT hold_id FROM holds WHERE state NOT IN ('RELEASED', 'FAILED')"
        )
    }
    for room, table in (
        ("logging", "holds"),
        ("logging", "confidential_rows"),
        ("access_control", "retained_records"),
        ("access_control", "confidential_records"),
    ):
        for (hold_id,) in looks.rows(room, f"SELECT DISTINCT hold_id FROM {table}"):
            if hold_id not in standing:
                yield f"3: {room} keeps records for {hold_id}, which is over"
    orphans = looks.rows(
        "logging",
        "SELECT record_id FROM retained WHERE NOT by_term AND NOT EXISTS (SELECT FROM holds WHERE holds.record_id = retained.record_id)",
    )
    for (record_id,) in orphans:
        yield f"3: {record_id} is kept, and no hold asks for it"


def _decided_by_others(looks: Looks) -> Iterator[str]:
    """Whether two people, or on an appeal a third, found each violation, and nobody handles a case twice."""
    for case_id, state, turn, decided_by, confirmed_by, claimed_by, earlier in looks.rows(
        "safety_review",
        "SELECT case_id, state, round, decided_by, confirmed_by, claimed_by, earlier_reviewers FROM cases",
    ):
        if state == UPHELD and turn != APPEAL and (not confirmed_by or confirmed_by == decided_by):
            yield f"13: {case_id} is upheld, and no second person confirmed it"
        if {decided_by, confirmed_by, claimed_by} & set(earlier):
            yield f"13: somebody handles {case_id} who had a part in it before"


def _dismissed(looks: Looks) -> Iterator[str]:
    """Whether anything of a case without a violation is still held, or opens under a grant for it."""
    dismissed = {
        case_id
        for (case_id,) in looks.rows("safety_review", f"SELECT case_id FROM cases WHERE state = {DISMISSED}")
    }
    for reference, hold_id in looks.rows(
        "retention", "SELECT reference, hold_id FROM holds WHERE state NOT IN ('RELEASED', 'FAILED')"
    ):
        if reference in dismissed:
            yield f"13: {hold_id} keeps what {reference} held, which was dismissed"
    for (case_id,) in looks.rows("access_control", "SELECT case_id FROM cases WHERE state <> 'closed'"):
        if case_id in dismissed:
            yield f"13: grants for {case_id} open records, and it was dismissed"


def _old_keys(scene: Scene) -> Iterator[str]:
    rules = RulesOverTime(scene.world.databases.looks)
    # A day of which nothing was stored is no reason for a run; its key goes with the next one.
    used = {
        (scene.model.lot_of(sent), sent.created_at.date())
        for sent in scene.model.records.values()
        if sent.stored
    }
    for lot, day, _ in _living_epochs(scene.world.databases.looks):
        if (lot, day) in used and rules.is_too_old(lot, day, scene.now):
            yield f"3: the key of {lot} for {day} is older than its rule allows"
    for (root_id,) in scene.world.databases.looks.rows(
        "access_control", "SELECT root_id FROM custody_roots WHERE retired_at IS NOT NULL"
    ):
        if root_id in scene.world.roots():
            yield f"10: {root_id}, which opens what older backups hold, is still in the key store"


def _living_epochs(looks: Looks) -> list[tuple[str, date, str]]:
    """Lot, day and id of each."""
    return [
        (lot_of(organization_id, application), day, epoch_key_id)
        for organization_id, application, day, epoch_key_id in looks.rows(
            "access_control",
            "SELECT organization_id, application, day, epoch_key_id FROM epoch_keys WHERE wrapped IS NOT NULL",
        )
    ]


def _certified(scene: Scene, rows: list[_Row]) -> Iterator[str]:
    """Whether anything is there that a certificate says is not."""
    looks, model, roots = scene.world.databases.looks, scene.model, scene.world.roots()
    for number, body, started_at in looks.rows(
        "retention",
        "SELECT certificates.number, body, runs.started_at FROM certificates LEFT JOIN runs ON run_id = act_id AND state = 'DONE' "
        f"WHERE certificates.number > {model.last_certificate} AND envelope IS NOT NULL ORDER BY 1",
    ):
        model.last_certificate = number
        model.certified |= {found.decode() for found in _EPOCH_ID.findall(bytes(body))}
        for cited in json.loads(bytes(body))["destructions"]:
            if not cited["destroyed_at"] or cited["root_key_id"] in roots:
                yield f"10: a certificate cites {cited['destruction_id']}, which is not done"
        if started_at is not None:
            _note_certified(scene, started_at)
    for organization_id, record, _ in rows:
        through = model.certified_through.get(model.lots[record.bytes], date.min)
        if created_at(record.bytes).date() <= through:
            yield f"3: {record} of {organization_id} is there, and a run certified that all through {through} is gone"
    for lot, day, epoch_key_id in _living_epochs(looks):
        if epoch_key_id in model.certified:
            yield f"10: a certificate says that {epoch_key_id} of {lot} for {day} is destroyed"
    for (root_id,) in looks.rows(
        "access_control", "SELECT root_id FROM custody_roots WHERE destroyed_at IS NOT NULL"
    ):
        if root_id in roots:
            yield f"10: {root_id} was said to be destroyed and is in the key store"


def _note_certified(scene: Scene, started_at: datetime) -> None:
    """A run that certified left nothing of anybody that was due when it began."""
    rules = RulesOverTime(scene.world.databases.looks)
    instant = started_at - CLOCK_TOLERANCE
    known = scene.model.certified_through
    for lot in (*scene.model.organizations, *rules.applications):
        through = rules.in_force(lot, instant).rule.newest_due_day(instant)
        known[lot] = max(known.get(lot, date.min), through)


def _erased(model: Model, looks: Looks, rows: list[_Row], kept: list[_Row]) -> Iterator[str]:
    gone = {one.organization_id for one in model.organizations.values() if one.erased}
    held = {record.bytes for _, record, _ in kept}
    for organization_id, record, _ in rows:
        if organization_id in gone and record.bytes not in held:
            yield f"10: {record} of the erased {organization_id} is there, and no hold asks for it"
    for room, table, condition in (
        ("logging", "data_keys", "TRUE"),
        ("access_control", "epoch_keys", "wrapped IS NOT NULL"),
        ("settings", "members", "TRUE"),
    ):
        for (organization_id,) in looks.rows(room, f"SELECT organization_id FROM {table} WHERE {condition}"):
            if organization_id in gone:
                yield f"10: the erased {organization_id} is in {room}'s {table}"


def _subjects_erased(model: Model, looks: Looks, rows: list[_Row], kept: list[_Row]) -> Iterator[str]:
    """Whether anything of an erased end user is there that no hold keeps, or would open although it is gone."""
    done = [subject for subject in model.subjects if subject.done]
    if not done:
        return
    held = {record.bytes for _, record, _ in kept}
    present = {record.bytes for _, record, _ in rows} | held
    withheld = {
        bytes(found) for (found,) in looks.rows("access_control", "SELECT record_id FROM withheld_records")
    }
    living = {(lot, day) for lot, day, _ in _living_epochs(looks)}
    # What a hold had kept is withheld a moment after it has ended. Settings passes a request on by its own id.
    complete = {
        request_id
        for (request_id,) in looks.rows(
            "retention", "SELECT request_id FROM subject_erasures WHERE is_complete"
        )
    }
    for sent in model.records.values():
        erasures = [subject for subject in done if subject.covers(sent)]
        if erasures and sent.record_id in present - held:
            yield f"10: {uuid_text(sent.record_id)} is there, its end user was erased, and no hold asks for it"
        is_gone = sent.stored and sent.record_id not in present
        opens = (model.lot_of(sent), sent.created_at.date()) in living and sent.record_id not in withheld
        if is_gone and opens and any(one.subject_request_id in complete for one in erasures):
            yield f"10: {uuid_text(sent.record_id)} is erased with its end user, and access control would open a copy of it"


def _contents_erased(looks: Looks, rows: list[_Row], kept: list[_Row]) -> Iterator[str]:
    """Whether anything that was logged before zero data retention is readable, and a certificate says that it is not."""
    certified = looks.rows(
        "retention",
        "SELECT organization_id, before FROM content_erasures WHERE state IN ('DONE', 'CERTIFYING_REST')",
    )
    if not certified:
        return
    before: dict[str, datetime] = {}
    for organization_id, instant in certified:
        before[organization_id] = max(instant, before.get(organization_id, instant))
    held = {record for (record,) in looks.rows("logging", "SELECT DISTINCT record_id FROM holds")}
    for organization_id, record, has_content in [*rows, *(one for one in kept if one[1] not in held)]:
        if has_content and organization_id in before and created_at(record.bytes) < before[organization_id]:
            yield f"10: content of {organization_id} in {record} is there, and a certificate says that it is erased"
    for lot, day, epoch_key_id in _living_epochs(looks):
        organization_id, _ = parts_of(lot)
        # A day that began before that instant has content from before it.
        if (
            organization_id in before
            and datetime(day.year, day.month, day.day, tzinfo=UTC) < before[organization_id]
        ):
            yield f"10: {epoch_key_id} of {organization_id} for {day} opens what is certified to be erased"


def _contents_on_their_way(scene: Scene) -> Iterator[str]:
    """Whether an erasure of what was logged before zero data retention was ordered a day ago and is not done."""
    looks = scene.world.databases.looks
    begun = dict(looks.rows("retention", "SELECT request_id, state FROM content_erasures"))
    for request_id, effective_at in looks.rows(
        "settings",
        "SELECT request_id, effective_at FROM zero_data_retention_requests WHERE state = 2 AND erase_logged_before",
    ):
        # An instant by a clock that is wrong may be long to come.
        if effective_at < scene.now - timedelta(days=1) and begun.get(request_id) not in (
            "DONE",
            "CERTIFYING_REST",
        ):
            yield f"10: what {request_id} wanted erased is not"


def _counted(model: Model, looks: Looks) -> Iterator[str]:
    """Whether usage says what was stored, of every organization that is here, and nothing of those that are gone."""
    gone = {one.organization_id for one in model.organizations.values() if one.erased}
    stored = dict(
        looks.rows(
            "logging",
            "SELECT organization_id, sum(records) FROM (SELECT organization_id, records FROM stored_counts "
            "UNION ALL SELECT organization_id, records FROM dropped_counts) AS all_counts GROUP BY 1",
        )
    )
    # What is not folded yet counts too.
    billed = dict(
        looks.rows(
            "logging",
            "SELECT organization_id, sum(calls) FROM (SELECT organization_id, calls FROM billing_usage "
            "UNION ALL SELECT organization_id, figures[1] FROM usage_arrivals) AS all_counts GROUP BY 1",
        )
    )
    for organization_id in billed.keys() & gone:
        yield f"12: the erased {organization_id} is in logging's usage"
    # What went with an end user stays billed, and names nobody.
    erased = {subject.organization_id for subject in model.subjects}
    for organization_id in stored.keys() | billed.keys():
        calls, records = billed.get(organization_id, 0), stored.get(organization_id, 0)
        if calls < records or (calls > records and organization_id not in erased):
            yield f"8: {calls} calls of {organization_id} are billed, and {records} records were stored"


def _unfolded(scene: Scene) -> Iterator[str]:
    """Whether anything that was used still waits to be counted."""
    for (organization_id,) in scene.world.databases.looks.rows(
        "logging", "SELECT DISTINCT organization_id FROM usage_arrivals"
    ):
        yield f"8: what {organization_id} used is stored, and is not counted"


def _old_pseudonyms(scene: Scene) -> Iterator[str]:
    """Whether a key of pseudonyms outlives the day that it is for, and the day in which late records come."""
    for (day,) in scene.world.databases.looks.rows("logging", "SELECT day FROM analytics_keys"):
        if day < (scene.now - timedelta(days=1, minutes=1)).date():
            yield f"12: there is a key that leads from the pseudonyms of {day} to organizations"
