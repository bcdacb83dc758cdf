"""History as a PNG or SVG file, through matplotlib, which is an extra."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsorm.cli._plot import Series, charts, title_of
from hsorm.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["save_png"]

_INCHES = (10.0, 4.0)
_STATES = (
    "tab:blue", "tab:orange", "tab:red", "tab:purple",
    "tab:brown", "tab:pink", "tab:olive", "tab:cyan",
)  # fmt: skip


def save_png(series: Sequence[Series], path: Path) -> None:
    """Draw charts below each other, one for each unit, with one time axis; states as bands.

    Args:
        series: What to draw.
        path: The file: SVG where its name ends so, else PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("a plot in a file", "matplotlib", "plot") from None
    banded = [one for one in series if one.bands]
    groups: list[Sequence[Series]] = list(charts([one for one in series if not one.bands]))
    heights = [_INCHES[1]] * len(groups)
    if banded:
        groups.append(banded)
        heights.append(1.0 + 0.6 * len(banded))
    figure = Figure(figsize=(_INCHES[0], sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        len(groups), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for chart, (ax,) in zip(groups, axes, strict=True):
        (_draw_bands if chart is banded else _draw)(ax, chart)
    _label_times(axes[-1][0], series[0])
    figure.savefig(path, format="svg" if path.suffix == ".svg" else "png", dpi=120)


def _label_times(ax: Axes, series: Series) -> None:
    """Label the axis of time by as much of dates as is needed, in the zone of the first point."""
    from matplotlib import dates

    locator = dates.AutoDateLocator(tz=series.zone)  # type: ignore[no-untyped-call]  # matplotlib
    formatter = dates.ConciseDateFormatter(locator, tz=series.zone)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(formatter)


def _draw_bands(ax: Axes, series: Sequence[Series]) -> None:
    """Draw a row of states for each point, of one colour a state; where none is known, nothing."""
    from matplotlib.patches import Patch

    colors = {"false": "0.85", "true": "tab:green"}
    for one in series:
        for _, _, state in one.bands:
            colors.setdefault(state, _STATES[(len(colors) - 2) % len(_STATES)])
    for row, one in enumerate(series):
        for start, end, state in one.bands:
            begin, until = (
                at / 86_400 for at in (start, end)
            )  # days since 1970, as matplotlib has it
            ax.broken_barh([(begin, until - begin)], (row - 0.4, 0.7), facecolors=colors[state])
    ax.set_yticks([])
    for row, one in enumerate(series):  # above its band: beside it, long names leave no room
        ax.text(
            0, row - 0.45, one.title, transform=ax.get_yaxis_transform(), va="bottom",
            parse_math=False,
        )  # fmt: skip
    ax.set_ylim(-1, len(series) - 0.5)
    ax.invert_yaxis()
    ax.xaxis_date(tz=series[0].zone)
    ax.grid(visible=True, axis="x", alpha=0.3)
    shown = {state for one in series for _, _, state in one.bands}
    patches = [Patch(color=color, label=state or "(empty)") for state, color in colors.items()
               if state in shown]  # fmt: skip
    legend = ax.legend(handles=patches, loc="upper left", bbox_to_anchor=(1, 1))
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw(ax: Axes, chart: Sequence[Series]) -> None:
    for one in chart:
        times: list[Any] = []
        values: list[float] = []
        for at, (time, value) in enumerate(one.points):
            if at in one.gaps:
                times.append(times[-1])
                values.append(float("nan"))
            times.append(dt.datetime.fromtimestamp(time, dt.UTC))
            values.append(value)
        style = "steps-post" if one.is_bool else "default"
        ax.plot(times, values, drawstyle=style, linewidth=1.2, label=one.title)
    # Names are other people's text: a dollar sign in one is no formula.
    ax.set_title(title_of(chart), parse_math=False)
    ax.xaxis_date(tz=chart[0].zone)
    ax.grid(visible=True, alpha=0.3)
    if chart[0].is_bool:
        ax.set_yticks([0, 1], ["false", "true"])
    elif chart[0].unit:
        ax.set_ylabel(chart[0].unit, parse_math=False)
    if len(chart) > 1:
        for text in ax.legend().get_texts():
            text.set_parse_math(False)
