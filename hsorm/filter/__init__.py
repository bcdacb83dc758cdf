"""Filters: text to tree and back, and what a tree means.

`parse` reads the text of docHaystack, Filters, `print_filter` writes it, `evaluate` and
`compile_predicate` say which entities match.
"""

from hsorm.filter.ast import (
    And,
    Cmp,
    CmpOp,
    Has,
    IsA,
    IsSpec,
    Literal,
    Missing,
    Node,
    Or,
    Path,
)
from hsorm.filter.evaluate import Deref, Predicate, compile_predicate, evaluate
from hsorm.filter.format import print_filter
from hsorm.filter.parser import parse

__all__ = [
    "And",
    "Cmp",
    "CmpOp",
    "Deref",
    "Has",
    "IsA",
    "IsSpec",
    "Literal",
    "Missing",
    "Node",
    "Or",
    "Path",
    "Predicate",
    "compile_predicate",
    "evaluate",
    "parse",
    "print_filter",
]
