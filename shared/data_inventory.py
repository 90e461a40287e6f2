"""What is stored, of which kind it is, and what becomes of it: one file that names every column of every service (C30).

`data_inventory.toml` has a table for each table of a service: `what` it is for, its `fate`, and the columns by kind.
`but_FATE` names columns to which something else happens than to the rest of the row. A test compares it with the schemas in both
directions, so that nobody adds a column without saying what it is. `python -m shared.data_inventory` writes the page that people read,
docs/data-inventory.md.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final

_FILE: Final = Path(__file__).with_name("data_inventory.toml")
_BUT: Final = "but_"
_GUIDE: Final = """\
# The data inventory

Every column of every service's database: which kind of data it is, and what becomes of it. Made of `shared/data_inventory.toml` by
`python -m shared.data_inventory`; a test compares that file with the schemas, and this page with that file. What is in memory
alone, in the key store or in logs of processes is not in it: docs/keys.md, docs/threat-model.md.
"""


@dataclass(frozen=True)
class DataKind:
    """A kind of data. name: as the file has it, such as "log_data"."""

    name: str
    title: str
    what: str


@dataclass(frozen=True)
class StoredColumn:
    """A column. kind: of DataKind; fate: what becomes of it, in a sentence."""

    service: str
    table: str
    column: str
    kind: str
    fate: str


@dataclass(frozen=True)
class StoredTable:
    """A table, with its columns by kind in the order of the file. fate: of its rows; apart: of columns that have another, by that fate."""

    service: str
    name: str
    what: str
    fate: str
    columns: Mapping[str, Sequence[str]]
    apart: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class DataInventory:
    """All of it. fates: sentences by name."""

    kinds: Sequence[DataKind]
    fates: Mapping[str, str]
    tables: Sequence[StoredTable]

    def columns(self) -> list[StoredColumn]:
        """Every column, by service and table."""
        return [
            StoredColumn(table.service, table.name, column, kind, self.fates[self._fate(table, column)])
            for table in self.tables
            for kind, columns in table.columns.items()
            for column in columns
        ]

    @staticmethod
    def _fate(table: StoredTable, column: str) -> str:
        return next((fate for fate, columns in table.apart.items() if column in columns), table.fate)


@cache
def load(path: Path = _FILE) -> DataInventory:
    """The inventory. Raises ValueError for a file that names a column twice, a kind or fate that there is not, or one that nothing has."""
    content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    kinds = [DataKind(name, said["title"], said["what"]) for name, said in content.pop("kinds").items()]
    fates: dict[str, str] = content.pop("fates")
    tables = [
        _table(service, name, said, {kind.name for kind in kinds}, fates)
        for service, tables in content.items()
        for name, said in tables.items()
    ]
    used = {table.fate for table in tables} | {fate for table in tables for fate in table.apart}
    if unused := {*fates} - used | {kind.name for kind in kinds} - {
        name for table in tables for name in table.columns
    }:
        raise ValueError(f"nothing is of {', '.join(sorted(unused))}")
    return DataInventory(kinds, fates, tables)


def _table(
    service: str, name: str, said: Mapping[str, Any], kinds: set[str], fates: Mapping[str, str]
) -> StoredTable:
    columns = {kind: said[kind] for kind in said if kind in kinds}
    apart = {key.removeprefix(_BUT): said[key] for key in said if key.startswith(_BUT)}
    table = StoredTable(service, name, said["what"], said["fate"], columns, apart)
    named = [column for group in columns.values() for column in group]
    another = [column for group in apart.values() for column in group]
    if strange := {*said} - {"what", "fate"} - kinds - {_BUT + fate for fate in fates}:
        raise ValueError(f"{service}.{name}: there is no kind and no fate {', '.join(sorted(strange))}")
    if table.fate not in fates or not table.what:
        raise ValueError(f"{service}.{name}: says not what it is for, or what becomes of it")
    if len({*named}) < len(named) or len({*another}) < len(another) or not {*another} <= {*named}:
        raise ValueError(f"{service}.{name}: names a column twice, or the fate of one that it has not")
    return table


def page(inventory: DataInventory) -> str:
    """The page that people read, in Markdown."""
    lines = [_GUIDE, "| kind | what |", "|---|---|"]
    lines += [f"| {kind.title} | {kind.what} |" for kind in inventory.kinds]
    lines += ["", "| what becomes of it | |", "|---|---|"]
    lines += [f"| `{name}` | {sentence} |" for name, sentence in inventory.fates.items()]
    titles = {kind.name: kind.title for kind in inventory.kinds}
    for service, tables in groupby(inventory.tables, key=lambda table: table.service):
        lines += [
            "",
            f"## {service}",
            "",
            "| table | what | columns by kind | becomes |",
            "|---|---|---|---|",
        ]
        for table in tables:
            columns = "; ".join(
                f"{titles[kind]}: {', '.join(f'`{column}`' for column in named)}"
                for kind, named in table.columns.items()
            )
            becomes = f"`{table.fate}`" + "".join(
                f"; `{fate}`: {', '.join(f'`{column}`' for column in named)}"
                for fate, named in table.apart.items()
            )
            lines.append(f"| `{table.name}` | {table.what} | {columns} | {becomes} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path("docs/data-inventory.md").write_text(page(load()), encoding="utf-8")
