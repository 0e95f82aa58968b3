"""What rows that nobody has seen could still score, and what is to be done about it.

With d the lowest dense part in the dense leg, R the most that the keys which were not looked up can add
(`remaining` in token_keys.py) and τ the k-th best score, no unseen row scores above τ if

    dense_weight · d + sparse_weight · R ≤ τ

the threshold algorithm of Fagin, Lotem and Naor (2001), given that the dense leg did bring the nearest
rows, which is as true as the HNSW index's own recall.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from gte_pg.search.legs import Legs, materialized, scalar
from gte_pg.search.parameters import number, registry

# The token leg takes keys until they hold so many rows, the further leg until these.
_FIRST_POSTINGS = 2_000
_MOST_POSTINGS = 20_000

# A scan of so many rows is no dearer than the further leg at its longest.
_FEW_ROWS = 20_000

_INFINITY = sa.literal_column("'Infinity'::float8", sa.Double)


@dataclass(frozen=True, slots=True)
class Bound:
    """The bound over a dense leg and the keys of the query, from `ranked_keys`."""

    legs: Legs
    dense_leg: sa.CTE
    keys: sa.CTE

    def first_keys(self) -> sa.Select[Any]:
        """The keys of the token leg."""
        return sa.select(self.keys.c.key).where(self._is_first())

    def so_far(self, token_leg: sa.CTE) -> sa.CTE:
        """One row: the k-th best score of the two legs, NULL without k rows."""
        both = (sa.select(leg) for leg in (self.dense_leg, token_leg))
        seen = sa.union(*both).subquery("seen")
        score = self.legs.score(seen.c.dense, seen.c.sparse).label("score")
        nth = self.legs.given.k - number(1)
        kth = sa.select(score).order_by(score.desc()).offset(nth).limit(number(1)).scalar_subquery()
        return materialized(sa.select(kth.label("kth")), "so_far")

    def goal(self, so_far: sa.CTE, named: sa.CTE, token_rows: sa.CTE) -> sa.CTE:
        """One row: how low R must come for the k-th best score so far, and whether to `scan` instead.

        A scan it is where the dense leg came back short (a filter, or pgvector's limits), where the
        token index is not to be had, and where more keys are needed than are affordable: if that many
        rows can be scanned, or not even k have been seen.
        """
        # Without k rows there is no k-th best: all keys are needed.
        remaining: sa.ColumnElement[Any] = sa.func.coalesce(
            (so_far.c.kth - self._dense_bound())
            / sa.func.nullif(self.legs.given.sparse_weight, number(0)),
            -_INFINITY,
        )
        beyond = sa.exists().where(self.keys.c.remaining > remaining, ~self._is_affordable())
        few = sa.or_(so_far.c.kth.is_(None), self._matching(named, token_rows) < number(_FEW_ROWS))
        scan = sa.or_(
            came_back_short(self.legs, self.dense_leg),
            scalar(named.c.tids).is_(None),
            sa.and_(beyond, few),
        )
        return materialized(sa.select(remaining.label("remaining"), scan.label("scan")), "goal")

    def further_keys(self, goal: sa.CTE) -> sa.Select[Any]:
        """The keys of the further leg: just as many more as the goal needs, within what is affordable."""
        return sa.select(self.keys.c.key).join_from(
            self.keys,
            goal,
            sa.and_(
                ~self._is_first(),
                self._is_affordable(),
                self.keys.c.remaining > goal.c.remaining,
                ~goal.c.scan,
            ),
        )

    def holds(self, goal: sa.CTE, best: sa.FromClause) -> sa.ColumnElement[bool]:
        """Whether the bound holds in the end, for `best`, the best k rows of all legs."""
        looked_up = sa.or_(
            self._is_first(),
            sa.and_(self._is_affordable(), self.keys.c.remaining > goal.c.remaining),
        )
        unseen = sa.select(sa.func.max(self.keys.c.remaining)).join_from(
            self.keys, goal, ~looked_up
        )
        remaining = sa.func.coalesce(unseen.scalar_subquery(), number(0))
        safe = (
            self._dense_bound() + self.legs.given.sparse_weight * remaining
            <= sa.func.min(best.c.score).over()
        )
        are_k = sa.func.count().over() == self.legs.given.k
        return sa.or_(scalar(goal.c.scan), sa.and_(safe, sa.or_(are_k, remaining == number(0))))

    def _is_first(self) -> sa.ColumnElement[bool]:
        return self._is_within(_FIRST_POSTINGS)

    def _is_affordable(self) -> sa.ColumnElement[bool]:
        return self._is_within(_MOST_POSTINGS)

    def _is_within(self, rows: int) -> sa.ColumnElement[bool]:
        """Without the keys that have no upper bound nothing is settled: they are always looked up."""
        return sa.or_(self.keys.c.rows <= number(rows), self.keys.c.remaining == _INFINITY)

    def _dense_bound(self) -> sa.ColumnElement[float]:
        """The most that a row outside the dense leg can score by its dense part.

        An index of a part of the vector brings its rows in another order than the whole: the better half
        of them is taken for the nearest.
        """
        dense = self.dense_leg.c.dense
        frontier: sa.ColumnElement[float] = sa.func.min(dense)
        if self.legs.declaration.indexes_part:
            half = sa.func.percentile_disc(sa.literal_column("0.5"))
            frontier = half.within_group(dense)
        lowest = sa.select(sa.func.coalesce(frontier, number(0)))
        return self.legs.given.dense_weight * lowest.scalar_subquery()

    def _matching(self, named: sa.CTE, token_rows: sa.CTE) -> sa.ColumnElement[float]:
        """How many rows match filters and policies, by the share of the named rows that did."""
        declared = registry()
        rows = (
            sa.select(sa.func.gte.estimated_rows(declared.c.vectors, type_=sa.Double))
            .where(declared.c.id == self.legs.given.embedding)
            .scalar_subquery()
        )
        read = sa.cast(sa.func.cardinality(scalar(named.c.tids)), sa.Double)
        matched = sa.select(sa.func.count()).select_from(token_rows).scalar_subquery()
        share = matched / sa.func.nullif(read, number(0))
        return rows * sa.func.coalesce(share, number(1))


def came_back_short(legs: Legs, dense_leg: sa.CTE) -> sa.ColumnElement[bool]:
    """Whether the dense leg has fewer rows than asked for: a filter, or pgvector's limits."""
    rows = sa.select(sa.func.count()).select_from(dense_leg).scalar_subquery()
    return sa.and_(legs.given.dense_weight > number(0), rows < legs.candidates())
