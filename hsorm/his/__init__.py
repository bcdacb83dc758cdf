"""History without a database: which instants a range means, and what a write accepts."""

from hsorm.his.checks import HisPoint, check_items, reading_point, writing_point
from hsorm.his.span import Span, midnight, parse_range

__all__ = [
    "HisPoint",
    "Span",
    "check_items",
    "midnight",
    "parse_range",
    "reading_point",
    "writing_point",
]
