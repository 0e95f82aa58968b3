"""A connection string, read before it is used."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from gte_pg.errors import DatabaseError

_WITH_DRIVER = re.compile(r"\Apostgres(ql)?\+\w+://")


def libpq_dsn(dsn: str) -> str:
    """Return a DSN as libpq reads it; SQLAlchemy's `postgresql+psycopg://` names a driver too.

    Raises DatabaseError where it cannot be read. What libpq says of it would quote its password.
    """
    dsn = _WITH_DRIVER.sub("postgresql://", dsn)
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise DatabaseError(
            "--dsn or GTE_PG_DSN is no connection string that Postgres can read. It is "
            "postgresql://user:password@host:5432/database, or host=… user=… dbname=…; in the former, "
            "percent-encode special characters of the password: % is %25, @ is %40, / is %2F"
        ) from None
    return dsn
