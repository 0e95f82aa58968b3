"""A JSON file of a model, read with the types that its reader expects.

Model directories are input: a field may be missing, of another type, or absurd. Each getter names
the file, the field and the value when it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gte_pg.errors import ModelError

__all__ = ["JsonObject", "read_json", "read_object"]


@dataclass(frozen=True, slots=True)
class JsonObject:
    """The object at the top of a JSON file. An absent file reads as an object with no fields."""

    path: Path
    fields: Mapping[str, object]

    def wrong(self, field: str, wanted: str) -> ModelError:
        seen = repr(self.fields[field]) if field in self.fields else "nothing"
        return ModelError(f"{self.path}: {field!r} should be {wanted}, and is {seen}")

    def size(self, field: str, default: int | None = None) -> int:
        """Return a positive whole number: a count or a width."""
        value = self.fields.get(field, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(field, "a positive whole number")
        return value

    def number(self, field: str, default: float) -> float:
        value = self.fields.get(field, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(field, "a number")
        return float(value)

    def flag(self, field: str, *, default: bool) -> bool:
        value = self.fields.get(field, default)
        if not isinstance(value, bool):
            raise self.wrong(field, "true or false")
        return value

    def text(self, field: str, default: str) -> str:
        value = self.fields.get(field, default)
        if not isinstance(value, str):
            raise self.wrong(field, "a string")
        return value

    def object(self, field: str) -> JsonObject | None:
        """Return a nested object; None where the field is null or absent."""
        value = self.fields.get(field)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(field, "an object or null")
        return JsonObject(self.path, value)

    def one_of(self, field: str, default: str, supported: str) -> None:
        """Refuse every value but the one that gte-pg computes."""
        value = self.text(field, default)
        if value != supported:
            raise ModelError(
                f"{self.path}: {field} is {value!r}, which gte-pg does not support "
                f"(it supports {supported!r}); choose another model"
            )


def read_json(path: Path) -> object:
    """Return the value in a JSON file; None where there is no such file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} cannot be read as JSON: {error}; fetch the model again"
        ) from error


def read_object(path: Path) -> JsonObject:
    value = read_json(path)
    if value is not None and not isinstance(value, dict):
        raise ModelError(f"{path} should hold a JSON object, and holds {type(value).__name__}")
    return JsonObject(path, value or {})
