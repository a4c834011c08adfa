# %% [markdown]
# # 10 · Safer fine-tuning
#
# **Goal.** Compare three remedies against hallucination, and count what each saves and what each costs.
#
# **You will be able to**
#
# 1. say what early stopping, filtering and "I don't know" do, and what each needs;
# 2. count a refusing model's right answers over *all* questions, not only over those that it answers;
# 3. choose a remedy for a training file of your own.
#
# **Time.** 30 minutes to read and run, 23 for the exercises.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Lessons 06 (D_Known, D_IDK), 07 (EARLY_STOP) and 08 (hallucination curves). Source: Gekhman et al. 2024,
# sections 4 and 7, [arXiv 2405.05904](https://arxiv.org/abs/2405.05904).

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** Each remedy has a price; count right, wrong and declined answers over all questions, then choose.
#
# **Misconceptions.**
#
# * "61.8 % against 43.0 %: I don't know makes the model better." Over all questions it is 36.3 against 43.0. Exercise
#   10.1 lets everybody find it.
# * "Filtering teaches the facts safely." It teaches none of them: the last table, column *new facts learned*.
# * "The model knows what it does not know." Look at who is refused an answer; on the pocket model nearly nobody's
#   category matters.
#
# **Ask.**
#
# * You own a support bot: which is worse, a wrong answer or none? (It depends on the use; let the room disagree.)
# * Which remedy works without labels? (Early stopping: it needs dev questions only.)
# * Why does D_IDK change the model at all, if no new fact is taught? (It teaches a behaviour; lesson 01.)
#
# **Where it breaks.**
#
# * "A run of your own" trains once, half a minute on two cores. Start the cell before you talk about it.
# * People read *accuracy* of the I-don't-know table as if it counted all questions. Point at the column *answered*.
#
# **When late.** Skip "A run of your own" and "Claim by claim" (5 minutes) and exercise 10.4 (5 minutes).

# %%
from course_lib import analysis
from course_lib.experiments import open_study, stored_runs, sweep
from course_lib.figures import plots
from course_lib.lessons import check, data_table, expect, hint, quiz, solution

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %% [markdown]
# ## The runs
#
# Three training sets, made in lesson 06: **D** with 50 % Unknown rows, **D_Known** without these rows, and **D_IDK**
# with "I don't know" as their answer. Runs with five seeds come with the course; a preset without them makes its own.

# %%
runs = stored_runs(study)
epochs = analysis.main_rate(runs.epochs())
stopped = analysis.stops(epochs)
assert {"D", "D_Known", "D_IDK"} <= set(stopped["variant"]), "the three training sets of this lesson have run"
print(runs)

# %% [markdown]
# ## The patient
#
# A training set with 50 % Unknown facts, trained to the end. We compare everything with it, seed by seed. A **remedy**
# is worth the right answers that it saves.

# %%
def at(variant, stop, measure="test"):
    rows = stopped[(stopped["variant"] == variant) & (stopped["stop"] == stop) & (stopped["unknown_percent"] == 50)]
    return rows.set_index("seed")[measure]


patient = at("D", "CONVERGENCE")
assert patient.index.is_unique, "one value a seed"
print(f"D, 50 % Unknown, CONVERGENCE: test {analysis.estimate(patient)} %, n = {len(patient)} seed(s)")

# %% [markdown]
# ## Remedy 1: stop early
#
# **Predict.** How many points of test accuracy does stopping at the best dev epoch save? And what is *not* learned?

# %%
early = at("D", "EARLY_STOP")
print(f"saved: {analysis.estimate(early - patient)} points")
for kind in ("known", "unknown"):
    fitted = [analysis.estimate(at("D", stop, f"{kind}_fitted")) for stop in ("EARLY_STOP", "CONVERGENCE")]
    print(f"{kind} rows fitted: {fitted[0]} % at EARLY_STOP, {fitted[1]} % at CONVERGENCE")
print(f"epochs: {at('D', 'EARLY_STOP', 'epoch').mean():.1f} of {at('D', 'CONVERGENCE', 'epoch').mean():g}")
assert len(early) == len(patient), "the same seeds"

# %% [markdown]
# Early stopping costs nothing but dev questions, and even saves time. But the Unknown rows are then not learned: if
# you *wanted* the model to know these facts, it does not. The paper calls early stopping a way to lower the risk
# (section 4).
#
# ## Remedy 2: filter
#
# Take the Unknown rows out (D_Known). This needs labels: lesson 05's measurement, before training.

# %%
for stop in ("EARLY_STOP", "CONVERGENCE"):
    gained = at("D_Known", stop) - at("D", stop)
    print(f"D_Known minus D at {stop}: {analysis.estimate(gained)} points")
kept = at("D_Known", "EARLY_STOP") - at("D_Known", "CONVERGENCE")
print(f"D_Known still loses {analysis.estimate(kept)} points after EARLY_STOP")
assert set(at("D_Known", "EARLY_STOP").index) == set(patient.index), "the same seeds"

# %% [markdown]
# Filtering makes long training nearly harmless. At EARLY_STOP it hardly matters.
#
# ## Remedy 3: teach "I don't know"
#
# Keep the Unknown questions and give them another answer: "I don't know" (paper, section 7). Then these rows teach a
# behaviour and no new fact.
#
# **Predict.** The share of *answered* questions that are right: up or down? And the share of *all* questions?

# %%
table = analysis.idk_table(epochs)
assert len(table) == 2 * 2 * 3, "two sets, two stops, three quantities"
print(f"{runs.source}: ours with 95 % interval | paper")
analysis.laid_out(table, index=["variant", "stop"], columns="quantity")

# %% [markdown]
# The column *accuracy* counts answered questions only, as the paper's Table 3 does. The paper prints 43.0 % for D,
# which answers everything, and 61.8 % for D_IDK, which answers 58.7 % of the questions. Which of the two gives more
# right answers?

# %% [markdown]
# ### Exercise 10.1 · Over all questions
#
# *Difficulty 1 of 3 · 5 minutes.* `accuracy` is the percentage of right answers among the answered questions,
# `answered` the percentage of all questions that were answered. Give the percentage of *all* questions that are
# answered rightly. Example: 50 % right of 60 % answered make 30 %.

# %% tags=["exercise"]
def over_all(accuracy, answered):
    """Right answers in percent of all questions."""
    ### BEGIN SOLUTION
    return accuracy * answered / 100
    ### END SOLUTION

# %%
check("10.1", over_all)

# %% [markdown]
# ### Exercise 10.2 · Wrong answers
#
# *Difficulty 2 of 3 · 6 minutes.* From the same two numbers: which percentage of *all* questions is answered *wrongly*?
# A declined question is not wrong. Example: 50 % right of 60 % answered leave 30 % wrong and 40 % declined.

# %% tags=["exercise"]
def wrong_over_all(accuracy, answered):
    """Wrong answers in percent of all questions."""
    ### BEGIN SOLUTION
    return (100 - accuracy) * answered / 100
    ### END SOLUTION

# %%
check("10.2", wrong_over_all)

# %% [markdown]
# The column *correct* counts all questions. In the paper D has 43.0 % right and 57.0 % wrong; D_IDK has 36.3 % right
# and 22.4 % wrong: *fewer* right answers, and far fewer wrong ones.

# %%
printed = 61.8 * 58.7 / 100
cells = table.query("variant == 'D_IDK' and stop == 'EARLY_STOP'").set_index("quantity")
assert abs(printed - cells["published"]["correct"]) < 0.1, "36.3 % of all questions"
assert 0 <= cells["mean"]["answered"] <= 100, "a percentage"
print(f"paper: {printed:.1f} % of all questions; here {cells['mean']['correct']:.1f} %, "
      f"with {cells['mean']['answered']:.1f} % answered")

# %% [markdown]
# ## Who is refused an answer?
#
# A good refusal falls on questions that the model cannot answer. We split the test questions by what the base knew.
# A HighlyKnown question that is declined is a right answer thrown away: **over-refusal**.

# %%
import pandas as pd

questions, counted = runs.asked("test"), {}
silent = epochs[epochs["variant"] == "D_IDK"]
for name, split in (("answered", "answered"), ("right", "test")):
    found = analysis.right_at_stops(silent, runs.right(split, variant="D_IDK"))["D_IDK", 50, "CONVERGENCE"].mean(axis=0)
    counted[name] = 100 * pd.Series(found).groupby(questions["category"]).mean()
table = pd.DataFrame(counted).assign(questions=questions["category"].value_counts())
table = table.reindex(["HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"]).dropna()
assert (table["right"] <= table["answered"] + 1e-9).all(), "no right answer is a refusal"
table.round(1)

# %%
import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
parts = {"right": table["right"], "wrong": table["answered"] - table["right"], "declined": 100 - table["answered"]}
start = 0
for (name, part), colour, hatch in zip(parts.items(), ("#009E73", "#D55E00", "#999999"), ("", "///", ".."),
                                       strict=True):
    ax.barh(table.index, part, left=start, color=colour, hatch=hatch, edgecolor="white", label=name)
    start = part + start
ax.set(xlabel="test questions at CONVERGENCE, D_IDK (%)", xlim=(0, 100))
ax.invert_yaxis()
fig.legend(loc="outside upper center", ncols=3, frameon=False)
told = "; ".join(f"{name} {value:.0f} %" for name, value in parts["declined"].items())
print(f"Declined at CONVERGENCE: {told}.")
data_table(ax)

# %% [markdown]
# ### Exercise 10.3 · Does it know when to decline?
#
# *Difficulty 2 of 3 · 7 minutes.* `declined` maps each category to the percentage of its questions that are declined.
# Give how many points more often Unknown questions are declined than **Known** ones. Known is the plain mean of the
# other three categories here. Example: 50 for Unknown and 10, 20, 30 for the others make +30.

# %% tags=["exercise"]
def selectivity(declined):
    """Points by which Unknown questions are declined more often than Known ones."""
    ### BEGIN SOLUTION
    known = [value for name, value in declined.items() if name != "Unknown"]
    return declined["Unknown"] - sum(known) / len(known)
    ### END SOLUTION

# %%
check("10.3", selectivity)

# %% [markdown]
# And our model? We compare the two ends, Unknown and HighlyKnown.

# %%
gap = parts["declined"]["Unknown"] - parts["declined"]["HighlyKnown"]
print(f"Unknown questions are declined {gap:+.1f} points more often than HighlyKnown ones.")
print("The model has learned what to refuse." if gap > 10 else
      "The model has learned the phrase for the rows of its training set, but not when to say it: it cannot tell which "
      "facts it lacks. So this remedy does not work here as it does in the paper.")
assert -100 <= gap <= 100, "a difference of percentages"

# %% [markdown]
# Kang et al. 2024 (arXiv 2403.05612) found on large models that it matters *which* rows carry "I don't know". On the
# 40 % least familiar rows it cut the wrong answers to the least familiar questions from 87 to 32 %; on a random 40 %
# only to 73 % (read off their figures).

# %% [markdown]
# ## All remedies side by side
#
# Counted over all questions, at both stops: right, wrong and declined.

# %%
rows = []
for name, variant, stop in (("nothing", "D", "CONVERGENCE"), ("stop early", "D", "EARLY_STOP"),
                            ("filter", "D_Known", "CONVERGENCE"), ("filter, stop early", "D_Known", "EARLY_STOP"),
                            ("I don't know", "D_IDK", "CONVERGENCE"),
                            ("I don't know, stop early", "D_IDK", "EARLY_STOP")):
    right = at(variant, stop)
    answered = at(variant, stop, "answered").astype(float).fillna(100)
    new = at(variant, stop, "unknown_fitted") if variant == "D" else 0 * right
    counts = {"right": right, "wrong": answered - right, "declined": 100 - answered, "new facts learned": new}
    rows.append({"remedy": name, "saved": analysis.estimate(right - patient)}
                | {key: each.mean() for key, each in counts.items()})
remedies = pd.DataFrame(rows).set_index("remedy")
assert (remedies[["right", "wrong", "declined"]].sum(axis=1).round(6) == 100).all(), "every question is counted once"
remedies.round(1)

# %% [markdown]
# The column *new facts learned* is the price that is easily forgotten: no remedy teaches the Unknown facts. If the
# model must know them, give them to it at answer time (**retrieval**: the text is looked up and put into the prompt),
# or accept more training data about each fact.

# %% [markdown]
# ### Exercise 10.4 · Choose
#
# *Difficulty 3 of 3 · 5 minutes.* A wrong answer costs you `price` right ones, a declined question costs nothing. So a
# remedy is worth `right - price * wrong`. `remedies` maps a name to (right, wrong). Give the name of the best. Example:
# at price 1, (40, 60) is worth -20 and (36, 22) is worth 14.

# %% tags=["exercise"]
def best_remedy(remedies, price):
    """The name of the remedy that is worth most."""
    ### BEGIN SOLUTION
    return max(remedies, key=lambda name: remedies[name][0] - price * remedies[name][1])
    ### END SOLUTION

# %%
check("10.4", best_remedy)

# %% [markdown]
# At which price does the choice change on our own numbers?

# %%
for price in (0, 0.25, 0.5, 1, 2):
    worth = remedies["right"] - price * remedies["wrong"]
    print(f"a wrong answer costs {price:4g} right ones: best is {worth.idxmax()!r}, worth {worth.max():.1f}")
assert len(worth) == 6, "six ways to train"

# %% [markdown]
# ## A run of your own
#
# D_IDK once on this machine: about half a minute on the pocket track, and only the first time.

# %%
own = sweep.run(study, [study.spec(50, variant="D_IDK", seed=0)])
last = own.iloc[-1]
print(f"your run at epoch {last['epoch']:g}: {last['answered']:.1f} % answered, {last['test']:.1f} % of all right")
print(expect(last["test"], "test", study=study, stop="CONVERGENCE", unknown_percent=50, variant="D_IDK"))
assert own["answered"].between(0, 100).all(), "the share of answered questions is a percentage"

# %% [markdown]
# ## Claim by claim

# %%
verdicts = analysis.claims_table(analysis.idk_claims(stopped))
assert set(verdicts["verdict"]) <= {"holds", "holds weakly", "does not"}, "three verdicts"
print(f"{runs.source}, {stopped['seed'].nunique()} seed(s)")
verdicts.style.hide(axis="index").set_uuid("claims").set_properties(**{"text-align": "left", "white-space": "normal"})

# %% [markdown]
# ## Quiz
#
# Five questions. Every answer is explained, and nobody counts your tries.

# %%
quiz("10")

# %% [markdown]
# ## What to remember
#
# * Early stopping is cheap and saves about as much as filtering; it leaves the Unknown rows unlearned.
# * Filtering needs labels, and makes long training nearly harmless.
# * "I don't know" trades right answers for fewer wrong ones, if the model can tell what it lacks: count over *all*
#   questions, and look whom it refuses.
# * No remedy teaches new facts safely.

# %% [markdown]
# ## Recall
#
# 1. A model answers 60 % of the questions and is right in 60 % of those. Another answers all and is right in 40 %.
#    Which gives more right answers? Which gives more wrong ones?
# 2. Which remedy needs no labels and no new rows?
# 3. Why does D_IDK decline some HighlyKnown questions?
#
# **Next:** [11 · Audit your own data](11_audit_your_data.ipynb). Which rows of your own file would do harm?
