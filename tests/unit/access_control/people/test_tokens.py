"""Bad tokens, shown to access control itself as logging passes them on: real keys, the real verifier, the real servicers. Each is refused
by name, written down, and changes nothing. And grants that are not there for who asks: nobody learns which there are."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from unittest.mock import Mock

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc, grants_pb2
from services.access_control.audit.decision_log import DecisionLog
from services.access_control.wiring import wire
from shared.errors import KeptError
from shared.identity import Caller, CallerKind, RefusedToken, TokenVerifier
from shared.ids import new_id, new_record_id
from shared.inprocess import InProcess
from shared.redaction import Secret
from tests.unit.access_control.world import (
    CUSTOMERS,
    ENGINEER,
    MINUTE,
    OPERATOR,
    ORG,
    OTHER,
    WORKFORCE,
    World,
    migrated_vault,
    world,
)

__all__ = ["migrated_vault", "world"]

KEY = ECKey.generate_key("P-256", parameters={"kid": "k1"})
STOLEN = ECKey.generate_key("P-256", parameters={"kid": "k1"})
OLD = ECKey.generate_key("P-256", parameters={"kid": "k0"})
METHOD = "/kept.logging.v1.ReadService/ListInteractions"
OWN_METHOD = "/kept.access_control.v1.GrantService/ListGrants"


class Issuers:
    """Where both issuers list their keys. keys: None while they are down."""

    def __init__(self) -> None:
        self.keys: list[ECKey] | None = [KEY]
        issuers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(500 if issuers.keys is None else 200)
                self.end_headers()
                listed = [key.as_dict(private=False) for key in issuers.keys or ()]
                self.wfile.write(json.dumps({"keys": listed}).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/jwks.json"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Shown:
    """Access control with the real verifier, beside the world that has the people and the grants."""

    def __init__(self, world: World, issuers: Issuers) -> None:
        self.world, self.issuers = world, issuers
        listed = [issuer.model_copy(update={"jwks_url": issuers.url}) for issuer in world.config.issuers]
        config = world.config.model_copy(update={"issuers": tuple(listed)})
        service = wire(config, world.clock, world.database, world._connect)
        for job in service.jobs[:2]:
            job.step()
        self._jobs = service.jobs[:2]
        self._service = service
        self._verifier = TokenVerifier(listed, world.clock)
        channel = InProcess(service).channel(Caller(CallerKind.SERVICE, "logging"))
        self.authz = authz_pb2_grpc.AuthzServiceStub(channel)

    def advance(self, by: timedelta) -> None:
        self.world.advance(by)
        for job in self._jobs:
            job.step()

    def token(self, key: ECKey = KEY, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Eve's token for logging, or a changed one; times in seconds from now."""
        now = int(self.world.clock.now().timestamp())
        times = {name: now + changes.pop(name, offset) for name, offset in (("iat", 0), ("exp", 900))}
        if "nbf" in changes:
            times["nbf"] = now + changes.pop("nbf")
        claims = {"iss": WORKFORCE, "sub": "eve", "aud": "kept:logging", **times, **changes}
        return jwt.encode({"alg": "ES256", "kid": "k1", **(header or {})}, claims, key)

    def unsigned(self) -> str:
        parts = self.token().split(".")
        header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"k1"}').decode().rstrip("=")
        return f"{header}.{parts[1]}."

    def calls(self, token: str, grant_id: str) -> dict[str, Callable[[], object]]:
        """The three questions that carry a token."""
        record = authz_pb2.RecordReference(record_id=new_record_id(self.world.clock.now()))
        scope: dict[str, Any] = {
            "token": token,
            "grant_id": grant_id,
            "organization_id": ORG,
            "detail": grants_pb2.DETAIL_METADATA,
        }
        return {
            "Check": lambda: self.authz.Check(authz_pb2.CheckRequest(token=token, method=METHOD)),
            "Authorize": lambda: self.authz.Authorize(authz_pb2.AuthorizeRequest(**scope)),
            "OpenRecords": lambda: self.authz.OpenRecords(
                authz_pb2.OpenRecordsRequest(**scope, records=[record])
            ),
        }

    def show_here(self, token: str, method: str = OWN_METHOD) -> None:
        """Shows a token of no use to access control itself, as its server does."""
        with pytest.raises(RefusedToken) as caught:
            self._verifier.verify(Secret(token), "kept:access_control")
        assert self._service.refused is not None
        self._service.refused(caught.value.caller, method, caught.value)

    def opened(self) -> int:
        """Records counted, which is all that these questions change."""
        from sqlalchemy import func, select

        from services.access_control.store import grants

        with self.world.database.transaction() as tx:
            return int(tx.scalar(select(func.sum(grants.grants.c.used))) or 0)

    def refusals(self) -> list[dict[str, Any]]:
        return [*self.world.entries("method.denied"), *self.world.entries("access.denied")]


def outcome(call: Callable[[], object]) -> str:
    """What is wrong with the token, or the reason; empty where nothing is."""
    try:
        call()
    except KeptError as error:
        return error.metadata.get("problem") or error.name
    return ""


@pytest.fixture
def issuers() -> Iterator[Issuers]:
    made = Issuers()
    yield made
    made.close()


@pytest.fixture
def shown(world: World, issuers: Issuers) -> Shown:
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER)
    world.person("gone", ENGINEER, days=0)
    return Shown(world, issuers)


@pytest.fixture
def grant_id(shown: Shown) -> str:
    grant = shown.world.request("eve")
    shown.world.approve("colin", grant)
    return grant.grant_id


TOKENS: dict[str, tuple[str, Callable[[Shown], str]]] = {
    "of another issuer": ("UNKNOWN_ISSUER", lambda s: s.token(iss="https://elsewhere.test")),
    "for another service": ("AUDIENCE", lambda s: s.token(aud="kept:settings")),
    "for access control itself": ("AUDIENCE", lambda s: s.token(aud="kept:access_control")),
    "for two services": ("AUDIENCE", lambda s: s.token(aud=["kept:logging", "kept:settings"])),
    "with algorithm none": ("ALGORITHM", lambda s: s.unsigned()),
    "of a key that is listed no more": ("UNKNOWN_KEY", lambda s: s.token(key=OLD, header={"kid": "k0"})),
    "of another key by a listed id": ("SIGNATURE", lambda s: s.token(key=STOLEN)),
    "expired by a second": ("EXPIRED", lambda s: s.token(exp=-1)),
    "expired this second": ("EXPIRED", lambda s: s.token(exp=0)),
    "not valid yet": ("NOT_YET_VALID", lambda s: s.token(nbf=6)),
    "of nobody": ("NOBODY", lambda s: s.token(sub="")),
    "of somebody unknown": ("NOT_AUTHORIZED", lambda s: s.token(sub="mallory")),
    "of a name that looks like hers": ("NOT_AUTHORIZED", lambda s: s.token(sub="еve")),  # a Cyrillic е
    "of a name with a control character": ("NOT_AUTHORIZED", lambda s: s.token(sub="eve\x00")),
    "of her name at the customers' issuer": ("NOT_AUTHORIZED", lambda s: s.token(iss=CUSTOMERS, org=ORG)),
    "of somebody without an agreement": ("NOT_AUTHORIZED", lambda s: s.token(sub="gone")),
}


@pytest.mark.parametrize("kind", list(TOKENS))
def test_a_bad_token_is_refused_by_name_written_down_and_changes_nothing(
    shown: Shown, grant_id: str, kind: str
) -> None:
    expected, made = TOKENS[kind]
    token = made(shown)
    for name, call in shown.calls(token, grant_id).items():
        # Authorize and OpenRecords take whose it is from the directory, and a grant that is not theirs for none.
        allowed = {expected} if name == "Check" else {expected, "NOT_AUTHORIZED", "GRANT_REQUIRED"}
        assert outcome(call) in (
            allowed if expected in ("CALLER_NOT_ALLOWED", "NOT_AUTHORIZED") else {expected}
        )
    assert shown.opened() == 0
    refused = shown.refusals()
    assert len(refused) == 3
    assert token not in json.dumps(refused)
    if expected not in ("CALLER_NOT_ALLOWED", "NOT_AUTHORIZED"):
        assert {entry["facts"]["problem"] for entry in refused} == {expected}
        # Whose token it was is written down where its signature is good.
        is_hers = expected in ("AUDIENCE", "EXPIRED", "NOT_YET_VALID")
        eve = shown.world.authorize("eve", grant_id).person_id
        assert {entry["actor"] for entry in refused} == {eve if is_hers else "service:logging"}


@pytest.mark.parametrize("where", ["another service", "here"])
def test_a_token_of_no_use_is_written_down_once_in_a_while_however_often_it_is_shown(
    shown: Shown, where: str
) -> None:
    def show(token: str) -> int:
        """Three times; how many entries that makes."""
        before = len(shown.refusals())
        for _ in range(3):
            if where == "here":
                shown.show_here(token)
            else:
                assert outcome(shown.calls(token, "")["Check"]) in ("EXPIRED", "AUDIENCE")
        return len(shown.refusals()) - before

    wanted = "kept:access_control" if where == "here" else "kept:logging"
    token, another = shown.token(aud=wanted, exp=-1), shown.token(aud=wanted, exp=-2)
    assert [show(token), show(token), show(another), show(token)] == [1, 0, 1, 0]
    shown.advance(timedelta(minutes=10) - timedelta(seconds=1))
    assert show(token) == 0
    shown.advance(timedelta(seconds=1))
    assert show(token) == 1
    elsewhere = shown.token(aud="kept:settings")
    assert show(elsewhere) == 1
    shown.advance(timedelta(minutes=15))
    assert show(elsewhere) == 1, "what is wrong with it is another thing by now"


def test_a_token_of_no_use_is_written_down_for_each_method_that_it_is_tried_at(shown: Shown) -> None:
    token, service = shown.token(exp=-1), "/kept.logging.v1."
    tried = [
        METHOD,
        service + "ReadService/ReadInteractions",
        service + "Nobody/Knows",
        service + "Nobody/Asks",
    ]
    for method in (*tried, *tried):
        assert (
            outcome(partial(shown.authz.Check, authz_pb2.CheckRequest(token=token, method=method)))
            == "EXPIRED"
        )
    assert [entry["facts"]["method"] for entry in shown.refusals()] == tried[:3], "what is no method is one"
    own = shown.token(aud="kept:access_control", exp=-1)
    for method in (OWN_METHOD, OWN_METHOD.replace("ListGrants", "GetGrant")):
        shown.show_here(own, method)
        shown.show_here(own, method)
    assert len(shown.refusals()) == 5


def test_one_that_could_not_be_written_down_is_the_next_time(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = shown.calls(shown.token(exp=-1), "")["Check"]
    with monkeypatch.context() as broken, pytest.raises(KeptError, match="on our side"):
        broken.setattr(DecisionLog, "write", Mock(side_effect=OSError("no disk")))
        check()
    assert outcome(check) == "EXPIRED"
    assert len(shown.refusals()) == 1


def test_a_customers_token_of_no_use_here_is_its_own_organizations_matter(shown: Shown) -> None:
    globex = shown.world.member(org=OTHER)
    shown.show_here(shown.token(iss=CUSTOMERS, org=OTHER, sub=globex, aud="kept:access_control", exp=-1))
    [entry] = shown.refusals()
    assert (entry["actor"], entry["organization_id"]) == (globex, OTHER)
    assert (entry["facts"]["method"], entry["facts"]["problem"]) == (OWN_METHOD, "EXPIRED")


def test_a_good_token_is_taken(shown: Shown, grant_id: str) -> None:
    assert [outcome(call) for call in shown.calls(shown.token(), grant_id).values()] == ["", "", ""]
    assert shown.opened() == 1


def test_issuers_that_are_down_are_trusted_for_an_hour_and_then_nothing_is_decided(
    shown: Shown, grant_id: str
) -> None:
    check = shown.calls(shown.token(exp=7200), grant_id)["Check"]
    assert outcome(check) == ""
    shown.issuers.keys = None
    shown.advance(timedelta(hours=1))
    assert outcome(check) == ""
    shown.advance(timedelta(seconds=1))
    calls = shown.calls(shown.token(), grant_id)
    assert [outcome(call) for call in (check, *calls.values())] == ["PEER_UNAVAILABLE"] * 4
    assert (shown.opened(), shown.refusals()) == (0, [])  # nothing was decided
    shown.issuers.keys = [KEY]
    shown.advance(timedelta(seconds=3))
    assert outcome(shown.calls(shown.token(), grant_id)["Check"]) == ""


# --- grants that are not there for who asks ------------------------------------------------------------------------------


def answer(call: Callable[[], object]) -> tuple[str, str, dict[str, str], tuple[Any, ...]]:
    """All that a refusal says."""
    with pytest.raises(KeptError) as caught:
        call()
    error = caught.value
    return error.name, error.text, error.metadata, error.fields


@pytest.fixture
def others(shown: Shown) -> list[str]:
    """Grant ids that Eve may not know: a colleague's, one on another organization, a power; and one that was never made."""
    world = shown.world
    world.person("ada", OPERATOR)
    world.person("bob", OPERATOR)
    from kept.options.v1 import roles_pb2

    of_colleague = world.request("colin")
    of_other = world.request("colin", organization_id=OTHER)
    power = world.request("ada", power=roles_pb2.POWER_OPERATOR)
    world.approve("eve", of_colleague)
    world.approve("bob", power)
    return [of_colleague.grant_id, of_other.grant_id, power.grant_id, new_id("grant")]


@pytest.mark.parametrize("name", ["Authorize", "OpenRecords"])
def test_anothers_grant_and_one_that_never_was_get_the_same_answer(
    shown: Shown, others: list[str], name: str
) -> None:
    answers = [answer(shown.calls(shown.token(), grant_id)[name]) for grant_id in others]
    assert answers == [answers[0]] * len(others)
    assert answers[0][0] == "GRANT_REQUIRED"
    entries = shown.world.entries("access.denied")
    assert [entry["subjects"][0] for entry in entries] == others
    assert {entry["actor"][:7] for entry in entries} == {"person_"}


@pytest.mark.parametrize("act", ["GetGrant", "CancelGrant", "RevokeGrant", "ApproveGrant", "DenyGrant"])
def test_staff_are_not_told_which_grants_exist_that_are_nothing_to_them(
    shown: Shown, others: list[str], act: str
) -> None:
    """Eve, an engineer, about a power and about nothing at all."""
    fields = {"reason": "not needed any more"} if act in ("RevokeGrant", "DenyGrant") else {}
    stub = getattr(shown.world.grants("eve"), act)
    request = getattr(grants_pb2, act + "Request")
    power, nothing = (answer(lambda i=i: stub(request(grant_id=i, **fields))) for i in others[2:])  # type: ignore[misc]
    assert power == nothing
    assert nothing[0] == "NOT_FOUND"


@pytest.mark.parametrize("act", ["GetGrant", "RevokeGrant", "ApproveGrant", "DenyGrant"])
def test_customers_are_not_told_which_grants_exist_on_others(
    shown: Shown, others: list[str], act: str
) -> None:
    """An admin of ORG, about a grant on another organization, a power, and nothing at all."""
    from kept.access_control.v1 import grants_pb2_grpc

    admin = grants_pb2_grpc.GrantServiceStub(shown.world.customer(shown.world.member()))
    fields = {"reason": "not needed any more"} if act in ("RevokeGrant", "DenyGrant") else {}
    stub, request = getattr(admin, act), getattr(grants_pb2, act + "Request")
    answers = [answer(lambda i=i: stub(request(grant_id=i, **fields))) for i in others[1:]]  # type: ignore[misc]
    assert answers == [answers[0]] * 3
    assert answers[0][0] == "NOT_FOUND"


def test_a_grant_that_is_over_says_so_to_its_holder_alone(shown: Shown, grant_id: str) -> None:
    shown.advance(30 * MINUTE)
    mine = shown.calls(shown.token(), grant_id)["Authorize"]
    theirs = shown.calls(shown.token(sub="colin"), grant_id)["Authorize"]
    assert [outcome(mine), outcome(theirs)] == ["GRANT_EXPIRED", "GRANT_REQUIRED"]


def test_what_a_customers_token_is_refused_for_is_in_no_other_organizations_log(shown: Shown) -> None:
    globex = shown.world.member(org=OTHER)
    token = shown.token(iss=CUSTOMERS, org=OTHER, sub=globex, exp=-1)
    calls = shown.calls(token, "")
    for name in ("Authorize", "OpenRecords"):  # they name ORG
        assert outcome(calls[name]) == "EXPIRED"
    refused = shown.world.entries("access.denied")
    assert {(entry["actor"], entry["organization_id"]) for entry in refused} == {(globex, OTHER)}
