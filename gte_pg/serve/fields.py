"""The fields of a request: a JSON object, each field held to its type. null means not given."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from gte_pg.serve.problem import Problem

__all__ = ["MOST_TEXTS", "Fields"]

# OpenAI's own limit.
MOST_TEXTS = 2_048
LARGEST = 1e300


class Fields:
    """A request's JSON object. Every method raises Problem for a value that will not do."""

    def __init__(self, body: bytes) -> None:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Problem(400, f"the request is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise Problem(400, f"the request is {_short(value)}; send a JSON object")
        self._fields = {name: given for name, given in value.items() if given is not None}

    def only(self, *names: str) -> None:
        """Refuse fields that would be ignored: a misspelt option must not go unseen."""
        for name in self._fields:
            if name not in names:
                raise Problem(400, f"there is no field {name!r}; there are {', '.join(names)}")

    def text(self, name: str) -> str:
        text = self.optional_text(name)
        if text is None:
            raise Problem(400, f"the field {name!r} is missing", param=name)
        return text

    def optional_text(self, name: str) -> str | None:
        given = self._fields.get(name)
        if given is not None and not isinstance(given, str):
            raise self._wrong(name, given, "a string")
        return given

    def texts(self, name: str) -> list[str]:
        """Read a string or a list of 1 to 2,048 of them, none empty."""
        given = self._fields.get(name)
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts:
            raise self._wrong(name, given, "a string or a list of strings")
        if len(texts) > MOST_TEXTS:
            raise Problem(
                400,
                f"{name!r} has {len(texts):,} texts; send at most {MOST_TEXTS:,} at once",
                param=name,
            )
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise self._wrong(f"{name}[{index}]", text, "a string (tokens are not taken)")
            if not text:
                raise Problem(400, f"{name}[{index}] is empty; leave it out", param=name)
        return texts

    def choice(self, name: str, default: str, *, of: Collection[str]) -> str:
        given = self._fields.get(name, default)
        if given not in of:
            raise self._wrong(name, given, " or ".join(map(repr, of)))
        return str(given)

    def whole(self, name: str, default: int | None, *, most: int) -> int | None:
        """Read a whole number from 1 to `most`."""
        given = self._fields.get(name)
        if given is None:
            return default
        if type(given) is not int or not 1 <= given <= most:
            raise self._wrong(name, given, f"a whole number from 1 to {most:,}")
        return given

    def number(self, name: str, default: float) -> float:
        given = self._fields.get(name, default)
        # An int may be too long for a float, and NaN is not below anything.
        if type(given) not in (int, float) or not abs(given) < LARGEST:
            raise self._wrong(name, given, "a finite number")
        return float(given)

    def flag(self, name: str) -> bool:
        given = self._fields.get(name, False)
        if not isinstance(given, bool):
            raise self._wrong(name, given, "true or false")
        return given

    @staticmethod
    def _wrong(name: str, given: object, wanted: str) -> Problem:
        message = f"{name!r} is {_short(given)}; it takes {wanted}"
        return Problem(400, message, param=name.partition("[")[0])


def _short(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of many digits"
    written = json.dumps(value)
    return written if len(written) <= 60 else f"{written[:60]}…"
