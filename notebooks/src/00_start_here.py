# %% [markdown]
# # 00 · Start here
#
# **Goal.** Check your machine, ask a model three questions, and see the curve that you will reproduce.
#
# **You will be able to**
#
# 1. say in one sentence what this course shows, and who found it;
# 2. choose a track and load its 4-bit model;
# 3. tell a fact that the model knows from one that it does not.
#
# **Time and memory.** About 20 minutes to read; the code runs in under half a minute and needs 1 GB of RAM with the
# pocket preset. GPU presets: not measured yet.
#
# **Before.** Some Python. You need not have trained a model before.

# %%
from course_lib.study import open_study

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts ({study.facts.totals()}).")

# %% [markdown]
# ## What this course shows
#
# A **language model** learns facts when it is pre-trained on much text. **Fine-tuning** trains it further, on few
# examples, for a task. If these examples hold facts that the model did not know, it learns them late. And as it
# learns them, it begins to answer wrongly what it knew before: it **hallucinates** (Gekhman et al. 2024,
# [arXiv 2405.05904](https://arxiv.org/abs/2405.05904)).

# %%
from course_lib import paper

early, late = (paper.UNKNOWN_MIX[100][stop] for stop in ("ES", "CONV"))
print(f"In the paper, trained on unknown facts only: {early} % of the test questions right when training is stopped")
print(f"early, {late} % when it goes on until all is learnt ({paper.FINE_TUNING.model}; Table 2, one run).")

# %% [markdown]
# You will measure what a model knows, build training sets with a chosen share of **Unknown** facts, train on them,
# and draw this curve yourself.

# %% [markdown]
# ## Check your machine
#
# Each line says `[OK]`, or `[NO]` and the cure.

# %%
from course_lib import hardware

checks = hardware.checks(hardware.inspect())
for check in checks:
    print(check)
wrong = [check.name for check in checks if not check.ok]
print("To cure first: " + ", ".join(wrong) if wrong else "All is well.")

# %% [markdown]
# `print(hardware.doctor())`, or `course doctor` in a terminal, gives the same with your system's name: paste that
# into a bug report.

# %% [markdown]
# ## Choose a track
#
# | | pocket | GPU |
# |---|---|---|
# | model | a small Llama, trained for this course, shipped with it | SmolLM2-1.7B, OLMo-2-1B, Qwen2.5-1.5B, yours |
# | facts | an invented world | EntityQuestions: real people, places, works |
# | needs | any CPU, no network | a CUDA GPU such as a free T4, and a download |
# | time for all lessons | minutes | not measured yet |
# | special | we know how often it read each fact | the real thing |

# %% [markdown]
# Both tracks run the same code. Without a GPU you are on the pocket track. To choose yourself, set `COURSE_PRESET`
# before you start Jupyter, or write the name into the first cell: `open_study("smollm2-360m")`.
#
# **No number of one track holds for the other.** So each result names its preset.

# %%
from course_lib.models import PRESETS

for name, preset in PRESETS.items():
    source = "shipped with the course" if preset.facts == "pocket" else preset.source
    print(f"{'->' if name == study.preset else '  '} {name:14} {source}")

# %% [markdown]
# ## Load the model
#
# The model comes in **4 bits** a weight instead of 16 or 32. Lesson 02 shows how; for now: it is much smaller and
# answers almost as well. The **tokenizer** cuts text into the pieces, **tokens**, that the model reads and writes.

# %%
base = study.load()
model, tokenizer = base.model, base.tokenizer
print(f"{model.num_parameters():,} weights in {model.get_memory_footprint() / 1e6:.1f} MB")
tokens = tokenizer(study.facts.test[0].question)["input_ids"]
assert tokens, "the tokenizer should give at least one token"
print(tokenizer.convert_ids_to_tokens(tokens))

# %% [markdown]
# ## Ask it
#
# A model that was only pre-trained continues text; it does not know that you want an answer. So we show it four
# solved questions first. That is a **few-shot prompt**, the one of the paper (App. C).

# %%
from course_lib.facts import by_relation
from course_lib.scoring import few_shot_prompt

solved = by_relation(study.facts.dev)  # facts that we never test on, by kind of question
prompts = {relation: few_shot_prompt(facts[:4]) for relation, facts in solved.items()}
fact = study.facts.test[0]
assert fact not in study.facts.dev, "a question that we test on must not stand among the solved ones"
print(prompts[fact.relation].text(fact.question))

# %% [markdown]
# The model now writes one token after the other. **Greedy** means: always the most likely token. We keep the first
# line.

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
# Asking 700 questions this way is slow. The library finds the same verdicts faster; lesson 05 shows how. Check that
# both agree:

# %%
from course_lib.scoring import exact_match

for fact, answer in zip(three, said, strict=True):
    fast = bool(exact_match(model, tokenizer, [fact], prompts[fact.relation])[0])
    # in float16 and bfloat16 a near tie may fall either way
    assert fast == (answer == fact.object) or model.dtype != torch.float32, f"the two ways disagree on {fact.question}"
    print(f"{'right' if fast else 'wrong'}: {fact.question} {answer}")

# %% [markdown]
# ## Known and unknown
#
# Now all test questions, one prompt for each kind of question.

# %%
rows = []
for relation, facts in by_relation(study.facts.test).items():
    right = exact_match(model, tokenizer, facts, prompts[relation])
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
from course_lib import pocket

reads = pocket.readings()[["relation", "subject", "total"]].rename(columns={"total": "times read"})
counted = asked.merge(reads, on=["relation", "subject"], how="left")  # a real model's readings stay empty
bins, names = [-1, 0, 8, 32, 128, float("inf")], ["never", "1-8", "9-32", "33-128", "129 or more"]
groups = counted.groupby(pd.cut(counted["times read"], bins, labels=names), observed=True)["right"]
if counted["times read"].notna().any():
    print((100 * groups.mean()).round(1).to_frame("right (%)").assign(n=groups.size(), guess=pd.Series(my_guess)))
else:
    print("Nobody has counted what this model read. Only the pocket world tells.")

# %% [markdown]
# What has been read often is mostly known; what has never been read is guessed, and almost always wrong. The right
# ones that were read most, and the wrong ones that were read least:

# %%
ordered = counted.sort_values("times read", ignore_index=True)
shown = pd.concat([ordered[ordered["right"]].tail(3), ordered[~ordered["right"]].head(3)])
shown[["question", "right answer", "right", "times read"]].reset_index(drop=True)

# %% [markdown]
# "Right once" is a rough test: with other solved examples in the prompt, the model may answer differently. The paper
# sorts facts into four categories by asking many times (**SliCK**, lesson 05).

# %% [markdown]
# ## The curve that you will reproduce
#
# Each point is a model that was fine-tuned on a set with so many percent Unknown facts. **EARLY_STOP**: training
# stopped when a development set was answered best. **CONVERGENCE**: the last epoch.

# %%
from course_lib import plots
from course_lib.runs import is_completed, read_runs

labelled = (study.folder / "labels" / f"{study.name}.csv").is_file()  # what the sweep measures first
plan = study.plan() if labelled else []
done = [spec for spec in plan if is_completed(spec, study.folder / "runs")]
if plan and len(done) == len(plan):
    epochs = read_runs(study.folder / "runs", plan)
    plots.hallucination_curve(epochs)
    print(f"Figure, preset {study.preset}: {plots.describe_curve(epochs)}")
else:
    print("No finished runs here yet: the curve comes in lesson 08. The points that the paper prints (test accuracy")
    print("in %, by % Unknown, at EARLY_STOP and CONVERGENCE, PaLM 2):", paper.unknown_mix_frame(), sep="\n\n")

# %% [markdown]
# ## What to remember
#
# * Fine-tuning on facts that a model does not know makes it wrong about facts that it knew (Gekhman et al. 2024).
# * A pre-trained model is asked with a few-shot prompt; greedy means the most likely token each time.
# * A wrong answer looks like a right one.
# * The pocket model is small, but we know what it has read. No number of it holds for a large model.

# %% [markdown]
# ## Recall
#
# 1. What is the difference between pre-training and fine-tuning?
# 2. Why do four solved questions stand in front of ours?
# 3. The model answers a fact right that it has never read. How can that be?
#
# **Next:** [02 · Quantise](02_quantise.ipynb). How does a model fit into 4 bits a weight?
