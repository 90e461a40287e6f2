"""What names customers and their people."""

from collections.abc import Collection

from sqlalchemy import Connection, select, union

from services.settings.store.tables import invitations, members, notification_addresses, organizations


def names(tx: Connection, organization_ids: Collection[str]) -> list[str]:
    """Names of the organizations, in order."""
    found = tx.execute(
        select(organizations.c.display_name)
        .where(
            organizations.c.organization_id.in_(list(organization_ids)), organizations.c.display_name != ""
        )
        .distinct()
        .order_by(organizations.c.display_name)
    )
    return list(found.scalars())


def emails(tx: Connection, organization_ids: Collection[str]) -> list[str]:
    """Addresses of members, of who is invited, of notices and contacts, in order."""
    among = list(organization_ids)
    found = tx.execute(
        union(
            *(
                select(table.c.email).where(table.c.organization_id.in_(among))
                for table in (members, invitations, notification_addresses)
            ),
            *(
                select(contact).where(organizations.c.organization_id.in_(among), contact.contains("@"))
                for contact in (organizations.c.privacy_contact, organizations.c.support_contact)
            ),
        )
    )
    return sorted(found.scalars())


def people(tx: Connection, organization_ids: Collection[str]) -> list[tuple[str, str]]:
    """First and last names of members, in order."""
    found = tx.execute(
        select(members.c.first_name, members.c.last_name)
        .where(members.c.organization_id.in_(list(organization_ids)))
        .distinct()
        .order_by(members.c.last_name, members.c.first_name)
    )
    return [(row.first_name, row.last_name) for row in found]
