"""History as a PNG file, through matplotlib, which is an extra."""

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


def save_png(series: Sequence[Series], path: Path) -> None:
    """Draw charts below each other, one for each unit, with one time axis.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("a plot in a PNG file", "matplotlib", "plot") from None
    groups = charts(series)
    width, height = _INCHES
    figure = Figure(figsize=(width, height * len(groups)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False)
    for chart, (ax,) in zip(groups, axes, strict=True):
        _draw(ax, chart)
    figure.savefig(path, format="png", dpi=120)


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
