# %% [markdown]
# # 01 · Why fine-tune
#
# **Goal.** Decide when to fine-tune and when not, and teach a model a behaviour without teaching it a fact.
#
# **You will be able to**
#
# 1. choose between a prompt, retrieval, a tool and fine-tuning, and say why;
# 2. say what belongs into the training data of five common applications, and what does not;
# 3. measure that a behaviour was learned and that the knowledge was kept, each with an interval.
#
# **Time.** 45 minutes to read and run, 30 for the exercises.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Lesson 00. Sources: Gekhman et al. 2024, [arXiv 2405.05904](https://arxiv.org/abs/2405.05904); Zhou et
# al. 2023 (LIMA), [arXiv 2305.11206](https://arxiv.org/abs/2305.11206); others where they are used.

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** Fine-tuning teaches *how* to answer, quickly and cheaply. *What* is true must be known already, or stand in
# the prompt.
#
# **Misconceptions.**
#
# * "We have our own documents, so we must fine-tune." The decision table: facts go into the prompt (retrieval).
# * "The model answers in our form now, so the training was a success." The model that was trained on Unknown rows
#   answers in the form just as well; it has only become more often wrong. Show the two right bars of the first figure.
# * "Accuracy did not change, so nothing changed." Exercise 01.4: about as many answers are gained as are lost.
# * "A few rows are always enough." Only where the form is near to what the model has read: the last experiment.
#
# **Ask.**
#
# * Why do we ask the same questions *before* the training? (Without that number nobody knows what the training gave.)
# * The form reaches kinds of questions that stood in no row. What does that say? (It was learned as a behaviour, not
#   as a list of answers.)
# * Your assistant must know tomorrow's prices. What do you train? (At most how to use a passage; the prices go into
#   the prompt.)
# * One row, shown 64 times: why is that worse than 64 different rows in the same number of steps? (The model also
#   learns this one answer; different rows share nothing but the form.)
#
# **Where it breaks.**
#
# * People read "few rows are enough" as a law. It is measured here for one short form, on a model of 2 million
#   parameters. With the bare name as the form (that of the later lessons; pocket, n = 720, two seeds, 32 steps of 8
#   rows) zero-shot accuracy goes from 22.1 to 34.7 and 35.6 % with one row, 41.2 and 41.4 % with 16, 43.6 and 44.7 %
#   with 64.
# * A learner changes the form and finds 0 %: byte by byte, some signs are nearly new to the pocket model. That is the
#   last experiment, not an error.
# * The training cells take about 40 seconds on one slow core. The second run takes the curve from the build folder.
#
# **When late.** Skip "What you gain" (4 minutes) and exercises 01.2 and 01.5 (12 minutes).

# %%
from course_lib import analysis
from course_lib.data import QUESTIONS, by_relation, paper
from course_lib.experiments import open_study
from course_lib.knowledge import scoring, slick
from course_lib.lessons import check, data_table, hint, quiz, solution
from course_lib.training import finetune, mixing

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %% [markdown]
# ## What fine-tuning is
#
# **Pre-training** reads much text and learns to continue it. The model learns facts on the way. **Fine-tuning**
# trains such a model, the **base**, further on few **rows**: an input, and the answer that you want. This is
# **supervised fine-tuning** (SFT). Its weights change, so it behaves that way without being told each time.

# %%
base = study.load()
model, tokenizer = base.model, base.tokenizer


def ask(model, facts):
    """The greedy answers to the questions of these facts, after an instruction and nothing else."""
    texts = [scoring.INSTRUCTION.text(fact.question) for fact in facts]
    return [written[0] for written in scoring.answers(model, tokenizer, texts, batch_questions=128, max_tokens=24)]


# %% [markdown]
# We ask the base **zero-shot**: an instruction and the question, no solved examples.

# %%
test = study.facts.test
before = ask(model, test)
assert len(before) == len(test), "one answer to each question"
for fact, said in list(zip(test, before, strict=True))[::len(test) // 5]:
    print(f"{fact.question}  ->  {said}")

# %% [markdown]
# The answers have no fixed form. With the pocket preset some are whole sentences and some are bare names.
#
# Two things may be missing in a model, and they need different cures. A **behaviour**: how it answers (form, tone,
# when to ask back). A **fact**: what is true. Keep them apart; the whole course is about mixing them up.

# %% [markdown]
# ## When to fine-tune, and when not
#
# **Retrieval**: a search finds passages, and they are put into the prompt. **Tool**: a program that the model may
# call, such as a calculator. Read the table from the top.
#
# | you want | try first | fine-tune? |
# |---|---|---|
# | a task done now and then | a better prompt, with examples in it | no |
# | exact sums, the date, a booking | a tool | perhaps for when to call it |
# | facts that change, or that are yours alone | retrieval | not for the facts; perhaps for how to use passages |
# | always the same form, tone or label | a prompt with examples | yes, if that is unreliable, long or expensive |
# | one narrow task on a small, cheap model | a prompt for a large model | yes, with good rows that you may use |
# | new facts inside the weights | retrieval | last of all: see below |

# %% [markdown]
# Why last of all? In the comparison of Ovadia et al. 2024 ([arXiv 2312.05934](https://arxiv.org/abs/2312.05934))
# retrieval beat further training on the same texts, for old and for new knowledge. A model needs many wordings of a
# fact to learn it. And in the paper of this course, rows of new facts are learned late and then cost answers that were
# right before.

# %%
early, late = (paper.UNKNOWN_MIX[100][stop] for stop in ("ES", "CONV"))
half_known = [paper.SINGLE_CATEGORY["MaybeKnown"][stop]["Full"].percent for stop in ("ES", "CONV")]
print(f"Paper ({paper.FINE_TUNING.model}, Table 2, one run each), test questions right: trained on new facts only")
print(f"{early} % when stopped early and {late} % at the end; on facts that it half knew {half_known[0]} % and "
      f"{half_known[1]} %")
assert late < early, "training on to the end costs right answers"

# %%
print("Stuck? hint('01.1') helps, solution('01.1') shows one way. You may also go on.")

# %% [markdown]
# ### Exercise 01.1 · What to try first
#
# *Difficulty 1 of 3 · 5 minutes.* Write `first_choice(prompt_is_enough, needs_a_program, facts_are_missing)`. It
# returns "prompt", "tool", "retrieval" or "fine-tune": the cheapest cure that can work, in this order. Example:
# `first_choice(False, False, True)` gives "retrieval".

# %% tags=["exercise"]
def first_choice(prompt_is_enough, needs_a_program, facts_are_missing):
    """The cheapest cure that can work: "prompt", "tool", "retrieval" or "fine-tune"."""
    ### BEGIN SOLUTION
    if prompt_is_enough:
        return "prompt"
    if needs_a_program:
        return "tool"
    return "retrieval" if facts_are_missing else "fine-tune"
    ### END SOLUTION

# %%
check("01.1", first_choice)

# %% [markdown]
# ## What you gain
#
# * **A form that holds.** It is in the weights, not in a request (measured below).
# * **Short prompts.** No examples, no long instructions (next cell).
# * **A small model for a narrow task.** Training few weights was more accurate than examples in the prompt, and far
#   cheaper to run (Liu et al. 2022, [arXiv 2205.05638](https://arxiv.org/abs/2205.05638)).
# * **Your own machine** (lessons 02, 03).

# %% [markdown]
# What you do not gain: facts that stay up to date, sources for an answer, or a model that knows when it is wrong.
#
# One gain can be counted at once. A **few-shot** prompt shows solved examples in every request; a fine-tuned model
# does without.

# %%
one_each = slick.draw_prompts(study.facts.exemplars, n_prompts=1, seed=0)
shown = {relation: prompts[0] for relation, prompts in one_each.items()}
long, short = ([len(tokenizer(text)["input_ids"]) for text in texts] for texts in (
    [shown[fact.relation].text(fact.question) for fact in test],
    [scoring.INSTRUCTION.text(fact.question) for fact in test]))
print(f"preset {study.preset}, mean of {len(test)} questions: {sum(long) / len(test):.0f} tokens with four solved "
      f"examples, {sum(short) / len(test):.0f} with the instruction alone")
assert sum(short) < sum(long), "the examples cost tokens in every request"

# %% [markdown]
# ## Best practices
#
# **Held-out** questions are kept out of the training. The **dev** set helps to choose, the **test** set is asked last.
#
# | do | because | lesson |
# |---|---|---|
# | measure first: the base, with a good prompt | else you cannot say what the training gave | 01 |
# | few good rows rather than many | 1,000 chosen rows made an assistant (LIMA) | 01 |
# | hold out dev and test; no question in two sets | else the number measures memory | 01, 04 |
# | start small: 50 rows, a small model, minutes | most mistakes show at once | 01 |
# | look at the rows that the base does not know | once learned, they harm what it knows (Gekhman et al.) | 05, 06 |
# | stop early, by dev | Known rows are learned first, Unknown ones late | 07 |
# | keep the base's knowledge: LoRA, few epochs | LoRA learns less and forgets less (Biderman et al.) | 03, 08 |
# | check licences, take out private data | models can repeat training text (Carlini et al.) | 01 |
# | evaluate after: behaviour, knowledge, safety | harmless rows can weaken safety training (Qi et al.) | 10 |
#
# Sources: Biderman et al. 2024, [arXiv 2405.09673](https://arxiv.org/abs/2405.09673); Carlini et al. 2021,
# [arXiv 2012.07805](https://arxiv.org/abs/2012.07805); Qi et al. 2023,
# [arXiv 2310.03693](https://arxiv.org/abs/2310.03693).

# %% [markdown]
# **Licence** means two: that of the base and that of the rows. Some bases may not be used for business, and some
# providers forbid to train on what their models wrote. **Privacy**: what stands in a row may come out again word by
# word. Take names, addresses and keys out before training: a row cannot be called back from the weights.

# %% [markdown]
# ### Exercise 01.2 · A hold-out that holds
#
# *Difficulty 2 of 3 · 7 minutes.* Two files of questions were put together by hand. Write `leaked(train, held_out)`:
# the questions of `held_out`, as they are written there, that also stand in `train`. Capital letters and spaces must
# not matter. Example: `leaked(["Who founded  Arl?"], ["who founded Arl?", "Where is Bo?"])` gives
# `["who founded Arl?"]`.

# %% tags=["exercise"]
def leaked(train, held_out):
    """The held-out questions that also stand in the training set; capital letters and spaces do not matter."""
    ### BEGIN SOLUTION
    def plain(question):
        return " ".join(question.lower().split())

    seen = {plain(question) for question in train}
    return [question for question in held_out if plain(question) in seen]
    ### END SOLUTION

# %%
check("01.2", leaked)

# %% [markdown]
# The facts of this course are split by subject: nobody who is asked about in the test stands in a training row.

# %%
trained = {fact.subject for fact in study.facts.train}
assert not any(fact.subject in trained for fact in test), "a test subject stands in the training set"
print(f"{len(trained):,} training subjects and {len(test)} test questions: no subject in both.")

# %% [markdown]
# ## Five applications
#
# | application | rows should hold | rows should not hold |
# |---|---|---|
# | chatbots, assistants | tone, asking back, answers that it gets right | prices, staff, products that are new to it |
# | content generation | a brief with the facts, and a text made of it | names and numbers that stand in no brief |
# | retrieval-augmented answers | passages, and an answer from them or "not there" | an answer without its passage |
# | summary, translation, sentiment | outputs that follow from the input alone | anything that the input does not say |
# | education | explaining, hints, asking back, on topics that it knows | the facts of the course book |
#
# One finding stands behind all five (Gekhman et al. 2024): rows of facts that the model does not know are learned
# late, and once they are learned, it answers wrongly what it knew.

# %% [markdown]
# **Chatbots and assistants.** In FLAME (Lin et al. 2024, [arXiv 2405.01525](https://arxiv.org/abs/2405.01525))
# training on answers by people made assistants *less* factual where these were new to the model. Put new facts into
# the prompt. Teach "I don't know" on rows that the base does not know, not on random ones (Kang et al. 2024,
# [arXiv 2403.05612](https://arxiv.org/abs/2403.05612); lesson 10).

# %% [markdown]
# **Content generation.** If names and numbers of a text stand in no brief, the row teaches to write what nothing
# supports: for the model it is an Unknown row.

# %% [markdown]
# **Retrieval-augmented answers.** With its passage an answer can be read; without it the row is a new fact. Show wrong
# passages too, so that the model learns to pass over them (RAFT, Zhang et al. 2024,
# [arXiv 2403.10131](https://arxiv.org/abs/2403.10131)).

# %% [markdown]
# **Summarising, translating, sentiment.** What an output adds to its input is a fact that the model cannot see. Check
# bought or collected rows: even summaries by people often say more than their text (Maynez et al. 2020,
# [arXiv 2005.00661](https://arxiv.org/abs/2005.00661)).

# %% [markdown]
# **Education.** A learner cannot tell a wrong answer from a right one. Test the topics on the base first; put the
# book's page into the prompt.

# %% [markdown]
# How far does the finding carry? The paper measured short questions without any passage. To carry it over to longer
# tasks is our inference, not its result. So measure on your own task, as we do now on ours.

# %% [markdown]
# ### Exercise 01.3 · Sort the rows
#
# *Difficulty 2 of 3 · 6 minutes.* Rows of a shop that the base never read about. True: it teaches a behaviour
# alone. False: it teaches a new fact.

# %% [markdown]
# * a: Thanks! -> You are welcome.
# * b: Who leads the shop? -> Ida Berg.
# * c: Passage: opens at 9. When? -> At 9.
# * d: When do you open? -> At 9.
# * e: It broke! -> Sorry! What happened?

# %% tags=["exercise"]
### BEGIN SOLUTION
safe = {"a": True, "b": False, "c": True, "d": False, "e": True}
### END SOLUTION

# %%
check("01.3", safe)

# %% [markdown]
# ## Experiment 1: a behaviour without a fact
#
# The behaviour: answer "The answer: X." to every question, in a form that the pocket model never read. We will look at
# two things separately: is the form there, and is the name in it right? `[A]` stands for the name.

# %%
from dataclasses import replace

FORM, OLD = "The answer: [A].", "The answer is [A]."  # OLD: a form that the pocket model has read


def in_form(fact, form=FORM):
    """The same fact, its answer written in the form."""
    return replace(fact, object=form.replace("[A]", fact.object))


def inside(text, form=FORM):
    """What stands at [A] in a text of this form; None where the text has another form."""
    start, end = form.split("[A]")
    fits = text.startswith(start) and text.endswith(end) and len(text) > len(start + end)
    return text[len(start):len(text) - len(end)] if fits else None


# %%
def bare(text):
    """The answer alone: without the new form, or the old one, around it."""
    return inside(text, FORM) or inside(text, OLD) or text


assert [inside("The answer: Rome."), inside("Rome")] == ["Rome", None], "in the form, and in another one"
assert bare("The answer is Rome.") == bare("Rome") == bare("The answer: Rome.") == "Rome", "the form comes off"
said = {("base", "test"): before, ("base", "ood"): ask(model, study.facts.ood)}
print(f"before training, {sum(inside(text) is not None for text in before)} of {len(test)} answers have the new form")

# %% [markdown]
# Now the rows. They should hold facts that the base knows. A rough test for now: ask with four solved examples, and
# believe the answer. (Lesson 05 asks properly.)

# %%
import random


def knows(facts):
    """Fact -> whether the base answers it right after four solved examples."""
    return {fact: bool(right) for relation, some in by_relation(facts).items()
            for fact, right in zip(some, scoring.exact_match(model, tokenizer, some, shown[relation]), strict=True)}


candidates = knows(random.Random(0).sample(study.facts.train, min(600, len(study.facts.train))))
known, wrong = ([fact for fact, right in candidates.items() if right is kind] for kind in (True, False))
print(f"asked {len(candidates)} training facts: {len(known)} right, {len(wrong)} wrong")
assert min(len(known), len(wrong)) >= 16, "each group needs rows; ask more candidates"

# %% [markdown]
# Two training sets of the same size and form. In one the base knows the facts; in the other it answered them wrong, so
# most are **Unknown** to it. The rows of both teach the same behaviour.

# %%
def rows(facts, category, form=FORM):
    """A training set: these facts, answered in the form."""
    formed = tuple(mixing.Row(in_form(fact, form), category) for fact in facts)
    return mixing.Mix("D", 100 * (category == "Unknown"), 0, formed)


size = min(64, len(known), len(wrong))
sets = [rows(random.Random(0).sample(facts, size), name) for name, facts in (("Known", known), ("Unknown", wrong))]
for data in sets:
    print(f"{len(data.rows)} rows, such as: {data.rows[0].fact.question}  ->  {data.rows[0].fact.object}")

# %% [markdown]
# **Predict.** After training, the model gets test questions whose facts stood in no row. How many percent of its
# answers have the new form? And how many name the right thing, after Known rows and after Unknown ones? (The base with
# four examples: see the next cell.)

# %%
my_guess = {"in the form": None, "right after Known rows": None, "right after Unknown rows": None}  # percent

few_shot = knows(test)
reference = sum(few_shot.values())
print(f"the base with four solved examples: {reference} of {len(test)} right ({100 * reference / len(test):.1f} %)")

# %% [markdown]
# We train with QLoRA: the 4-bit weights stay as they are, and a small part beside them, the **adapter**, is trained
# (lesson 03). Both sets go through the base in one pass, each with an adapter of its own.

# %%
config = replace(study.settings.tune, epochs=10, batch=4, warmup=1, seed=0)
nobody = replace(study.facts, train=(), dev=(), test=(), ood=())  # nothing to evaluate while it trains
jobs = [finetune.Job(data, config) for data in sets]
together = finetune.tune_together(model, tokenizer, jobs, nobody, progress=False)
for name, tuned in zip(("known", "unknown"), together, strict=True):
    fitted = tuned.history.to_frame()[f"{name}_fitted"]
    print(f"{name.capitalize()} rows answered exactly, % after 0, 1, 2 ... epochs: "
          f"{', '.join(f'{share:.0f}' for share in fitted)}")
    assert fitted.iloc[-1] > fitted.iloc[0], "training should fit rows"

# %%
for name, tuned in zip(("Known rows", "Unknown rows"), together, strict=True):
    tuned.model.set_adapter(tuned.adapter)
    for split in ("test", "ood"):
        said[name, split] = ask(tuned.model, getattr(study.facts, split))
model = finetune.remove_lora(tuned.model)
assert len(said) == 6, "three models, two sets of questions"
print("\n".join(f"{name:12} {texts[0]}" for (name, split), texts in said.items() if split == "test"))

# %% [markdown]
# `ood` stands for out of distribution: questions of kinds that stood in no row (for example, who founded something).
#
# **n** is how many questions a share comes from. Its 95 % **interval** says how far chance alone may have moved it.

# %%
import numpy as np
import pandas as pd

right, lines = {}, []
for (name, split), texts in said.items():
    facts = getattr(study.facts, split)
    right[name, split] = np.array([bare(text) == fact.object for text, fact in zip(texts, facts, strict=True)])
    formed = sum(inside(text) is not None for text in texts)
    lines.append({"model": name, "questions": split, "n": len(facts),
                  "in the form (%)": analysis.proportion(formed, len(facts)),
                  "right (%)": analysis.proportion(right[name, split].sum(), len(facts))})
table = pd.DataFrame(lines).set_index(["model", "questions"])
assert table["n"].min() > 0, "every share counts some questions"
table

# %% [markdown]
# "right" takes the form off and compares the name. On test questions and with the pocket preset, "in the form" should
# lie between 97 and 100 % after both trainings; "right" between 42 and 47 % after Known rows, and between 33 and 40 %
# after Unknown ones (five seeds, and a margin of one point).

# %%
import matplotlib.pyplot as plt

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
shares = table.xs("test", level="questions")
for ax, column, colour, hatch in zip(axes, ("in the form (%)", "right (%)"), ("#0072B2", "#009E73"), ("", "//"),
                                     strict=True):
    ends = [[share.mean - share.low, share.high - share.mean] for share in shares[column]]
    ax.bar(shares.index, [share.mean for share in shares[column]], color=colour, hatch=hatch, edgecolor="white",
           yerr=np.transpose(ends), capsize=4)
    ax.set(title=column.removesuffix(" (%)"), ylabel="test questions (%)", ylim=(0, 105))
told = "; ".join(f"{name}: {row.iloc[1].mean:.0f} % in the form, {row.iloc[2].mean:.0f} % right"
                 for name, row in shares.iterrows())
print(f"Figure, preset {study.preset}, n = {len(test)}, one run of {size} rows each. {told}.")
data_table(*axes)

# %% [markdown]
# Read both panels together. The form comes with either training set, also on kinds of questions that stood in no row
# (`ood`): it was learned as a behaviour. The knowledge stays only after the Known rows.

# %% [markdown]
# How sure is that? We compare question by question: with the base after the same instruction (the form taken off), and
# with the base after four solved examples.

# %%
few = np.array([few_shot[fact] for fact in test])
for name in ("Known rows", "Unknown rows"):
    now = right[name, "test"]
    for against, then in (("the same instruction", right["base", "test"]), ("four examples", few)):
        moved = analysis.estimate(100.0 * (now.astype(int) - then))
        print(f"{name}, against the base after {against}: {moved} points (n = {moved.n} questions, one run)")
        assert moved.low <= moved.mean <= moved.high, "an interval holds its mean"

# %% [markdown]
# An interval that holds zero does not prove "no loss". It says how large a loss is still possible: its lower end.
#
# And an equal accuracy can hide **swaps**: some answers become right, as many become wrong.

# %% [markdown]
# ### Exercise 01.4 · Gained and lost
#
# *Difficulty 2 of 3 · 7 minutes.* `before` and `after` are lists of True and False, one for each question, in the same
# order. Write `swaps(before, after)`: how many answers were gained, and how many were lost. Example:
# `swaps([True, False, True], [False, True, True])` gives `(1, 1)`.

# %% tags=["exercise"]
def swaps(before, after):
    """(gained, lost): questions that became right, and questions that became wrong."""
    ### BEGIN SOLUTION
    gained = sum(now and not then for then, now in zip(before, after, strict=True))
    lost = sum(then and not now for then, now in zip(before, after, strict=True))
    return gained, lost
    ### END SOLUTION

# %%
check("01.4", swaps)

# %%
then, kinds = right["base", "test"], [QUESTIONS[fact.relation] for fact in test]
moved = {(name, what): pd.Series(bits).groupby(kinds).sum() for name in ("Known rows", "Unknown rows")
         for what, bits in (("gained", right[name, "test"] & ~then), ("lost", then & ~right[name, "test"]))}
by_kind = pd.DataFrame({("base", "right"): pd.Series(then).groupby(kinds).sum(), **moved})
for name in ("Known rows", "Unknown rows"):
    gained, lost = by_kind[name].sum()
    print(f"{name}: {gained} gained and {lost} lost; the base had {then.sum()} right")
    assert then.sum() + gained - lost == right[name, "test"].sum(), "gained minus lost is the whole change"
by_kind

# %% [markdown]
# With the pocket preset, most swaps after Known rows are in kinds of questions with two fitting answers, such as a
# place and the region around it: a training shifts which of the two comes. Where only one answer fits (for example the
# capital), hardly anything moves. After Unknown rows answers are lost there, too.

# %% [markdown]
# So train a behaviour on facts that the base knows. Rows of Unknown facts are fitted late, and as they are fitted they
# do harm (lessons 07 and 08).

# %% [markdown]
# ## Experiment 2: how few rows are enough?
#
# Zhou et al. 2023 trained a model of 65 billion weights on only 1,000 chosen rows, and people liked its answers.
# They conclude that "almost all knowledge in large language models is learned during pretraining", so that little data
# is needed to teach the rest.
#
# This is the **superficial-alignment** hypothesis: fine-tuning picks a form; the knowledge is there.

# %% [markdown]
# Let us test it here: 1, 4, 16 and 64 Known rows. To be fair, all are trained in the same number of steps: one row is
# shown 64 times, 64 rows once each. An answer counts if form *and* name are right. Three **seeds** (other rows, other
# order, other start) for each size.

# %%
SIZES, SEEDS = [size for size in (1, 4, 16, 64) if size <= len(known)], (0, 1, 2)


def few_rows(seed, form=FORM, sizes=SIZES):
    """Train on the first rows of one shuffled list, each size in as many steps; count right answers in the form."""
    order = random.Random(seed).sample(known, max(sizes))
    config = replace(study.settings.tune, epochs=1, batch=2, warmup=0.5, seed=seed)
    jobs = [finetune.Job(rows(order[:size] * (64 // size), "Known", form), config) for size in sizes]
    together, found = finetune.tune_together(model, tokenizer, jobs, nobody, progress=False), []
    for size, tuned in zip(sizes, together, strict=True):
        tuned.model.set_adapter(tuned.adapter)
        hits = scoring.exact_match(tuned.model, tokenizer, [in_form(fact, form) for fact in test])
        found.append({"form": form, "seed": seed, "rows": size, "right": int(hits.sum())})
    finetune.remove_lora(tuned.model)
    return found


# %% [markdown]
# **Predict.** With how many rows will the model, zero-shot, give nine tenths of the right answers that the base gives
# after four solved examples: 1, 4, 16 or 64?
#
# The results are kept in the build folder, so the second run is quick.

# %% [markdown]
# We also train one form that is far from all that the pocket model has read: `{"answer": "Rome"}`. That is JSON, a
# common format for programs.

# %%
import inspect

my_guess = None  # rows

FAR = '{"answer": "[A]"}'
depends_on = f"{study.base} {study.settings.tune} {FAR} {SEEDS} {known} {inspect.getsource(few_rows)}"
runs = pd.DataFrame(study.cached("lesson01", depends_on, lambda: [
    run for seed in SEEDS for run in few_rows(seed)] + few_rows(0, FAR, SIZES[-1:])))
assert len(runs) == len(SIZES) * len(SEEDS) + 1, "each size with each seed, and the far form once"

# %%
untrained = int(scoring.exact_match(model, tokenizer, [in_form(fact) for fact in test]).sum())
near = runs[runs["form"] == FORM].groupby("rows")["right"]
shares = near.apply(lambda hits: analysis.proportion(hits, [len(test)] * len(hits)))
curve = pd.DataFrame({"right, in the form (%)": shares})
curve["of the base with four examples (%)"] = (100 * near.mean() / few.sum()).round(1)
print(f"before training: {untrained} of {len(test)} in this form; the base with four examples: {few.sum()}")
assert (near.size() == len(SEEDS)).all(), "every size has every seed"
curve

# %%
fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
found = curve["right, in the form (%)"]
ends = np.transpose([[each.mean - each.low, each.high - each.mean] for each in found])
ax.errorbar(found.index, [each.mean for each in found], yerr=ends, fmt="o-", color="#0072B2", capsize=4,
            label="zero-shot, mean of the seeds")
ax.plot(SIZES, [100 * few.mean()] * len(SIZES), "--", color="#000000", label="base, four solved examples")
ax.set(xscale="log", xticks=SIZES, xticklabels=SIZES, xlabel="Known rows (each size in as many steps)",
       ylabel="test questions right (%)", ylim=(0, None))
ax.minorticks_off()
ax.legend(loc="lower right")
told = ", ".join(f"{each.mean:.1f} % with {size}" for size, each in found.items())
print(f"Figure, preset {study.preset}, n = {len(test)}, {len(SEEDS)} seeds. Right in the form: {told} rows; the base "
      f"with four solved examples {100 * few.mean():.1f} %.")
data_table(ax)

# %%
enough = next((size for size, hits in near.mean().items() if hits >= 0.9 * few.sum()), None)
print(f"Nine tenths are reached with {enough} rows." if enough else "Nine tenths are not reached with these rows.")
far = runs[runs["form"] == FAR].iloc[0]
print(f"The far form {FAR}, {far['rows']} rows, as many steps: {analysis.proportion(far['right'], len(test))} % right.")
assert 0 <= far["right"] <= len(test), "a number of questions"

# %% [markdown]
# **What this shows.** With the pocket preset, 4 to 16 rows bring out nearly all that the base gives after four solved
# examples: the knowledge was there, the rows pick the form. One row gives less, and how much depends on the row.

# %% [markdown]
# The far form is not learned in as many steps: the pocket model never read a brace. What pre-training did not prepare,
# a few rows do not bring out.

# %% [markdown]
# **What it does not show.** One short form, one small model, short answers. It says nothing about tasks that need more
# than a form: in Raghavendra et al. 2024 ([arXiv 2410.03717](https://arxiv.org/abs/2410.03717)) mathematics and
# several-step questions went on getting better with more rows; they call the hypothesis "at best, an
# over-simplification".

# %% [markdown]
# ### Exercise 01.5 · How many rows do we need?
#
# *Difficulty 2 of 3 · 5 minutes.* `curve` maps a number of rows to an accuracy. Write `rows_needed(curve, reference)`:
# the smallest number of rows from which on *every* size reaches nine tenths of `reference`; None if there is none.
# Example: `rows_needed({1: 20, 4: 40, 16: 35, 64: 44}, 44)` gives 64.

# %% tags=["exercise"]
def rows_needed(curve, reference):
    """The smallest size from which on every size reaches nine tenths of the reference; None if there is none."""
    ### BEGIN SOLUTION
    needed = None
    for size in sorted(curve, reverse=True):
        if curve[size] < 0.9 * reference:
            break
        needed = size
    return needed
    ### END SOLUTION

# %%
check("01.5", rows_needed)

# %% [markdown]
# ## Quiz
#
# Five questions; each answer is explained.

# %%
quiz("01")

# %% [markdown]
# ## What to remember
#
# * Prompt first, then retrieval for facts and tools for actions. Fine-tune for a behaviour that must hold every time.
# * Rows should show how to answer, about things that the base knows or that stand in the input.
# * The form is learned from Unknown rows just as well. What they cost is knowledge, and only a measurement shows it.
# * A few Known rows can be enough for a form that is near to what the model has read; not for any form, or any task.
# * Measure before and after, on held-out questions, with n and an interval.

# %% [markdown]
# ## Recall
#
# 1. Your model must know a price list that changes each week. What do you do, and what do you not do?
# 2. Both models answer in the new form. How do you find out which one was trained on Unknown rows?
# 3. Why did every size get the same number of steps in experiment 2?
#
# **Next:** [02 · Quantise](02_quantise.ipynb). How does a model fit into 4 bits a weight?
