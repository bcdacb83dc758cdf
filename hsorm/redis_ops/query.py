"""From a filter to a query of RediSearch and what is left of the filter: two steps, exact together.

The query finds no fewer entities than match. What it cannot decide is left as the residual, which
`hsorm.filter.evaluate` decides for each entity found. A path over refs (`siteRef->geoCity`) is
first asked on its far side: `questions` says what, and its answers are the ids that `plan` puts in.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from hsorm.filter.ast import And, Cmp, CmpOp, Has, IsA, IsSpec, Missing, Node, Or, Path
from hsorm.kinds import Number, Ref, symbol_form
from hsorm.redis_ops import terms
from hsorm.redis_ops.terms import Indexes

__all__ = [
    "ALL",
    "MAX_FAR",
    "Answer",
    "Plan",
    "Question",
    "any_of",
    "escape",
    "far_node",
    "far_query",
    "has_token",
    "outside_trash",
    "plan",
    "questions",
    "refers_to",
    "refers_to_any",
]

ALL: Final = "*"
"""The query that finds everything."""

Query: TypeAlias = str | None
"""A query; None finds nothing."""

MAX_FAR: Final = 10_000
"""With more ids on the far side of a ref, every entity that has the ref is looked at."""

_DEEPEST: Final = 30
"""Parentheses within parentheses that a query may have: the parser of RediSearch has an end."""

_LONGEST: Final = 1_000
"""Terms that a query may have: RediSearch takes ever longer for many."""


# ---- escaping -----------------------------------------------------------------------------------

_SPECIAL: Final = re.compile(r"[^A-Za-z0-9_]")


def escape(text: str) -> str:
    """Return a text such that it means itself between the braces of a TAG, whatever is in it."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], text)


def any_of(name: str, tokens: Iterable[str]) -> Query:
    """Return the query that finds what has one of these tokens of a tag."""
    written = "|".join(map(escape, tokens))
    return f"@{terms.token_field(name)}:{{{written}}}" if written else None


def has_token(name: str, token: str) -> str:
    """Return the query that finds what has a token of a tag."""
    return f"@{terms.token_field(name)}:{{{escape(token)}}}"


def refers_to(id: str) -> str:
    """Return the query that finds the others that refer to an entity, outside of the trash."""
    found = both(f"@t:{{{escape(terms.any_ref(id))}}}", opposite(has_id(id)))
    return outside_trash(found) or ALL


def has_id(id: str) -> str:
    """Return the query that finds the entity of an id."""
    return f"@id:{{{escape(id)}}}"


def refers_to_any(ids: Iterable[str]) -> str:
    """Return the query that finds who refers to one of these ids, outside of the trash."""
    return outside_trash(any_of("id", map(terms.any_ref, ids))) or ALL


def both(*parts: Query) -> Query:
    """Return the query that finds what all of these find."""
    if None in parts:
        return None
    kept = list(dict.fromkeys(part for part in parts if part is not None and part != ALL))
    return kept[0] if len(kept) == 1 else f"({' '.join(kept)})" if kept else ALL


def either(*parts: Query) -> Query:
    """Return the query that finds what one of these finds."""
    kept = list(dict.fromkeys(part for part in parts if part is not None))
    if ALL in kept:
        return ALL
    return kept[0] if len(kept) == 1 else f"({' | '.join(kept)})" if kept else None


def opposite(part: Query) -> Query:
    """Return the query that finds what this one does not."""
    if part is None:
        return ALL
    return None if part == ALL else f"-({part})"


def outside_trash(query: Query) -> Query:
    """Return the query that finds of another what is not in the trash (R10)."""
    return both(query, f"-{has_token('trash', 'trash')}")


# ---- the far side of refs -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """What has to be known of a path over refs before it can be asked.

    Attributes:
        term: The term as it stands in the filter, `a->b == 1`.
        name: The tag with the ref, `a`.
        far: The filter of the far side, `b == 1`; None of one that no entity can match. Of
            `not a->b` it is `not b`, and asked is who does not match.
        odd: The tokens of values under `a` that are no ref, which the query cannot decide.
    """

    term: Node
    name: str
    far: Node | None
    odd: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question.

    Attributes:
        ids: The entities of the far side that match, those in the trash among them (F59); None for
            too many.
        odd: Whether there is a value under the tag that is no ref.
    """

    ids: Sequence[str] | None
    odd: bool


Answers: TypeAlias = Mapping[Node, Answer]


def questions(node: Node) -> list[Question]:
    """Return what has to be asked before a filter can be planned, each once."""
    found = {question.term: question for question in _questions(node)}
    return list(found.values()) if len(found) <= _LONGEST else []


def _questions(node: Node) -> Iterator[Question]:
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _questions(part)
        case Has(path) | Missing(path) | Cmp(path):
            if len(path.names) > 1:
                yield _question(node)


def _question(term: Has | Missing | Cmp) -> Question:
    name = term.path.names[0]
    odd: tuple[str, ...] = (terms.walkable_token(name),)
    if isinstance(term, Missing):  # a list has a rule of its own (F55)
        odd = (*odd, terms.list_token(name))
    return Question(term, name, far_node(term), odd)


def far_node(term: Has | Missing | Cmp) -> Node | None:
    """Return the filter of what a path leads to behind its first ref."""
    rest = term.path.names[1:]
    if rest[0][0].isupper():
        return None  # such a tag no entity has (K25), and no filter can say (F6)
    path = Path(rest)
    return Cmp(path, term.op, term.val) if isinstance(term, Cmp) else type(term)(path)


def far_query(question: Question, far: Plan) -> tuple[Query, Node | None]:
    """Return what finds the ids that answer a question, and what has to be true of each besides.

    Args:
        question: The question.
        far: The plan of its `far`.

    Raises:
        LookupError: That cannot be found without a look at every entity.
    """
    if not isinstance(question.term, Missing):
        return far.query, far.residual
    # `not a->b` holds where the ref leads nowhere, too (F52): so who is asked for is who makes it
    # false. With lists on the way that is not who has the rest of the path (F55).
    if far.residual is not None:
        raise LookupError(question.term)
    return opposite(far.query), None


# ---- planning -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """How a filter is answered.

    Attributes:
        query: What RediSearch is asked: it finds all that match, in the trash or not; None finds
            nothing.
        residual: What has to be true besides of each entity found; None where the query is exact.
        exact: The terms that the query decides.
    """

    query: Query
    residual: Node | None
    exact: tuple[Node, ...] = field(default=())


def plan(node: Node, indexes: Indexes = frozenset(), answers: Answers | None = None) -> Plan:
    """Return how a filter is answered.

    Args:
        node: The filter.
        indexes: The declared indexes.
        answers: The answers to `questions(node)`, by their terms; those that are missing leave
            every entity that may match to the residual.
    """
    planner = _Planner(indexes, answers or {})
    made = planner.of(node)
    if planner.terms > _LONGEST or _depth(made.query or "") > _DEEPEST:
        return Plan(ALL, node)
    return made


def _depth(query: str) -> int:
    depth = deepest = 0
    for char in query:
        if char == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif char == ")":
            depth -= 1
    return deepest


class _Planner:
    def __init__(self, indexes: Indexes, answers: Answers) -> None:
        self._indexes = indexes
        self._answers = answers
        self.terms = 0

    def of(self, node: Node) -> Plan:
        match node:
            case And(parts):
                return self._all([self.of(part) for part in parts])
            case Or(parts):
                return self._any(node, [self.of(part) for part in parts])
            case _:
                self.terms += 1
                query, is_exact = self._term(node)
                return Plan(query, None, (node,)) if is_exact else Plan(query, node)

    def _all(self, plans: list[Plan]) -> Plan:
        left = tuple(made.residual for made in plans if made.residual is not None)
        residual = None if not left else left[0] if len(left) == 1 else And(left)
        exact = tuple(term for made in plans for term in made.exact)
        return Plan(both(*(made.query for made in plans)), residual, exact)

    def _any(self, node: Node, plans: list[Plan]) -> Plan:
        query = either(*(made.query for made in plans))
        if all(made.residual is None for made in plans):
            return Plan(query, None, tuple(term for made in plans for term in made.exact))
        return Plan(query, node)

    def _term(self, node: Node) -> tuple[Query, bool]:
        """Return the query of a term, and whether it is exact."""
        match node:
            case IsA(symbol):
                return self._is_a(symbol.val), True
            case IsSpec():
                return None, True  # no spec namespace, no spec (F62)
            case Has(path) | Missing(path) | Cmp(path) if len(path.names) > 1:
                return self._over_ref(node, path)
            case Has(Path((name,))):
                return self._has(name), True
            case Missing(Path((name,))):
                return opposite(self._has(name)), True
            case Cmp(Path((name,)), op, val):
                return self._compare(name, op, val)
        raise TypeError(f"{node!r} is no filter")

    def _is_a(self, symbol: str) -> Query:
        """Without an ontology: the tags that the symbol is made of (F61)."""
        match symbol_form(symbol):
            case "tag":
                return self._has(symbol)
            case "conjunct":
                return both(*map(self._has, symbol.split("-")))
            case _:
                return None

    def _has(self, name: str) -> Query:
        return ALL if name in ("id", "mod") else has_token(name, name)  # those every entity has

    # ---- comparisons ----------------------------------------------------------------------------

    def _compare(self, name: str, op: CmpOp, val: Any) -> tuple[Query, bool]:
        if name == "id":
            return self._compare_id(op, val)
        if name != "mod" and op in (CmpOp.EQ, CmpOp.NE):
            token = terms.value_token(name, val)
            if token is not None:
                return self._by_token(name, op, val, token), True
        kind = _kind_of(val)
        if kind is not None and (name, kind) in self._indexes and terms.is_exact(val):
            return self._by_number(name, kind, op, val), True
        return self._has(name), False

    def _compare_id(self, op: CmpOp, val: Any) -> tuple[Query, bool]:
        same = has_id(val.val) if isinstance(val, Ref) else None
        if op is CmpOp.EQ:
            return same, True
        if op is CmpOp.NE:
            return opposite(same), True
        return (ALL, False) if same is not None else (None, True)

    def _by_token(self, name: str, op: CmpOp, val: Any, token: str) -> Query:
        if op is CmpOp.NE:  # a list differs from every scalar, whatever is in it (F45)
            return both(self._has(name), opposite(has_token(name, token)))
        if isinstance(val, Ref):
            return any_of(name, (token, terms.listed_ref(name, val.val)))
        return has_token(name, token)

    def _by_number(self, name: str, kind: str, op: CmpOp, val: Any) -> Query:
        number, field = terms.number_of(val, kind), terms.field_name(name, kind)
        ranges = {
            CmpOp.EQ: f"[{number} {number}]",
            CmpOp.NE: f"[{number} {number}]",
            CmpOp.LT: f"[-inf ({number}]",
            CmpOp.LE: f"[-inf {number}]",
            CmpOp.GT: f"[({number} inf]",
            CmpOp.GE: f"[{number} inf]",
        }
        found: Query = f"@{field}:{ranges[op]}"
        if isinstance(val, Number):
            found = both(found, has_token(name, terms.unit_token(name, val.unit)))  # (F37)
            if op in (CmpOp.LT, CmpOp.LE) and val.unit is None:  # below all numbers (F38)
                found = either(found, has_token(name, terms.nan_token(name)))
        return both(self._has(name), opposite(found)) if op is CmpOp.NE else found

    # ---- paths ----------------------------------------------------------------------------------

    def _over_ref(self, node: Node, path: Path) -> tuple[Query, bool]:
        name = path.names[0]
        answer = self._answers.get(node)
        if name in ("id", "mod"):  # the one leads to the entity itself, the other to its parts
            return ALL, False
        if isinstance(node, Missing):
            return self._missing_over_ref(name, answer)
        if answer is None or answer.ids is None:
            return self._has(name), False
        self.terms += len(answer.ids) // 100
        tokens = [f"{name}@{id}" for id in answer.ids]
        tokens += [terms.listed_ref(name, id) for id in answer.ids]
        odd = has_token(name, terms.walkable_token(name)) if answer.odd else None
        return either(any_of(name, tokens), odd), not answer.odd

    def _missing_over_ref(self, name: str, answer: Answer | None) -> tuple[Query, bool]:
        if answer is None or answer.ids is None:
            return ALL, False
        self.terms += len(answer.ids) // 100
        leading = any_of(name, (f"{name}@{id}" for id in answer.ids))
        return opposite(leading), not answer.odd


def _kind_of(val: Any) -> str | None:
    """Return the kind of index that compares with a literal."""
    if isinstance(val, Number):
        return "number"
    if isinstance(val, dt.datetime):
        return "datetime"
    return "date" if isinstance(val, dt.date) else None
