"""What settings makes up for from the audit log when its database was restored to an older state (shared.outbox.replay): nothing that was
withdrawn since may be in force again, and nobody who was removed may be back.

Entries hold ids and facts, so what a setting *is* comes back whole: controls, zero data retention, tiers, deployments, closures,
gateways. What was somebody's own text does not: names, addresses, passwords, fingerprints of keys. There the restored state is taken out
of force, not made up: a password that was changed since opens nothing, and a key that was registered since is refused until it is
registered again.
"""

from collections.abc import Callable

from services.settings.accounts.passwords import Passwords
from services.settings.organizations.lifecycle import Lifecycle
from services.settings.policies import Policies
from services.settings.replay import account_deletions, organizations, people, zero_data_retention
from shared.database import Database
from shared.outbox import Outbox
from shared.outbox.replay import Apply


def applies(
    policies: Policies, outbox: Outbox, lifecycle: Lifecycle, passwords: Passwords
) -> dict[str, Apply]:
    """By kind of entry."""
    return {
        **organizations.applies(policies, lifecycle),
        **zero_data_retention.applies(policies, outbox),
        **people.applies(outbox, passwords),
        **account_deletions.applies(outbox),
    }


def finish(database: Database, policies: Policies) -> Callable[[], None]:
    """What follows once all is taken over: whoever follows the feed of policies gets all of it again."""

    def renumber() -> None:
        with database.transaction() as tx:
            policies.begin_anew(tx)

    return renumber
