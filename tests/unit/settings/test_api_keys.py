"""API keys: registered by fingerprint, resolved for gateways, and whose data fall under which terms."""

import hashlib
from datetime import UTC, timedelta
from threading import Thread

import pytest
from sqlalchemy import Connection

from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import interactions_pb2
from kept.settings.v1 import api_keys_pb2 as contract
from kept.settings.v1 import gateways_pb2, lifecycle_pb2, members_pb2, organizations_pb2
from services.settings.organizations import api_keys
from services.settings.store import organizations
from tests.unit.settings.world import ERASURE, World, refused

PRODUCTION = interactions_pb2.API_KEY_KIND_PRODUCTION
TRIAL = interactions_pb2.API_KEY_KIND_TRIAL
ENTERPRISE, GENERAL = contract.TERMS_KIND_ENTERPRISE, contract.TERMS_KIND_GENERAL


def fingerprint(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def wanted(
    admin: members_pb2.Member,
    key: str = "key",
    kind: interactions_pb2.ApiKeyKind.ValueType = PRODUCTION,
    request_id: str = "",
) -> contract.RegisterApiKeyRequest:
    return contract.RegisterApiKeyRequest(
        request_id=request_id or f"request-{key}",
        organization_id=admin.organization_id,
        name=f"our {key}",
        kind=kind,
        fingerprint=fingerprint(key),
    )


def register(
    world: World,
    admin: members_pb2.Member,
    key: str = "key",
    kind: interactions_pb2.ApiKeyKind.ValueType = PRODUCTION,
) -> contract.ApiKey:
    return world.customer(admin).keys.RegisterApiKey(wanted(admin, key, kind)).api_key


def gateway(world: World, *organization_ids: str, name: str = "main") -> None:
    world.staff().gateways.RegisterGateway(
        gateways_pb2.RegisterGatewayRequest(
            name=name, organization_ids=organization_ids, all_organizations=not organization_ids
        )
    )


def resolve(world: World, key: str = "key", name: str = "main") -> contract.ResolveApiKeyResponse:
    return world.gateway(name).keys.ResolveApiKey(contract.ResolveApiKeyRequest(fingerprint=fingerprint(key)))


def test_a_gateway_is_told_whose_key_it_is_and_how_long_that_counts(world: World) -> None:
    admin = world.admin()
    key = register(world, admin)
    gateway(world)
    answer = resolve(world)
    assert (answer.api_key_id, answer.organization_id) == (key.api_key_id, admin.organization_id)
    assert (answer.kind, answer.terms, answer.revoked) == (PRODUCTION, ENTERPRISE, False)
    assert answer.keep_for.ToTimedelta() == timedelta(seconds=60)
    assert world.kinds(admin.organization_id)[-1] == "api_key.registered"


@pytest.mark.parametrize(
    ("kind", "tier", "terms"),
    [
        (PRODUCTION, organizations_pb2.TIER_PAYING, ENTERPRISE),
        (TRIAL, organizations_pb2.TIER_PAYING, GENERAL),
        (PRODUCTION, organizations_pb2.TIER_TRIAL, GENERAL),
        (TRIAL, organizations_pb2.TIER_TRIAL, GENERAL),
    ],
)
def test_every_answer_says_under_which_terms_the_keys_data_fall(
    world: World,
    kind: interactions_pb2.ApiKeyKind.ValueType,
    tier: organizations_pb2.Tier.ValueType,
    terms: contract.TermsKind.ValueType,
) -> None:
    admin = world.admin(tier=tier)
    gateway(world)
    registered = register(world, admin, kind=kind)
    [listed] = (
        world.customer(admin)
        .keys.ListApiKeys(contract.ListApiKeysRequest(organization_id=admin.organization_id))
        .api_keys
    )
    assert listed == registered
    assert (registered.kind, registered.terms) == (kind, terms)
    assert (resolve(world).kind, resolve(world).terms) == (kind, terms)


def test_an_unknown_key_and_another_organizations_get_the_same_answer(world: World) -> None:
    own, other = world.admin("own"), world.admin("other")
    register(world, own, "own")
    register(world, other, "other")
    gateway(world, own.organization_id)
    assert resolve(world, "own").organization_id == own.organization_id
    said = []
    for key in ("other", "nobody's"):
        with refused(reasons_pb2.REASON_NOT_FOUND) as caught:
            resolve(world, key)
        said.append((caught[0].text, caught[0].metadata))
    assert said[0] == said[1]


def test_only_registered_gateways_resolve(world: World) -> None:
    register(world, world.admin())
    with refused(reasons_pb2.REASON_GATEWAY_NOT_REGISTERED):
        resolve(world)
    gateway(world)
    resolve(world)
    world.staff().gateways.RevokeGateway(gateways_pb2.RevokeGatewayRequest(name="main"))
    with refused(reasons_pb2.REASON_GATEWAY_NOT_REGISTERED):
        resolve(world)
    for caller in (world.peer("logging"), world.staff()):
        with refused(reasons_pb2.REASON_CALLER_NOT_ALLOWED):
            caller.keys.ResolveApiKey(contract.ResolveApiKeyRequest(fingerprint=fingerprint("key")))


def test_a_repeated_registration_gives_the_same_key_and_a_taken_fingerprint_none(world: World) -> None:
    own, other = world.admin("own"), world.admin("other")
    first = register(world, own)
    world.clock.advance(timedelta(hours=1))
    assert register(world, own) == first
    with refused(reasons_pb2.REASON_REQUEST_ID_REUSED):
        register(world, own, kind=TRIAL)
    said = []
    for admin in (own, other):
        with refused(reasons_pb2.REASON_ALREADY_EXISTS) as caught:
            world.customer(admin).keys.RegisterApiKey(wanted(admin, request_id="request-2"))
        said.append((caught[0].text, caught[0].metadata))
    assert said[0] == said[1]
    assert world.kinds(own.organization_id).count("api_key.registered") == 1


def test_a_revoked_key_stays_listed_says_from_when_it_is_refused_and_never_comes_back(world: World) -> None:
    admin = world.admin()
    key = register(world, admin)
    gateway(world)
    world.clock.advance(timedelta(days=3))
    revoke = contract.RevokeApiKeyRequest(api_key_id=key.api_key_id)
    revoked = world.customer(admin).keys.RevokeApiKey(revoke)
    assert revoked.api_key.revoked_at.ToDatetime() == world.clock.now().replace(tzinfo=None)
    assert revoked.api_key.revoked_by == admin.member_id
    assert revoked.ends_at.ToDatetime() == (world.clock.now() + timedelta(seconds=60)).replace(tzinfo=None)
    assert resolve(world).revoked
    world.clock.advance(timedelta(days=1))
    assert world.customer(admin).keys.RevokeApiKey(revoke) == revoked
    listed = world.customer(admin).keys.ListApiKeys(
        contract.ListApiKeysRequest(organization_id=admin.organization_id)
    )
    assert list(listed.api_keys) == [revoked.api_key]
    with refused(reasons_pb2.REASON_ALREADY_EXISTS):
        world.customer(admin).keys.RegisterApiKey(wanted(admin, request_id="once-more"))
    assert world.kinds(admin.organization_id)[-2:] == ["api_key.registered", "api_key.revoked"]


def test_nobody_else_sees_or_ends_a_key(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    key = register(world, admin)
    with refused(reasons_pb2.REASON_NOT_FOUND):
        world.customer(other).keys.RevokeApiKey(contract.RevokeApiKeyRequest(api_key_id=key.api_key_id))
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(other).keys.ListApiKeys(
            contract.ListApiKeysRequest(organization_id=admin.organization_id)
        )
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(other).keys.RegisterApiKey(wanted(admin, "another"))
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED):
        world.customer(world.colleague(admin)).keys.RegisterApiKey(wanted(admin, "another"))
    gateway(world)
    assert not resolve(world).revoked


def test_keys_are_bounded_and_paged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MOST_IN_USE", 3)
    monkeypatch.setattr(api_keys, "MOST_ALTOGETHER", 4)
    admin = world.admin()
    keys = [register(world, admin, f"key{number}") for number in range(3)]
    with refused(reasons_pb2.REASON_LIMIT_REACHED) as caught:
        register(world, admin, "more")
    assert caught[0].metadata == {"kind": "api_key", "limit": "3"}
    assert register(world, admin, "key0") == keys[0], "a repetition adds nothing"
    revoke = world.customer(admin).keys.RevokeApiKey
    revoke(contract.RevokeApiKeyRequest(api_key_id=keys[0].api_key_id))
    keys.append(register(world, admin, "more"))
    revoke(contract.RevokeApiKeyRequest(api_key_id=keys[1].api_key_id))
    with refused(reasons_pb2.REASON_LIMIT_REACHED) as caught:
        register(world, admin, "another")
    assert caught[0].metadata["limit"] == "4"
    seen: list[str] = []
    token = ""
    while True:
        page = world.customer(admin).keys.ListApiKeys(
            contract.ListApiKeysRequest(organization_id=admin.organization_id, page_size=3, page_token=token)
        )
        seen += [key.api_key_id for key in page.api_keys]
        token = page.next_page_token
        if not token:
            break
    assert seen == [key.api_key_id for key in keys]


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": b"x" * 31},
        {"fingerprint": b"x" * 33},
        {"name": ""},
        {"name": "x" * 101},
        {"name": "two\nlines"},
        {"kind": 0},
        {"kind": 9},
        {"request_id": "short"},
    ],
)
def test_what_is_no_registration_is_refused(world: World, change: dict[str, object]) -> None:
    admin = world.admin()
    request = wanted(admin)
    for name, value in change.items():
        setattr(request, name, value)
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT) as caught:
        world.customer(admin).keys.RegisterApiKey(request)
    assert {field for field, _ in caught[0].fields} == set(change)


def test_the_keys_of_a_closed_organization_are_of_no_use_and_go_with_it(world: World) -> None:
    admin = world.admin()
    key = register(world, admin)
    gateway(world)
    retention = world.peer("retention").lifecycle
    retention.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=admin.organization_id, erasure_id=ERASURE)
    )
    assert resolve(world).revoked
    with refused(reasons_pb2.REASON_CLOSED):
        register(world, admin, "another")
    with refused(reasons_pb2.REASON_CLOSED):
        world.customer(admin).keys.RevokeApiKey(contract.RevokeApiKeyRequest(api_key_id=key.api_key_id))
    receipt = retention.EraseOrganization(
        lifecycle_pb2.EraseOrganizationRequest(organization_id=admin.organization_id, erasure_id=ERASURE)
    )
    assert receipt.removed["api_keys"] == 1
    with refused(reasons_pb2.REASON_NOT_FOUND):
        resolve(world)


def test_of_two_who_register_one_fingerprint_at_once_one_gets_it(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    taken = world.during(
        "INSERT INTO api_keys (api_key_id, organization_id, request_id, name, kind, fingerprint, registered_by, registered_at) "
        f"VALUES ('apikey_{'0' * 26}', '{other.organization_id}', 'request-1', 'theirs', 1, "
        f"'\\x{fingerprint('key').hex()}', 'member', now())",
        lambda: register(world, admin),
    )
    assert getattr(taken, "reason", None) == reasons_pb2.REASON_ALREADY_EXISTS


def test_a_key_in_the_place_of_its_name_is_not_stored(world: World) -> None:
    admin = world.admin()
    request = wanted(admin, "sk-secret")
    request.name = "sk-secret"
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT) as caught:
        world.customer(admin).keys.RegisterApiKey(request)
    assert "sk-secret" not in str(caught[0]) + str(caught[0].fields)
    with world.database.transaction() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM api_keys").scalar_one() == 0


def test_no_answer_outlives_the_end_of_a_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway is being told that a key counts while it is revoked: its answer counts from when it asked, so the key ends after that."""
    admin = world.admin()
    key = register(world, admin)
    gateway(world)
    ended: list[contract.RevokeApiKeyResponse] = []

    def revoke() -> None:
        request = contract.RevokeApiKeyRequest(api_key_id=key.api_key_id)
        ended.append(world.customer(admin).keys.RevokeApiKey(request))

    thread = Thread(target=revoke)
    find = organizations.find

    def late(tx: Connection, organization_id: str) -> organizations.Organization | None:
        """The key is read; before the answer, time goes by, and an admin revokes it."""
        monkeypatch.undo()
        thread.start()
        waits = False
        while thread.is_alive() and not waits:
            waits = bool(
                tx.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar_one(),
            )
        world.clock.advance(timedelta(seconds=1))
        return find(tx, organization_id)

    monkeypatch.setattr(organizations, "find", late)
    answer = resolve(world)
    asked_by = world.clock.now()
    thread.join()
    assert not answer.revoked
    assert ended[0].ends_at.ToDatetime(UTC) >= asked_by + answer.keep_for.ToTimedelta()


def test_who_asks_while_a_key_is_revoked_is_told(world: World) -> None:
    admin = world.admin()
    key = register(world, admin)
    gateway(world)
    lock = f"SELECT pg_advisory_xact_lock(hashtextextended('api_key:{fingerprint('key').hex()}', 0)); "
    answer = world.during(
        lock
        + f"UPDATE api_keys SET revoked_at = now(), revoked_by = 'member' WHERE api_key_id = '{key.api_key_id}'",
        lambda: resolve(world),
    )
    assert isinstance(answer, contract.ResolveApiKeyResponse)
    assert answer.revoked
