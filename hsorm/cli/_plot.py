"""History as lines in the terminal: one chart for each unit, Bools as steps, texts as bands."""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hsorm.cli._values import clean, text_of
from hsorm.kinds import Number

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from rich.console import Console
    from rich.text import Text

    from hsorm.his import HisPoint
    from hsorm.storage.protocol import HisItem

__all__ = ["Series", "charts", "path_of", "show", "title_of"]

_COLORS: Final = (6, 3, 2, 5, 4, 1)  # of the terminal's own palette
_WIDEST: Final = 120
_HOUR: Final = 3600
_LARGEST: Final = 1e300  # the length of an axis has to be finite, too


class Series(NamedTuple):
    """The history of one point, ready to be drawn.

    Attributes:
        title: What to call it.
        unit: The unit of its numbers.
        is_bool: Whether it is drawn as steps between 0 and 1.
        zone: Where its days begin.
        points: Seconds since 1970 and value, ascending.
        gaps: The places in `points` before which no line is drawn.
        bands: Of a Bool or Str: from when until when it is in which state, ascending.
    """

    title: str
    unit: str | None
    is_bool: bool
    zone: ZoneInfo
    points: list[tuple[float, float]]
    gaps: frozenset[int]
    bands: Sequence[tuple[float, float, str]] = ()

    @staticmethod
    def of(
        point: HisPoint, title: str, items: Sequence[HisItem], end: float | None = None
    ) -> Series:
        """Take what can be drawn; NA and gaps in the data interrupt the line.

        Args:
            point: The point.
            title: What to call it.
            items: Its items.
            end: Until when the last state holds, as seconds since 1970.
        """
        points: list[tuple[float, float]] = []
        gaps: set[int] = set()
        for item in items:
            value = _drawable(item["val"])
            if value is None:
                gaps.add(len(points))
            else:
                points.append((item["ts"].timestamp(), value))
        is_bool = point.kind == "Bool"
        if not is_bool:
            gaps.update(_holes(points))
        inside = frozenset(gap for gap in gaps if 0 < gap < len(points))
        bands = () if point.kind == "Number" else _bands(items, end)
        return Series(clean(title), point.unit, is_bool, point.zone, points, inside, bands)


def _bands(items: Sequence[HisItem], end: float | None) -> list[tuple[float, float, str]]:
    """Return the states of a Bool or Str, each until the next item; NA is none."""
    times = [item["ts"].timestamp() for item in items]
    out: list[tuple[float, float, str]] = []
    for item, start, until in zip(
        items, times, [*times[1:], end or (times or [0])[-1]], strict=True
    ):
        val = item["val"]
        if not isinstance(val, (bool, str)):
            continue
        state = clean(text_of(val))
        if out and out[-1][1:] == (start, state):
            out[-1] = (out[-1][0], max(until, start), state)
        else:
            out.append((start, max(until, start), state))
    return out


def _drawable(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    return value.val if isinstance(value, Number) and abs(value.val) <= _LARGEST else None


def _holes(points: Sequence[tuple[float, float]]) -> Iterator[int]:
    """Find where much more time than usual has passed without an item."""
    if len(points) < 3:
        return
    steps = [after[0] - before[0] for before, after in pairwise(points)]
    usual = median(steps)
    for at, step in enumerate(steps, start=1):
        if step > 4 * usual:
            yield at


def charts(series: Sequence[Series]) -> list[list[Series]]:
    """Group series that share an axis: those of one unit; Bools have one of their own."""
    groups: dict[tuple[bool, str | None], list[Series]] = {}
    for one in series:
        if one.points:
            groups.setdefault((one.is_bool, one.unit), []).append(one)
    return list(groups.values())


def title_of(chart: Sequence[Series]) -> str:
    """Return the title of a chart: its point's name, or the unit of several points."""
    unit = "" if chart[0].is_bool else chart[0].unit or ""
    if len(chart) > 1:
        return unit
    return f"{chart[0].title} ({unit})" if unit else chart[0].title


def show(console: Console, series: Sequence[Series], height: int = 16) -> None:
    """Print charts, as wide as the terminal up to 120 columns."""
    width = min(console.width, _WIDEST)
    span = _span(series)
    for chart in charts(series):
        tall = height if not chart[0].is_bool else min(height, 8)
        console.print(_draw(chart, span, width, tall))
        if len(chart) > 1:
            console.print(_legend(chart))
    for one in series:
        if one.bands and not one.is_bool:
            console.print(_band(one, span, width))


_BLOCKS: Final = "█▓▒░▚▞"


def _band(one: Series, span: tuple[float, float], width: int) -> Text:
    """Return the states of a point as a line of blocks, under its title, above what they mean."""
    from rich.text import Text

    states = list(dict.fromkeys(state for _, _, state in one.bands))
    starts = [start for start, _, _ in one.bands]
    line = Text(f"{one.title}\n")
    for column in range(width):
        at = span[0] + (span[1] - span[0]) * (column + 0.5) / width
        place = bisect_right(starts, at) - 1
        if place < 0 or at >= one.bands[place][1]:
            line.append(" ")
        else:
            _block(line, states.index(one.bands[place][2]))
    line.append("\n")
    for number, state in enumerate(states):
        _block(line, number)
        line.append(f" {state or '(empty)'}  ")
    return line


def _block(line: Text, number: int) -> None:
    block = _BLOCKS[number % len(_BLOCKS)]
    line.append(block, style=f"color({_COLORS[number % len(_COLORS)]})")


def _legend(chart: Sequence[Series]) -> Text:
    from rich.text import Text

    legend = Text("  ")
    for number, one in enumerate(chart):
        legend.append("── ", style=f"color({_COLORS[number % len(_COLORS)]})")
        legend.append(f"{one.title}  ")
    return legend


def _span(series: Sequence[Series]) -> tuple[float, float]:
    times = [time for one in series for time, _ in (*one.points[:1], *one.points[-1:])]
    times += [time for one in series for start, end, _ in one.bands for time in (start, end)]
    first, last = min(times), max(times)
    return (first, last) if last > first else (first - _HOUR / 2, last + _HOUR / 2)


def _draw(chart: Sequence[Series], span: tuple[float, float], width: int, height: int) -> Text:
    import plotext
    from rich.text import Text

    figure = plotext.figure
    figure.clear()
    plotext.terminal.limit(False, False)  # the console knows its size
    figure.plot_size(width, height)
    figure.theme("colorless")
    figure.title(title_of(chart))
    for number, one in enumerate(chart):
        marker = plotext.marker("braille", _COLORS[number % len(_COLORS)])
        points, gaps = path_of(one, width * 4)
        if not points:
            continue
        signal = figure.signal([x for x, _ in points], [y for _, y in points], marker=marker)
        signal.lines(True)
        for gap in gaps:
            signal.line(gap, False)
        figure.draw(signal)
    figure.ruler("x").lim(*span)
    figure.ruler("x").ticks(*_ticks(span, chart[0].zone, width // 12))
    if chart[0].is_bool:
        figure.ruler("y").lim(-0.1, 1.1)
        figure.ruler("y").ticks([0, 1], ["false", "true"])
    else:
        figure.ruler("y").ticks(*_value_ticks(chart, height // 3))
    return Text.from_ansi(figure.build().string().rstrip("\n"))


def path_of(series: Series, most: int) -> tuple[list[tuple[float, float]], list[int]]:
    """Return the corners of a line of some `most` points, and before which of them it is broken.

    Of a series that is longer, the lowest and the highest point of each stretch of time stay.
    """
    kept = _thinned(series.points, most)
    gaps = sorted(series.gaps)
    out: list[tuple[float, float]] = []
    broken: list[int] = []
    previous = -1
    for at in kept:
        gap = bisect_right(gaps, at) > bisect_right(gaps, previous)
        if gap and out:
            broken.append(len(out))
        elif out and series.is_bool:
            out.append((series.points[at][0], out[-1][1]))  # a step: across, then up or down
        out.append(series.points[at])
        previous = at
    return out, broken


def _thinned(points: Sequence[tuple[float, float]], most: int) -> list[int]:
    if len(points) <= most:
        return list(range(len(points)))
    size = math.ceil(2 * len(points) / most)
    kept: list[int] = []
    for start in range(0, len(points), size):
        stretch = range(start, min(start + size, len(points)))
        lowest = min(stretch, key=lambda at: points[at][1])
        highest = max(stretch, key=lambda at: points[at][1])
        kept.extend(sorted({lowest, highest}))
    return kept


# ---- the axes -----------------------------------------------------------------------------------


def _value_ticks(chart: Sequence[Series], most: int) -> tuple[list[float], list[str]]:
    """Return round values between the lowest and the highest, some `most` of them."""
    values = [value for one in chart for _, value in one.points]
    low, high = min(values), max(values)
    if high <= low:
        return [low], [f"{low:g}"]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * 0.999)
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    ticks = [number * step for number in numbers]
    return ticks, [f"{tick:,.10g}" for tick in ticks]


# In hours; the first one that leaves room for the labels is taken.
_STEPS: Final = (1, 2, 3, 6, 12, 24, 48, 7 * 24, 14 * 24, 28 * 24, 56 * 24, 91 * 24, 182 * 24)


def _ticks(span: tuple[float, float], zone: ZoneInfo, most: int) -> tuple[list[float], list[str]]:
    """Return ticks at whole hours or midnights of the zone, and their labels."""
    hours = (span[1] - span[0]) / _HOUR
    step = next((step for step in _STEPS if hours / step <= most), _STEPS[-1] * 2)
    if hours < 1:
        return list(span), [f"{dt.datetime.fromtimestamp(at, zone):%H:%M:%S}" for at in span]
    times = [at for at in _walk(span, zone, step) if span[0] <= at.timestamp() <= span[1]]
    return [at.timestamp() for at in times], [_label(at, step) for at in times]


def _walk(span: tuple[float, float], zone: ZoneInfo, step: int) -> Iterator[dt.datetime]:
    day = dt.datetime.fromtimestamp(span[0], zone).date()
    last = dt.datetime.fromtimestamp(span[1], zone).date()
    while day <= last:
        for hour in range(0, 24, step):
            yield dt.datetime.combine(day, dt.time(hour), zone)
        day += dt.timedelta(days=max(step // 24, 1))


def _label(at: dt.datetime, step: int) -> str:
    if at.hour:
        return f"{at:%H:%M}"
    return f"{at:%a %d}" if step <= 48 else f"{at:%d %b}"
