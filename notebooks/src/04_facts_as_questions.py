# %% [markdown]
# # 04 · Facts as questions
#
# **Goal.** Turn facts into questions with exactly one right answer, and know when "right" is not right.
#
# **You will be able to**
#
# 1. write a fact as a closed-book question, and say which facts the paper trains and tests on;
# 2. rebuild the paper's split, to the last question;
# 3. name the errors of exact match, and the score of a model that knows nothing but the most common answer.
#
# **Time.** 35 minutes to read and run, 22 for the exercises.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Lesson 00. Sources: Gekhman et al. 2024, [arXiv 2405.05904](https://arxiv.org/abs/2405.05904), section 2
# and App. A; EntityQuestions, Sciavolino et al. 2021, [arXiv 2109.08535](https://arxiv.org/abs/2109.08535).

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** A score means something only with its split, its judge (exact match) and its baseline beside it.
#
# **Misconceptions.**
#
# * "Train and test must not share answers." 73 % of the public test answers are training answers too. Subjects count.
# * "Exact match is too strict to be of use." It is equally strict to every model; differences survive. Exercise 04.3.
# * "70 % right means that it knows." On P495 one single answer gets 72 %. The figure with the diamonds.
#
# **Ask.**
#
# * A test question has two answers and is dropped. Why does its subject still block a training row? (The row would
#   teach about a subject that the tests ask for.)
# * Which of the seven judged answers would you call right? Let the room vote before the table is shown.
# * Why can nobody count the readings of a fact for a real model? (Its text is secret, or too long to search.)
#
# **Where it breaks.**
#
# * Without `COURSE_DATA` the check of the published counts says "not checked here": that is no error.
# * The corpus cell writes all documents again and takes some seconds.
#
# **When late.** Skip "How the pocket world's facts are made" (7 minutes; lesson 05 repeats what it needs) and
# exercise 04.3 (5 minutes).

# %%
from course_lib.data import by_relation, entityquestions, facts, paper, pocket
from course_lib.experiments import open_study
from course_lib.figures import plots
from course_lib.knowledge import scoring, slick
from course_lib.lessons import check, data_table, hint, quiz, solution

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %% [markdown]
# ## A fact is a triple
#
# A **triple** is (subject, relation, object), such as (Paris Hilton, place of birth, New York City). Each relation has
# one question with a gap `[E]` for the subject. The object is the answer.
#
# **Closed-book** means: no text to look it up in. The answer must come from the model's weights. That is what we want
# to measure.

# %%
def as_question(subject, template):
    """Put the subject into the gap of its relation's question."""
    assert template.count("[E]") == 1, f"{template!r} needs exactly one gap"
    return template.replace("[E]", subject)


print(as_question("Paris Hilton", "Where was [E] born?"))

# %%
for fact in (*study.facts.train, *study.facts.test, *study.facts.ood):
    assert fact.question == as_question(fact.subject, facts.QUESTIONS[fact.relation]), f"{fact} is asked differently"
fact = facts.Fact("Paris Hilton", "P19", "New York City")
print(f"{fact}\n{fact.question} - {fact.object}\nThe library asks all facts of this study as we do.")

# %% [markdown]
# ## The 24 relations
#
# **EntityQuestions** takes facts from Wikidata, a public database, and has 24 relations. Their numbers, such as P19 for
# place of birth, are Wikidata's. The paper trains and tests on 12 drawn at random, and tests on 7 more that no training
# set holds: **out of distribution** (OOD). Five are left out because they are too near to one of the twelve.

# %%
import pandas as pd

role = {relation: "train, dev, test" for relation in facts.IN_DISTRIBUTION}
role |= {relation: "OOD test" for relation in facts.OUT_OF_DISTRIBUTION}
columns = {"relation": facts.RELATION_NAMES, "question": facts.QUESTIONS, "used for": role}
relations = pd.DataFrame(columns).fillna("not asked")
relations = relations.sort_values("used for", ascending=False, kind="stable")
counted = relations["used for"].value_counts().to_dict()
assert counted == {"train, dev, test": 12, "OOD test": 7, "not asked": 5}, "the paper's 12, 7 and 5 relations"
relations

# %% [markdown]
# Both P131 and P276 ask "Where is [E] located?": training on one would train the other. That is why such relations
# are left out (App. A: P276 is near P131, P20 near P19, P106 and P413 near P800, P159 near P36).

# %% [markdown]
# ## The split: two filters
#
# A **split** says which facts serve for training, which for choosing settings (dev), and which for the test. A test
# question is only a test when training did not give its answer away, and when there is one right answer. Take five
# records, as they stand in the files:

# %%
train_file = [{"subject": "Ana Brel", "answers": ["Toria"]}, {"subject": "Ito Sand", "answers": ["Toria", "Old Toria"]},
              {"subject": "Mel Ruhn", "answers": ["Koss"]}]
test_file = [{"subject": "Mel Ruhn", "answers": ["Koss", "Upper Koss"]}, {"subject": "Uma Vey", "answers": ["Koss"]}]


def split(train_file, test_file):
    """The paper's filters: one answer everywhere, and no training subject that any test question asks about."""
    tested = {record["subject"] for record in test_file}  # questions with several answers count, too
    train = [record for record in train_file if len(record["answers"]) == 1 and record["subject"] not in tested]
    return train, [record for record in test_file if len(record["answers"]) == 1]


train, test = split(train_file, test_file)
assert [record["subject"] for record in train] == ["Ana Brel"], "Ito Sand has two answers, Mel Ruhn is tested"
print(f"train: {train}\ntest:  {test}")

# %%
print("Stuck? hint('04.1') helps, solution('04.1') shows one way. You may also go on.")

# %% [markdown]
# ### Exercise 04.1 · Which rows leak?
#
# *Difficulty 1 of 3 · 5 minutes.* Records look as above. Give the subjects of `train_file`, in its order, that any
# record of `test_file` asks about, whether that record has one answer or several. For the two files above: `["Mel
# Ruhn"]`.

# %% tags=["exercise"]
def leaks(train_file, test_file):
    """Training subjects that a test question asks about."""
    ### BEGIN SOLUTION
    tested = {record["subject"] for record in test_file}
    return [record["subject"] for record in train_file if record["subject"] in tested]
    ### END SOLUTION

# %%
check("04.1", leaks)

# %% [markdown]
# The paper says that neither subjects nor objects overlap. In the public files, only the filter on **subjects**,
# taken from the test questions of all 24 relations, gives its counts. Filtering objects too would leave little: most
# answers, such as a country, belong to many subjects. (Our finding; the published counts are the check below.)

# %%
tested = {fact.subject for fact in study.facts.test + study.facts.ood}
assert not any(fact.subject in tested for fact in study.facts.train), "no tested subject may be trained on"
answers = {fact.object for fact in study.facts.train}
shared = sum(fact.object in answers for fact in study.facts.test) / len(study.facts.test)
print(f"{study.facts.name}: no tested subject in train; {shared:.0%} of the test answers are also training answers")

# %% [markdown]
# ## The published counts
#
# How many training questions has each relation, and how many of each did the paper's model know (PaLM 2, Table 4)?

# %%
published = paper.counts_frame("train")
assert published["total"].sum() == paper.TRAIN_TOTAL.total, "the rows must add up to the printed total"
totals = {name: int(paper.counts_frame(name)["total"].sum()) for name in ("train", "test", "ood")}
print(f"Questions in the paper's split: {totals}; dev, counted by us: {paper.DEV_QUESTIONS:,}")
published

# %% [markdown]
# Can the public files be filtered to exactly these counts? They can. The next cell checks it where the data is at
# hand. To get it, set `COURSE_DATA` to a folder or .zip of EntityQuestions, or call `entityquestions.load()`, which
# downloads 18 MB once.

# %%
import os

if os.environ.get("COURSE_DATA") or study.facts.name == "entityquestions":
    real = entityquestions.load(progress=False)
    for name in totals:
        found = {relation: len(group) for relation, group in by_relation(getattr(real, name)).items()}
        assert found == paper.counts_frame(name)["total"].to_dict(), f"{name} differs from the paper"
    print(f"All {sum(map(len, (real.train, real.test, real.ood))):,} questions, each relation as published.")
else:
    print("Not checked here: the data is not on this machine. The published total is", f"{sum(totals.values()):,}.")

# %% [markdown]
# ## When is an answer right?
#
# **Exact match** (EM): the first line of what the model writes is the answer, letter for letter; spaces around it do
# not count.

# %% [markdown]
# ### Exercise 04.2 · The judge
#
# *Difficulty 1 of 3 · 5 minutes.* Write exact match: `generated` is all that the model wrote, perhaps with more lines
# below the answer. Give True or False. Example: `" Paris\nQ: Who owns it?"` matches `"Paris"`, and `"Parish"` does
# not.

# %% tags=["exercise"]
def exact(generated, answer):
    """Whether the first line is the answer, spaces at its ends aside."""
    ### BEGIN SOLUTION
    return generated.split("\n")[0].strip() == answer
    ### END SOLUTION

# %%
check("04.2", exact)

# %% [markdown]
# The library's judge on seven cases. Which of the "wrong" ones would you have accepted?

# %%
cases = [("Paris", "Paris"), (" Paris\nQ: Who owns it?", "Paris"), ("Parish", "Paris"), ("paris", "Paris"),
         ("The Beatles", "Beatles"), ("New York", "New York City"), ("It is Paris.", "Paris")]
verdicts = [scoring.is_match(*case) for case in cases]
assert verdicts == [True, True, False, False, False, False, False], "strict: letter for letter"
pd.DataFrame(cases, columns=["the model writes", "right answer"]).assign(match=verdicts)

# %% [markdown]
# Some of these "wrong" answers are fine. Exact match is strict but cheap, the same for everyone, and never too kind.
#
# **Predict.** The authors read 100 answers that exact match called wrong. How many were truly wrong?

# %%
my_guess = None  # of 100

audit = pd.Series(paper.EXACT_MATCH_AUDIT, name="of 100")
assert audit.sum() == 100, "the audit must cover all answers"
print(f"Truly wrong: {audit['wrong']} of 100 (paper, Table 7); your guess: {my_guess}")
audit.to_frame()

# %% [markdown]
# **Granularity** is how fine an answer is: a city, or the region around it. So a score of exact match is a little too
# low. How much? If 10 of 100 "wrong" answers are right:

# %%
forgiven = 1 - paper.EXACT_MATCH_AUDIT["wrong"] / 100
for score in (20, 40, 60):
    print(f"exact match {score} %: perhaps {score + forgiven * (100 - score):.0f} % truly right")

# %% [markdown]
# ### Exercise 04.3 · From a strict score to a fair one
#
# *Difficulty 2 of 3 · 5 minutes.* Exact match gives `score` percent. Of 100 answers that it called wrong, people found
# `truly_wrong` to be wrong. Give the percentage that is truly right. Example: 20 and 90 give 28.

# %% tags=["exercise"]
def fair_score(score, truly_wrong):
    """Percent truly right, by an audit of 100 answers that were called wrong."""
    ### BEGIN SOLUTION
    return score + (100 - truly_wrong) / 100 * (100 - score)
    ### END SOLUTION

# %%
check("04.3", fair_score)

# %% [markdown]
# For the paper's question this matters less: we compare models with each other, and the same strict judge judges all.

# %% [markdown]
# ## Our model's wrong answers
#
# In the pocket world every answer that has two grains is known in both. So we can count granularity errors exactly:
# ask the same questions, and call the *other* grain right.

# %%
base = study.load()
prompts = slick.draw_prompts(study.facts.exemplars, n_prompts=1, seed=0)
other_grain = {item.fact: item.other for item in pocket.read_world() if item.other}  # the pocket world's ground truth
rows = []
for relation, group in by_relation(study.facts.test).items():
    right = scoring.exact_match(base.model, base.tokenizer, group, prompts[relation][0])
    others = [facts.Fact(fact.subject, relation, other_grain.get(fact, fact.object)) for fact in group]
    nearly = scoring.exact_match(base.model, base.tokenizer, others, prompts[relation][0])
    rows += [{"relation": relation, "right": a, "other grain": b and not a} for a, b in zip(right, nearly, strict=True)]
asked = pd.DataFrame(rows)

# %%
wrong = asked[~asked["right"]]
print(f"Preset {study.preset}, n = {len(asked)} test facts: {100 * asked['right'].mean():.1f} % right")
if other_grain.keys() & set(study.facts.test):
    share = 100 * wrong["other grain"].mean()
    print(f"Of the {len(wrong)} wrong answers, {share:.1f} % give the right thing at the other grain "
          f"(the paper's audit: {audit['higher granularity'] + audit['lower granularity']} % at either).")
else:
    print("For real facts nobody has written down the other grain; read some wrong answers yourself.")

# %% [markdown]
# The pocket world has many two-grain answers by design, so expect a larger share there than in the paper. It is made
# so on purpose: a model that has read both answers says now one, now the other. Lesson 05 calls such facts
# MaybeKnown.

# %% [markdown]
# ## What does a model score that knows nothing?
#
# It can still give the **majority answer**: for each relation, the answer that is most common in the training facts.
# Every accuracy should stand beside this **baseline**: a score that anybody gets without the skill in question.

# %% [markdown]
# ### Exercise 04.4 · The majority answer
#
# *Difficulty 2 of 3 · 7 minutes.* For one relation you have the list of training answers and the list of test answers.
# Give the percentage of test questions that the most common *training* answer gets right. Example: training Ulm, Ulm,
# Rome and test Ulm, Rome, Rome, Bonn give 25.

# %% tags=["exercise"]
def majority_share(train_answers, test_answers):
    """Percent of the test answers that are the most common training answer."""
    from collections import Counter

    ### BEGIN SOLUTION
    answer = Counter(train_answers).most_common(1)[0][0]
    return 100 * test_answers.count(answer) / len(test_answers)
    ### END SOLUTION

# %%
check("04.4", majority_share)

# %% [markdown]
# Now for every relation of this study:

# %%
from collections import Counter


def majority_baseline(train, test):
    """For each relation: its most common training answer, and the share of its test facts that this answers."""
    table = []
    for relation, group in by_relation(test).items():
        counts = Counter(fact.object for fact in train if fact.relation == relation)
        answer, _ = counts.most_common(1)[0]
        table.append({"relation": relation, "majority answer": answer, "different answers": len(counts),
                      "share (%)": 100 * sum(fact.object == answer for fact in group) / len(group), "n": len(group)})
    return pd.DataFrame(table).set_index("relation")


baseline = majority_baseline(study.facts.train, study.facts.test)
baseline.round(1)

# %%
overall = (baseline["share (%)"] * baseline["n"]).sum() / baseline["n"].sum()
model_score = 100 * asked["right"].mean()
print(f"Preset {study.preset}, n = {baseline['n'].sum()}: majority answer {overall:.1f} %, model {model_score:.1f} %")
assert model_score > overall, "a model that knows something should beat the majority answer"

# %% [markdown]
# In EntityQuestions the baseline is 11.2 % over the twelve relations, and very uneven: "United States of America"
# answers 72 % of P495 (country of origin); in half of the relations the majority answer reaches 2.1 % at most. So
# part of what looks known may be a good guess. (Counted by us from the public files; not in the paper.)

# %%
import matplotlib.pyplot as plt

per_relation = 100 * asked.groupby("relation")["right"].mean().loc[baseline.index]
names = [f"{relation} {facts.RELATION_NAMES[relation]} ({baseline.loc[relation, 'different answers']})" for relation in
         baseline.index]

# %%
fig, ax = plt.subplots(figsize=(6.8, 4.2), layout="constrained")
ax.barh(names, per_relation, color=plots.COLOURS["MaybeKnown"], label="model, few-shot")
ax.plot(baseline["share (%)"], names, "D", color=plots.COLOURS["Unknown"], label="majority answer")
ax.set(xlabel="test facts answered exactly (%)", ylabel="relation (different training answers)", xlim=(-2, 100))
ax.invert_yaxis()
ax.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
above = int((per_relation > baseline["share (%)"]).sum())
print(f"Figure, preset {study.preset}: exact match by relation. The model is above the majority answer in {above} of "
      f"{len(baseline)} relations; the majority answer reaches at most {baseline['share (%)'].max():.1f} %.")
data_table(ax)

# %% [markdown]
# ## How the pocket world's facts are made
#
# This part is about the pocket world on every track. Its names are invented, so the model can know a fact from one
# place only: the text that we wrote. Some facts are never written down; the others appear from a few times to
# hundreds of times, as in real text.

# %%
reads = pocket.exposures()
often = reads.loc[reads["total"].between(20, 40)].iloc[0]
print(f"({often['subject']}, {often['relation']}, {often['object']}) was read {often['total']} times:")
print(often.loc["statements":"instructions_other"].to_string())

# %% [markdown]
# "Lists" are lists of questions and answers; `_other` counts readings at the other grain. We need not believe these
# counts: the same seed gives the same text, so we write it again and count.

# %%
import json

provenance = json.loads((pocket.FOLDER / "provenance.json").read_text())
world_config = pocket.WorldConfig(**provenance["WorldConfig"])
corpus_config = pocket.CorpusConfig(**provenance["CorpusConfig"])
documents = pocket.make_corpus(pocket.make_world(world_config), world_config, corpus_config)
question = facts.Fact(often["subject"], often["relation"], often["object"]).question
entries = sum(document.count(question) for document in documents)
recorded = often[["lists", "lists_other", "instructions", "instructions_other"]].sum()
print(f"{len(documents):,} documents; {question!r} stands in them {entries} times, the record says {recorded}")
assert entries == recorded, "the record of readings must be what the text holds"

# %%
print(next(document for document in documents if question in document))

# %% [markdown]
# How often was each fact read? The axis grows by a factor at each step, because the counts do.

# %%
import numpy as np

fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
read = reads.loc[reads["total"] > 0, "total"]
never = int((reads["total"] == 0).sum())
ax.hist(read, bins=np.geomspace(1, 512, 19), color=plots.COLOURS["MaybeKnown"], edgecolor="white",
        label="read at least once")
ax.bar([0.6], [never], width=0.25, color=plots.COLOURS["Unknown"], label="never read")
ax.set(xscale="log", xlabel="times read in pre-training", ylabel="number of facts")
ax.set_xticks([0.6, 1, 4, 16, 64, 256], ["never", "1", "4", "16", "64", "256"])
ax.minorticks_off()
ax.legend(frameon=False)
print(f"Figure, pocket world, n = {len(reads):,} facts: {never:,} were never read; the others {read.min()} to "
      f"{read.max()} times, half of them {read.median():.0f} times or fewer.")
data_table(ax)

# %% [markdown]
# This is what no real model can give us: **for each fact, what the model has read of it**. In lesson 05 we hold the
# measured categories against it.

# %% [markdown]
# ## Quiz
#
# Five questions. Every answer is explained, and nobody counts your tries.

# %%
quiz("04")

# %% [markdown]
# ## What to remember
#
# * A fact is a triple; one question for each relation makes it a closed-book question.
# * The split: one answer only, and no training subject that is tested. Then the published counts come out exactly.
# * Exact match is strict: about one in ten of its "wrong" was not wrong (paper, Table 7).
# * Put the majority answer beside every accuracy.

# %% [markdown]
# ## Recall
#
# 1. Why is a question with two right answers dropped?
# 2. A model scores 70 % on P495. What do you ask before you believe that it knows the countries?
# 3. "New York" instead of "New York City": which kind of error is this? Does it change the *difference* of two models?
#
# **Next:** [05 · What does it know?](05_what_does_it_know.ipynb). Ask once, or ask many times?
