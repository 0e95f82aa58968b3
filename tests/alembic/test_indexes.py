"""Search indexes in a migration, for who does not leave them to `gte-pg sync`."""

from __future__ import annotations

import pytest

from gte_pg.database import Connection
from tests.alembic.application import Application, articles, embedding, fill, migrate


@pytest.mark.parametrize("concurrently", [False, True])
def test_search_indexes_are_made_by_a_migration_that_asks_for_them(
    application: Application, reader: Connection, concurrently: bool
) -> None:
    reader.execute("CREATE TABLE articles (id bigserial PRIMARY KEY, title text, body text)")
    fill(reader)
    metadata = articles(embedding("title"))
    migrate(application, metadata)
    application.edit(
        upgrade=f"op.create_search_indexes('articles', concurrently={concurrently})",
        downgrade="op.drop_search_indexes('articles')",
    )
    names = (
        "SELECT count(*) FROM pg_index WHERE indrelid = 'articles'::regclass AND indisvalid "
        "AND indexrelid::regclass::text LIKE 'articles_embedding_%'"
    )
    assert reader.execute(names).fetchone() == (1,)
    application.upgrade()
    assert reader.execute(names).fetchone() == (3,)
    assert application.differences(metadata) == []
    application.downgrade()
    assert reader.execute(names).fetchone() == (1,)
