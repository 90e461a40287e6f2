"""Looks at databases from outside, without going through a service."""

import psycopg


class Looks:
    """Looks at databases from outside, without going through a service."""

    def __init__(self, urls: dict[str, str]) -> None:
        self._connections = {
            room: psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True)
            for room, url in urls.items()
        }

    def rows(self, room: str, query: str) -> list[tuple]:  # type: ignore[type-arg] # whatever the query gives
        """The rows of a query."""
        return self._connections[room].execute(query.encode()).fetchall()

    def run(self, room: str, *statements: str) -> None:
        """Runs statements in one transaction."""
        if statements:
            self._connections[room].execute("; ".join(statements).encode())

    def copy_out(self, room: str, table: str) -> bytes:
        """All rows of a table."""
        with (
            self._connections[room].cursor() as cursor,
            cursor.copy(f"COPY {table} TO STDOUT (FORMAT BINARY)".encode()) as copy,
        ):
            return b"".join(bytes(part) for part in copy)

    def copy_in(self, room: str, table: str, rows: bytes) -> None:
        """Puts rows back into an empty table."""
        with (
            self._connections[room].cursor() as cursor,
            cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)".encode()) as copy,
        ):
            copy.write(rows)

    def close(self) -> None:
        """Closes the connections."""
        for connection in self._connections.values():
            connection.close()
