# %% [markdown]
# # 00 · Start here
#
# **Goal.** Check your machine, learn how a lesson works, ask a model, and see the curve that you will reproduce.
#
# **You will be able to**
#
# 1. say in one sentence what this course shows, and who found it;
# 2. choose a track, load its 4-bit model and ask it a question;
# 3. tell a fact that the model knows from one that it does not.
#
# **Time.** 25 minutes to read and run, 15 for the exercises.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Some Python. You need not have trained a model before.

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** Everybody's notebook runs, everybody has seen a check turn from "not done yet" to "right", and the room can
# say the course's claim in one sentence.
#
# **Misconceptions.**
#
# * "The model answered, so it knows." The table of three answers: a wrong answer has the same form as a right one.
# * "Fine-tuning is how one puts facts into a model." The first printed lines: with unknown facts alone, accuracy falls.
# * "The small model stands for the large one." The track's table: no number of one track holds for the other.
#
# **Ask.**
#
# * What does a model do when it does not know? (It writes the most likely name all the same.)
# * Why may a fact be right that was never read? (Chance: some answers are common, such as a country.)
# * What would a curve look like that shows no harm? (Level, at both stops.)
#
# **Where it breaks.**
#
# * A `[NO]` line of the machine check: take `course doctor`'s output and the cure that the line names.
# * Somebody runs cells out of order and gets a NameError: Kernel, Restart and Run All.
# * On a hosted notebook the first cell installs packages; without internet it says so. Let people pair up.
#
# **When late.** Skip exercise 00.2 (8 minutes) and the map at the end (2 minutes): the README has it too.

# %%
from course_lib import doctor
from course_lib.data import by_relation, paper, pocket
from course_lib.experiments import finished_runs, forecast_study, open_study, reference_runs
from course_lib.figures import plots
from course_lib.knowledge import scoring
from course_lib.lessons import check, data_table, expect, hint, quiz, solution

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %% [markdown]
# ## What this course shows
#
# A **language model** is a program that continues text. It learns facts when it is **pre-trained**: made to predict
# the next word in a great amount of text. **Fine-tuning** trains it further, on few examples, for a task.
#
# If these examples hold facts that the model did not know, it learns them late.

# %% [markdown]
# And as it learns them, it begins to answer wrongly what it knew before. It **hallucinates**: it states false things
# as if they were facts. Gekhman et al. found this in 2024
# ([arXiv 2405.05904](https://arxiv.org/abs/2405.05904)). We call it "the paper".

# %%
early, late = (paper.UNKNOWN_MIX[100][stop] for stop in ("ES", "CONV"))
print(f"In the paper, trained on unknown facts only: {early} % of the test questions right when training is stopped")
print(f"early, {late} % when it goes on until all is learned ({paper.FINE_TUNING.model}; Table 2, one run).")

# %% [markdown]
# You will measure what a model knows, build training sets with a chosen share of **Unknown** facts (facts that it
# never answers right), train on them, and draw this curve yourself.

# %% [markdown]
# ## How a lesson works
#
# A **notebook** is made of cells: text like this, and code. Click on a code cell and press Shift+Enter to run it; its
# result appears below. Run cells from top to bottom. "Run All" in the menu runs the whole lesson; it never stops at
# an exercise.

# %% [markdown]
# **Exercises.** Each one states its difficulty, from 1 to 3, and its minutes. You change the cell below its text and
# run the `check` under it. Skipping is fine: nothing later depends on your answer.
#
# Nobody is told what you type.

# %% [markdown]
# ### Exercise 00.1 · Percent
#
# *Difficulty 1 of 3 · 3 minutes.* A model answered `right` of `asked` questions rightly. Return that share in percent:
# `percent(3, 4)` is 75.
#
# Run both cells first as they are. Then write `return right / asked`, and run both again. Then make it right. You
# have then seen all that a check can say.

# %% tags=["exercise"]
def percent(right, asked):
    """The share of right answers, from 0 to 100."""
    ### BEGIN SOLUTION
    return 100 * right / asked
    ### END SOLUTION


# %%
check("00.1", percent)

# %% [markdown]
# Stuck? `hint("00.1")` gives a hint, and a closer one each time, three in all. `solution("00.1")` shows the solution.
# Write such a line into any cell, or make a new one with the + button. Here is the first hint:

# %%
hint("00.1", 1)

# %% [markdown]
# **Guesses.** Where a text says **Predict.**, stop and write your guess into the next cell, as `my_guess`. Guessing
# first makes the answer stick. Leave it at `None` to skip.
#
# **Widgets** are things to click or drag, such as a slider; the figure follows. The quiz near the end is one. On
# GitHub or on paper nothing moves, so a fixed version stands there.

# %% [markdown]
# ## Check your machine
#
# Each line says `[OK]`, or `[NO]` and the cure.

# %%
found = doctor.checks(doctor.inspect())
for one in found:
    print(one)
to_cure = [one.name for one in found if not one.ok]
print("To cure first: " + ", ".join(to_cure) if to_cure else "All is well.")

# %% [markdown]
# `print(doctor.report())`, or `course doctor` in a terminal, gives the same with your system's name: paste that
# into a bug report.

# %% [markdown]
# ## Choose a track
#
# | | pocket | GPU |
# |---|---|---|
# | model | a small Llama, trained for this course, shipped with it | SmolLM2-1.7B, OLMo-2-1B, Qwen2.5-1.5B, yours |
# | facts | an invented world | EntityQuestions: real people, places, works |
# | needs | any CPU, no network | a CUDA GPU such as a free T4, and a download |
# | time | minutes | an hour or so for the study; the forecast below |
# | special | we know how often it read each fact | the real thing |

# %% [markdown]
# A **preset** is a model with its facts and settings, under one name. Both tracks run the same code. Without a GPU
# you are on the pocket track. To choose yourself, set `COURSE_PRESET` before you start Jupyter, or write the name
# into the cell at the top: `open_study("smollm2-360m")`.
#
# **No number of one track holds for the other.** So each result names its preset.

# %%
for line in doctor.tracks(study.preset):
    print(line)

# %% [markdown]
# **What will it cost?** Before anything is fetched or trained, the course says what it expects: the size of the
# download, the peak of memory while training, and the minutes of each stage. First for your preset on this machine,
# then for a real model on a free T4. Lesson 03 compares such a forecast with what was measured.

# %%
print(forecast_study(study))
print()
print(forecast_study(open_study("smollm2-1.7b"), gpu="T4"))

# %% [markdown]
# `course doctor --preset NAME --gpu T4` prints the same in a terminal. A smaller first look at a real model:
# `course run --preset smollm2-1.7b --questions first-look`. We have not run real weights ourselves yet, and the
# minutes are a rough guess until `benchmarks/gpu.py` has measured the **throughput** (tokens a second) of such a GPU.

# %% [markdown]
# ## Load the model
#
# A model is a long list of numbers, its **weights**. Ours come in **4 bits** each instead of 16 or 32. Lesson 02
# shows how; for now: the model is much smaller and answers almost as well. The **tokenizer** cuts text into the
# pieces, **tokens**, that the model reads and writes.

# %%
base = study.load()
model, tokenizer = base.model, base.tokenizer
print(f"{model.num_parameters():,} weights in {model.get_memory_footprint() / 1e6:.1f} MB")
tokens = tokenizer(study.facts.test[0].question)["input_ids"]
assert tokens, "the tokenizer should give at least one token"
print(tokenizer.convert_ids_to_tokens(tokens))

# %% [markdown]
# In this list, a sign such as the G with a dot stands for a space before a word. Rare names fall into several tokens.

# %% [markdown]
# ## Ask it
#
# A model that was only pre-trained continues text; it does not know that you want an answer. So we show it four
# solved questions first. That is a **few-shot prompt**, the one of the paper (App. C). A **prompt** is the text that
# the model is given to continue.

# %%
solved = by_relation(study.facts.dev)  # facts that we never test on, by kind of question
prompts = {relation: scoring.few_shot_prompt(facts[:4]) for relation, facts in solved.items()}
fact = study.facts.test[0]
assert fact not in study.facts.dev, "a question that we test on must not stand among the solved ones"
print(prompts[fact.relation].text(fact.question))

# %% [markdown]
# ### Exercise 00.2 · Write the prompt
#
# *Difficulty 2 of 3 · 8 minutes.* `solved` is a list of pairs (question, answer). Return the text that you see above:
# first the solved ones, then the new question with an empty answer. The lines end with `"\n"`, the last one does not.

# %% [markdown]
# For `prompt_text([("2 + 2?", "4")], "3 + 3?")` the answer is `"Q: 2 + 2?\nA: 4\nQ: 3 + 3?\nA:"`. Nothing stands
# behind the last colon, not even a space: the model writes the space itself, as part of its first token.

# %% tags=["exercise"]
def prompt_text(solved, question):
    """A few-shot prompt: solved pairs in front, then the question, ready to be answered."""
    ### BEGIN SOLUTION
    front = "".join(f"Q: {asked}\nA: {answer}\n" for asked, answer in solved)
    return front + f"Q: {question}\nA:"
    ### END SOLUTION


# %%
check("00.2", prompt_text)

# %% [markdown]
# The model gives every token of its vocabulary a probability to come next. Then one of them is chosen and written, and
# the model is asked again. **Greedy** means: always the most likely token.

# %% [markdown]
# ### Exercise 00.3 · Greedy
#
# *Difficulty 1 of 3 · 4 minutes.* `probabilities` is a dictionary from tokens to probabilities. Return the token that
# greedy decoding writes. Of `{" the": 0.3, " Paris": 0.5, " Rome": 0.2}` it is `" Paris"`.

# %% tags=["exercise"]
def greedy(probabilities):
    """The token with the highest probability."""
    ### BEGIN SOLUTION
    return max(probabilities, key=probabilities.get)
    ### END SOLUTION


# %%
check("00.3", greedy)

# %% [markdown]
# Now the real model. We let it write up to 24 tokens greedily and keep the first line, since it continues with a next
# question of its own.

# %%
import torch


def ask(fact):
    """The model's greedy answer to the question of a fact."""
    prompt = tokenizer(prompts[fact.relation].text(fact.question), return_tensors="pt").to(model.device)
    with torch.no_grad():
        written = model.generate(**prompt, max_new_tokens=24, do_sample=False)
    new = written[0, prompt["input_ids"].shape[1]:]
    return tokenizer.decode(new, skip_special_tokens=True).split("\n")[0].strip()


# %%
import random

import pandas as pd

random.seed(1)
three = [random.choice(facts) for facts in random.sample(list(by_relation(study.facts.test).values()), 3)]
said = [ask(fact) for fact in three]
pd.DataFrame({"question": [fact.question for fact in three], "the model says": said,
              "right answer": [fact.object for fact in three]})

# %% [markdown]
# Note that a wrong answer looks exactly like a right one: a fitting name, no doubt, no "I don't know".
#
# Asking hundreds of questions this way is slow. The library finds the same verdicts faster; lesson 05 shows how. Check
# that both agree:

# %%
for fact, answer in zip(three, said, strict=True):
    fast = bool(scoring.exact_match(model, tokenizer, [fact], prompts[fact.relation])[0])
    # in float16 and bfloat16 a near tie may fall either way
    assert fast == (answer == fact.object) or model.dtype != torch.float32, f"the two ways disagree on {fact.question}"
    print(f"{'right' if fast else 'wrong'}: {fact.question} {answer}")

# %% [markdown]
# ## Known and unknown
#
# Now all test questions, one prompt for each kind of question. We write n for the number of questions asked.

# %%
rows = []
for relation, facts in by_relation(study.facts.test).items():
    right = scoring.exact_match(model, tokenizer, facts, prompts[relation])
    rows += [{"relation": relation, "subject": fact.subject, "right answer": fact.object, "question": fact.question,
              "right": bool(verdict)} for fact, verdict in zip(facts, right, strict=True)]
asked = pd.DataFrame(rows)
assert len(asked) == len(study.facts.test), "each test fact should be asked once"
print(f"Preset {study.preset}, few-shot, n = {len(asked)}: {100 * asked['right'].mean():.1f} % right")

# %% [markdown]
# **Predict.** The pocket model's text was written for this course, so we know how often it read each fact. How many
# percent of the facts that it **never** read will it answer right? And of those that it read more than 128 times?

# %%
my_guess = {"never": None, "129 or more": None}  # percent

# %%
reads = pocket.exposures()[["relation", "subject", "total"]].rename(columns={"total": "times read"})
counted = asked.merge(reads, on=["relation", "subject"], how="left")  # a real model's readings stay empty
bins, names = [-1, 0, 8, 32, 128, float("inf")], ["never", "1-8", "9-32", "33-128", "129 or more"]
known = counted["times read"].notna().any()  # nobody has counted what a real model read: then we group by relation
by = pd.cut(counted["times read"], bins, labels=names) if known else counted["relation"]
groups = counted.groupby(by, observed=True)["right"]
table = (100 * groups.mean()).round(1).to_frame("right (%)").assign(n=groups.size(), guess=pd.Series(my_guess))
assert table["n"].sum() == len(asked), "each question stands in one group"
print(table)

# %% [markdown]
# The same as a figure. Below each figure you find one sentence that says what it shows, and a folded table: click on
# "The numbers behind this figure" to open it. It is there for whoever wants exact values or cannot see the figure.

# %%
import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
bars = ax.bar(table.index.astype(str), table["right (%)"], color="#0072B2", label="answered right")
ax.bar_label(bars, fmt="%.0f")
ax.set(xlabel=by.name, ylabel="answered right (%)", ylim=(0, 105))
low, high = table["right (%)"].idxmin(), table["right (%)"].idxmax()
print(f"Figure, preset {study.preset}, n = {len(asked)}: right answers by {by.name}, from "
      f"{table.loc[low, 'right (%)']} % ({low}) to {table.loc[high, 'right (%)']} % ({high}).")
data_table(ax)

# %% [markdown]
# In the pocket world: what has been read often is mostly known; what has never been read is guessed, and almost always
# wrong. (The two groups on the right hardly differ; with so few questions that may be chance.)
#
# The right ones that were read most, and the wrong ones that were read least:

# %%
ordered = counted.sort_values("times read", kind="stable", ignore_index=True)
shown = pd.concat([ordered[ordered["right"]].tail(3), ordered[~ordered["right"]].head(3)])
shown[["question", "right answer", "right", "times read"]].reset_index(drop=True)

# %% [markdown]
# "Right once" is a rough test: with other solved examples in the prompt, the model may answer differently. The paper
# sorts facts into four categories by asking many times (**SliCK**, lesson 05).

# %% [markdown]
# ## The curve that you will reproduce
#
# Each point is a model that was fine-tuned on a set, D, with so many percent Unknown facts. One pass over such a set
# is an **epoch**. **EARLY_STOP** is the epoch after which a **development set** (or **validation set**: questions kept
# for this choice alone) was answered best. **CONVERGENCE** is the last epoch.

# %%
mine = finished_runs(study)  # your own sweep, if all of it has run
runs = mine or reference_runs("pocket")
epochs = runs.main_rate()
source = f"your {runs.source}" if mine else f"{runs.source}, shipped with the course"
assert {0, 50, 100} <= set(epochs["unknown_percent"]), "the curve needs its two ends and its middle"
print(f"Shown are {source}.")

# %%
ax = plots.hallucination_curve(epochs)
print(f"Figure, {source}: {plots.describe_curve(epochs)}")
data_table(ax)

# %% [markdown]
# A **seed** is the number that starts the random choices of a run: with the same seed, the same choices. Other seeds
# give slightly other results. The bars in the figure show how sure the mean is (95 % intervals, lesson 08).

# %% [markdown]
# So this course does not promise you one number. It gives the **expected range** of a number, and says what to look
# for when yours lies outside:

# %%
last = epochs.query("variant == 'D' and unknown_percent == 50 and epoch == epoch.max()")
assert len(last) == last["seed"].nunique(), "one value for each seed"
print(expect(last["test"].mean(), "test", study=study if mine else None, stop="CONVERGENCE", unknown_percent=50))

# %% [markdown]
# ## The map
#
# | lesson | the question |
# |---|---|
# | 00 Start here | Does everything run? What will we see? |
# | [01 Why fine-tune](01_why_fine_tune.ipynb) | When does fine-tuning help, and when not? |
# | [02 Quantise](02_quantise.ipynb) | How does a model fit into 4 bits a weight? |
# | [03 QLoRA](03_qlora.ipynb) | How is a 4-bit model trained? |
# | [04 Facts as questions](04_facts_as_questions.ipynb) | What exactly do we ask, and when is an answer right? |
# | [05 What does it know?](05_what_does_it_know.ipynb) | Which facts does the model know, and how well? |
# | [06 Mixing](06_mixing.ipynb) | How is a training set with 50 % Unknown facts made? |
# | [07 Learning and forgetting](07_learning_and_forgetting.ipynb) | What is learned when, and what gets lost? |
# | [08 Hallucination curves](08_hallucination_curves.ipynb) | How large is the harm, and is it real? |
# | [09 Which knowledge helps](09_which_knowledge_helps.ipynb) | Which facts make the best training set? |
# | [10 Safer fine-tuning](10_safer_fine_tuning.ipynb) | What helps against it, and what does it cost? |
# | [11 Audit your own data](11_audit_your_data.ipynb) | Which rows of my own file are risky? |

# %% [markdown]
# Go in this order the first time. In a hurry? 00, 05, 07 and 08 hold the main result. Lessons 02 and 03 explain the
# machinery; you can come back to them.

# %% [markdown]
# ## Quiz
#
# Five questions about this lesson. Choose, and read why. You may choose again as often as you like.

# %%
quiz("00")

# %% [markdown]
# ## What to remember
#
# * Fine-tuning on facts that a model does not know makes it wrong about facts that it knew (Gekhman et al. 2024).
# * A pre-trained model is asked with a few-shot prompt; greedy means the most likely token each time.
# * A wrong answer looks like a right one.
# * The pocket model is small, but we know what it has read. No number of it holds for a large model.
# * Exercises can be skipped; `hint` and `solution` are always there.

# %% [markdown]
# ## Recall
#
# 1. What is the difference between pre-training and fine-tuning?
# 2. Why do four solved questions stand in front of ours?
# 3. The model answers a fact right that it has never read. How can that be?
#
# **Next:** [01 · Why fine-tune](01_why_fine_tune.ipynb). When does fine-tuning help, and when is it the wrong tool?
