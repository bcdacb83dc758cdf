"""Which indexes can be declared over tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from hsorm.kinds import is_tag_name

__all__ = ["Indexed", "check_index_tags"]

Indexed: TypeAlias = Literal["number", "string", "date", "datetime"]
"""The kind of the values that an index is over."""


def check_index_tags(declared: Mapping[str, str]) -> None:
    """Check what is to be indexed, the kind by the tag.

    Raises:
        ValueError: There is no such kind of index, or a name is none of a tag.
    """
    kinds = get_args(Indexed)
    for name, kind in declared.items():
        if not is_tag_name(name):
            raise ValueError(f"{name!r} is no name of a tag")
        if kind not in kinds:
            one_of = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
            raise ValueError(f"tag {name}: an index is of kind {one_of}, not {kind!r}")
