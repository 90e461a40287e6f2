"""Versions of documents: added, and taken back; nothing else of them changes."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert

from kept.settings.v1 import trust_pb2
from services.settings.store.trust_tables import trust_documents as documents


@dataclass(frozen=True)
class Document:
    """One version of a document. link: of public ones only, else "". number: grows with every publication."""

    document_id: str
    number: int
    kind: "trust_pb2.DocumentKind.ValueType"
    title: str
    version: str
    visibility: "trust_pb2.DocumentVisibility.ValueType"
    link: str
    sha256: bytes
    published_by: str
    published_at: datetime
    withdrawn_at: datetime | None = None


def add(tx: Connection, document: Document) -> Document | None:
    """The document with its number, or None when its kind has this version."""
    row = tx.execute(
        insert(documents)
        .values(
            document_id=document.document_id,
            kind=document.kind,
            title=document.title,
            version=document.version,
            visibility=document.visibility,
            link=document.link,
            sha256=document.sha256,
            published_by=document.published_by,
            published_at=document.published_at,
        )
        .on_conflict_do_nothing(index_elements=["kind", "version"])
        .returning(documents)
    ).one_or_none()
    return None if row is None else Document(**row._mapping)


def find(tx: Connection, document_id: str, *, lock: bool = False) -> Document | None:
    """One document."""
    query = select(documents).where(documents.c.document_id == document_id)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else Document(**row._mapping)


def newest_of(tx: Connection, kind: "trust_pb2.DocumentKind.ValueType") -> Document | None:
    """The newest of a kind that was not taken back."""
    row = tx.execute(
        select(documents)
        .where(documents.c.kind == kind, documents.c.withdrawn_at.is_(None))
        .order_by(documents.c.number.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Document(**row._mapping)


def list_newest(tx: Connection, limit: int) -> list[Document]:
    """All, newest first."""
    rows = tx.execute(select(documents).order_by(documents.c.number.desc()).limit(limit))
    return [Document(**row._mapping) for row in rows]


def withdraw(tx: Connection, document_id: str, at: datetime) -> None:
    """Taken back; the row is locked."""
    tx.execute(update(documents).where(documents.c.document_id == document_id).values(withdrawn_at=at))
