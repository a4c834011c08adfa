# %% [markdown]
# # 08 · Hallucination curves
#
# **Goal:** see how accuracy depends on the share of Unknown facts and on the length of training, and check each claim
# of the paper on your own runs.
#
# Afterwards you can
#
# * draw and read the curves at EARLY_STOP and at CONVERGENCE;
# * separate harm by Unknown rows from the lack of Known rows;
# * fit the paper's linear model, and say what holds here and what does not.

# %% [markdown]
# | track | minutes | memory |
# |---|---|---|
# | pocket, on a CPU | under 1 when `course run` has made the runs, else it makes them first | about 1 GB |
# | a real model, on a GPU | not measured yet | not measured yet |
#
# **Needed before:** notebooks 06 (mixes, D_Known) and 07 (EARLY_STOP, CONVERGENCE).

# %%
from course_lib.study import open_study

study = open_study()
print(f"preset {study.preset}; number of facts: {study.facts.totals()}")

# %% [markdown]
# ## All runs in one table
#
# One row is one epoch of one run. `sweep` reads finished runs and makes those that are missing, so this cell is either
# quick or long.

# %%
from course_lib.sweep import sweep

epochs = sweep(study)
count = epochs.groupby(["variant", "unknown_percent", "seed"]).ngroups
assert count == len(study.plan()), "every planned run is there"
print(f"{count} runs, {len(epochs)} epochs; seeds {sorted(epochs['seed'].unique().tolist())}")
epochs[["variant", "unknown_percent", "seed", "epoch", "loss", "dev", "test", "ood"]].head(3).round(2)

# %% [markdown]
# **Predict.** The x axis will be the share of Unknown facts in the training set, from 0 to 100 %. The y axis is
# accuracy on test questions. There will be two lines: EARLY_STOP and CONVERGENCE. Sketch both. Which one falls more?
# Where are they furthest apart?

# %%
from course_lib import paper, plots

plots.hallucination_curve(epochs, published=True)
print(f"Preset {study.preset}. {plots.describe_curve(epochs)}")
points = [f"{mix['ES']:g} and {mix['CONV']:g} at {percent} %" for percent, mix in paper.UNKNOWN_MIX.items()]
print(f"Grey and hollow are the points that the paper prints (PaLM 2): {', '.join(points)}.")

# %% [markdown]
# This is the **hallucination curve** (paper, Fig. 3a). The bars are 95 % intervals over the seeds: with few seeds
# they are wide, and that is honest. Levels differ from the paper, because model and facts differ. We compare the
# *shape*.
#
# Where are the two lines furthest apart?

# %%
from course_lib.analysis import stops

stopped = stops(epochs)
means = stopped.groupby(["variant", "unknown_percent", "stop"])["test"].mean().unstack("stop")
gap = (means["EARLY_STOP"] - means["CONVERGENCE"]).loc["D"]
print("lost from EARLY_STOP to CONVERGENCE, points:", gap.round(1).to_dict())
print(f"largest at {gap.idxmax():g} % Unknown ({gap.max():.1f}), smallest at {gap.idxmin():g} % ({gap.min():.1f})")
assert len(gap) == len(study.settings.percents), "one gap for each mix"

# %% [markdown]
# ## How sure are we?
#
# A mean over n seeds has a 95 % interval of $\pm\, t \cdot s/\sqrt{n}$: s is the standard deviation over the seeds,
# and t comes from Student's table (4.30 for n = 3). We compute it once by hand.

# %%
import numpy as np
from scipy import stats

from course_lib.analysis import estimate


def interval(values):
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return np.mean(values) - half, np.mean(values) + half


example = [40.0, 42.0, 41.0]
assert np.allclose(interval(example), (estimate(example).low, estimate(example).high)), "by hand as in the library"
print(f"{example}: by hand {interval(example)[0]:.2f} to {interval(example)[1]:.2f}; library {estimate(example)}")

# %%
def with_interval(values):
    return str(estimate(values))


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
plots.hallucination_curve(epochs, variants=("D", "D_Known"))
for stop, column in means.items():
    difference = (column["D_Known"] - column["D"]).dropna()
    told = ", ".join(f"{value:+.1f} at {percent:g} %" for percent, value in difference.items())
    print(f"Preset {study.preset}, {stop}: D_Known (dotted) minus D, in points of test accuracy: {told}.")

# %% [markdown]
# The paper finds almost no difference at EARLY_STOP: Unknown rows that are *not yet fitted* do no harm. At
# CONVERGENCE a gap opens and grows with X. To *compare* two training sets, the same seed has to be used for both.

# %%
pairs = stopped.pivot(index=["unknown_percent", "stop", "seed"], columns="variant", values="test")
pairs = pairs[["D", "D_Known"]].dropna()
gaps = (pairs["D_Known"] - pairs["D"]).groupby(["stop", "unknown_percent"])
for (stop, percent), values in gaps:
    print(f"{stop:11} {percent:g} %: D_Known minus D = {estimate(values)}")
assert len(pairs) == 2 * sum(spec.variant == "D_Known" for spec in study.plan()), "every D_Known has its D"

# %% [markdown]
# ## Out of distribution
#
# Now questions of *other relations*, never seen in training. If accuracy falls there too, fine-tuning has changed
# more than the facts it taught. The paper reports a drop of up to 6 points, against up to 14 in distribution.

# %%
plots.hallucination_curve(epochs, measure="ood", variants=("D", "D_Known"))
print(f"Preset {study.preset}. {plots.describe_curve(epochs, measure='ood')}")

# %% [markdown]
# ## Move through the epochs
#
# Two sliders: the epoch, and the mix to read out. Start at epoch 1 and move right. First answer this: at which epoch
# does the line begin to tilt? In a stored notebook the next output is only a note; run the cell to use it.

# %%
from course_lib import widgets

widgets.curve_explorer(epochs)

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

from course_lib.analysis import linear_model

rows = {}
for measure in ("test", "ood"):
    ours, published = linear_model(epochs, measure), paper.LINEAR_MODEL[measure]
    assert np.allclose(least_squares(epochs, measure), ours[["b0", "b_kn", "b_unk", "r2"]]), "by hand as in the library"
    rows[f"{measure}, {study.preset}"] = ours
    rows[f"{measure}, paper"] = pd.Series([published.intercept, published.known, published.unknown, published.r2],
                                          index=["b0", "b_kn", "b_unk", "r2"])
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# Read it so: $\beta_{kn}$ is what fitting only Known rows adds, in points; $\beta_{unk}$ is what fitting only Unknown
# rows adds, and it is negative in the paper. $R^2$ is the share of the variation that the formula explains.

# %%
ours, published = linear_model(epochs, "test"), paper.LINEAR_MODEL["test"]
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
from course_lib.reference import stored

runs = stored(study)
more = runs.epochs()
assert more["seed"].nunique() >= epochs["seed"].nunique(), "at least as many seeds as your own sweep"
print(runs)

# %%
from course_lib.analysis import main_rate
from course_lib.plots import COLOURS

main = main_rate(more)
ax = plots.hallucination_curve(main)
for stop, column in means.items():
    ax.plot(column["D"].index, column["D"], "x", color=COLOURS[stop], markersize=9, label=f"{stop}, your runs")
ax.legend(frameon=False, fontsize="small")
inside = stops(main).query("variant == 'D'").groupby(["unknown_percent", "stop"])["test"].agg(["min", "max"])
ours = means.loc["D"].stack().reindex(inside.index).dropna()
within = ours.between(inside["min"][ours.index] - 1.5, inside["max"][ours.index] + 1.5)
print(f"{within.sum()} of your {len(within)} means lie within 1.5 points of the range of the reference seeds.")

# %% [markdown]
# If some lie outside, that is no error by itself: your model, data or settings may be others. With the same ones, look
# for a change in versions first.
#
# More seeds also give the linear model its intervals: each seed is left out once, and we see how much the coefficients
# move.

# %%
from course_lib.linear import linear_table
from course_lib.tables import laid_out

table = linear_table(main)
assert set(table["coefficient"]) == {"b0", "b_kn", "b_unk", "r2"}, "Table 1"
print(f"{runs.source}, {main['seed'].nunique()} seed(s): ours with 95 % interval | paper")
laid_out(table, index=["measure"], columns="coefficient")

# %% [markdown]
# ## Another learning rate
#
# Is the curve a matter of one rate? The paper repeats it at ten times its rate (Fig. 6), the reference runs at twice.

# %%
from course_lib import curve_plots

curve_plots.rate_curves(more)
print(curve_plots.describe_rates(more))
assert more["lr"].nunique() == 2, "two rates"

# %% [markdown]
# ## Which facts are lost?
#
# Only in a world that we wrote can we ask this: how often had the model *read* the facts that it loses?
#
# **Predict.** Which facts are lost more easily: those read a few times, or those read a hundred times?

# %%
from course_lib import harm_plots
from course_lib.harm import harm_by_readings
from course_lib.significance import right_at_stops

asked = runs.asked("test")
answers = right_at_stops(main, runs.right("test"))
early, late = (answers["D", 50, stop] for stop in ("EARLY_STOP", "CONVERGENCE"))
if "readings" in asked:
    table = harm_by_readings(asked["readings"], early, late)
    harm_plots.harm_bars(table)
    print(harm_plots.describe_harm(table))
else:
    print("Nobody counted how often this model read these facts.")
assert early.shape == late.shape == (main["seed"].nunique(), len(asked)), "seeds by questions"

# %% [markdown]
# If the bars fall to the right, a fact that was read often is better anchored.
#
# ## Claim by claim
#
# Now the whole comparison. A claim **holds** if its effect has the right sign and the 95 % interval over seeds leaves
# out zero. It **holds weakly** if only the mean has the right sign. The verdict is computed, not written.

# %%
from course_lib.analysis import claims, claims_table

checked = claims(more)
verdicts = claims_table(checked)
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
# ## What to remember
#
# * More Unknown rows and longer training lower accuracy together; early stopping takes most of the harm away (paper,
#   Fig. 3a).
# * D_Known tells harm by Unknown rows from a lack of Known rows.
# * What counts is how many Unknown rows are *fitted*, not how many are there. The linear model says just that.
# * A curve without intervals over seeds is one draw of luck.

# %% [markdown]
# ## Recall questions
#
# 1. D and D_Known are equal at EARLY_STOP and differ at CONVERGENCE. What does this say about Unknown rows?
# 2. With the paper's coefficients (36.9, 7.3, -8.3): which accuracy does the formula give at 50 % Unknown with all rows
#    fitted? The paper measured 38.8. What follows?
# 3. Why do the intervals come from seeds, and not from the number of test questions alone?
#
# **Next:** notebook 09 asks which *kind* of Known fact helps most.
