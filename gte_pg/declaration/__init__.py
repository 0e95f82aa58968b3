"""What a user declares, and the SQL that follows from it. Pure: nothing here opens a connection."""

from __future__ import annotations

from gte_pg.declaration.capture import (
    capture_sources,
    create_capture,
    drop_capture,
    trigger_names,
    update_trigger_name,
)
from gte_pg.declaration.columns import add_columns, drop_columns
from gte_pg.declaration.companion import copy_grants, create_companion, drop_companion
from gte_pg.declaration.declaration import (
    Declaration,
    KeyColumn,
    Layout,
    OnChange,
    Storage,
    companion_name,
    named_columns,
)
from gte_pg.declaration.encoder import declared_encoder
from gte_pg.declaration.indexes import (
    Index,
    dense_index_name,
    dense_operator,
    index_names,
    indexed_vector,
    operator_class,
    pending_index,
    search_indexes,
    token_index_name,
)
from gte_pg.declaration.key import key_join, key_order, key_text, key_values
from gte_pg.declaration.names import object_name
from gte_pg.declaration.row_capture import WRITE_BACK_SETTING
from gte_pg.declaration.source import join_source, same_key, text_row
from gte_pg.declaration.template import renamed
from gte_pg.declaration.text import (
    join_texts,
    row_hash,
    row_is_empty,
    row_text,
    text_hash,
    written_text,
)
from gte_pg.declaration.trigger import TRIGGER_PREFIX

__all__ = [
    "TRIGGER_PREFIX",
    "WRITE_BACK_SETTING",
    "Declaration",
    "Index",
    "KeyColumn",
    "Layout",
    "OnChange",
    "Storage",
    "add_columns",
    "capture_sources",
    "companion_name",
    "copy_grants",
    "create_capture",
    "create_companion",
    "declared_encoder",
    "dense_index_name",
    "dense_operator",
    "drop_capture",
    "drop_columns",
    "drop_companion",
    "index_names",
    "indexed_vector",
    "join_source",
    "join_texts",
    "key_join",
    "key_order",
    "key_text",
    "key_values",
    "named_columns",
    "object_name",
    "operator_class",
    "pending_index",
    "renamed",
    "row_hash",
    "row_is_empty",
    "row_text",
    "same_key",
    "search_indexes",
    "text_hash",
    "text_row",
    "token_index_name",
    "trigger_names",
    "update_trigger_name",
    "written_text",
]
