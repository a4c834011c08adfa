# %% [markdown]
# # 07 · Learning and forgetting
#
# **Goal.** Watch one fine-tuning run, epoch by epoch, and see what it learns first and what it loses later.
#
# **You will be able to**
#
# 1. read the curves of Known rows, Unknown rows and dev accuracy;
# 2. find EARLY_STOP, and say why it is a good place to stop;
# 3. name questions that the model lost, and tell a forgotten answer from one that is no longer produced.
#
# **Time.** 45 minutes to read and run, 27 for the exercises. The cells take about 2 minutes of it on a CPU where
# `course run` has made the runs; else they are made first, which takes some minutes more.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Lessons 03 (LoRA adapters), 05 (categories) and 06 (mixes). "The paper" is Gekhman et al. 2024,
# [arXiv 2405.05904](https://arxiv.org/abs/2405.05904).

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** A model fits what it knows fast and what it does not know slowly; while it fits the second, it changes
# answers that were right. Most of these are not erased, but no longer produced.
#
# **Misconceptions.**
#
# * "A falling loss means a better model." Here the loss falls to 0.02 while dev accuracy falls by some 10 points.
#   The loss is about the training rows alone.
# * "EARLY_STOP may be picked on test." Then the test questions have chosen the number that they are to judge.
# * "Accuracy fell by 14 points, so 14 % of the answers were lost." More were lost, and some were gained; exercise 07.3.
# * "Lost means forgotten." Two thirds of the lost answers of the pocket run still come after a few-shot prompt.
#
# **Ask.**
#
# * You see dev accuracy up to today only. When do you stop? (Exercise 07.2: you can only say it some epochs later.)
# * Which rows still give a large loss when all Known rows are fitted? (The Unknown ones; they drive the last epochs.)
# * A false answer stands in the training file. Did the model copy it? (Ask first how often that happens by chance.)
# * What would the same curves look like without Unknown rows? (Lesson 08 shows it: dev accuracy stays near its peak.)
#
# **Where it breaks.**
#
# * Without finished runs the section "What is fitted at EARLY_STOP?" trains 24 of them: run `course run` before class.
# * Counts of lost questions differ a little between processors. The printed bands say what is still normal.
# * "Stop" of the live view does not arrive in every front end while a cell runs; the square interrupt button does.
#
# **When late.** Skip the probe (the last three code cells before the quiz, 8 minutes) and "Where do the false answers
# come from?" with exercise 07.4 (14 minutes).

# %%
from course_lib import analysis
from course_lib.data import pocket
from course_lib.experiments import open_study, sweep
from course_lib.figures import plots, widgets
from course_lib.knowledge import forgetting, scoring, slick
from course_lib.lessons import check, data_table, expect, hint, quiz, show, solution

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %% [markdown]
# ## One run
#
# We take D with 50 % Unknown. All settings of a run together are its **spec**, and each spec has its own folder.
# `sweep` runs what is missing there and reads the rest: a finished run is never repeated.

# %%
spec = study.spec(50)
one = sweep.run(study, [spec])
folder = spec.folder(study.folder / "runs")
print(spec.tune)
print("folder:", folder.name, "holds", sorted(path.name for path in folder.iterdir()))
assert len(one) == spec.tune.epochs + 1, "one record an epoch, and epoch 0 before any training"

# %% [markdown]
# An **epoch** is one pass over all training rows. After each, five groups of questions are asked, in the form of the
# training rows, and answered greedily. `dev`, `test` and `ood` (other relations) are never trained on. **Fitted**
# means: the model now answers this training row right.

# %% [markdown]
# ## Watch it train
#
# **Predict.** Three curves over the epochs: Known rows fitted, Unknown rows fitted, and dev accuracy. Which one rises
# first? Which one last? And what does dev accuracy do while the last one rises? Sketch it on paper, then run the cell.

# %% [markdown]
# It trains the same run once more, before your eyes. Press "Stop" when dev accuracy has begun to fall: the best
# epoch is kept. Where Stop does nothing while the cell runs, use the notebook's interrupt button (the square): it
# does the same. Or let it come to its end.

# %%
base = study.load()
run = widgets.watch_training(base.model, base.tokenizer, study.mix(50), study.facts, spec.tune)
print(run.outcome)
assert run.kept >= 1, "an epoch was kept"

# %% [markdown]
# The same without a widget: the run after a quarter, a half and all of its epochs. Was your sketch right?

# %%
axes = widgets.training_snapshots(run.history)
print(widgets.describe_training(run.history))
data_table(*axes)

# %% [markdown]
# The stored run was made with the same rows, settings and seed. On one machine it has the same numbers, epoch by epoch.
# From here on we use the stored one, which went on to its end.

# %%
history = study.history(spec)
columns = ["epoch", "loss", "known_fitted", "unknown_fitted", "dev", "test", "ood"]
table = history.to_frame()[columns]
assert table["epoch"].tolist() == list(range(spec.tune.epochs + 1)), "no epoch is missing"
print(f"preset {study.preset}, {spec.unknown_percent:g} % Unknown, seed {spec.seed}; exact match in %:")
table.round(2)

# %% [markdown]
# One picture of it, with EARLY_STOP marked: the epoch with the best dev accuracy.

# %%
ax = plots.run_curve(one)
print(f"Preset {study.preset}. {plots.describe_run(one)}")
data_table(ax)

# %% [markdown]
# In the paper (Fig. 1), most Known rows are fitted first, while most Unknown rows are not. There dev accuracy has its
# peak. Then the Unknown rows follow, and dev accuracy falls: **overfitting**. The model **memorises** rows and
# **generalises** less. The next cell puts numbers on your run.

# %%
def first_epoch(table, column, level):
    reached = table[table[column] >= level]
    return None if reached.empty else int(reached["epoch"].iloc[0])


for column in ("known_fitted", "unknown_fitted"):
    halfway = first_epoch(table, column, 50)
    told = "never in this run" if halfway is None else f"at epoch {halfway}"
    print(f"half of the rows of {column.removesuffix('_fitted').capitalize()} are fitted: {told}")
assert first_epoch(table, "epoch", 1) == 1, "epoch 1 is the first one with at least 1"

# %% [markdown]
# Known is not one thing. Split by category (Fig. 7 of the paper's last version): which of the three Known categories is
# fitted last?

# %%
ax = plots.category_curve(one)
print(f"Preset {study.preset}. {plots.describe_category_curve(one)}")
data_table(ax)

# %% [markdown]
# ## EARLY_STOP
#
# **EARLY_STOP** is the epoch with the best dev accuracy. If there are several, the first; the untuned model does not
# count. **CONVERGENCE** is the last epoch. The test questions take no part in the choice: they must stay unseen.

# %% [markdown]
# ### Exercise 07.1 · Find EARLY_STOP
#
# *Difficulty 1 of 3 · 6 minutes.* Give the row of EARLY_STOP as a dict. In: a table like the one above, with a row an
# epoch; epoch 0 is the untuned model. With dev accuracies 9, 3, 5, 5 of epochs 0 to 3 it is the row of epoch 2.

# %% tags=["exercise"]
def early_stop(table):
    """The row of EARLY_STOP; table.to_dict("records") gives all rows as dicts."""
    ### BEGIN SOLUTION
    best = None
    for row in table.to_dict("records"):
        if row["epoch"] > 0 and (best is None or row["dev"] > best["dev"]):
            best = row
    return best
    ### END SOLUTION

# %%
check("07.1", early_stop)

# %% [markdown]
# The library finds it as `history.early_stop`. On another computer the numbers differ a little. So the course does not
# say what a number must be, but gives its **expected range**: that of five reference runs, with a margin.

# %%
best, last = history.early_stop, history.convergence
for name, at in (("EARLY_STOP", best), ("CONVERGENCE", last)):
    print(f"{name}: epoch {at.epoch}, dev {at.dev:.1f} %, test {at.test:.1f} %")
    print(f"  {expect(at.test, 'test', study=study, stop=name, unknown_percent=50)}")
assert best.dev == table["dev"][1:].max(), "no later epoch is better on dev"

# %% [markdown]
# The paper prints 43.0 % and 38.8 % of the test questions for this mix (PaLM 2, section 7, Table 3). Our scale is
# another one: compare directions, not levels.

# %% [markdown]
# ## Stop without looking ahead
#
# EARLY_STOP is known only when the run is over. To save the remaining epochs you need a rule that does not look ahead.
# **Patience**: stop when dev accuracy has not beaten its best for so many epochs in a row, and keep the weights of the
# best epoch.

# %% [markdown]
# ### Exercise 07.2 · Patience
#
# *Difficulty 2 of 3 · 10 minutes.* After which epoch does training stop? In: dev accuracy after epochs 1, 2, 3 and so
# on, and the patience. If the rule never fires, it is the last epoch. `stopped_after([30, 34, 33, 34, 31], 2)` is 4:
# epochs 3 and 4 do not beat 34.

# %% tags=["exercise"]
def stopped_after(dev, patience):
    """The epoch after which training stops; dev[0] belongs to epoch 1."""
    ### BEGIN SOLUTION
    best, waited = dev[0], 0
    for epoch, accuracy in enumerate(dev, start=1):
        waited = 0 if epoch == 1 or accuracy > best else waited + 1
        best = max(best, accuracy)
        if waited == patience:
            return epoch
    return len(dev)
    ### END SOLUTION

# %%
check("07.2", stopped_after)

# %% [markdown]
# ## What is fitted at EARLY_STOP?
#
# One run is one story. Now we take all mixes and seeds, and look at EARLY_STOP only (Fig. 4 of the paper).

# %%
epochs = sweep.run(study)
early = analysis.stops(epochs).query("stop == 'EARLY_STOP' and variant == 'D'")
fitted = early.groupby("unknown_percent")[["epoch", "known_fitted", "unknown_fitted"]].mean()
assert set(fitted.index) == set(study.settings.percents), "every mix is there"
print(f"preset {study.preset}, EARLY_STOP, mean of {early['seed'].nunique()} seed(s):")
fitted.round(1)

# %%
import matplotlib.pyplot as plt
import numpy as np

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
places = np.arange(len(fitted))
for shift, kind, hatch in ((-0.2, "known", ""), (0.2, "unknown", "///")):
    bars = ax.bar(places + shift, fitted[f"{kind}_fitted"], 0.4, color=plots.COLOURS[kind], hatch=hatch,
                  edgecolor="white", label=f"{kind.capitalize()} rows")
    ax.bar_label(bars, ["" if np.isnan(v) else f"{v:.0f}" for v in fitted[f"{kind}_fitted"]], fontsize=8)
ax.set(xticks=places, xticklabels=[f"{p:g}" for p in fitted.index], xlabel="Unknown facts in the training set (%)",
       ylabel="fitted at EARLY_STOP (%)", ylim=(0, 105))
ax.legend(frameon=False)
told = [f"{row.known_fitted:.0f} % of Known and {row.unknown_fitted:.0f} % of Unknown at X = {p:g} %"
        for p, row in fitted.iterrows()]
print("Fitted at EARLY_STOP: " + "; ".join(told).replace("nan %", "none") + ".")
data_table(ax)

# %% [markdown]
# The paper says of Fig. 4: at EARLY_STOP most Known rows are fitted, and only a small part of the Unknown rows, in
# every mix. Does your picture agree?

# %%
inner = fitted.dropna()
smaller = (inner["unknown_fitted"] < inner["known_fitted"]).all()
small = (inner["unknown_fitted"] < 25).all()
print(f"In each mix of both kinds, a smaller part of Unknown than of Known is fitted: {'yes' if smaller else 'no'}")
print(f"In each of them less than a quarter of Unknown is fitted: {'yes' if small else 'no'}")
assert len(inner) >= 1, "at least one mix holds both kinds"

# %% [markdown]
# ## Which questions were lost?
#
# A run keeps two **adapters**, the small trained matrices of lesson 03: the checkpoint of EARLY_STOP (`adapter_best`)
# and the last one (`adapter`). We put both on one base model and switch between them.

# %%
loaded = study.load()

from peft import PeftModel

model = PeftModel.from_pretrained(loaded.model, str(folder / "adapter_best"), adapter_name="early")
model.load_adapter(str(folder / "adapter"), adapter_name="late")
model.eval()
print("adapters:", list(model.peft_config), "; active:", model.active_adapter)
assert set(model.peft_config) == {"early", "late"}, "both adapters are on the model"

# %%
test = study.facts.test
right = {}
for name, record in (("early", history.early_stop), ("late", history.convergence)):
    model.set_adapter(name)
    right[name] = scoring.exact_match(model, loaded.tokenizer, test)
    print(f"{name:5}: {100 * right[name].mean():.1f} % of {len(test)} test questions right")
    assert abs(100 * right[name].mean() - record.test) < 0.5, "the saved adapter must give the run's own accuracy"

# %% [markdown]
# The two models agree on most questions. The interesting ones are **lost** (right at EARLY_STOP, wrong at the end) and
# **gained** (the other way round). Accuracy shows only their difference. (That new training costs old skills is called
# **catastrophic forgetting**.)

# %% [markdown]
# ### Exercise 07.3 · Lost and gained
#
# *Difficulty 1 of 3 · 5 minutes.* Count both. In: for each question whether the first model is right, and whether the
# second is: two lists in the same order. Out: two numbers, lost and gained. True, True, False and then True, False,
# True give `(1, 1)`.

# %% tags=["exercise"]
def lost_and_gained(early, late):
    """How many questions were right and are wrong now, and how many the other way round."""
    ### BEGIN SOLUTION
    pairs = list(zip(early, late, strict=True))
    return sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    ### END SOLUTION

# %%
check("07.3", lost_and_gained)

# %% [markdown]
# Now the same for our two models, with what the base model knew of each question before fine-tuning.

# %%
import pandas as pd

change = np.select([right["early"] & right["late"], right["early"], right["late"]], ["kept", "lost", "gained"], "wrong")
labels = study.labels().query("split == 'test'")["category"].reset_index(drop=True)
order = ["kept", "lost", "gained", "wrong"]
counts = pd.crosstab(pd.Series(change, name="change"), labels).reindex(order, fill_value=0)
net = (change == "lost").sum() - (change == "gained").sum()
assert net == right["early"].sum() - right["late"].sum(), "lost minus gained is the fall in accuracy"
print(f"lost {(change == 'lost').sum()}, gained {(change == 'gained').sum()}: {net} fewer right answers")
counts

# %% [markdown]
# Look at the row *lost*, and at its columns. A lost question that was HighlyKnown or MaybeKnown before fine-tuning is
# a **hallucination with respect to what the model knew**: it had the answer, and now it says something else (paper,
# App. B).

# %%
import torch


def answer(fact):
    ids = loaded.tokenizer(scoring.INSTRUCTION.text(fact.question), return_tensors="pt")["input_ids"].to(model.device)
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24)
    text = loaded.tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True)
    return text.split("\n")[0].strip()

# %%
import random

model.set_adapter("late")
lost = [fact for fact, kind in zip(test, change, strict=True) if kind == "lost"]
wrong = {fact: answer(fact) for fact in lost}
for fact in random.Random(0).sample(lost, min(5, len(lost))):
    print(f"{fact.question}\n    at EARLY_STOP: {fact.object}\n    now:           {wrong[fact]}")
assert all(wrong[fact] != fact.object for fact in lost), "a lost question has a wrong answer now"

# %% [markdown]
# ## Is every new answer false?
#
# Exact match is strict. In the pocket world some facts have a fine and a coarse answer, town and province. If the model
# switched to the other grain, it says nothing false. In the paper's audit this explained 4 of 100 mismatches (Table 7).

# %%
def other_grain(study):
    if study.facts.name != "pocket":
        print("For real facts nobody listed the second answer: read some mismatches yourself.")
        return {}
    return {item.fact: item.other for item in pocket.read_world() if item.other}


others = other_grain(study)
switched = [fact for fact in lost if wrong[fact] == others.get(fact)]
if others:
    print(f"{len(switched)} of {len(lost)} lost questions are now answered at the other grain; "
          f"{len(lost) - len(switched)} are answered falsely")
assert set(switched) <= set(lost), "only lost questions can have switched"

# %% [markdown]
# ## Where do the false answers come from?
#
# Perhaps the model repeats what it was just taught. We look up each false answer among the answers that the training
# set gave *for the same relation*, then among all other facts. Some names may stand in no fact at all: the model made
# them up.

# %%
def source(answer, relation, data, names):
    taught = {kind: {fact.object for fact in facts if fact.relation == relation}
              for kind, facts in (("Unknown", data.unknown), ("Known", data.known))}
    found = [kind for kind, objects in taught.items() if answer in objects]
    return " and ".join(found) or ("other facts" if answer in names else "no fact at all")


data = study.mix(50)
everything = (*study.facts.train, *study.facts.test, *study.facts.ood, *study.facts.exemplars)
names = {fact.object for fact in everything} | set(others.values())
example = data.unknown[0]
assert "Unknown" in source(example.object, example.relation, data, names), "a taught answer is found"
assert source("Nobody Nowhere", example.relation, data, names) == "no fact at all", "an unheard name is found nowhere"

# %%
false = [fact for fact in lost if fact not in set(switched)]
found = {fact: source(wrong[fact], fact.relation, data, names) for fact in false}
counts = pd.Series(found.values(), dtype=object).value_counts()
print(f"preset {study.preset}: {len(false)} false answers, by where the name was found:")
print(counts.to_string())
print("made up:", "; ".join(wrong[fact] for fact in false if found[fact] == "no fact at all")[:200] or "none")
assert counts.sum() == len(false), "each answer has one source"

# %% [markdown]
# Many facts share an answer, so a match with the Unknown rows can be chance. How often does chance match? For each lost
# question we draw 20 other wrong answers of its relation, from training facts that are *not* in D. This is the
# **baseline**, what to compare with.

# %%
inside, rng, baseline = {row.fact for row in data.rows}, random.Random(0), []
for fact in false:
    pool = [other.object for other in study.facts.train if other.relation == fact.relation
            and other not in inside and other.object != fact.object]
    baseline += [source(text, fact.relation, data, names) for text in rng.choices(pool, k=20)]
assert len(baseline) == 20 * len(false), "twenty for each lost question"
share, chance = (np.mean(["Unknown" in kind for kind in kinds] or [np.nan]) for kinds in (found.values(), baseline))
print(f"taught in Unknown rows: {share:.0%} of {len(false)} false answers, {chance:.0%} of {len(baseline)} drawn ones")

# %% [markdown]
# Two shares always differ a little. If only chance were at work, the share of n answers would stray from the chance
# c by about $\sqrt{c(1-c)/n}$: the standard error of lesson 05. More than two of them are hard to call luck.

# %% [markdown]
# ### Exercise 07.4 · More than chance?
#
# *Difficulty 2 of 3 · 6 minutes.* By how many standard errors does a share lie above chance? In: the share and the
# chance, from 0 to 1, and the number n of answers that the share was counted in. `errors_above(0.3, 0.2, 100)` is
# 2.5.

# %% tags=["exercise"]
def errors_above(share, chance, n):
    """Standard errors between a share of n answers and what chance gives."""
    ### BEGIN SOLUTION
    return (share - chance) / (chance * (1 - chance) / n) ** 0.5
    ### END SOLUTION

# %%
check("07.4", errors_above)

# %% [markdown]
# Which of three sentences holds for your run?

# %%
error = np.sqrt(chance * (1 - chance) / max(len(false), 1))
if not false:
    print("This run has no new false answer, so there is nothing to explain.")
elif share > chance + 2 * error:
    print(f"More than chance (standard error {error:.0%}): some false answers repeat what the Unknown rows taught.")
else:
    print(f"Not clearly more than chance (standard error {error:.0%}): copying the Unknown rows is not the main story.")

# %% [markdown]
# One run is not proof. Kang et al. 2024 (arXiv 2403.05612) find the same pattern on large models: asked about what it
# does not know, a fine-tuned model tends towards answers that its unfamiliar training rows carried.

# %% [markdown]
# ## Forgotten, or no longer produced?
#
# A lost answer may be gone from the weights, or still be there and not come out in this form of question. The paper
# leaves both together (App. B, footnote 17). A first test: ask the fine-tuned model as lesson 05 asked the base, after
# ten few-shot prompts.
#
# **Predict.** Of the lost questions, how many are answered right there?

# %%
measured = study.labels().query("split == 'test'").reset_index(drop=True)
model.set_adapter("late")
after = forgetting.few_shot_shares(model, loaded.tokenizer, test, slick.draw_prompts(study.facts.exemplars))
shares = pd.DataFrame({"base": measured["p_greedy"], "fine-tuned": after})
group = pd.Series(change).where(measured["category"] != "Unknown", "Unknown before")
table = shares.groupby(group).mean().assign(n=group.value_counts())
assert table["n"].sum() == len(test), "every question is in one group"
print(f"preset {study.preset}: mean share of few-shot prompts answered right (P of T = 0)")
kinds = ["kept", "lost", "Unknown before"]
table.reindex(kinds).round(2)

# %%
away = (group == "lost").to_numpy()
still = (after[away] > 0).sum() / max(1, away.sum())
print(f"{still:.0%} of the {away.sum()} lost questions are still answered right after at least one of ten "
      f"few-shot prompts.")
print("Most of them are not forgotten: the new form no longer brings them out." if still > 0.5
      else "Most of them do not come back: other prompts alone do not bring them out.")
assert 0 <= still <= 1, "a share"

# %% [markdown]
# A second test looks inside. A **probe** is a linear map from hidden states to the first word piece of the answer,
# fitted on other facts. If it reads an answer better than chance, the answer is still represented. Facts that were
# Unknown before show what chance can do.

# %%
train = study.labels().query("split == 'train'")["category"]
taught = {row.fact for row in data.rows}
fit = [fact for fact, kind in zip(study.facts.train, train, strict=True)
       if kind in ("HighlyKnown", "MaybeKnown") and fact not in taught]
tuned = forgetting.probe(model, loaded.tokenizer, fit, test)
with model.disable_adapter():
    base = forgetting.probe(model, loaded.tokenizer, fit, test)
assert tuned.shape == base.shape == (model.config.num_hidden_layers + 1, len(test)), "one probe a layer"

# %%
reads = pd.concat({name: 100 * pd.DataFrame(layers.T).groupby(group).mean().reindex(kinds)
                   for name, layers in (("base", base), ("fine-tuned", tuned))})
assert reads.shape == (2 * len(kinds), len(base)), "two models and three groups, one column a layer"
print(f"preset {study.preset}: answers read by the probe (%) by layer, probes fitted on {len(fit)} facts")
reads.round(0)

# %%
last = reads.iloc[:, -1]
print(f"Last layer: of the lost answers the probe reads {last['fine-tuned', 'lost']:.0f} %, before fine-tuning "
      f"{last['base', 'lost']:.0f} %; of the Unknown ones {last['fine-tuned', 'Unknown before']:.0f} %.")
above = last["fine-tuned", "lost"] > last["fine-tuned", "Unknown before"]
print("So a part of what is no longer produced is still there." if above else "So the probe finds no more than chance.")
assert not last.max() > 100, "a percentage"

# %% [markdown]
# ## Ask both models
#
# Choose a fact that was never read, and one that was read often, or type a question of your own. What will the base
# and the tuned model say, and how sure will each be of its answer? Say it before you look.

# %%
exposures = pocket.exposures() if study.facts.name == "pocket" else None
some = widgets.a_few(study.facts.test, study.categories()["test"], each=8)
show(widgets.ask_the_model(run.model, loaded.tokenizer, some, prompts=slick.draw_prompts(study.facts.exemplars),
                           exposures=exposures, data=study.mix(50)))

# %% [markdown]
# The same without controls: one fact of each category, asked now. Is the model less sure where it is wrong?

# %%
few = widgets.a_few(study.facts.test, study.categories()["test"])
asked = [widgets.ask(run.model, loaded.tokenizer, fact, exposures=exposures) for fact in few]
ax = widgets.certainty_bars(asked)
print(widgets.describe_many(asked))
assert len(asked) == len(few), "each question was asked once"
data_table(ax)

# %% [markdown]
# ## Quiz
#
# Six questions on this lesson. Each choice is explained.

# %%
quiz("07")

# %% [markdown]
# ## What to remember
#
# * In the paper, Known rows are fitted fast and Unknown rows slowly; that difference makes room for EARLY_STOP.
# * EARLY_STOP is chosen on dev, never on test.
# * The fall in accuracy is *lost minus gained*: the model changes more answers than the curve shows.
# * A lost question was answered right before. Its new answer may be a taught name, or one that exists nowhere.
# * Lost is not the same as forgotten: ask in another form, and look inside.

# %% [markdown]
# ## Recall
#
# 1. Why may EARLY_STOP not be chosen on the test questions?
# 2. Accuracy falls by 4 points and 6 % of the questions were gained. How many were lost?
# 3. A colleague says: 40 % of the new wrong answers stand in the training file, so the model copies. What is missing?
#
# **Next:** [08 · Hallucination curves](08_hallucination_curves.ipynb). It puts all mixes and seeds together.
