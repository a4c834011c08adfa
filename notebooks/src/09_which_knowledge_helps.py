# %% [markdown]
# # 09 · Which knowledge helps
#
# **Goal.** Find out which facts make the best training set: those that the model knows best, or others.
#
# **You will be able to**
#
# 1. read the paper's Table 2, and rebuild it from stored runs;
# 2. test whether two models really differ, with a paired t-test over parts of the test set;
# 3. say which test for "the model does not know this" is the better one, and how to show it.
#
# **Time.** 35 minutes to read and run, 25 for the exercises.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Lessons 05 (categories), 06 (sets of one category) and 07 (EARLY_STOP, CONVERGENCE). Source: Gekhman et
# al. 2024, section 5, [arXiv 2405.05904](https://arxiv.org/abs/2405.05904).

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** "Known best" and "best to train on" are two things, and a difference counts only if it survives two tests.
#
# **Misconceptions.**
#
# * "Train on what the model knows for sure, that is safe." The cell with the ranking: HighlyKnown alone is not the best
#   set in the paper, and on the pocket model the sets of known facts hardly differ.
# * "p < .05, so it will happen again with another seed." The t-test asks about other questions, not about other seeds.
# * "The paper says MaybeKnown, so our figure is wrong." The verdict is computed; a claim may fail on a small model.
#
# **Ask.**
#
# * Why is the column Full not the plain mean of the four others? (The categories have different numbers of questions.)
# * Which point of Fig. 5 would a rule have that calls everything Unknown? (x = 100, y = the accuracy of the model.)
# * Why pairs? (Both models meet the same hard and easy parts, so that part of the noise cancels.)
#
# **Where it breaks.**
#
# * The cell "A run of your own" trains once, half a minute on two cores; on a slow laptop two minutes. Start it early.
# * The wide tables need a wide window: on a projector make the browser's text smaller for these two cells.
#
# **When late.** Skip "Which test finds what is Unknown?" with exercise 09.4 (12 minutes), then the run of your own
# (3 minutes).

# %%
from course_lib import analysis
from course_lib.experiments import open_study, stored_runs, sweep
from course_lib.figures import plots
from course_lib.lessons import check, data_table, expect, hint, quiz, solution
from course_lib.training import mixing

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %% [markdown]
# ## Five training sets
#
# Four sets hold facts of one category each. The fifth, **D_Natural**, holds every category in its natural share, as a
# training file from real life would. All have the same size and the same relations (paper, section 5). The runs are
# those of lesson 08: the reference runs, five seeds; a preset without them makes its own here.

# %%
runs = stored_runs(study)
epochs = analysis.main_rate(runs.epochs())
variants = [*mixing.SINGLE, "D_Natural"]
stopped = analysis.stops(epochs)
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

fig, ax = plt.subplots(figsize=(6.8, 3.6), layout="constrained")
places = np.arange(len(variants))
for shift, stop, hatch in ((-0.2, "EARLY_STOP", ""), (0.2, "CONVERGENCE", "///")):
    bars = ax.bar(places + shift, means[stop], 0.4, color=plots.COLOURS[stop], hatch=hatch, edgecolor="white",
                  label=stop)
    ax.bar_label(bars, [f"{value:.1f}" for value in means[stop]], fontsize=8)
ax.set(xticks=places, xticklabels=[name.removeprefix("D_") for name in variants], ylabel="test accuracy (%)")
fig.legend(loc="outside upper center", ncols=2, frameon=False)
order = means["EARLY_STOP"].sort_values(ascending=False)
print("At EARLY_STOP, best first: " + ", ".join(f"{name} {value:.1f} %" for name, value in order.items()) + ".")
data_table(ax)

# %% [markdown]
# In the paper the best are MaybeKnown (43.6) and Natural (43.5); HighlyKnown follows with 40.5. So there the facts that
# a model knows *best* are not the best to train on. Does the small model agree?
#
# ## Table 2
#
# The whole table also splits the test questions by what the base knew of them. Each cell: ours with its interval over
# seeds, then the paper's.

# %%
questions = runs.asked("test")
right = analysis.right_at_stops(epochs, runs.right("test"))
table = analysis.single_category_table(epochs, right=right, categories=questions["category"])
assert len(table) == 2 * len(variants) * 5, "two stops, five sets, five columns"
analysis.laid_out(table, index=["stop", "variant"], columns="tested")

# %% [markdown]
# Stars say: worse than the best of the column, at p < .05 (one) or p < .01 (two). We come to them in a moment. First a
# check that every such table should pass: the column *Full* is the mean of the other four, weighted by their numbers
# of questions.

# %%
print("Stuck? hint('09.1') helps, solution('09.1') shows one way. You may also go on.")

# %% [markdown]
# ### Exercise 09.1 · The weighted mean
#
# *Difficulty 1 of 3 · 5 minutes.* `by_category` maps a category to its accuracy in percent, `counts` maps it to its
# number of questions. Give the accuracy over all questions. Example: 90 % of 10 questions and 0 % of 30 make 22.5 %.

# %% tags=["exercise"]
def full_by_hand(by_category, counts):
    """Accuracy over all questions, in percent."""
    ### BEGIN SOLUTION
    return sum(by_category[name] * count for name, count in counts.items()) / sum(counts.values())
    ### END SOLUTION

# %%
check("09.1", full_by_hand)

# %% [markdown]
# Does every row of our table pass? The library has the same function.

# %%
counts = questions["category"].value_counts().to_dict()
for _, cells in table.set_index("tested").groupby(["stop", "variant"]):
    worked_out = analysis.full_from_categories(cells["mean"], counts)
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
print(f"What was known best suffers most after {worst}.")
assert surviving["mean"].between(0, 100).all(), "percentages"

# %% [markdown]
# ## Is the difference real?
#
# Two models answer the same questions. The paper splits the test set at random into 100 parts, takes both accuracies
# in each, and asks with a **paired t-test** whether their mean difference could be chance (App. J).

# %% [markdown]
# The test divides the mean of the n differences by its **standard error**, the size of its noise: t = mean / (s /
# sqrt(n)). Here s is their standard deviation.

# %% [markdown]
# ### Exercise 09.2 · t from differences
#
# *Difficulty 2 of 3 · 8 minutes.* `gaps` is an array of n differences, one for each part. Give t. The standard
# deviation s of a sample divides by n - 1 (`ddof=1` in numpy). Example: the gaps 1, 2, 3 give t = 2 / (1 / sqrt(3)) =
# 3.46.

# %% tags=["exercise"]
def t_of(gaps):
    """Student's t of paired differences."""
    import numpy as np

    ### BEGIN SOLUTION
    return np.mean(gaps) / (np.std(gaps, ddof=1) / np.sqrt(len(gaps)))
    ### END SOLUTION

# %%
check("09.2", t_of)

# %% [markdown]
# Now with the 100 parts around it. The seed decides which question falls into which part, so it stands as an argument.

# %%
from scipy import stats


def t_by_hand(first, second, parts=100, seed=0):
    part = np.random.default_rng(seed).permutation(len(first)) % parts
    gaps = [100 * (first[part == i].mean() - second[part == i].mean()) for i in range(parts)]
    return np.mean(gaps) / (np.std(gaps, ddof=1) / np.sqrt(parts))

# %%
maybe, highly = (right[name, 0, "EARLY_STOP"].mean(axis=0) for name in ("D_MaybeKnown", "D_HighlyKnown"))
found = analysis.paired(maybe, highly)
assert np.isclose(t_by_hand(maybe, highly), found.t), "by hand as in the library"
p = 2 * stats.t.sf(abs(found.t), found.parts - 1)
print(f"MaybeKnown minus HighlyKnown: {found.difference:+.2f} points, t = {found.t:.2f}, p = {p:.3f}")

# %% [markdown]
# **p** is the chance to see such a difference, or a larger one, if both models were equally good. This test asks about
# *other questions* for these models. It says nothing about other seeds: for that we have the intervals. A difference
# should survive both.

# %% [markdown]
# ### Exercise 09.3 · Would you build on it?
#
# *Difficulty 1 of 3 · 5 minutes.* Give `True` only if both tests see a difference: `p` is below .05, **and** the
# interval over seeds from `low` to `high` leaves out zero, on either side. Example: p = .01 with 0.4 to 2.2 gives
# `True`, with -0.4 to 2.2 `False`.

# %% tags=["exercise"]
def believable(p, low, high):
    """Whether a difference survives the test over questions and the interval over seeds."""
    ### BEGIN SOLUTION
    return p < 0.05 and (low > 0 or high < 0)
    ### END SOLUTION

# %%
check("09.3", believable)

# %% [markdown]
# Now for MaybeKnown against HighlyKnown, the pair that the paper makes much of.

# %%
pairs = stopped[stopped["stop"] == "EARLY_STOP"].pivot_table(index="seed", columns="variant", values="test")
over_seeds = analysis.estimate(pairs["D_MaybeKnown"] - pairs["D_HighlyKnown"])
print(f"MaybeKnown minus HighlyKnown over seeds: {over_seeds} points")
both = found.p < 0.05 and over_seeds.low * over_seeds.high > 0
print("Both tests see a difference." if both else "Not both tests see a difference: do not build on it.")
assert over_seeds.n == len(pairs), "one difference a seed"

# %% [markdown]
# And early stopping? The same test compares EARLY_STOP with CONVERGENCE, for each training set.

# %%
compared = analysis.early_against_late(right)
assert list(compared["variant"]) == variants, "one row for each training set"
compared[["variant", "difference", "t", "p", "stars", "published_stars"]].round(3)

# %% [markdown]
# ## Which test finds what is Unknown?
#
# Is there a cheaper test than SliCK? **P(True)** asks the model itself whether a proposed answer is true. A good test
# has this property: what it calls Unknown stays wrong after fine-tuning (paper, section 5.4, Fig. 5).
#
# **Predict.** Will the curve of P(True) lie above or below the point of SliCK?

# %% [markdown]
# ### Exercise 09.4 · The point of a rule
#
# *Difficulty 2 of 3 · 7 minutes.* `called` and `right` are arrays of True and False, one value for each question: what
# the rule calls Unknown, and what the tuned model answers rightly. Give two numbers in percent: how much of all is
# called Unknown, and how much of *that part* is right.

# %% tags=["exercise"]
def point_of(called, right):
    """(percent called Unknown, percent right among these)."""
    ### BEGIN SOLUTION
    return 100 * called.mean(), 100 * right[called].mean()
    ### END SOLUTION

# %%
check("09.4", point_of)

# %% [markdown]
# The figure draws this point for SliCK with 1, 2, 5 and 10 prompts, and for P(True) below many thresholds.

# %%
natural = next(answers for (name, _, stop), answers in right.items() if (name, stop) == ("D_Natural", "EARLY_STOP"))
rules = analysis.slick_rules({10: questions["category"]})
if "p_true" in questions:
    rules += analysis.slick_rules({prompts: questions[f"category_{prompts}"] for prompts in (1, 2, 5)})
    thresholds = np.quantile(questions["p_true"], np.linspace(0.05, 1, 20))
    rules += analysis.p_true_rules(questions["p_true"], thresholds=thresholds)
points = analysis.unknown_points(rules, natural)
ax = plots.unknown_curve(points, published=True)
print(plots.describe_unknown(points))
assert points["called"].between(0, 100).all(), "percentages"
data_table(ax)

# %% [markdown]
# The lower, the better: few of the questions that were called Unknown are answered rightly later. With fewer than ten
# prompts SliCK calls more questions Unknown, and more of them wrongly.
#
# ## A run of your own
#
# One variant, one seed, made on this machine (about half a minute on the pocket track, and only the first time).

# %%
own = sweep.run(study, [study.spec(variant="D_MaybeKnown", seed=0)])
early = analysis.stops(own).query("stop == 'EARLY_STOP'").iloc[0]
print(f"EARLY_STOP of your run: epoch {early['epoch']:g}")
print(expect(early["test"], "test", study=study, unknown_percent=0, variant="D_MaybeKnown"))
assert len(own) == study.settings.tune.epochs + 1, "one record an epoch, and epoch 0"

# %% [markdown]
# ## Claim by claim

# %%
verdicts = analysis.claims_table(analysis.category_claims(stopped))
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
# ## Quiz
#
# Five questions. Every answer is explained, and nobody counts your tries.

# %%
quiz("09")

# %% [markdown]
# ## What to remember
#
# * Facts that are known for sure are not simply the best training data; the paper finds those that are known *maybe*.
# * Training on Unknown facts to the end destroys even what was known best.
# * A paired test over questions and an interval over seeds answer different questions. Ask both.
# * A rule for "Unknown" is judged by what stays wrong after training.

# %% [markdown]
# ## Recall
#
# 1. A model gets 98, 60, 10 and 1 % in the four categories, of which there are 200, 100, 100 and 100 questions. What is
#    its accuracy?
# 2. Why does the t-test compare parts of the test set in pairs?
# 3. A rule calls every question Unknown. Where is its point in Fig. 5?
#
# **Next:** [10 · Safer fine-tuning](10_safer_fine_tuning.ipynb). What does each remedy save, and what does it cost?
