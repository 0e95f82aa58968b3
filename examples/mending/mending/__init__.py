"""The Mending Book: a notebook of repairs that is searched by meaning. An example of gte-pg."""

from __future__ import annotations
