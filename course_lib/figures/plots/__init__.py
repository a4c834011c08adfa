"""Plots: functions that take data and an ``ax``, draw, and return the ``ax``; each with a sentence that says the same.

``hallucination_curve`` and ``run_curve`` are the paper's two figures; ``data_table(ax)`` gives the values behind any.
"""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__,
    style="COLOURS MARKERS new_axes new_panels plain_text",
    runs="category_curve describe_category_curve describe_run one_run run_curve run_lines",
    curves="curve_at_epoch curve_points describe_curve describe_epoch describe_rates hallucination_curve rate_curves",
    knowledge="category_bars describe_groups describe_question describe_shares exposure_bars group_histograms "
              "question_bars",
    lost_facts="describe_lost describe_unknown lost_bars unknown_curve",
    sizing="describe_errors describe_fits describe_levels describe_memory error_curves level_histogram memory_bars "
           "verdict",
    values="DataTable data_table drawn")
