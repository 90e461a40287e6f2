"""`kept people`: who works here, the vendor's own and providers', with roles, agreements and identities; and their reviews."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli import affiliations
from kept.cli.arguments import AgreementKind, Limit, StaffRole, enum_value, sha256, stamp, when
from kept.cli.invocation import Invocation, group, verb
from kept.cli.named_files import read_bytes

if TYPE_CHECKING:
    from kept.access_control.v1 import directory_pb2_grpc

_Person = Annotated[
    str, typer.Argument(metavar="PERSON", help="Person id, person_…, as `kept people list` shows it.")
]
_Assignment = Annotated[
    str,
    typer.Argument(metavar="ASSIGNMENT", help="Role assignment id, role_…, as `kept people list` shows it."),
]
_Identity = Annotated[
    str,
    typer.Argument(
        metavar="IDENTITY", help="Identity id, identity_…, as `kept people identity list` shows it."
    ),
]
_Provider = Annotated[
    str,
    typer.Argument(
        metavar="PROVIDER", help="Provider id, provider_…, as `kept people provider list` shows it."
    ),
]
_Subject = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="Role, agreement or provider: role_…, agreement_…, provider_…, as `review` shows it.",
    ),
]
_Issuer = Annotated[
    str,
    typer.Option(
        "--issuer", metavar="URL", help="`iss` of the tokens; the workforce's first issuer without."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    people = group(app, "people", "Who works here, in which roles. Changes need the power role-assignment.")
    verb(people, "list")(list_)
    verb(people, "review")(review)
    verb(people, "confirm")(keep)
    verb(people, "end")(end_reviewed)
    verb(people, "add")(add)
    role = group(people, "role", "Roles: one proposes, another confirms.")
    verb(role, "assign")(assign)
    verb(role, "confirm")(confirm)
    verb(role, "end")(end)
    identity = group(people, "identity", "Ways to sign in: one proposes a further one, another confirms.")
    verb(identity, "link")(link)
    verb(identity, "confirm")(confirm_identity)
    verb(identity, "end")(end_identity)
    verb(identity, "list")(list_identities)
    provider = group(people, "provider", "Sub-processors whose people work here.")
    verb(provider, "add")(add_provider)
    verb(provider, "confirm")(confirm_provider)
    verb(provider, "end")(end_provider)
    verb(provider, "list")(list_providers)
    verb(people, "agreement")(agreement)
    verb(people, "disable")(disable)
    affiliations.add_to(people)


def _stub(call: Invocation) -> "directory_pb2_grpc.DirectoryServiceStub":
    from kept.access_control.v1 import directory_pb2_grpc

    return directory_pb2_grpc.DirectoryServiceStub(call.channel("access_control"))


def list_(call: Invocation, limit: Limit = 1000) -> None:
    """The people of the workforce and of providers.

    In order of creation, with their agreements and roles; the role_… ids are there. A role that nobody confirmed in time is "lapsed".
    """
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import table
    from kept.client.reading import pages

    response = pages(_stub(call).ListPeople, directory_pb2.ListPeopleRequest(), limit)
    roles = [(person, role) for person in response.people for role in person.roles]
    columns = [
        "person_id",
        ("name", "display_name"),
        "email",
        ("provider", "provider_id"),
        "agreement_until",
        "disabled",
    ]
    role_columns = [
        ("assignment", "role_assignment_id"),
        "role",
        "assigned_by",
        "confirmed_by",
        ("review", "review.state"),
        ("lapses", "review.lapses_at"),
    ]
    call.show(
        response,
        lambda: (
            [
                table(response.people, columns, "There is nobody."),
                *(
                    part
                    for person in response.people
                    if person.roles
                    for part in ("", f"Roles of {person.person_id}", table(person.roles, role_columns, ""))
                ),
            ]
            if roles
            else table(response.people, columns, "There is nobody.")
        ),
    )


def add(
    call: Invocation,
    name: Annotated[str, typer.Option("--name", help="Full name.")],
    email: Annotated[str, typer.Option("--email", help="E-mail address.")],
    subject: Annotated[
        str, typer.Option("--subject", help="Who it is to the workforce issuer: `sub` of its tokens.")
    ],
    issuer: _Issuer = "",
    provider: Annotated[
        str, typer.Option("--provider", metavar="PROVIDER", help="The provider they come from, provider_….")
    ] = "",
) -> None:
    """Add a person. Without a role and agreements the person can do nothing yet.

    Refused for a name or an address that looks like somebody else's.
    """
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).CreatePerson(
        directory_pb2.CreatePersonRequest(
            display_name=name, email=email, subject=subject, issuer=issuer, provider_id=provider
        )
    )
    call.show(response, lambda: sheet(response.person))


def assign(
    call: Invocation,
    person: _Person,
    role: Annotated[StaffRole, typer.Argument(help="Which role.")],
) -> None:
    """Propose a role for somebody, never for yourself. It counts once another person has confirmed it."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet
    from kept.options.v1 import roles_pb2

    response = _stub(call).AssignRole(
        directory_pb2.AssignRoleRequest(
            person_id=person, role=enum_value(roles_pb2.StaffRole, "STAFF_ROLE", role)
        )
    )
    call.show(response, lambda: sheet(response.role_assignment))


def confirm(call: Invocation, assignment: _Assignment) -> None:
    """Confirm a role.

    One that somebody else proposed for a third person.
    """
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).ConfirmRole(directory_pb2.ConfirmRoleRequest(role_assignment_id=assignment))
    call.show(response, lambda: sheet(response.role_assignment))


def end(call: Invocation, assignment: _Assignment) -> None:
    """End a role at once, and every grant that rested on it."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).EndRole(directory_pb2.EndRoleRequest(role_assignment_id=assignment))
    call.show(response, lambda: sheet(response))


def agreement(
    call: Invocation,
    signer: Annotated[
        str, typer.Argument(metavar="SIGNER", help="Whose: a person, person_…, or a provider, provider_….")
    ],
    signed: Annotated[
        datetime, typer.Option("--signed", metavar="TIME", parser=when, help="When it was signed, UTC.")
    ],
    expires: Annotated[
        datetime,
        typer.Option("--expires", metavar="TIME", parser=when, help="When it ends: at most 400 days later."),
    ],
    document: Annotated[
        Path | None,
        typer.Option("--document", metavar="FILE", help="The signed document; its SHA-256 alone is sent."),
    ] = None,
    digest: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", parser=sha256, help="The document's SHA-256.")
    ] = None,
    kind: Annotated[
        list[AgreementKind] | None,
        typer.Option("--kind", help="What it is about, where the document is not about both."),
    ] = None,
) -> None:
    """Record a signed agreement on confidentiality, security controls, or both.

    Without both in force nobody is authorized to anything; people of a provider need the provider's as well. Never your own.
    """
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    if (document is None) == (digest is None):
        raise typer.BadParameter("name the document with --document FILE, or its digest with --sha256 HEX.")
    if document is not None:
        digest = hashlib.sha256(read_bytes(document)).hexdigest()
    assert digest is not None
    response = _stub(call).RecordAgreement(
        directory_pb2.RecordAgreementRequest(
            **{"provider_id" if signer.startswith("provider_") else "person_id": signer},
            kinds=[
                enum_value(directory_pb2.AgreementKind, "AGREEMENT_KIND", each)
                for each in dict.fromkeys(kind or AgreementKind)
            ],
            document_sha256=bytes.fromhex(digest),
            signed_at=stamp(signed),
            expires_at=stamp(expires),
        )
    )
    call.show(response, lambda: sheet(response))


def disable(call: Invocation, person: _Person) -> None:
    """Disable a person at once.

    No token of theirs is taken any more, and all their grants end.
    """
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).DisablePerson(directory_pb2.DisablePersonRequest(person_id=person))
    call.show(response, lambda: sheet(response))


def review(call: Invocation, limit: Limit = 1000) -> None:
    """What nobody confirmed for 90 days: roles, agreements, providers.

    The longest unconfirmed first. What is not confirmed before it lapses counts for nothing from then on. Say `confirm` of what is still
    needed, `end` of what is not, and `disable` of who has left.
    """
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import table
    from kept.client.reading import pages

    response = pages(_stub(call).ListReviews, directory_pb2.ListReviewsRequest(), limit)
    columns = [
        ("id", "subject_id"),
        ("of", "holder_id"),
        ("name", "holder_name"),
        "role",
        ("agreement", "kinds"),
        ("state", "review.state"),
        ("last confirmed", "review.reviewed_at"),
        ("by", "review.reviewed_by"),
        ("lapses", "review.lapses_at"),
    ]
    call.show(response, lambda: table(response.reviews, columns, "Everything was confirmed lately."))


def keep(call: Invocation, subject: _Subject) -> None:
    """Confirm that a role, an agreement or a provider is still needed. Never your own."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).ConfirmReview(
        directory_pb2.ConfirmReviewRequest(subject_id=subject, verdict=directory_pb2.REVIEW_VERDICT_KEEP)
    )
    call.show(response, lambda: sheet(response.review))


def end_reviewed(call: Invocation, subject: _Subject) -> None:
    """End a role, an agreement or a provider at once, and every grant that rested on it. Never your own."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).ConfirmReview(
        directory_pb2.ConfirmReviewRequest(subject_id=subject, verdict=directory_pb2.REVIEW_VERDICT_END)
    )
    call.show(response, lambda: sheet(response))


def link(
    call: Invocation,
    person: _Person,
    subject: Annotated[str, typer.Option("--subject", help="Who it is to the issuer: `sub` of its tokens.")],
    issuer: _Issuer = "",
) -> None:
    """Propose a further identity for somebody, never for yourself. It signs in once another person has confirmed it."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).LinkIdentity(
        directory_pb2.LinkIdentityRequest(person_id=person, issuer=issuer, subject=subject)
    )
    call.show(response, lambda: sheet(response.identity))


def confirm_identity(call: Invocation, linked: _Identity) -> None:
    """Confirm an identity that somebody else proposed for a third person."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).ConfirmIdentity(directory_pb2.ConfirmIdentityRequest(identity_id=linked))
    call.show(response, lambda: sheet(response.identity))


def end_identity(call: Invocation, linked: _Identity) -> None:
    """End an identity: nobody signs in with it any more, and it never becomes somebody else's."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).EndIdentity(directory_pb2.EndIdentityRequest(identity_id=linked))
    call.show(response, lambda: sheet(response))


def list_identities(call: Invocation, person: _Person) -> None:
    """How somebody signs in."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import table

    response = _stub(call).ListIdentities(directory_pb2.ListIdentitiesRequest(person_id=person))
    columns = ["identity_id", "issuer", "subject", "linked_by", "confirmed_by"]
    call.show(response, lambda: table(response.identities, columns, "There is no identity left."))


def add_provider(call: Invocation, name: Annotated[str, typer.Option("--name", help="Its name.")]) -> None:
    """Propose a provider. It counts once another person has confirmed it and its agreements are in force."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).CreateProvider(directory_pb2.CreateProviderRequest(name=name))
    call.show(response, lambda: sheet(response.provider))


def confirm_provider(call: Invocation, provider: _Provider) -> None:
    """Confirm a provider that somebody else proposed."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).ConfirmProvider(directory_pb2.ConfirmProviderRequest(provider_id=provider))
    call.show(response, lambda: sheet(response.provider))


def end_provider(call: Invocation, provider: _Provider) -> None:
    """End a provider at once, for good: none of its people counts any more, and all their grants end."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).EndProvider(directory_pb2.EndProviderRequest(provider_id=provider))
    call.show(response, lambda: sheet(response))


def list_providers(call: Invocation, limit: Limit = 1000) -> None:
    """The providers, in order of creation."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import table
    from kept.client.reading import pages

    response = pages(_stub(call).ListProviders, directory_pb2.ListProvidersRequest(), limit)
    columns = [
        "provider_id",
        "name",
        "created_by",
        "confirmed_by",
        "counts_until",
        "listed_until",
        ("review", "review.state"),
        "ended_at",
    ]
    call.show(response, lambda: table(response.providers, columns, "There is no provider."))
