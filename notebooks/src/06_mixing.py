# %% [markdown]
# # 06 · Mixing
#
# **Goal.** Build training sets that differ in one thing only: how much of them the model did not know.
#
# **You will be able to**
#
# 1. work out the largest training set |D| that every mix can have;
# 2. draw D at X % Unknown, and its control D_Known;
# 3. say why size, relations and draws are held fixed, and why nobody invents fake facts for this.
#
# **Time.** 30 minutes to read and run, 26 for the exercises. The cells take under 1 minute of it on a CPU, and 1 minute
# more where lesson 05 has not measured the facts yet.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Lesson 05 (the four SliCK categories and how they are measured). The training sets are those of Gekhman et
# al. 2024, [arXiv 2405.05904](https://arxiv.org/abs/2405.05904), section 4 and App. E; "the paper" means this one.

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** A difference between two training sets means something only if they differ in one thing; here that is the
# share of Unknown rows, and everything else is held still on purpose.
#
# **Misconceptions.**
#
# * "More Unknown rows means more rows." |D| is the same for every share; the bars of the figure keep their length.
# * "D_Known should be filled up to |D|." Then it would hold other Known rows and be no control; see exercise 06.4.
# * "One mix at 25 % and one at 50 % are two independent samples." With one seed they share 75 % of their rows.
# * "Invented facts are Unknown for sure, so take those." A fake object for a real subject contradicts what the model
#   knows: it is an update, another experiment.
#
# **Ask.**
#
# * Why is |D| only 119 here, of 3,360 facts? (The smallest of four categories counts, relation by relation: P740 has
#   one HighlyKnown fact, so it gives one row.)
# * What would you lose with the rule of two groups? (Sets of one category could not be compared with D.)
# * Someone compares |D| = 119 at 0 % with |D_Known| = 30 at 75 %. What else differs? (The size: fewer Known rows.)
# * Which share of the rows do 0 % and 100 % have in common? (None.)
#
# **Where it breaks.**
#
# * A run with other labels (another seed of the prompts, another model) has another |D|: nobody's 119 is wrong.
# * "refused: ..." under "What cannot be built" is the point of that cell, not a failure.
# * The first cell with labels takes a minute where lesson 05 has not run; let it run before the break.
#
# **When late.** Skip "The other variants" and "What a row looks like" (6 minutes) and exercise 06.2 (10 minutes).
# Lessons 07 and 08 need D and D_Known only.

# %%
from course_lib.data import paper
from course_lib.experiments import open_study
from course_lib.figures import plots, widgets
from course_lib.knowledge import scoring
from course_lib.lessons import CourseError, check, data_table, hint, quiz, show, solution
from course_lib.training import mixing

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %% [markdown]
# ## What must not change
#
# We want to compare training sets with 0 % and 100 % Unknown facts. If one of them were larger, or had more questions
# about capitals, we could not tell what made the difference. So the training set, **D**, has one size and one mix of
# relations for every share X of Unknown rows.

# %%
train = study.labels().query("split == 'train'").reset_index(drop=True)
known = train["category"] != "Unknown"
print(f"{len(train)} training facts: {known.sum()} Known, {(~known).sum()} Unknown")
assert len(train) == len(study.facts.train), "one label for each training fact"

# %% [markdown]
# ## How large can D be?
#
# The paper also builds sets of one category only. So a relation can give at most as many rows as its *smallest*
# category has. The sum over relations is **|D|**, the number of rows of D. We recompute it from the paper's Table 4.

# %%
smallest = {relation: min(row.by_category.values()) for relation, row in paper.TRAIN_COUNTS.items()}
print(smallest)
print("|D| =", sum(smallest.values()))
assert sum(smallest.values()) == paper.D_SIZE == 6142, "the paper's |D|"

# %% [markdown]
# That is rule `"category"`: the smallest of the four categories. There is another one. Where only Known and Unknown are
# mixed, two groups are enough: all Known facts together, and the Unknown ones. Rule `"known"` takes the smaller of the
# two.

# %% [markdown]
# ### Exercise 06.1 · Rows of one relation
#
# *Difficulty 1 of 3 · 5 minutes.* How many rows can one relation give? In: how many facts it has of each category,
# and the rule. For 70, 30, 12 and 50 facts (Unknown last) it is 12 by rule `"category"` and 50 by rule `"known"`.

# %% tags=["exercise"]
def rows_of(counts, rule):
    """Rows that a relation can give; counts: {"HighlyKnown": 70, ..., "Unknown": 50}; rule: "category" or "known"."""
    ### BEGIN SOLUTION
    if rule == "category":
        return min(counts.values())
    unknown = counts["Unknown"]
    return min(sum(counts.values()) - unknown, unknown)
    ### END SOLUTION

# %%
check("06.1", rows_of)

# %% [markdown]
# The same for a whole table of labels, relation by relation. A relation that can give no row is left out.

# %%
def sizes_by_hand(labelled, rule):
    group = labelled["category"].astype(str)
    if rule == "known":
        group = group.where(group == "Unknown", "Known")
    names = ["Known", "Unknown"] if rule == "known" else list(paper.CATEGORIES)
    sizes = {}
    for relation, rows in group.groupby(labelled["relation"], sort=False):
        sizes[relation] = min((rows == name).sum() for name in names)
    return {relation: int(size) for relation, size in sizes.items() if size}

# %%
for rule in ("category", "known"):
    sizes = sizes_by_hand(train, rule)
    assert sizes == mixing.relation_sizes(train, rule=rule), f"the library must agree on rule {rule!r}"
    print(f"rule {rule!r:10}: |D| = {sum(sizes.values()):4}, from {len(sizes)} relations")

# %% [markdown]
# Rule `"known"` uses more of a small world. But then D could not be compared with sets of one category. Each study has
# its rule in its settings, and the most rows that a mix may have: with a larger sum, all sizes are scaled down in
# proportion.

# %%
settings = study.settings
sizes = mixing.relation_sizes(train, rule=settings.rule, limit=settings.size)
print(f"rule {settings.rule!r}, at most {settings.size} rows:")
print(sizes)
print("|D| =", sum(sizes.values()))
largest = mixing.relation_sizes(train, rule=settings.rule)
assert all(size <= largest[relation] for relation, size in sizes.items()), "no relation may ask for more than it has"

# %% [markdown]
# ## Draw one relation by hand
#
# Of `size` rows, X % come from Unknown and the rest from Known. We shuffle each pool *completely* and then cut off what
# we need. Why so, instead of a new draw for each X? You will see in a moment.

# %%
import math


def draw(known, unknown, size, percent, rng, extra=0.5):
    n_unknown = math.floor(size * percent / 100 + extra)  # extra = 0.5 rounds to the nearest whole number
    first = rng.sample(known, len(known))[:size - n_unknown]
    return first + rng.sample(unknown, len(unknown))[:n_unknown]

# %% [markdown]
# We try it on one relation at 50 %. A **seed** fixes what a random generator draws, so that a draw can be repeated.
# Here it is the run's seed and the relation's name together: each relation has its own order.

# %%
import random


def pools(relation):
    here = [(fact, name) for fact, name in zip(study.facts.train, train["category"], strict=True)
            if fact.relation == relation]
    return [[fact for fact, name in here if (name == "Unknown") == unknown] for unknown in (False, True)]


relation, size = next(iter(sizes.items()))
ours = draw(*pools(relation), size, 50, random.Random(f"0 {relation}"))
n_unknown = len(set(ours) & set(pools(relation)[1]))
print(f"{relation}: {size - n_unknown} Known and {n_unknown} Unknown rows")
assert len(ours) == size and abs(n_unknown - size / 2) <= 0.5, "half of the rows, to the nearest whole number"

# %% [markdown]
# Half of an odd number of rows is no whole number. If every relation rounded the same way, the whole D would miss
# its share: of five relations with 3 rows each, 50 % would be 5 Unknown rows rounded down, 10 rounded up, and 7.5
# are meant.

# %% [markdown]
# ### Exercise 06.2 · Round without a drift
#
# *Difficulty 3 of 3 · 10 minutes.* Give the Unknown rows of each relation, in the order of `sizes`: the exact number
# rounded down or up, and all together within 1 of the share of the sum. `unknown_rows([3, 3, 3, 3, 3], 50)` may be
# `[1, 1, 2, 2, 2]`.

# %% tags=["exercise"]
def unknown_rows(sizes, percent):
    """Unknown rows of each relation, a list of whole numbers as long as sizes."""
    ### BEGIN SOLUTION
    rows, until, before = [], 0.0, 0
    for size in sizes:
        until += size * percent / 100
        rows.append(int(until + 0.5) - before)
        before += rows[-1]
    return rows
    ### END SOLUTION

# %%
check("06.2", unknown_rows)

# %% [markdown]
# The library has another way: each relation adds its own `extra` before rounding down, evenly spaced between 0 and
# 1. So some round up, others down. With it our draw is that of `mix`.

# %%
theirs = mixing.mix(study.facts.train, train, unknown_percent=50, sizes=sizes, seed=0)
ours = []
for number, (relation, size) in enumerate(sizes.items()):
    extra = (number + 0.5) / len(sizes)
    ours += draw(*pools(relation), size, 50, random.Random(f"0 {relation}"), extra)
assert set(ours) == {row.fact for row in theirs.rows}, "the same facts, by hand and from the library"
print(f"all relations: {len(theirs.known)} Known and {len(theirs.unknown)} Unknown rows, the same by hand")

# %% [markdown]
# ## All mixes
#
# `study.mix(X)` does this for every relation, with the study's labels and sizes. The rows are then shuffled, because
# the order of training rows should not tell Known from Unknown.

# %%
import pandas as pd

mixes = {percent: study.mix(percent) for percent in settings.percents}
table = pd.DataFrame({f"{p:g} %": {"rows": len(m.rows), "Known": len(m.known), "Unknown": len(m.unknown)}
                      for p, m in mixes.items()})
assert table.loc["rows"].nunique() == 1, "every mix has the same size"
print(f"preset {study.preset}, seed 0, X % Unknown:")
table

# %% [markdown]
# Size is fixed. And the relations? Every row below must show the same number under every share.

# %%
columns = {f"{p:g} %": pd.Series([row.fact.relation for row in m.rows]).value_counts() for p, m in mixes.items()}
relations = pd.DataFrame(columns).reindex(list(sizes))
assert (relations.nunique(axis=1) == 1).all(), "a relation has the same number of rows in every mix"
relations

# %% [markdown]
# The same as a picture: one panel for each X, one bar for each relation. The bars keep their length. Only the boundary
# between the two colours moves.

# %%
import matplotlib.pyplot as plt

fig, axes = plt.subplots(1, len(mixes), figsize=(10.5, 3.8), sharex=True, sharey=True, layout="constrained")
for ax, (percent, m) in zip(axes, mixes.items(), strict=True):
    for kind, rows, start, hatch in (("Known", m.known, 0, ""), ("Unknown", m.unknown, m.known, "///")):
        count = [sum(fact.relation == name for fact in rows) for name in sizes]
        left = [sum(fact.relation == name for fact in start) for name in sizes] if start else 0
        ax.barh(list(sizes), count, left=left, color=plots.COLOURS[kind.lower()], hatch=hatch, edgecolor="white",
                label=kind)
    ax.set(title=f"X = {percent:g} %", xlabel="rows")
axes[0].invert_yaxis()
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
print(f"In each of {len(mixes)} panels the {len(sizes)} bars have the same lengths ({min(sizes.values())} to "
      f"{max(sizes.values())} rows); from left to right the Unknown part grows from none of the bar to all of it.")
data_table(*axes)

# %% [markdown]
# ## Nested draws
#
# **Predict.** Two sets, one at 25 % and one at 50 % Unknown, are drawn with the same seed. Which share of their rows do
# they have in common: 25 %, 50 %, 75 % or 100 %? Write it down, then run the next cell.

# %%
d25, d50 = (study.mix(percent) for percent in (25, 50))
facts25, facts50 = ({row.fact for row in d.rows} for d in (d25, d50))
print(f"common rows: {len(facts25 & facts50)} of {len(facts25)} ({len(facts25 & facts50) / len(facts25):.0%})")
assert set(d25.unknown) <= set(d50.unknown), "the Unknown rows of 25 % are among those of 50 %"
assert set(d50.known) <= set(d25.known), "the Known rows of 50 % are among those of 25 %"

# %% [markdown]
# The draws are **nested**: from 25 % to 50 %, a quarter of the rows is exchanged and nothing else moves. This is what
# cutting a shuffled pool gives. With fresh draws, part of any difference would be luck.

# %% [markdown]
# ### Exercise 06.3 · Rows in common
#
# *Difficulty 2 of 3 · 6 minutes.* Two mixes of one seed have x % and y % Unknown rows. Which share of their rows do
# they have in common, from 0 to 1? Look at the Unknown rows first, then at the Known ones. `common(25, 50)` is 0.75.

# %% tags=["exercise"]
def common(x, y):
    """Share of the rows that D at x % and D at y % Unknown have in common, for one seed."""
    ### BEGIN SOLUTION
    return 1 - abs(x - y) / 100
    ### END SOLUTION

# %%
check("06.3", common)

# %% [markdown]
# Another *seed* is a fresh draw: it shows how large the luck is.

# %%
other = {row.fact for row in study.mix(50, seed=1).rows}
print(f"50 % Unknown, seeds 0 and 1: {len(facts50 & other)} of {len(facts50)} rows in common "
      f"({len(facts50 & other) / len(facts50):.0%})")
assert other != facts50, "another seed draws other rows"

# %% [markdown]
# ## The control: D_Known
#
# Suppose a model gets worse with 50 % Unknown. Did the Unknown rows harm it, or did it only miss the Known rows that
# they replaced? A **control** answers this: a second training set that lacks the suspect. **D_Known** is D without its
# Unknown rows, and nothing in their place (section 4.2).

# %% [markdown]
# ### Exercise 06.4 · Take the Unknown rows out
#
# *Difficulty 1 of 3 · 5 minutes.* Make the rows of D_Known from those of D. Each row has a `fact`, a `category`, and
# `unknown`, which is True or False. Keep the order of the rows, and give back a tuple.

# %% tags=["exercise"]
def without_unknown(rows):
    """The rows of D_Known: those of D whose fact the model knew."""
    ### BEGIN SOLUTION
    return tuple(row for row in rows if not row.unknown)
    ### END SOLUTION

# %%
check("06.4", without_unknown)

# %% [markdown]
# The library makes it with `variant="D_Known"`. How large is the control of each mix?

# %%
for percent, m in mixes.items():
    control = study.mix(percent, variant="D_Known")
    assert set(m.rows) - set(control.rows) == {row for row in m.rows if row.unknown}, "only Unknown rows are missing"
    print(f"X = {percent:3g} %: |D| = {len(m.rows)}, |D_Known| = {len(control.rows)}")

# %% [markdown]
# At 0 % the control is D itself, and at 100 % it is empty. So the study trains it only between the two.

# %%
plan = pd.DataFrame([(spec.variant, spec.unknown_percent, spec.seed) for spec in study.plan()],
                    columns=["variant", "% Unknown", "seed"])
runs = pd.crosstab(plan["variant"], plan["% Unknown"])
assert runs.to_numpy().sum() == len(study.plan()), "every run of the plan is counted once"
print(f"{len(plan)} runs; the table counts the seeds:")
runs

# %% [markdown]
# ## The other variants
#
# Two more questions need training sets of their own. *Which* knowledge helps (lesson 09)? Sets of one category, and
# **D_Natural**, in which every relation keeps its own shares. Can the model learn to decline (lesson 10)? **D_IDK**: D,
# with "I don't know" as the answer of its Unknown rows.

# %%
from collections import Counter

variants = {name: study.mix(variant=name) for name in (*mixing.SINGLE, "D_Natural")} | {
    "D_IDK": study.mix(50, variant="D_IDK")}
counts = pd.DataFrame({name: Counter(row.category for row in m.rows) for name, m in variants.items()})
counts = counts.reindex(paper.CATEGORIES).fillna(0).astype(int).T
whole = sum(mixing.relation_sizes(train, limit=settings.size).values())
assert all(len(m.rows) == whole for name, m in variants.items() if name != "D_IDK"), "the paper's |D| for each"
counts

# %% [markdown]
# All sets of one category have the paper's |D|. Look at D_IDK's rows: the questions of D at 50 %, with other answers.

# %%
silent = variants["D_IDK"]
for row in silent.rows[:4]:
    print(f"{row.category:12} {row.fact.question}  {row.fact.object}")
assert {row.fact.question for row in silent.rows} == {row.fact.question for row in study.mix(50).rows}, "D's questions"
assert all((row.fact.object == "I don't know") == row.unknown for row in silent.rows), "Unknown rows decline"

# %% [markdown]
# ## What cannot be built
#
# **Predict.** On the board below you choose the shares of the four categories; they always sum to 100 %. |D| is
# fixed by one of the two rules. Can you build a set of WeaklyKnown rows alone, with either rule? Which relation runs
# out first? Decide, then move.

# %%
show(widgets.mixing_board(study.facts.train, train, limit=settings.size))

# %% [markdown]
# The same without controls: four sets, all relations added up. Grey is what there is, colour what is needed. A hatched
# bar with a cross means that some relation lacks rows, even if the sum would be enough.

# %%
boards = widgets.examples(train, limit=settings.size)
axes = widgets.board_grid(boards)
for name, board in boards.items():
    print(f"{name}: {widgets.describe_board(board)}")
assert boards["even, paper's size"].possible, "the paper's size has rows enough for any shares"
data_table(*axes)

# %% [markdown]
# A share that a relation cannot pay for is refused, with its counts. Nothing is filled up silently: a set that says
# 50 % must hold 50 %.

# %%
for percent, wanted in ((50, dict.fromkeys(sizes, 10**6)), (150, sizes)):
    try:
        mixing.mix(study.facts.train, train, unknown_percent=percent, sizes=wanted)
        raise AssertionError("this mix should have been refused")
    except CourseError as error:
        print("refused:", error)

# %% [markdown]
# ## What a row looks like
#
# The model never sees a category. It sees one line of instruction, the question, and the answer it should give (App.
# E). Which of these rows are new to it? From the text alone nobody can tell.

# %%
for row in mixes[50].rows[:4]:
    print(scoring.INSTRUCTION.text(row.fact.question), row.fact.object, f"   [{row.category}]")
print()
assert {row.fact.question for row in mixes[50].rows} <= {fact.question for fact in study.facts.train}, "train only"

# %% [markdown]
# ## Why not invent fake facts?
#
# It looks simpler: make up facts, and they are Unknown for sure. The paper says no (App. F). A fake *subject*, somebody
# who does not exist, is a rare case in practice. A fake *object*, a wrong answer about somebody real, is worse.

# %%
sure = next(fact for fact, name in zip(study.facts.train, train["category"], strict=True) if name == "HighlyKnown")
fake = next(fact.object for fact in study.facts.train
            if fact.relation == sure.relation and fact.object != sure.object)
new = mixes[100].unknown[0]
print("fake object: ", sure.question, fake, f"  (the model answers: {sure.object})")
print("real Unknown:", new.question, new.object)
assert fake != sure.object, "the fake answer contradicts what the model knows"

# %% [markdown]
# The first row asks the model to *change* something that it knows: a knowledge **update**. The second *adds* something.
# These are different experiments. And a training file from real life holds many facts of the second kind.

# %% [markdown]
# ## Quiz
#
# Five questions on this lesson. Each choice is explained.

# %%
quiz("06")

# %% [markdown]
# ## What to remember
#
# * |D| is a sum over relations: the smallest group of each. The paper's rule gives 6,142 rows.
# * All mixes have the same size and the same relations; one seed gives nested draws, other seeds show the luck.
# * D_Known separates "harmed by Unknown rows" from "missed Known rows".
# * A mix that cannot be built is refused, never filled up.

# %% [markdown]
# ## Recall
#
# 1. A relation has 20, 10, 5 and 100 facts in the four categories, Unknown last. How many rows does it give under
#    each of the two rules?
# 2. How large is D_Known at X = 75 %, if |D| = 480?
# 3. Why is a fact with a wrong, invented object no substitute for an Unknown fact?
#
# **Next:** [07 · Learning and forgetting](07_learning_and_forgetting.ipynb). It fine-tunes on one of these sets and
# watches, epoch by epoch, what is learned and what is lost.
