"""What would a copy of the database be worth? `python -m services.access_control try-open` tries every wrapped key in it, or in the live
database, with the live key store, and prints how many open. It prints no key, and changes nothing.

Whoever restores a backup, or fears that one was stolen, learns here what it opens: after a destruction, nothing of what it had.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from services.access_control.config import AccessControlConfig
from services.access_control.custody.ladder import Ladder, open_epoch
from services.access_control.key_stores import DoesNotOpen, KeyStoreError, RootAbsent
from services.access_control.key_stores.configured import open_key_store
from services.access_control.store import Connection, custody, epochs, holds
from shared.config import ConfigError, load
from shared.database import Database
from shared.errors import KeptError

_PAGE: Final = 1000


def try_open(tx: Connection, ladder: Ladder) -> tuple[int, int]:
    """How many epoch and hold keys open, and how many are there. Destroyed ones, of which only a tombstone is left, are not there.
    Raises KeyStoreError when the key store cannot be asked."""
    custody.lock_ladder(tx, exclusive=False)  # not while everything moves to a new root
    opened = total = 0
    after = ""
    while organizations := epochs.organizations_after(tx, after, _PAGE):
        for organization in organizations:
            wrapped = epochs.living_epochs(tx, [organization.organization_id])
            total += len(wrapped)
            opened += _opened(ladder, organization, wrapped)
        after = organizations[-1].organization_id
    after = ""
    while found := holds.holds_after(tx, after, _PAGE):
        for hold in found:
            total += 1
            try:
                assert hold.root_id is not None
                assert hold.wrapped is not None
                ladder.open_hold(hold.hold_id, hold.root_id, hold.wrapped)
            except (RootAbsent, DoesNotOpen):
                continue
            opened += 1
        after = found[-1].hold_id
    return opened, total


def _opened(ladder: Ladder, organization: epochs.OrganizationRow, wrapped: list[epochs.LivingEpoch]) -> int:
    try:
        key = ladder.open_organization(organization)
    except (RootAbsent, DoesNotOpen):
        return 0
    opened = 0
    for epoch in wrapped:
        try:
            open_epoch(key, epoch)
        except DoesNotOpen:
            continue
        opened += 1
    return opened


def main(arguments: list[str]) -> int:
    """The command. Returns the process's exit code; what goes wrong is one sentence on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m services.access_control try-open",
        description="Tries every wrapped key of a database with the live key store; prints opened/total.",
    )
    parser.add_argument("--config", type=Path, required=True, help="the service's TOML file")
    parser.add_argument(
        "--database", metavar="URL", help="a copy, instead of the live one; the password from PGPASSWORD"
    )
    options = parser.parse_args(arguments)
    try:
        config = load(AccessControlConfig, "access_control", options.config)
        database = (
            Database(options.database, pool=1) if options.database else Database.configured(config, pool=1)
        )
        with database.transaction() as tx:
            opened, total = try_open(tx, Ladder(open_key_store(config.key_store)))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyStoreError as error:
        sys.stderr.write(f"try-open: {error}\n")
        return 1
    except KeptError as error:
        sys.stderr.write(f"try-open: {error.text} [{error.name}]\n")
        return 1
    sys.stdout.write(f"{opened}/{total} keys open\n")
    return 0
