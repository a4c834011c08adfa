"""Statistics of runs: from tables of epochs to the paper's figures, tables and claims, each with its interval.

A table of epochs has one row an epoch, accuracies in percent (``training.runs.read_runs``). ``stops`` picks EARLY_STOP
and CONVERGENCE, ``estimate`` and ``proportion`` give intervals, ``claims`` the verdicts. Nothing here needs a model.
"""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__,
    stopping="at_epochs over_seeds stops",
    intervals="Estimate estimate proportion",
    paired_test="Paired against_the_best paired right_at_stops",
    linear="linear_fit linear_model linear_table",
    tables="early_against_late full_from_categories idk_table laid_out single_category_table",
    verdicts="Claim",
    variant_claims="category_claims idk_claims",
    single_questions="lost_by_exposures p_true_rules exposure_groups slick_rules unknown_points",
    paper_claims="claims claims_table main_rate summary")
