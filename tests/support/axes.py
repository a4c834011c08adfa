"""What was drawn, read back from a figure's axes."""

from matplotlib.axes import Axes


def lines(ax: Axes) -> dict[str, list[float]]:
    """Label -> y values of the lines that have a label."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines if not line.get_label().startswith("_")}


def means(ax: Axes) -> dict[str, list[float]]:
    """Label -> y values of the lines with error bars."""
    return {bars.get_label(): list(bars.lines[0].get_ydata()) for bars in ax.containers}


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def ticks(axis: object) -> list[str]:
    """The texts of an ``ax.xaxis`` or ``ax.yaxis``."""
    return [label.get_text() for label in axis.get_ticklabels()]
