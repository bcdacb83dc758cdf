"""History without a database: which instants a range means, and what a write accepts."""

from hsorm.his.batches import his_grid, one_zone
from hsorm.his.checks import HisPoint, check_items, reading_point, writing_point
from hsorm.his.span import ALWAYS, Range, Span, midnight, parse_range, span_of

__all__ = [
    "ALWAYS",
    "HisPoint",
    "Range",
    "Span",
    "check_items",
    "his_grid",
    "midnight",
    "one_zone",
    "parse_range",
    "reading_point",
    "span_of",
    "writing_point",
]
