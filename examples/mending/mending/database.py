"""The database: the one that DATABASE_URL names, or an embedded Postgres for trying things out."""

from __future__ import annotations

import os

from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from gte_pg.database import start_embedded


def database_url() -> URL:
    """Return where the database is; the embedded one is started, or joined where it runs."""
    url = make_url(os.environ.get("DATABASE_URL") or start_embedded())
    return url.set(drivername="postgresql+psycopg")


def sessions() -> async_sessionmaker[AsyncSession]:
    """Return what opens sessions; the connections behind it are opened when one is used."""
    engine = create_async_engine(database_url(), pool_pre_ping=True)
    return async_sessionmaker(engine, expire_on_commit=False)
