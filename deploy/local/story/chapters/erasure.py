"""Chapter 9: an organization leaves, and nothing of it stays but what a hold keeps."""

from deploy.local.story.plot import Plot
from kept.client.errors import KeptError
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2, interactions_pb2
from kept.retention.v1 import erasures_pb2, erasures_pb2_grpc
from kept.settings.v1 import account_pb2, account_pb2_grpc

_SERVICES = {"settings", "logging", "access_control", "safety_review"}


def play(plot: Plot) -> None:
    """See the module."""
    tell, customer = plot.tell, plot.customers["saas"]
    leaving = plot.admin("saas").stub(account_pb2_grpc.AccountServiceStub)
    asked = leaving.RequestAccountDeletion(
        account_pb2.RequestAccountDeletionRequest(organization_id=customer.organization_id)
    ).deletion
    wrong = account_pb2.ConfirmAccountDeletionRequest(
        account_deletion_id=asked.account_deletion_id, confirmation_sentence="yes"
    )
    tell.refused(
        "a confirmation in other words",
        lambda: leaving.ConfirmAccountDeletion(wrong),
        "CONFIRMATION_MISMATCH",
    )
    confirmed = leaving.ConfirmAccountDeletion(
        account_pb2.ConfirmAccountDeletionRequest(
            account_deletion_id=asked.account_deletion_id, confirmation_sentence=asked.confirmation_sentence
        )
    )
    tell.say(
        f"The admin types: {asked.confirmation_sentence}. She keeps a claim, for there will be no account to sign in to."
    )
    erasing = plot.stage.public.stub(erasures_pb2_grpc.ErasureServiceStub)

    def done() -> erasures_pb2.GetErasureByClaimResponse | None:
        try:
            answer = erasing.GetErasureByClaim(erasures_pb2.GetErasureByClaimRequest(claim=confirmed.claim))
        except KeptError as error:
            if error.reason == "NOT_FOUND" or error.unreachable:
                return None
            raise
        return (
            answer if answer.erasure.state == erasures_pb2.ERASURE_STATE_DONE and answer.certificate else None
        )

    answer = plot.poll("the erasure", done, patience=60)
    receipts = {receipt.service: receipt for receipt in answer.erasure.receipts}
    tell.expect(
        "one certificate, with a receipt of each service: "
        + "; ".join(
            f"{name} {sum(receipt.removed.values())} rows" for name, receipt in sorted(receipts.items())
        ),
        set(receipts) == _SERVICES,
        ", ".join(sorted(receipts)),
    )
    for sentence in answer.erasure.kept:
        tell.say(f"What stays, and why: {sentence}")
    tell.expect("it says what holds keep", bool(answer.erasure.kept))
    file = plot.stage.stack.layout.directory / "certificate-of-erasure.json"
    file.write_bytes(answer.certificate)
    tell.expect(
        "the certificate verifies offline",
        plot.stage.kept("certificates", "verify", str(file)).returncode == 0,
    )
    tell.refused("her account is gone", lambda: plot.admin("saas"), "SIGN_IN_REFUSED")
    late = interactions_pb2.Interaction(
        record_id=plot.ids.mint(), organization_id=customer.organization_id, content=plot.samples[0].content()
    )
    (receipt,) = plot.record([late])
    tell.expect(
        "and nothing more is taken for it",
        receipt.outcome == ingest_pb2.OUTCOME_REFUSED and receipt.reason == reasons_pb2.REASON_CLOSED,
        reasons_pb2.Reason.Name(receipt.reason),
    )
