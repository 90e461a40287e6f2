"""The machine's clock, for what has no other: record ids, and the age of cached tokens."""

from datetime import UTC, datetime


def system_now() -> datetime:
    """This machine's time, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - clients run on people's machines; everything here takes a clock as argument
