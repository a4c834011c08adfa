# %% [markdown]
# # 08 · Hallucination curves
#
# **Goal.** See how accuracy depends on the share of Unknown facts and on the length of training, and check each claim
# of the paper on your own runs.
#
# **You will be able to**
#
# 1. draw and read the curves at EARLY_STOP and at CONVERGENCE;
# 2. separate harm by Unknown rows from the lack of Known rows;
# 3. fit the paper's linear model, and say what holds here and what does not.
#
# **Time.** 45 minutes to read and run, 25 for the exercises.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Lessons 06 (mixes, D_Known) and 07 (EARLY_STOP, CONVERGENCE). Source: Gekhman et al. 2024, section 4,
# [arXiv 2405.05904](https://arxiv.org/abs/2405.05904).

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** Unknown rows do harm when they are *fitted*: few of them are at EARLY_STOP, all of them at CONVERGENCE.
#
# **Misconceptions.**
#
# * "The curve falls because D holds fewer Known rows." The dotted line D_Known has just as few and stays up.
# * "More Unknown rows are always worse." At EARLY_STOP the line is nearly level. Ask at which epoch it begins to tilt.
# * "Our level differs from the paper, so it failed." Levels depend on model and facts; the shape is what is compared.
#
# **Ask.**
#
# * Where are the two lines furthest apart, and why there? (At 100 %: nothing but Unknown rows to fit.)
# * What would the curve look like for a model that knew all facts? (No Unknown rows: one point, at 0 %.)
# * Which of your claims would you print with three seeds? (Those whose interval leaves out zero.)
#
# **Where it breaks.**
#
# * The first cell makes 24 runs if `make course` has not: about 8 minutes on two cores. Run it before the session, or
#   take the reference runs (the cell `stored_runs(study)`).
# * Sliders do nothing in a stored notebook on GitHub: run the cell, or use the figure below it.
#
# **When late.** Skip "Another learning rate" and "Which facts are lost?" (8 minutes) and exercise 08.4 (6 minutes).

# %%
from course_lib import analysis
from course_lib.data import paper
from course_lib.experiments import has_reference, open_study, reference_runs, stored_runs, sweep
from course_lib.figures import plots, widgets
from course_lib.lessons import check, data_table, expect, hint, quiz, show, solution

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %% [markdown]
# ## All runs in one table
#
# One row is one epoch of one run. `sweep` reads finished runs and makes those that are missing, so this cell is either
# quick or long.

# %%
epochs = sweep.run(study)
count = epochs.groupby(["variant", "unknown_percent", "seed"]).ngroups
assert count == len(study.plan()), "every planned run is there"
print(f"{count} runs, {len(epochs)} epochs; seeds {sorted(epochs['seed'].unique().tolist())}")
epochs[["variant", "unknown_percent", "seed", "epoch", "loss", "dev", "test", "ood"]].head(3).round(2)

# %% [markdown]
# **Predict.** The x axis will be the share of Unknown facts in the training set, from 0 to 100 %. The y axis is
# accuracy on test questions. There will be two lines: EARLY_STOP and CONVERGENCE. Sketch both. Which one falls more?
# Where are they furthest apart?

# %%
ax = plots.hallucination_curve(epochs, published=True)
print(f"Preset {study.preset}. {plots.describe_curve(epochs)}")
points = [f"{mix['ES']:g} and {mix['CONV']:g} at {percent} %" for percent, mix in paper.UNKNOWN_MIX.items()]
print(f"Grey and hollow are the points that the paper prints (PaLM 2): {', '.join(points)}.")
data_table(ax)

# %% [markdown]
# This is the **hallucination curve** (paper, Fig. 3a). The bars are 95 % intervals over the seeds: with few seeds
# they are wide, as they should be. Levels differ from the paper, because model and facts differ. We compare the
# *shape*.
#
# Where are the two lines furthest apart?

# %%
print("Stuck? hint('08.1') helps, solution('08.1') shows one way. You may also go on.")

# %% [markdown]
# ### Exercise 08.1 · The largest fall
#
# *Difficulty 1 of 3 · 5 minutes.* `early` and `late` map a share of Unknown, in percent, to the accuracy at EARLY_STOP
# and at CONVERGENCE. Give the share at which accuracy falls most, in points. Example: early {0: 40, 50: 39}, late {0:
# 39, 50: 30} give 50.

# %% tags=["exercise"]
def largest_fall(early, late):
    """The share of Unknown, in percent, with the largest fall from early to late."""
    ### BEGIN SOLUTION
    return max(early, key=lambda percent: early[percent] - late[percent])
    ### END SOLUTION

# %%
check("08.1", largest_fall)

# %% [markdown]
# On your runs:

# %%
stopped = analysis.stops(epochs)
means = stopped.groupby(["variant", "unknown_percent", "stop"])["test"].mean().unstack("stop")
gap = (means["EARLY_STOP"] - means["CONVERGENCE"]).loc["D"]
print("lost from EARLY_STOP to CONVERGENCE, points:", gap.round(1).to_dict())
print(f"largest at {gap.idxmax():g} % Unknown ({gap.max():.1f}), smallest at {gap.idxmin():g} % ({gap.min():.1f})")
assert len(gap) == len(study.settings.percents), "one gap for each mix"

# %% [markdown]
# ## How sure are we?
#
# A mean over n seeds has a 95 % **interval** of $\pm\, t \cdot s/\sqrt{n}$: s is the standard deviation over the seeds
# (a sample's: n - 1 below the line), and t comes from Student's table (4.30 for n = 3). If we made the same n runs
# again and again, 95 of 100 such intervals would hold the true mean.

# %% [markdown]
# ### Exercise 08.2 · An interval by hand
#
# *Difficulty 2 of 3 · 8 minutes.* Give the lower and the upper end for a list of values. `scipy.stats.t.ppf(0.975, n -
# 1)` is Student's t. Example: 40, 42, 41 give 38.52 and 43.48.

# %% tags=["exercise"]
def interval(values):
    """(low, high) of the mean's 95 % interval."""
    import numpy as np
    from scipy import stats

    ### BEGIN SOLUTION
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return np.mean(values) - half, np.mean(values) + half
    ### END SOLUTION

# %%
check("08.2", interval)

# %% [markdown]
# The library's `estimate` does the same; it stands behind every interval of this course.

# %%
import numpy as np

example = [40.0, 42.0, 41.0]
print(f"{example}: {analysis.estimate(example)}")
low, high = analysis.estimate(example).low, analysis.estimate(example).high
assert np.allclose((low, high), (38.516, 43.484), atol=0.001), "as by hand"

# %%
def with_interval(values):
    return str(analysis.estimate(values))


table = stopped.groupby(["variant", "unknown_percent", "stop"])[["epoch", "test", "ood"]].agg(
    {"epoch": "mean", "test": with_interval, "ood": with_interval})
assert len(table) == 2 * stopped.groupby(["variant", "unknown_percent"]).ngroups, "two stops for each mix"
print(f"preset {study.preset}: mean accuracy [95 % interval over {stopped['seed'].nunique()} seed(s)]")
table.round(1)

# %% [markdown]
# ## Harm, or a lack of Known rows?
#
# With more Unknown rows, D holds fewer Known ones. Which of the two makes accuracy fall? D_Known has the same Known
# rows as D and no others. If D falls below D_Known, the Unknown rows did it (paper, Fig. 3b).

# %%
ax = plots.hallucination_curve(epochs, variants=("D", "D_Known"))
for stop, column in means.items():
    difference = (column["D_Known"] - column["D"]).dropna()
    told = ", ".join(f"{value:+.1f} at {percent:g} %" for percent, value in difference.items())
    print(f"Preset {study.preset}, {stop}: D_Known (dotted) minus D, in points of test accuracy: {told}.")
data_table(ax)

# %% [markdown]
# The paper finds almost no difference at EARLY_STOP: Unknown rows that are *not yet fitted* do no harm. At
# CONVERGENCE a gap opens and grows with X. To *compare* two training sets, the same seed has to be used for both.

# %% [markdown]
# ### Exercise 08.3 · Compare in pairs
#
# *Difficulty 2 of 3 · 6 minutes.* `first` and `second` map a seed to an accuracy; some seeds may be missing on one
# side. Give the mean of first minus second over the seeds that **both** have. Example: {0: 40, 1: 50} and {0: 38, 2:
# 20} give 2.

# %% tags=["exercise"]
def paired_difference(first, second):
    """Mean difference over the seeds that both sides have."""
    ### BEGIN SOLUTION
    both = [seed for seed in first if seed in second]
    return sum(first[seed] - second[seed] for seed in both) / len(both)
    ### END SOLUTION

# %%
check("08.3", paired_difference)

# %% [markdown]
# Seed by seed on our runs, with an interval for each mix:

# %%
pairs = stopped.pivot(index=["unknown_percent", "stop", "seed"], columns="variant", values="test")
pairs = pairs[["D", "D_Known"]].dropna()
gaps = (pairs["D_Known"] - pairs["D"]).groupby(["stop", "unknown_percent"])
for (stop, percent), values in gaps:
    print(f"{stop:11} {percent:g} %: D_Known minus D = {analysis.estimate(values)}")
assert len(pairs) == 2 * sum(spec.variant == "D_Known" for spec in study.plan()), "every D_Known has its D"

# %% [markdown]
# ## Out of distribution
#
# Now questions of *other relations*, never seen in training. If accuracy falls there too, fine-tuning has changed
# more than the facts it taught. The paper reports a drop of up to 6 points, against up to 14 in distribution.

# %%
ax = plots.hallucination_curve(epochs, measure="ood", variants=("D", "D_Known"))
print(f"Preset {study.preset}. {plots.describe_curve(epochs, measure='ood')}")
data_table(ax)

# %% [markdown]
# ## Move through the epochs
#
# The controls choose the epoch, the mix to read out, D or D_Known, and the questions. The shaded band is where the
# reference seeds lie; hollow points are the paper's.

# %% [markdown]
# **Predict.** Start at epoch 1 and move right. At which epoch does the line begin to tilt? Does D_Known tilt too? Do
# your own runs lie inside the band?

# %%
band = reference_runs(study.name).epochs() if has_reference(study.name) else None
show(widgets.curve_explorer(epochs, reference=band))

# %% [markdown]
# The same without sliders: test accuracy against % Unknown, one line for each of some epochs. Light lines are early,
# dark ones late.

# %%
import matplotlib.pyplot as plt

final = int(epochs["epoch"].max())
shown = sorted({round(epoch) for epoch in np.linspace(1, final, 5)})
rows = epochs.query("variant == 'D' and epoch in @shown")
lines = rows.groupby(["epoch", "unknown_percent"])["test"].mean().unstack()
fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for (epoch, line), marker in zip(lines.iterrows(), "os^Dv", strict=False):
    shade = plt.cm.cividis_r(0.15 + 0.85 * epoch / final)
    ax.plot(line.index, line, marker=marker, color=shade, label=f"epoch {epoch}")
ax.set(xlabel="Unknown facts in the training set (%)", ylabel="test accuracy (%)", ylim=(0, None))
ax.legend(frameon=False, ncols=2, fontsize="small")
tilt = {epoch: line.iloc[0] - line.iloc[-1] for epoch, line in lines.iterrows()}
print("Test accuracy at the smallest share of Unknown minus that at the largest: "
      + ", ".join(f"{value:+.1f} after epoch {epoch}" for epoch, value in tilt.items()) + " points.")
data_table(ax)

# %% [markdown]
# ## One formula for all runs
#
# The paper pools all epochs of all mixes and fits one line in two variables (Table 1):
#
# $$\text{Accuracy} = \beta_0 + \beta_{kn} \frac{N_{kn}}{|D|} + \beta_{unk} \frac{N_{unk}}{|D|}$$
#
# N counts the Known or Unknown rows that are **fitted**. **Least squares** finds the coefficients with the smallest
# sum of squared errors.

# %%
def least_squares(epochs, measure):
    rows = epochs.query("variant == 'D' and epoch > 0")
    share = rows["unknown_percent"] / 100
    known = rows["known_fitted"].fillna(0) / 100 * (1 - share)
    unknown = rows["unknown_fitted"].fillna(0) / 100 * share
    inputs = np.column_stack([np.ones(len(rows)), known, unknown])
    target = rows[measure].to_numpy()
    coefficients = np.linalg.lstsq(inputs, target, rcond=None)[0]
    errors = target - inputs @ coefficients
    return [*coefficients, 1 - (errors @ errors) / ((target - target.mean()) @ (target - target.mean()))]

# %%
import pandas as pd

rows = {}
for measure in ("test", "ood"):
    ours, published = analysis.linear_model(epochs, measure), paper.LINEAR_MODEL[measure]
    assert np.allclose(least_squares(epochs, measure), ours[["b0", "b_kn", "b_unk", "r2"]]), "by hand as in the library"
    rows[f"{measure}, {study.name}"] = ours
    rows[f"{measure}, paper"] = pd.Series([published.intercept, published.known, published.unknown, published.r2],
                                          index=["b0", "b_kn", "b_unk", "r2"])
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# Read it so: $\beta_{kn}$ is what fitting only Known rows adds, in points; $\beta_{unk}$ is what fitting only Unknown
# rows adds, and it is negative in the paper. $R^2$ is the share of the variation that the formula explains.

# %% [markdown]
# ### Exercise 08.4 · Use the formula
#
# *Difficulty 2 of 3 · 6 minutes.* Given the coefficients, the share of Unknown rows in percent, and how much of the
# Known and of the Unknown rows is fitted in percent, give the accuracy. Mind that N is counted against the whole |D|.
# Example: 30, 8, -6 at 50 %, half of both fitted: 30.5.

# %% tags=["exercise"]
def predicted(b0, b_kn, b_unk, unknown_percent, known_fitted, unknown_fitted):
    """Accuracy in percent by the linear model of Table 1."""
    ### BEGIN SOLUTION
    share = unknown_percent / 100
    return b0 + b_kn * (1 - share) * known_fitted / 100 + b_unk * share * unknown_fitted / 100
    ### END SOLUTION

# %%
check("08.4", predicted)

# %% [markdown]
# What do the coefficients of your runs say beside the paper's?

# %%
ours, published = analysis.linear_model(epochs, "test"), paper.LINEAR_MODEL["test"]
print(f"preset {study.preset}: Known rows {ours['b_kn']:+.1f} points, Unknown rows {ours['b_unk']:+.1f} points")
print(f"paper, PaLM 2: Known rows {published.known:+.1f} points, Unknown rows {published.unknown:+.1f} points")
print(f"Unknown against Known, in size: {-ours['b_unk'] / ours['b_kn']:.1f} here, "
      f"{-published.unknown / published.known:.1f} in the paper")
same = ours["b_kn"] > 0 > ours["b_unk"]
print("Signs as in the paper:", "yes" if same else "no")
assert 0 <= ours["r2"] <= 1, "least squares with an intercept explains between none and all of the variation"

# %% [markdown]
# ## More seeds: the reference runs
#
# Your sweep has few seeds. The package brings **reference runs**: every mix and variant, five seeds, made by the same
# code. They are read like your own, and say where they come from. (A preset without them makes its own runs here.)

# %%
runs = stored_runs(study)
more = runs.epochs()
assert more["seed"].nunique() >= epochs["seed"].nunique(), "at least as many seeds as your own sweep"
print(runs)

# %%
main = analysis.main_rate(more)
ax = plots.hallucination_curve(main)
for stop, column in means.items():
    ax.plot(column["D"].index, column["D"], "x", color=plots.COLOURS[stop], markersize=9, label=f"{stop}, your runs")
ax.legend(frameon=False, fontsize="small")
inside = analysis.stops(main).query("variant == 'D'").groupby(["unknown_percent", "stop"])["test"].agg(["min", "max"])
ours = means.loc["D"].stack().reindex(inside.index).dropna()
within = ours.between(inside["min"][ours.index] - 1.5, inside["max"][ours.index] + 1.5)
print("No reference runs come with this preset: both are your own runs." if band is None else
      f"{within.sum()} of your {len(within)} means lie within 1.5 points of the range of the reference seeds.")
data_table(ax)

# %% [markdown]
# If some lie outside, that is no error by itself: your model, data or settings may be others. With the same ones, look
# for a change in versions first.

# %%
for percent in (0, 100):
    print(expect(means["CONVERGENCE"]["D", percent], "test", study=study, stop="CONVERGENCE", unknown_percent=percent))

# %% [markdown]
# More seeds also give the linear model its intervals: each seed is left out once, and we see how much the coefficients
# move.

# %%
table = analysis.linear_table(main)
assert set(table["coefficient"]) == {"b0", "b_kn", "b_unk", "r2"}, "Table 1"
print(f"{runs.source}, {main['seed'].nunique()} seed(s): ours with 95 % interval | paper")
analysis.laid_out(table, index=["measure"], columns="coefficient")

# %% [markdown]
# ## Another learning rate
#
# Is the curve a matter of one rate? The paper repeats it at ten times its rate (Fig. 6), the reference runs at twice.

# %%
ax = plots.rate_curves(more)
print(plots.describe_rates(more))
assert more["lr"].nunique() == 2, "two rates"
data_table(ax)

# %% [markdown]
# ## Which facts are lost?
#
# Only in a world that we wrote can we ask this: how often had the model *read* the facts that it loses?
#
# **Predict.** Which facts are lost more easily: those read a few times, or those read a hundred times?

# %%
asked = runs.asked("test")
answers = analysis.right_at_stops(main, runs.right("test"))
early, late = (answers["D", 50, stop] for stop in ("EARLY_STOP", "CONVERGENCE"))
if "readings" in asked:
    table = analysis.lost_by_exposures(asked["readings"], early, late)
    plots.lost_bars(table)
    print(plots.describe_lost(table))
else:
    print("Nobody counted how often this model read these facts.")
assert early.shape == late.shape == (main["seed"].nunique(), len(asked)), "seeds by questions"

# %% [markdown]
# If the bars fall to the right, a fact that was read often is better anchored.

# %% [markdown]
# ## Claim by claim
#
# Now the whole comparison. A claim **holds** if its effect has the right sign and the 95 % interval over seeds leaves
# out zero. It **holds weakly** if only the mean has the right sign. The verdict is computed, not written.

# %%
checked = analysis.claims(more)
verdicts = analysis.claims_table(checked)
assert len(verdicts) >= 5, "the curve has at least five claims"
print(f"{runs.source}, {more['seed'].nunique()} seed(s)")
verdicts.style.hide(axis="index").set_uuid("claims").set_properties(**{"text-align": "left", "white-space": "normal"})

# %%
for verdict, rows in verdicts.groupby("verdict"):
    print(f"{verdict}: {len(rows)} of {len(verdicts)}")
failed = verdicts.loc[verdicts["verdict"] == "does not", "claim"].tolist()
print("Not seen here:", *(f"- {claim}" for claim in failed or ["nothing"]), sep="\n")
assert set(verdicts["verdict"]) <= {"holds", "holds weakly", "does not"}, "three verdicts"

# %% [markdown]
# A claim that does not hold here is a result too: a small model or few seeds may hide an effect, or the effect needs
# something that this world lacks. Those about single categories come back in notebook 09, those about "I don't know"
# in notebook 10.

# %% [markdown]
# ## Limits
#
# One model, one world of facts, a few seeds. The pocket model has a few million weights and has read an invented
# world; the paper fine-tuned all weights of PaLM 2 on real facts. LoRA replaces full fine-tuning here. The paper
# itself reports one model and no seeds.

# %%
last = stopped[(stopped["variant"] == "D") & (stopped["stop"] == "CONVERGENCE")]
fitted = last.groupby("unknown_percent")["unknown_fitted"].mean().dropna()
assert fitted.between(0, 100).all(), "a share of fitted rows is a percentage"
print(f"preset {study.preset}, Unknown rows fitted at CONVERGENCE: "
      + ", ".join(f"{value:.0f} % at {percent:g} %" for percent, value in fitted.items()))
print("In the paper all of them are fitted by then, so a value below 100 says that this run is shorter than theirs.")
for measure in ("test", "ood"):
    ends = stopped.query("variant == 'D' and unknown_percent == unknown_percent.max()").groupby("stop")[measure].mean()
    lost = ends["EARLY_STOP"] - ends["CONVERGENCE"]
    print(f"{measure}: {lost:.1f} points lost at most Unknown, {lost / ends['EARLY_STOP']:.0%} of what was right")

# %% [markdown]
# ## Quiz
#
# Five questions. Every answer is explained, and nobody counts your tries.

# %%
quiz("08")

# %% [markdown]
# ## What to remember
#
# * More Unknown rows and longer training lower accuracy together; early stopping takes most of the harm away (paper,
#   Fig. 3a).
# * D_Known tells harm by Unknown rows from a lack of Known rows.
# * What counts is how many Unknown rows are *fitted*, not how many are there. The linear model says just that.
# * A curve without intervals over seeds is one draw of luck.

# %% [markdown]
# ## Recall
#
# 1. D and D_Known are equal at EARLY_STOP and differ at CONVERGENCE. What does this say about Unknown rows?
# 2. With the paper's coefficients (36.9, 7.3, -8.3): which accuracy does the formula give at 50 % Unknown with all rows
#    fitted? The paper measured 38.8. What follows?
# 3. Why do the intervals come from seeds, and not from the number of test questions alone?
#
# **Next:** [09 · Which knowledge helps](09_which_knowledge_helps.ipynb). Which *kind* of Known fact helps most?
