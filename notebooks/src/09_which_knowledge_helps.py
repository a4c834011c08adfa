# %% [markdown]
# # 09 · Which knowledge helps
#
# **Goal:** find out which facts make the best training set: those that the model knows best, or others.
#
# Afterwards you can
#
# * read the paper's Table 2, and rebuild it from stored runs;
# * test whether two models really differ, with a paired t-test over parts of the test set;
# * say which test for "the model does not know this" is the better one, and how to show it.

# %% [markdown]
# | track | minutes | memory |
# |---|---|---|
# | pocket, on a CPU | under 1, and about 1 more for a run of your own | about 1 GB |
# | a real model, on a GPU | not measured yet | not measured yet |
#
# **Needed before:** notebooks 05 (categories), 06 (sets of one category) and 07 (EARLY_STOP, CONVERGENCE).

# %%
from course_lib.study import open_study

study = open_study()
print(f"preset {study.preset}; number of facts: {study.facts.totals()}")

# %% [markdown]
# ## Five training sets
#
# Four sets hold facts of one category each, the fifth, **D_Natural**, holds every category in its natural share. All
# have the same size and the same relations (paper, section 5). The runs are the reference runs of notebook 08: five
# seeds.

# %%
from course_lib.analysis import main_rate, stops
from course_lib.mixing import SINGLE
from course_lib.reference import stored

runs = stored(study)
epochs = main_rate(runs.epochs())
variants = [*SINGLE, "D_Natural"]
stopped = stops(epochs)
assert set(variants) <= set(stopped["variant"]), "every variant has run"
print(runs)

# %% [markdown]
# **Predict.** Rank the five sets by test accuracy at EARLY_STOP. Which is best? Is the set of facts that the model
# knows best (HighlyKnown) the one to train on? Write the order down.

# %%
means = stopped[stopped["variant"].isin(variants)].groupby(["variant", "stop"])["test"].mean().unstack("stop")
means = means.loc[variants, ["EARLY_STOP", "CONVERGENCE"]]
assert means.notna().all().all(), "both stops of every variant"
print(f"{runs.source}: mean test accuracy (%) over {stopped['seed'].nunique()} seed(s)")
means.round(1)

# %%
import matplotlib.pyplot as plt
import numpy as np

from course_lib.plots import COLOURS

fig, ax = plt.subplots(figsize=(6.8, 3.6), layout="constrained")
places = np.arange(len(variants))
for shift, stop, hatch in ((-0.2, "EARLY_STOP", ""), (0.2, "CONVERGENCE", "///")):
    bars = ax.bar(places + shift, means[stop], 0.4, color=COLOURS[stop], hatch=hatch, edgecolor="white", label=stop)
    ax.bar_label(bars, [f"{value:.1f}" for value in means[stop]], fontsize=8)
ax.set(xticks=places, xticklabels=[name.removeprefix("D_") for name in variants], ylabel="test accuracy (%)")
fig.legend(loc="outside upper center", ncols=2, frameon=False)
order = means["EARLY_STOP"].sort_values(ascending=False)
print("At EARLY_STOP, best first: " + ", ".join(f"{name} {value:.1f} %" for name, value in order.items()) + ".")

# %% [markdown]
# In the paper the best are MaybeKnown (43.6) and Natural (43.5); HighlyKnown follows with 40.5. So there the facts that
# a model knows *best* are not the best to train on. Does the small model agree?
#
# ## Table 2
#
# The whole table also splits the test questions by what the base knew of them. Each cell: ours with its interval over
# seeds, then the paper's.

# %%
from course_lib.significance import right_at_stops
from course_lib.tables import laid_out, single_category_table

questions = runs.asked("test")
right = right_at_stops(epochs, runs.right("test"))
table = single_category_table(epochs, right=right, categories=questions["category"])
assert len(table) == 2 * len(variants) * 5, "two stops, five sets, five columns"
laid_out(table, index=["stop", "variant"], columns="tested")

# %% [markdown]
# Stars say: worse than the best of the column, at p < .05 (one) or p < .01 (two). We come to them in a moment. First a
# check that every such table should pass: the column *Full* is the mean of the other four, weighted by their numbers
# of questions.

# %%
def full_by_hand(by_category, counts):
    return sum(by_category[name] * count for name, count in counts.items()) / sum(counts.values())


counts = questions["category"].value_counts().to_dict()
for _, cells in table.set_index("tested").groupby(["stop", "variant"]):
    worked_out = full_by_hand(cells["mean"], counts)
    assert abs(worked_out - cells["mean"]["Full"]) < 0.01, "the four columns give the first"
print(f"Full is the weighted mean in all {2 * len(variants)} rows; questions: {counts}")

# %% [markdown]
# ## What is lost
#
# Look at the columns HighlyKnown at CONVERGENCE. Those facts the base answered rightly after *every* prompt. In the
# paper 98 % of them survive training on Known facts, and 56 % survive training on Unknown ones.

# %%
surviving = table.query("tested == 'HighlyKnown' and stop == 'CONVERGENCE'").set_index("variant")
for variant, row in surviving.iterrows():
    print(f"{variant:14} {row['mean']:5.1f} %   paper {row['published']:5.1f} %")
worst = surviving["mean"].idxmin()
print(f"Most of what was known best is lost after {worst}.")
assert surviving["mean"].between(0, 100).all(), "percentages"

# %% [markdown]
# ## Is the difference real?
#
# Two models answer the same questions. The paper splits the test set at random into 100 parts, takes both accuracies
# in each, and asks with a **paired t-test** whether their mean difference could be chance (App. J).

# %%
from scipy import stats

from course_lib.significance import paired


def t_by_hand(first, second, parts=100, seed=0):
    part = np.random.default_rng(seed).permutation(len(first)) % parts
    gaps = [100 * (first[part == i].mean() - second[part == i].mean()) for i in range(parts)]
    return np.mean(gaps) / (np.std(gaps, ddof=1) / np.sqrt(parts))

# %%
maybe, highly = (right[name, 0, "EARLY_STOP"].mean(axis=0) for name in ("D_MaybeKnown", "D_HighlyKnown"))
found = paired(maybe, highly)
assert np.isclose(t_by_hand(maybe, highly), found.t), "by hand as in the library"
p = 2 * stats.t.sf(abs(found.t), found.parts - 1)
print(f"MaybeKnown minus HighlyKnown: {found.difference:+.2f} points, t = {found.t:.2f}, p = {p:.3f}")

# %% [markdown]
# This test asks about *other questions* for these models. It says nothing about other seeds: for that we have the
# intervals. A difference should survive both.

# %%
from course_lib.analysis import estimate

pairs = stopped[stopped["stop"] == "EARLY_STOP"].pivot_table(index="seed", columns="variant", values="test")
over_seeds = estimate(pairs["D_MaybeKnown"] - pairs["D_HighlyKnown"])
print(f"MaybeKnown minus HighlyKnown over seeds: {over_seeds} points")
both = found.p < 0.05 and over_seeds.low * over_seeds.high > 0
print("Both tests see a difference." if both else "Not both tests see a difference: do not build on it.")
assert over_seeds.n == len(pairs), "one difference a seed"

# %% [markdown]
# And early stopping? The same test compares EARLY_STOP with CONVERGENCE, for each training set.

# %%
from course_lib.tables import early_against_late

compared = early_against_late(right)
assert list(compared["variant"]) == variants, "one row for each training set"
compared[["variant", "difference", "t", "p", "stars", "published_stars"]].round(3)

# %% [markdown]
# ## Which test finds what is Unknown?
#
# Is there a cheaper test than SliCK? **P(True)** asks the model itself whether a proposed answer is true. A good test
# has this property: what it calls Unknown stays wrong after fine-tuning (paper, section 5.4, Fig. 5).
#
# **Predict.** Will the curve of P(True) lie above or below the point of SliCK?

# %%
from course_lib import harm_plots
from course_lib.unknown_rules import p_true_rules, slick_rules, unknown_points

natural = next(answers for (name, _, stop), answers in right.items() if (name, stop) == ("D_Natural", "EARLY_STOP"))
rules = slick_rules({10: questions["category"]})
if "p_true" in questions:
    rules += slick_rules({prompts: questions[f"category_{prompts}"] for prompts in (1, 2, 5)})
    rules += p_true_rules(questions["p_true"], thresholds=np.quantile(questions["p_true"], np.linspace(0.05, 1, 20)))
points = unknown_points(rules, natural)
harm_plots.unknown_curve(points, published=True)
print(harm_plots.describe_unknown(points))
assert points["called"].between(0, 100).all(), "percentages"

# %% [markdown]
# The lower, the better: few of the questions that were called Unknown are answered rightly later. With fewer than ten
# prompts SliCK calls more questions Unknown, and more of them wrongly.
#
# ## A run of your own
#
# One variant, one seed, made on this machine (about half a minute on the pocket track, and only the first time).

# %%
from course_lib.sweep import sweep

own = sweep(study, [study.spec(variant="D_MaybeKnown", seed=0)])
early = stops(own).query("stop == 'EARLY_STOP'").iloc[0]
band = stopped.query("variant == 'D_MaybeKnown' and stop == 'EARLY_STOP'")["test"]
print(f"your run: {early['test']:.1f} % at epoch {early['epoch']:g}; reference seeds: {band.min():.1f} to "
      f"{band.max():.1f} %")
assert len(own) == study.settings.tune.epochs + 1, "one record an epoch, and epoch 0"

# %% [markdown]
# ## Claim by claim

# %%
from course_lib.analysis import claims_table
from course_lib.variant_claims import category_claims

verdicts = claims_table(category_claims(stopped))
assert len(verdicts) >= 4, "several claims about single categories"
print(f"{runs.source}, {stopped['seed'].nunique()} seed(s)")
verdicts.style.hide(axis="index").set_uuid("claims").set_properties(**{"text-align": "left", "white-space": "normal"})

# %%
for verdict, rows in verdicts.groupby("verdict"):
    print(f"{verdict}: {len(rows)} of {len(verdicts)}")
assert set(verdicts["verdict"]) <= {"holds", "holds weakly", "does not"}, "three verdicts"

# %% [markdown]
# Where the pocket model disagrees, think of how its MaybeKnown facts came to be: most have two right answers, a fine
# and a coarse one, and the training file gives one of them at random. So a row of this kind teaches a *choice* that
# the next question contradicts. Real MaybeKnown facts have many other reasons.

# %% [markdown]
# ## What to remember
#
# * Facts that are known for sure are not simply the best training data; the paper finds those that are known *maybe*.
# * Training on Unknown facts to the end destroys even what was known best.
# * A paired test over questions and an interval over seeds answer different questions. Ask both.
# * A rule for "Unknown" is judged by what stays wrong after training.

# %% [markdown]
# ## Recall questions
#
# 1. A model gets 98, 60, 10 and 1 % in the four categories, of which there are 200, 100, 100 and 100 questions. What is
#    its accuracy?
# 2. Why does the t-test compare parts of the test set in pairs?
# 3. A rule calls every question Unknown. Where is its point in Fig. 5?
#
# **Next:** notebook 10 takes the remedies one by one: what each saves, and what it costs.
