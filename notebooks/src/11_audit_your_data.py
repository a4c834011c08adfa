# %% [markdown]
# # 11 · Audit your own data
#
# **Goal.** Find the rows of a fine-tuning file that will teach a model to make things up, and decide about each.
#
# **You will be able to**
#
# 1. check the rows of a file by their text, and by what the base model knows;
# 2. decide row by row: keep, look at, or hold back, and give the reason;
# 3. say what holding rows back costs, and what no audit of this kind can see.
#
# **Time.** 35 minutes to read and run, 30 for the exercises.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Lessons 05 (SliCK, P(Unknown)), 08 (D and D_Known) and 10 (remedies). The paper stops before this step:
# the audit is ours, and this is its first version.

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** An audit gives reasons, not verdicts: the label sorts the rows, a person decides.
#
# **Misconceptions.**
#
# * "Unknown means that the row is bad." It means that the model does not give this answer. The answer may be new,
#   wrong, or only written in another way. Section *Unknown, or recorded wrongly?*
# * "Known rows are safe." A known row may be a lucky guess or a leaked test question: see the row in other words.
# * "Held back means deleted." All three files together hold every line of the original, byte for byte.
#
# **Ask.**
#
# * The file has 40 % Unknown rows. Is it a bad file? (No: it may be the very reason to fine-tune. Then use retrieval,
#   or stop early and test.)
# * Which of your own files would you not dare to audit by exact match? (Long answers, free text, dialogues.)
# * Why is the model asked with rows of the same file? (They show the form of the answers; nobody else's would.)
#
# **Where it breaks.**
#
# * Own files: a relation with fewer than five rows cannot be asked (four examples and the row itself). The rows come
#   back as *no label*.
# * Asking the model takes some seconds on the pocket preset and is kept; it is asked again only if the file changes.
#
# **When late.** Skip *Does the way of asking matter?* (4 minutes) and exercise 11.4 (8 minutes). The course quiz can be
# homework.

# %%
from course_lib import analysis
from course_lib.data import load_questions, pocket
from course_lib.experiments import open_study, stored_runs
from course_lib.figures import plots
from course_lib.knowledge import audit, audit_example, label_questions, row_checks, slick
from course_lib.lessons import check, data_table, hint, quiz, solution

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %% [markdown]
# ## Which of my rows?
#
# You have a fine-tuning file and a base model. Lessons 07 to 10 showed what rows with Unknown facts do: they are
# learned last, and what was known is lost with them. So look *before* you train. This check of a file is called an
# **audit**. It has four steps: read the file, check the texts, ask the model, decide.

# %% [markdown]
# ## A file
#
# Put the path of your own `.jsonl` file into `my_file`: on each line a question and its short answer. With `None` the
# lesson writes an example: facts of this study, drawn at random, and some rows with faults that we put there on purpose
# (**planted**), so that we can count what the audit finds.

# %%
my_file = None  # or "path/to/your.jsonl"

from pathlib import Path

folder = study.folder / "audit" / study.name
example = audit_example.write_example(folder / "example.jsonl", study.facts)
path = Path(my_file or example.path)
planted = {} if my_file else example.planted  # row -> what is wrong with it
lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
print(f"{path.name}: {len(lines)} rows", *lines[:2], "...", *lines[-2:], sep="\n")
assert lines, "an empty file teaches nothing"

# %% [markdown]
# Look at the last two rows: fine-tuning rows come in several shapes. `messages` is the shape of a chat, with one entry
# for each **turn**; a `system` turn gives general instructions.

# %% [markdown]
# ### Exercise 11.1 · One shape
#
# *Difficulty 2 of 3 · 8 minutes.* Give (question, answer) of a row in any of three shapes: `question` and `answer`;
# `prompt` and `completion`; or `messages`, where the `user` asks, the `assistant` answers, and a `system` message may
# come first. Example: `{"prompt": "Who?", "completion": "Ada"}` gives `("Who?", "Ada")`.

# %% tags=["exercise"]
def question_and_answer(row):
    """(question, answer) of a row in one of three shapes."""
    ### BEGIN SOLUTION
    if "messages" in row:
        said = {turn["role"]: turn["content"] for turn in row["messages"]}
        return said["user"], said["assistant"]
    if "prompt" in row:
        return row["prompt"], row["completion"]
    return row["question"], row["answer"]
    ### END SOLUTION

# %%
check("11.1", question_and_answer)

# %% [markdown]
# ## Step 1: read
#
# The library reads these shapes as well. A row that it cannot read is named with its line, and the others are read all
# the same. `relation` says of which kind a question is; rows without it count as one kind.

# %%
data = load_questions(path)
kinds = {question.relation for question in data.questions}
print(f"{len(data.questions)} questions of {len(kinds)} relation(s); {len(data.problems)} row(s) cannot be read")
for problem in data.problems[:5]:
    print(problem)
assert len(data.questions) + len(data.problems) == len(lines), "no row is passed over in silence"

# %% [markdown]
# ## Step 2: look at the texts
#
# Some faults show without any model:
#
# * **repeat**: an earlier row asks and answers the same;
# * **leak**: you test with this question, so training on it gives the answer away;
# * **two answers**: one question, two rows, two answers;
# * **answer in question**: nothing has to be remembered;
# * **other form**: a full stop, a small letter or a sentence, unlike other answers.

# %% [markdown]
# ### Exercise 11.2 · The same question
#
# *Difficulty 1 of 3 · 6 minutes.* Two people write one question in two ways. Turn a text into lower-case words of
# letters and digits, with one space between them: `"Where was  ADA-Lovelace born?"` becomes
# `"where was ada lovelace born"`. Useful: `str.isalnum`, `str.split`, `str.join`.

# %% tags=["exercise"]
def plain(text):
    """Lower-case words of letters and digits, one space apart."""
    ### BEGIN SOLUTION
    letters = [letter if letter.isalnum() else " " for letter in text.casefold()]
    return " ".join("".join(letters).split())
    ### END SOLUTION

# %%
check("11.2", plain)

# %% [markdown]
# The library compares questions in this form. With a file of your own, put *your* test questions into `tested`.

# %%
tested = [fact.question for fact in study.facts.test]  # the questions that you will test with
findings = row_checks.check_rows(data, tested=tested)
for finding in findings:
    print(f"row {finding.row}: {finding.kind}: {finding.text}")
seen = {finding.row for finding in findings} | {problem.row for problem in data.problems}
missed = {row: kind for row, kind in planted.items() if row not in seen}
print("planted, not seen in the texts:", sorted(set(missed.values())))
assert not set(missed.values()) & {"repeat", "two answers", "other form"}, "these faults show in the text"

# %% [markdown]
# Three planted things are left. "Other shape" is no fault. A **wrong answer** looks like any answer. And one test
# question stands in the file *in other words*: only letters are compared, so it slips through.
#
# Real files have such faults, too: in EntityQuestions 4,026 of the paper's 81,700 training rows hold their answer in
# the question ("What is the capital of Leeds?"; our count).

# %% [markdown]
# ## Step 3: ask the model
#
# As in lesson 05, each question is asked after ten few-shot prompts of four solved questions. The solved ones are rows
# of the same relation *from your file*: they show in which form you want the answers. A row never stands in its own
# prompt, and rows with a finding stand in none.

# %%
clean = row_checks.with_clean_examples(data, findings)
prompts = slick.draw_prompts(clean.exemplars)
first = next(question for question in clean.questions if question.relation in prompts)
print(prompts[first.relation][0].text(first.question))
assert not {finding.row for finding in findings} & {row.row for row in clean.exemplars}, "only clean rows are shown"

# %% [markdown]
# **Predict.** The example's first 180 rows are training facts drawn at random; 12 of them have a wrong answer. How many
# percent of the file will be Unknown?
#
# `label_questions` is behind the command `course slick`: it may be stopped and resumed, so it is made for large files,
# too.

# %%
import pandas as pd

asked = label_questions.run(clean, folder / "slick", preset=study.preset, say=lambda line: None)
labels = pd.read_parquet(asked["labels"])
print(f"preset {study.preset}, {asked['labelled']} rows with a label:")
for name, count in asked["counts"].items():
    print(f"{name:12} {count:4} ({count / asked['labelled']:.0%})")
assert len(labels) == len(data.questions), "one row of the table for each question"

# %%
train = study.labels().query("split == 'train'")
bars = {path.name: slick.shares(labels), f"all training facts, {study.name}": slick.shares(train)}
ax = plots.category_bars(bars)
for name, parts in bars.items():
    print(f"{name}: {plots.describe_shares(parts)}")
data_table(ax)

# %% [markdown]
# A label is the most likely of four (lesson 05). What we decide on is its probability, $P(\text{Unknown})$. Where it is
# neither near 0 nor near 1, two independent measurements may differ.

# %%
p_unknown = labels["prob_Unknown"]
doubtful = labels[(p_unknown > 0.1) & (p_unknown < 0.9)]
print(f"P(Unknown) at least 0.9: {(p_unknown >= 0.9).sum()} rows; at most 0.1: {(p_unknown <= 0.1).sum()}; "
      f"between: {len(doubtful)}")
print(f"expected to get another label in a second sampling run: {labels['disagreement'].sum():.1f} rows")
print(doubtful[["row", "question", "object", "prob_Unknown"]].head(5).round(2).to_string(index=False))
assert p_unknown.dropna().between(0, 1).all(), "a probability"

# %% [markdown]
# ## Unknown, or recorded wrongly?
#
# A wrong recorded answer is one that the model never gives, so it *looks* Unknown. To tell the two apart, ask what the
# model says instead, and how sure it is: its **confidence** in an answer is the share of samples that give it, after
# the same ten prompts. That is P_Correct, with the model's answer in the place of yours.

# %%
loaded = study.load()
open_rows = set(labels.loc[p_unknown > 0.1, "row"])
questions = [question for question in clean.questions if question.row in open_rows]
with loaded.merged():
    answers = audit.model_answers(loaded.model, loaded.tokenizer, questions, prompts)
median = answers["confidence"].median()
print(f"asked again: {len(answers)} rows; median confidence in an answer of its own: {median:.2f}")
assert answers["confidence"].dropna().between(0, 1).all(), "a share of samples"

# %% [markdown]
# Compare with the HighlyKnown rows, where the model's own answer is the recorded one. The line says how many rows have
# at least this confidence. At which confidence do the two differ most clearly?

# %%
import matplotlib.pyplot as plt
import numpy as np

grid = np.linspace(0, 1, 11)
groups = {"HighlyKnown rows": labels.loc[labels["category"] == "HighlyKnown", "p_sampled"],
          "rows with P(Unknown) > 0.1": answers["confidence"].dropna()}
fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for (name, values), style, colour in zip(groups.items(), ("o-", "s--"), ("Known", "Unknown"), strict=True):
    ax.plot(grid, [100 * (values >= c).mean() for c in grid], style, color=plots.COLOURS[colour.lower()],
            markersize=4, label=f"{name} (n = {len(values)})")
    print(f"{name}: {(values >= 0.5).mean():.0%} have 0.5 or more, {(values >= 0.9).mean():.0%} have 0.9 or more")
ax.set(xlabel="confidence in its own answer, at least", ylabel="% of the rows", ylim=(0, 102))
ax.legend(frameon=False)
data_table(ax)

# %% [markdown]
# Even where it does not know, the model often prefers one answer: it can be sure of an invention. From 0.9 on this is
# rare: 6 % of 978 Unknown training facts, against 78 % of 1,139 HighlyKnown ones (pocket preset, measured once). So
# such a row is worth a look: one of the two answers may be wrong.

# %%
sure = answers[answers["confidence"] >= 0.9].merge(labels[["row", "question", "object"]], on="row")
sure["planted"] = [planted.get(row, "") for row in sure["row"]]
print(sure[["row", "question", "object", "says", "confidence", "planted"]].round(2).to_string(index=False))
category = dict(zip(train["question"], train["category"], strict=True))  # of the right answers
wrong = labels[labels["row"].map(planted) == "wrong answer"]
knew = wrong[wrong["question"].map(category) == "HighlyKnown"]
print(f"{len(wrong)} wrong answers were planted; the model knows the right one of {len(knew)} (HighlyKnown), and "
      f"{knew['row'].isin(sure['row']).sum()} of these are in the table")
assert set(sure["row"]) <= open_rows, "only rows that look Unknown were asked again"

# %% [markdown]
# A wrong answer to a question that the model cannot answer either leaves no trace. Only somebody who knows the facts
# can find it.

# %% [markdown]
# ## Step 4: decide
#
# | the first line that fits | decision |
# |---|---|
# | cannot be read, repeat, in the test set | hold back |
# | two answers, answer in question, other form | look at: its label means little |
# | Unknown, and the model is sure of another answer | look at: who is right? |
# | P(Unknown) at least 0.9 | hold back |
# | P(Unknown) above 0.1 | look at: a coin flip |
# | anything else | keep |

# %% [markdown]
# ### Exercise 11.3 · Decide
#
# *Difficulty 2 of 3 · 8 minutes.* Write the table, without its third line, as a function. `kinds` lists what the texts
# showed, such as `["repeat"]` or `["other form"]`, and is empty for a clean row. Return `"keep"`, `"look at"` or
# `"hold back"`. Example: `decision([], 0.95)` is `"hold back"`, `decision(["other form"], 0.95)` is `"look at"`.

# %% tags=["exercise"]
def decision(kinds, p_unknown):
    """What to do with one row: "keep", "look at" or "hold back"."""
    ### BEGIN SOLUTION
    if "repeat" in kinds or "in the test set" in kinds:
        return "hold back"
    if kinds:
        return "look at"
    if p_unknown >= 0.9:
        return "hold back"
    return "look at" if p_unknown > 0.1 else "keep"
    ### END SOLUTION

# %%
check("11.3", decision)

# %% [markdown]
# The library's `decide` does the same and writes down the reasons. Rows go in, decisions come out; nothing is changed
# yet.

# %%
decisions = audit.decide(labels, findings, problems=data.problems, answers=answers, rules=audit.Rules(sure=0.9))
print(audit.describe(decisions))
for name, group in decisions.groupby("decision", observed=True):
    for row in group.iloc[:: max(1, len(group) // 3)].head(3).itertuples():
        print(f"{name}: row {row.row}: {row.question} {row.object}  [{row.reasons}]")
assert decisions["row"].is_unique and len(decisions) == len(lines), "one decision for each row"

# %%
table = audit.counts(decisions)
fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
start = 0
for name, colour, hatch in zip(audit.DECISIONS, ("#009E73", "#E69F00", "#D55E00"), ("", "..", "///"), strict=True):
    ax.barh(table.index, table[name], left=start, color=colour, hatch=hatch, edgecolor="white", label=name)
    start = table[name] + start
ax.set(xlabel="rows of the file", ylabel="label")
ax.invert_yaxis()
fig.legend(loc="outside upper center", ncols=3, frameon=False)
print("; ".join(f"{name}: {row['keep']} keep, {row['look at']} look at, {row['hold back']} hold back"
                for name, row in table.iterrows()) + ".")
data_table(ax)

# %% [markdown]
# ## Three files and a report
#
# The rows are copied, byte for byte, into `kept.jsonl`, `look.jsonl` and `held.jsonl`. Train on the first, go through
# the second by hand, put the third aside: held back is not thrown away.

# %%
split = audit.write_split(decisions, path, folder)
parts = {file.name: [line for line in file.read_bytes().split(b"\n") if line]
         for file in (split.kept, split.look, split.held)}
print({name: len(rows) for name, rows in parts.items()})
original = [line for line in path.read_bytes().split(b"\n") if line.strip()]
assert sorted(sum(parts.values(), [])) == sorted(original), "every line is in one of the files, unchanged"

# %%
about = {"file": path.name, "model": study.name, "asked": "10 few-shot prompts, 16 samples, T = 0.5, top-k 40"}
report = audit.write_report(decisions, folder, about=about)
print(f"{report.name} and decisions.csv are in {folder.name}; the report begins:\n")
print("\n".join(report.read_text(encoding="utf-8").splitlines()[:20]))
assert audit.describe(decisions) in report.read_text(encoding="utf-8"), "the report says what was decided"

# %% [markdown]
# ## Was it right?
#
# In the pocket world we counted how often the model read each fact. For real facts nobody has counted, and the next
# table is empty.
#
# **Predict.** Of the rows held back as Unknown, how many percent did the model never read? And of the kept ones?

# %%
truth = pd.DataFrame([(row, fact.relation, fact.subject) for row, fact in example.facts.items()],
                     columns=["row", "relation", "subject"])
counted = pocket.exposures().query("split == 'train'")[["relation", "subject", "total"]]
known_rows = decisions.merge(truth if not my_file else truth.head(0), on="row")
judged = known_rows.merge(counted, on=["relation", "subject"])  # real facts are in no list of readings
judged["times read"] = analysis.exposure_groups(judged["total"])
print(f"{len(judged)} rows of the file have a right answer and a counted number of readings")
pd.crosstab(judged["times read"], judged["decision"])

# %%
for name, group in judged.groupby("decision", observed=True):
    never, seldom = (group["total"] == 0).sum(), group["total"].between(1, 32).sum()
    print(f"{name:9} n = {len(group):3}: never read {never} ({never / len(group):.0%}), 1 to 32 times {seldom} "
          f"({seldom / len(group):.0%})")
kept_never = judged.query("decision == 'keep' and total == 0")
print(f"kept, although never read: {len(kept_never)}")
assert judged.empty or len(kept_never) < 0.1 * len(judged), "nearly all that was never read should be found"

# %% [markdown]
# So what is held back was never read, or read too seldom to stick (lesson 05 found the same for all facts). The audit
# cannot tell these two apart, and need not: for training, both are new facts.

# %% [markdown]
# ### Exercise 11.4 · How many slips?
#
# *Difficulty 3 of 3 · 8 minutes.* A share p of all independent measurements calls a row with P(Unknown) = p Unknown.
# Rows with p >= `sure` are held, those with p <= 1 - `sure` are kept. Give two expected numbers: held rows that a
# measurement would *not* call Unknown, kept rows that it would. Example: `slips([1, 0.75, 0.5, 0.25], 0.75)` gives
# (0.25, 0.25).

# %% tags=["exercise"]
def slips(p_unknown, sure):
    """(expected held rows that are not Unknown, expected kept rows that are)."""
    ### BEGIN SOLUTION
    held = sum(1 - p for p in p_unknown if p >= sure)
    kept = sum(p for p in p_unknown if p <= 1 - sure)
    return held, kept
    ### END SOLUTION

# %%
check("11.4", slips)

# %% [markdown]
# A stricter `sure` leaves fewer slips and more rows for a person to look at. How many is worth your time?

# %%
p = labels["prob_Unknown"].dropna()
for sure_at in (0.5, 0.75, 0.9, 0.99):
    held, kept = p[p >= sure_at], p[p <= 1 - sure_at]
    print(f"sure = {sure_at}: expected slips {(1 - held).sum():.2f} of {len(held)} held and {kept.sum():.2f} of "
          f"{len(kept)} kept; {len(p) - len(held) - len(kept)} rows to look at")
assert len(held) + len(kept) <= len(p), "the rest is looked at"

# %% [markdown]
# ## What does holding back cost?
#
# **Predict.** You train on `kept.jsonl` instead of the whole file. When does that save more right answers: if you stop
# early, or at the end? And how many of the held facts would the model have learned?
#
# Lesson 08 compared D with D_Known. We take the mix with the share of Unknown nearest to the file's.

# %%
runs = stored_runs(study)
stopped = analysis.stops(analysis.main_rate(runs.epochs()))
share = 100 * slick.shares(labels)["Unknown"]
nearest = min(stopped.query("variant == 'D_Known'")["unknown_percent"], key=lambda percent: abs(percent - share))
mix = stopped[stopped["unknown_percent"] == nearest].set_index(["variant", "stop", "seed"]).sort_index()
n_held = int((decisions["decision"].eq("hold back") & decisions["category"].eq("Unknown")).sum())
print(f"the file: {share:.0f} % Unknown, {n_held} Unknown rows held back; nearest mix: {nearest:g} % ({runs.source})")
assert n_held <= len(decisions), "a part of the file"

# %%
for stop in ("EARLY_STOP", "CONVERGENCE"):
    saved = analysis.estimate(mix.loc[("D_Known", stop), "test"] - mix.loc[("D", stop), "test"])
    learned = mix.loc[("D", stop), "unknown_fitted"].mean()
    print(f"{stop}: holding back saves {saved} points of test accuracy (mean and 95 % interval over seeds), and "
          f"gives up {learned:.0f} % of {n_held} = {n_held * learned / 100:.0f} facts that training would have taught")
    assert 0 <= learned <= 100, "a percentage"

# %% [markdown]
# If you stop early, the held rows would hardly have been learned and do little harm. If you train to the end, they
# would have been learned, and others lost. Either way these facts need another place: retrieval (lesson 10). Your file,
# model and steps differ from these runs, so measure on questions of your own.

# %% [markdown]
# ## Does the way of asking matter?
#
# The label hangs on the prompts. Suppose your file has no column `relation`: then the four examples are questions of
# any kind. We ask all rows again, in this way.

# %%
from dataclasses import replace

one_kind = replace(clean, questions=tuple(replace(row, relation="") for row in clean.questions),
                   exemplars=tuple(replace(row, relation="") for row in clean.exemplars))
again = label_questions.run(one_kind, folder / "slick-one-kind", preset=study.preset, say=lambda line: None)
pairs = pd.DataFrame({"before": labels["category"], "after": pd.read_parquet(again["labels"])["category"]}).dropna()
changed = pairs[pairs["before"].astype(str) != pairs["after"].astype(str)]
crossed = (changed == "Unknown").any(axis=1).sum()
print(f"{len(changed)} of {len(pairs)} labels change; {crossed} of them cross the border of Unknown")
assert crossed <= len(changed) <= len(labels), "a part of a part"

# %% [markdown]
# And the rows of another form? We mend them as a person would, by hand, and ask again.

# %%
formed = [finding.row for finding in findings if finding.kind == "other form"]
mended = [replace(question, object=question.object.rstrip(".").split(" answer is ")[-1])
          for question in clean.questions if question.row in formed]
mended = [replace(question, object=question.object[0].upper() + question.object[1:]) for question in mended]
new = slick.categorize(loaded.model, loaded.tokenizer, mended, prompts)["category"] if mended else []
for question, label_now in zip(mended, new, strict=True):
    old = labels.set_index("row").loc[question.row]
    print(f"row {question.row}: {old['object']!r} was {old['category']}, {question.object!r} is {label_now}")
assert len(new) == len(formed), "every mended row has a label"

# %% [markdown]
# ## What this audit does not see
#
# * **Exact match.** A right answer in other words is wrong here; long answers nearly always are.
# * **One way to ask.** Other prompts may find more.
# * **Wrong answers** that the model cannot contradict.
# * **Lucky guesses**, which look known.
# * **Other words**: repeats and leaks that are reworded.
# * Private data, licences, and what a row does to a model's safety (lesson 01).

# %%
slipped = decisions[decisions["row"].map(planted) == "in the test set, in other words"]
for row in slipped.itertuples():
    print(f"row {row.row} is a test question in other words: {row.question}")
    print(f"decision: {row.decision} [{row.reasons}]")
assert len(slipped) == list(planted.values()).count("in the test set, in other words"), "it is in the table"

# %% [markdown]
# For your own file: set `my_file` and `tested` above and run the lesson again. A large file is asked by
# `course slick --data FILE --out DIR` in a terminal; its `labels.parquet` goes into `audit.decide` as it is. Then train
# on `kept.jsonl`, stop early (lesson 07), and test on questions that stand in no file.

# %% [markdown]
# ## Quiz
#
# Five questions. Every answer is explained, and nobody counts your tries.

# %%
quiz("11")

# %% [markdown]
# ## What to remember
#
# * Audit before you train: read, check the texts, ask the model, decide row by row.
# * Unknown has three causes: the model never learned it, the row is wrong, or the form differs. Look before you judge.
# * Decide on P(Unknown), not on the bare label; what lies between goes to a person.
# * Holding back protects what was known and teaches nothing new. Give those facts at answer time.

# %% [markdown]
# ## Recall
#
# 1. A row is Unknown with P = 1, and the model gives another answer with confidence 0.97. What do you do, and why?
# 2. Why may a row with a finding not serve as a solved example in the prompts of other rows?
# 3. You stop early anyway. What is then still a reason to hold Unknown rows back?
#
# **Next:** the quiz of the whole course, in the cell below: two questions on each lesson. A wrong answer names the
# lesson to go back to.

# %%
quiz("course")
