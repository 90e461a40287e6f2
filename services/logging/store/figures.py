"""The figures of usage as columns, and as one array for the driver: what both of its stores are written with, neither knowing the other."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Row

from services.logging.usage.fields import FIGURES
from shared.driver import listed

COLUMNS: Final = ", ".join(FIGURES)
# Out of the array `f`, which holds the figures of all rows one after another; `i` is the row's number, from 1.
SELECTED: Final = ", ".join(f"f[(i - 1) * {len(FIGURES)} + {place}]" for place in range(1, len(FIGURES) + 1))
# The most that a figure says. What deployments report may add up to more: it stays there, and no statement fails for it.
_MOST: Final = 2**63 - 1
# To what a row had. No figure is negative.
ADDED: Final = ", ".join(
    f"{name} = had.{name} + least(excluded.{name}, {_MOST} - had.{name})" for name in FIGURES
)


def summed(expression: str) -> str:
    """The sum of a figure over rows. PostgreSQL adds bigints up as numerics, which have no end."""
    return f"least(sum({expression}), {_MOST})::bigint"


SUMMED: Final = ", ".join(f"{summed(name)} AS {name}" for name in FIGURES)


def figure_columns() -> list[Column[Any]]:
    """A column for each figure."""
    return [Column(name, BigInteger, nullable=False) for name in FIGURES]


def array_of(figures: Iterable[Sequence[int]]) -> str:
    """The figures of all rows as PostgreSQL reads an array of bigint: the driver takes a third of the time with one text."""
    return numbers_of(number for row in figures for number in row)


def numbers_of(numbers: Iterable[int]) -> str:
    """Numbers as PostgreSQL reads an array of bigint."""
    return listed(numbers)


def figures_of(row: Row[Any]) -> list[int]:
    """The figures of a row that was read."""
    return [int(row._mapping[name]) for name in FIGURES]
