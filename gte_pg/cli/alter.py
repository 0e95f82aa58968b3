from __future__ import annotations

from dataclasses import replace

import click
import sqlalchemy as sa
from psycopg import sql

from gte_pg.cli.database import dsn_option
from gte_pg.cli.encoded_text import says_what_is_encoded
from gte_pg.cli.schema_change import change_schema
from gte_pg.database import (
    Registered,
    check_key,
    check_source_text,
    connect,
    engine,
    find_table,
    load,
    lock_unchanged,
    plain_connection,
    postgres_version,
)
from gte_pg.declaration import Declaration, OnChange, named_columns
from gte_pg.errors import DatabaseError
from gte_pg.install import (
    alter_statements,
    altered_along,
    index_statements,
    is_other_index,
    standbys_of,
)


@click.command()
@click.argument("table")
@click.option("--name", help="Which embedding, where the table has several.")
@click.option(
    "--source", "sources", multiple=True, help="Encode these columns, as in gte-pg add --source."
)
@click.option("--template", help="Encode this text, as in gte-pg add --template.")
@click.option("--expression", help="Encode this SQL expression, as in gte-pg add --expression.")
@click.option(
    "--on-change",
    type=click.Choice(["clear", "keep"]),
    help="What becomes of a vector when its text changes, as in gte-pg add.",
)
@click.option(
    "--index-dimensions",
    type=int,
    help="Index so many leading dimensions, 0 for all: gte-pg sync builds the index anew.",
)
@click.option("--print-sql", is_flag=True, help="Print the statements instead of running them.")
@dsn_option
def alter(
    table: str,
    name: str | None,
    sources: tuple[str, ...],
    template: str | None,
    expression: str | None,
    on_change: OnChange | None,
    index_dimensions: int | None,
    print_sql: bool,
    dsn: str,
) -> None:
    """Change what is encoded of TABLE's rows, or how, where the model stays.

    Rows whose text is still the same keep their vectors; the others are pending then: run gte-pg sync.
    Also after a source column was renamed. NAME_next and NAME_previous of a switch to another model are
    altered along.
    """
    other_text = says_what_is_encoded(sources, template, expression)
    if not other_text and on_change is None and index_dimensions is None:
        raise click.UsageError("say what to change: --source, --template, --expression, …")
    with connect(dsn) as connection:
        found = find_table(connection, table)
        present = load(connection, table, name, broken=True)
        check_key(connection, found, present.declaration)
        if other_text:
            source = found.resolve_sources(sources or named_columns(template, expression))
            wanted = replace(
                present.declaration, source=source, template=template, expression=expression
            )
        else:
            # One that is broken says so.
            wanted = load(connection, table, name).declaration
    if on_change is not None:
        wanted = replace(wanted, on_change=on_change)
    if index_dimensions is not None:
        wanted = replace(wanted, index_dimensions=index_dimensions or None)
    _alter(dsn, table, present, wanted, print_sql=print_sql)


def _alter(
    dsn: str, table: str, present: Registered, wanted: Declaration, *, print_sql: bool
) -> None:
    if wanted == present.declaration:
        raise DatabaseError(f"the embedding {wanted.name!r} of {table} is that already")
    with engine(dsn).connect() as connection:
        check_source_text(connection, wanted)

    def statements(database: sa.Connection) -> list[sql.Composed]:
        changes = [(present.declaration, wanted)]
        plain = plain_connection(database)
        for one in standbys_of(plain, wanted):
            lock_unchanged(plain, [one])
            along = altered_along(present.declaration, wanted, one.declaration)
            changes.append((one.declaration, along))
        made: list[sql.Composed] = []
        for before, after in changes:
            if is_other_index(before, after):
                made += index_statements(after)
            elif after != before:
                made += alter_statements(after, postgres=postgres_version(database))
        return made

    change_schema(dsn, table, statements, present=[present], print_sql=print_sql)
    if not print_sql:
        click.echo(f"the embedding {wanted.name} of {table} is altered; now: gte-pg sync", err=True)
