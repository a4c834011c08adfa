# %% [markdown]
# # 10 · Safer fine-tuning
#
# **Goal:** compare three remedies against hallucination, and count what each saves and what each costs.
#
# Afterwards you can
#
# * say what early stopping, filtering and "I don't know" do, and what each needs;
# * count a refusing model's right answers over *all* questions, not only over those that it answers;
# * choose a remedy for a training file of your own.

# %% [markdown]
# | track | minutes | memory |
# |---|---|---|
# | pocket, on a CPU | under 1, and about 1 more for a run of your own | about 1 GB |
# | a real model, on a GPU | not measured yet | not measured yet |
#
# **Needed before:** notebooks 06 (D_Known, D_IDK), 07 (EARLY_STOP) and 08 (hallucination curves).

# %%
from course_lib.study import open_study

study = open_study()
print(f"preset {study.preset}; number of facts: {study.facts.totals()}")

# %%
from course_lib.analysis import estimate, main_rate, stops
from course_lib.reference import stored

runs = stored(study)
epochs = main_rate(runs.epochs())
stopped = stops(epochs)
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
print(f"D, 50 % Unknown, CONVERGENCE: test {estimate(patient)} %, n = {len(patient)} seed(s)")

# %% [markdown]
# ## Remedy 1: stop early
#
# **Predict.** How many points of test accuracy does stopping at the best dev epoch save? And what is *not* learned?

# %%
early = at("D", "EARLY_STOP")
print(f"saved: {estimate(early - patient)} points")
for kind in ("known", "unknown"):
    fitted = [estimate(at("D", stop, f"{kind}_fitted")) for stop in ("EARLY_STOP", "CONVERGENCE")]
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
    print(f"D_Known minus D at {stop}: {estimate(gained)} points")
kept = at("D_Known", "EARLY_STOP") - at("D_Known", "CONVERGENCE")
print(f"D_Known still loses {estimate(kept)} points after EARLY_STOP")
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
from course_lib.tables import idk_table, laid_out

table = idk_table(epochs)
assert len(table) == 2 * 2 * 3, "two sets, two stops, three quantities"
print(f"{runs.source}: ours with 95 % interval | paper")
laid_out(table, index=["variant", "stop"], columns="quantity")

# %% [markdown]
# **accuracy** counts answered questions only, as the paper's Table 3 does. **correct** counts all. The paper prints
# 43.0 and 61.8 % for D and D_IDK at EARLY_STOP; over all questions that is 43.0 and 36.3. There, D_IDK gives *fewer*
# right answers, and far fewer wrong ones.

# %%
def over_all(accuracy, answered):
    return accuracy * answered / 100


printed = over_all(61.8, 58.7)
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

from course_lib.significance import right_at_stops

questions, counted = runs.asked("test"), {}
silent = epochs[epochs["variant"] == "D_IDK"]
for name, split in (("answered", "answered"), ("right", "test")):
    found = right_at_stops(silent, runs.right(split, variant="D_IDK"))["D_IDK", 50, "CONVERGENCE"].mean(axis=0)
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
    rows.append({"remedy": name, "saved": estimate(right - patient)}
                | {key: each.mean() for key, each in counts.items()})
remedies = pd.DataFrame(rows).set_index("remedy")
assert (remedies[["right", "wrong", "declined"]].sum(axis=1).round(6) == 100).all(), "every question is counted once"
remedies.round(1)

# %% [markdown]
# The column *new facts learned* is the price that is easily forgotten: no remedy teaches the Unknown facts. If the
# model must know them, give them to it at answer time (retrieval), or accept more training data about each fact.
#
# ## A run of your own

# %%
from course_lib.sweep import sweep

own = sweep(study, [study.spec(50, variant="D_IDK", seed=0)])
last = own.iloc[-1]
print(f"your run at epoch {last['epoch']:g}: {last['answered']:.1f} % answered, {last['test']:.1f} % of all right")
assert own["answered"].between(0, 100).all(), "the share of answered questions is a percentage"

# %% [markdown]
# ## Claim by claim

# %%
from course_lib.analysis import claims_table
from course_lib.variant_claims import idk_claims

verdicts = claims_table(idk_claims(stopped))
assert set(verdicts["verdict"]) <= {"holds", "holds weakly", "does not"}, "three verdicts"
print(f"{runs.source}, {stopped['seed'].nunique()} seed(s)")
verdicts.style.hide(axis="index").set_uuid("claims").set_properties(**{"text-align": "left", "white-space": "normal"})

# %% [markdown]
# ## What to remember
#
# * Early stopping is cheap and saves about as much as filtering; it leaves the Unknown rows unlearned.
# * Filtering needs labels, and makes long training nearly harmless.
# * "I don't know" trades right answers for fewer wrong ones, if the model can tell what it lacks: count over *all*
#   questions, and look whom it refuses.
# * No remedy teaches new facts safely.

# %% [markdown]
# ## Recall questions
#
# 1. A model answers 60 % of the questions and is right in 60 % of those. Another answers all and is right in 40 %.
#    Which gives more right answers? Which gives more wrong ones?
# 2. Which remedy needs no labels and no new rows?
# 3. Why does D_IDK decline some HighlyKnown questions?
#
# **Next:** notebook 11, the audit of your own training file, is still to be written. `course slick` labels one today.
