"""Sealing what a customer takes along: an entry that names who, when and which manifest, once, for an admin of that organization."""

import json

from kept.access_control.v1 import audit_pb2, audit_pb2_grpc, exports_pb2, exports_pb2_grpc
from kept.options.v1 import roles_pb2
from tests.unit.access_control.world import ENGINEER, ORG, OTHER, World, migrated_vault, refusal, world

__all__ = ["migrated_vault", "world"]

DIGEST = bytes(range(32))


def seal(world: World, member_id: str, org: str = ORG, of: str = ORG, digest: bytes = DIGEST) -> str:
    stub = exports_pb2_grpc.ExportServiceStub(world.customer(member_id, org))
    request = exports_pb2.SealExportRequest(organization_id=of, manifest_sha256=digest)
    return stub.SealExport(request).audit_entry_id


def test_the_entry_names_organization_person_instant_and_manifest_and_has_a_proof(world: World) -> None:
    grace, hedy = world.member(), world.member()
    entry_id = seal(world, grace)
    assert seal(world, grace) == entry_id  # repeated, it is the same
    assert len({entry_id, seal(world, hedy), seal(world, grace, digest=bytes(32))}) == 3
    (job,) = [job for job in world.service.jobs if job.name == "audit-log"]
    job.step()
    log = audit_pb2_grpc.AuditServiceStub(world.customer(grace))
    proven = log.GetInclusionProof(audit_pb2.GetInclusionProofRequest(entry_id=entry_id))
    body = json.loads(proven.entry.body)
    said = {name: body[name] for name in ("kind", "actor", "organization_id", "facts")}
    assert said == {
        "kind": "export.sealed",
        "actor": grace,
        "organization_id": ORG,
        "facts": {"manifest_sha256": DIGEST.hex()},
    }
    assert body["occurred_at"].startswith(world.clock.now().date().isoformat())
    assert len(world.entries("export.sealed")) == 3


def test_who_may_not_seal(world: World) -> None:
    grace, plain = world.member(), world.member(roles_pb2.CUSTOMER_ROLE_MEMBER)
    world.person("eve", ENGINEER)
    assert refusal(lambda: seal(world, plain)) == "ADMIN_REQUIRED"
    assert refusal(lambda: seal(world, grace, of=OTHER)) == "WRONG_ORGANIZATION"
    assert refusal(lambda: seal(world, grace, OTHER, OTHER)) == "NOT_AUTHORIZED"
    assert refusal(lambda: seal(world, grace, digest=b"short")) == "INVALID_ARGUMENT"
    staff = exports_pb2_grpc.ExportServiceStub(world.staff("eve"))
    wanted = exports_pb2.SealExportRequest(organization_id=ORG, manifest_sha256=DIGEST)
    assert refusal(lambda: staff.SealExport(wanted)) == "CALLER_NOT_ALLOWED"
    assert world.entries("export.sealed") == []
