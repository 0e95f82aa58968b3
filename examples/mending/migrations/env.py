"""Alembic's environment: the application's own database and models, and gte-pg's operations."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine

import gte_pg.alembic
from mending.database import database_url
from mending.models import Base

gte_pg.alembic.register()

with create_engine(database_url()).connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
