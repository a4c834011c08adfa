# %% [markdown]
# # 05 · What does it know?
#
# **Goal:** measure, fact by fact, what a model already knows before anybody fine-tunes it.
#
# Afterwards you can
#
# * measure P_Correct for a question, by sampling and exactly;
# * sort facts into the four SliCK categories, and say where that sorting is a coin flip;
# * check the categories against what the model has really read.

# %% [markdown]
# | track | minutes | memory |
# |---|---|---|
# | pocket, on a CPU | under 1 when the labels exist; about 2 more on two cores to measure them | about 1 GB |
# | a real model, on a GPU | not measured yet | not measured yet |
#
# **Needed before:** notebook 04 (facts as closed-book questions, exact match).

# %%
from course_lib.study import open_study

study = open_study()
print(f"preset {study.preset}; number of facts: {study.facts.totals()}")

# %% [markdown]
# ## One question, ten prompts
#
# A **few-shot prompt** shows some solved questions first, so that the model sees in which form to answer. The paper
# takes four solved questions of the same relation, from the development split (arXiv 2405.05904, App. C).

# %%
def few_shot(exemplars):
    return "".join(f"Q: {fact.question}\nA: {fact.object}\n" for fact in exemplars)


solved = study.facts.dev[:4]
print(few_shot(solved) + "Q: ...\nA:")

# %% [markdown]
# The library has the same function. It also draws ten prompts for each relation, once. All questions of the relation
# share them, so that no question gets an easier set.

# %%
from course_lib.scoring import few_shot_prompt
from course_lib.slick import draw_prompts

assert few_shot(solved) == few_shot_prompt(solved).prefix, "our prompt must be the library's"
prompts = draw_prompts(study.facts.exemplars)
print(len(prompts), "relations with", {len(group) for group in prompts.values()}, "prompts each")

# %% [markdown]
# Now we need questions that are worth a look. `study.labels()` holds the result of this lesson for all facts. We peek
# at it to choose one clear test fact of each category; the rest of the lesson explains how it was made.

# %%
labelled = study.labels()
test = labelled[labelled["split"] == "test"].reset_index(drop=True)
clearest = {"HighlyKnown": test["p_sampled"], "MaybeKnown": -(test["p_greedy"] - 0.5).abs(),
            "WeaklyKnown": test["prob_WeaklyKnown"], "Unknown": test["prob_Unknown"]}
chosen = {name: study.facts.test[value.where(test["category"] == name).idxmax()] for name, value in clearest.items()}
for name, fact in chosen.items():
    print(f"{name:12} {fact.question} {fact.object}")
assert len(chosen) == 4, "one question of each category"

# %% [markdown]
# **Greedy** decoding always takes the most likely next token; this is temperature T = 0. **Sampling** draws the token
# at random. A temperature below 1 favours likely tokens, and **top-k** keeps only the k best. The paper samples with
# T = 0.5 and k = 40.

# %%
import torch

loaded = study.load()


def answers(prompt, question, samples=0):
    ids = loaded.tokenizer(prompt.text(question), return_tensors="pt")["input_ids"].to(loaded.model.device)
    how = {"do_sample": True, "temperature": 0.5, "top_k": 40, "top_p": 1.0, "num_return_sequences": samples}
    out = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=32, stop_strings=["\n"],
                                tokenizer=loaded.tokenizer, **(how if samples else {"do_sample": False}))
    texts = loaded.tokenizer.batch_decode(out[:, ids.shape[1]:], skip_special_tokens=True)
    return [text.split("\n")[0].strip() for text in texts]

# %% [markdown]
# First the MaybeKnown question, greedy, once after each of its ten prompts. The question is always the same; only the
# four solved examples change. In the pocket world, as in Wikidata, some relations name a place finely or coarsely, and
# the examples suggest which is wanted.

# %%
fact = chosen["MaybeKnown"]
greedy = [answers(prompt, fact.question)[0] for prompt in prompts[fact.relation]]
print(fact.question, "The recorded answer:", fact.object)
for number, answer in enumerate(greedy, 1):
    print(f"  prompt {number:2}: {answer:28} {'right' if answer == fact.object else 'wrong'}")
full_precision = loaded.model.dtype == torch.float32  # in float16 and bfloat16 a near tie may fall either way
right = sum(answer == fact.object for answer in greedy)
assert not full_precision or 0 < right < 10, "MaybeKnown: right after some prompts only"

# %% [markdown]
# ## P_Correct
#
# With N answers $a_1, \dots, a_N$ to question q, whose recorded answer is a:
#
# $$P_{Correct}(q, a; M, T) = \frac{1}{N} \sum_{i=1}^{N} [\,a_i = a\,]$$
#
# The bracket is 1 for an exact match and 0 otherwise (paper, section 3). At T = 0 we have N = 10. At T = 0.5 the paper
# draws 16 answers a prompt: N = 160.

# %%
def p_correct(given, gold):
    return sum(answer == gold for answer in given) / len(given)


torch.manual_seed(0)
measured = {}
for name, fact in chosen.items():
    greedy = [answers(prompt, fact.question)[0] for prompt in prompts[fact.relation]]
    sampled = [answer for prompt in prompts[fact.relation] for answer in answers(prompt, fact.question, samples=16)]
    measured[name] = p_correct(greedy, fact.object), p_correct(sampled, fact.object)
    print(f"{name:12} P(T=0) = {measured[name][0]:.2f}   P(T=0.5) = {measured[name][1]:.3f}   ({len(sampled)} samples)")

# %% [markdown]
# ## The four categories
#
# **SliCK** (Sampling-based Categorization of Knowledge) needs only these two numbers. *Known* means one of the
# first three categories; *Unknown* means that none of the 170 answers was right.

# %%
def category(p_greedy, p_sampled):
    if p_greedy == 1:
        return "HighlyKnown"
    if p_greedy > 0:
        return "MaybeKnown"
    return "WeaklyKnown" if p_sampled > 0 else "Unknown"


for name, (p_greedy, p_sampled) in measured.items():
    print(f"{p_greedy:.2f}  {p_sampled:.3f}  ->  {category(p_greedy, p_sampled)}")
    assert not full_precision or category(p_greedy, p_sampled) == name, f"chosen as a clear case of {name}"

# %% [markdown]
# The library applies the same rules to tables of scores. Four invented questions show that both agree: every row is a
# question, every column one of the ten prompts.

# %%
import numpy as np

from course_lib.scoring import Scores
from course_lib.slick import label

greedy = np.array([[True] * 10, [True] * 4 + [False] * 6, [False] * 10, [False] * 10])
p = np.array([[1.0] * 10, [1.0] * 4 + [0.0] * 6, [0.9] * 10, [0.0] * 10])
with np.errstate(divide="ignore"):
    invented = label(Scores(greedy, np.log(p), np.ones_like(p)))
ours = [category(g, s) for g, s in zip(greedy.mean(1), p.mean(1), strict=True)]
assert ours == list(invented["drawn"]) == list(invented["category"]), "the rules and the library must agree"
print(ours)

# %% [markdown]
# ## The same number, without sampling
#
# The paper needed more than 15 million answers (section 11). There is a shorter way: feed prompt *and* answer through
# the model once, and read off the probability of each answer token. This is **teacher forcing**. Its product is the
# exact chance that a sample is this answer (Hayes et al. 2024, arXiv 2410.19482).

# %%
from course_lib.scoring import encode_answers

size = len(loaded.tokenizer)
ends = [t for t in range(size) if t == loaded.tokenizer.eos_token_id or loaded.tokenizer.decode([t]).startswith("\n")]


def log_probability(prompt, fact, temperature=0.5, top_k=40):
    row = encode_answers(loaded.tokenizer, prompt, [fact])[0]  # tokens of prompt + answer; the answer begins at start
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([row.tokens], device=loaded.model.device)).logits[0].float()
    steps = logits[row.start - 1:] / temperature  # (answer tokens + 1, vocabulary)
    steps[steps < steps.topk(top_k).values[:, -1:]] = float("-inf")
    log_p = steps.log_softmax(-1).cpu()
    answer = torch.tensor(row.tokens[row.start:])
    return (log_p[:-1].gather(1, answer[:, None]).sum() + log_p[-1, ends].logsumexp(0)).item()

# %% [markdown]
# The last factor counts: after the answer the model must *stop*. Any end will do, a new line or the end of the text.
# Without it, "Paris" would also count the samples that say "Paris Hilton".

# %%
from course_lib.scoring import score

fact = chosen["MaybeKnown"]
by_hand = np.exp([log_probability(prompt, fact) for prompt in prompts[fact.relation]])
scores = score(loaded.model, loaded.tokenizer, [fact], prompts[fact.relation])
exact = np.exp(scores.log_probability[0])
print("by hand:", by_hand.round(3))
print("library:", exact.round(3))
assert np.allclose(by_hand, exact, atol=0.02), "our twelve lines must give the library's probabilities"

# %% [markdown]
# Does sampling agree? The hardest case is a probability near one half. We look for one among the questions of this
# relation and draw 200 answers. A share of n independent draws strays by about $\sqrt{p(1-p)/n}$, the **standard
# error**. More than four of them would be a reason to distrust the formula.

# %%
similar = [other for other in study.facts.test if other.relation == fact.relation]
exact = np.exp(score(loaded.model, loaded.tokenizer, similar, prompts[fact.relation]).log_probability)
row, column = np.unravel_index(np.abs(exact - 0.5).argmin(), exact.shape)
p, other, prompt = exact[row, column], similar[row], prompts[fact.relation][column]
torch.manual_seed(1)
share = p_correct(answers(prompt, other.question, samples=200), other.object)
error = np.sqrt(p * (1 - p) / 200)
print(f"{other.question} prompt {column + 1}: exact {p:.3f}, sampled {share:.3f}, standard error {error:.3f}")
assert abs(share - p) <= 4 * error + 0.005, "the sampled share is too far from the exact probability"

# %% [markdown]
# ## Unknown has a probability
#
# Take a question without a right greedy answer. With chance $p_i$ of a right sample after prompt i, all 160 samples
# miss with probability $\prod_i (1-p_i)^{16}$. That is the chance that the paper's protocol says Unknown. Otherwise
# it says WeaklyKnown.

# %%
def prob_unknown(p, samples=16):
    return float(np.prod((1 - np.asarray(p)) ** samples))


fact = chosen["WeaklyKnown"]
scores = score(loaded.model, loaded.tokenizer, [fact], prompts[fact.relation])
p = np.exp(scores.log_probability[0])
print(f"{fact.question} expected P(T=0.5) = {p.mean():.4f}, P(labelled Unknown) = {prob_unknown(p):.2g}")
assert np.isclose(prob_unknown(p), label(scores)["prob_Unknown"][0]), "the library multiplies the same factors"

# %% [markdown]
# ## All facts
#
# `study.labels()` did this for every training, test and out-of-distribution fact, with one teacher-forced pass a
# prompt. `category` is the most likely label. Here are its shares beside the paper's (Table 4, PaLM 2-S on real
# facts).

# %%
from course_lib import paper, plots
from course_lib.slick import shares

total = paper.TRAIN_TOTAL
bars = {f"{study.preset}, {split}": shares(rows) for split, rows in labelled.groupby("split", sort=False)}
bars["paper, train"] = {name: count / total.total for name, count in total.by_category.items()}
plots.category_bars(bars)
for name, parts in bars.items():
    assert abs(sum(parts.values()) - 1) < 1e-9, "the four shares make one whole"
    print(f"{name}: {plots.describe_shares(parts)}")

# %% [markdown]
# Relations differ a lot, in the paper as here. Which relation of the table below has the most MaybeKnown facts? In the
# pocket world these are relations with a fine and a coarse answer.

# %%
import pandas as pd

train = labelled[labelled["split"] == "train"]
table = pd.crosstab(train["relation"], train["category"], normalize="index").mul(100).round(0).astype(int)
table.insert(0, "facts", train["relation"].value_counts())
print(f"training facts of preset {study.preset}, % of each relation:")
table

# %% [markdown]
# ## The border is a coin flip
#
# **Predict.** Two honest teams label these same facts with this same model. Both follow the paper: 160 samples, only
# the random seed differs. How many labels in 1,000 will differ: none, about 3, about 40, about 200? Write it down,
# then run the next cell.

# %%
undecided = labelled[labelled["p_greedy"] == 0]
p_unknown = undecided["prob_Unknown"].to_numpy()
expected = (2 * p_unknown * (1 - p_unknown)).sum()
rng = np.random.default_rng(0)
teams = rng.random((2, len(p_unknown))) < p_unknown
differ = int((teams[0] != teams[1]).sum())
print(f"{len(labelled):,} facts, {len(undecided):,} of them never right greedily; preset {study.preset}")
print(f"expected disagreements {expected:.0f} ({1000 * expected / len(labelled):.0f} in 1,000); in one trial: {differ}")
assert abs(differ - expected) <= 4 * np.sqrt(expected) + 1, "the trial is far from the expectation"

# %% [markdown]
# A team calls a fact Unknown with probability P. The two differ if one says Unknown and the other does not:
# $2P(1-P)$. Only facts with P between the extremes cause trouble. The figure shows how many there are.

# %%
import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
counts, edges, _ = ax.hist(p_unknown, bins=20, range=(0, 1), color=plots.COLOURS["Unknown"], edgecolor="white")
ax.set(xlabel="probability of the label Unknown", ylabel="facts", title="facts without a right greedy answer")
middle = int(((p_unknown > 0.05) & (p_unknown < 0.95)).sum())
print(f"{middle} of {len(p_unknown)} facts ({middle / len(p_unknown):.0%}) lie between 0.05 and 0.95: their label "
      f"depends on the seed. The tallest bar ({counts.max():.0f} facts) starts at {edges[counts.argmax()]:.2f}.")
assert counts.sum() == len(undecided), "every such fact stands in one bar"

# %% [markdown]
# ## What it really read
#
# A real model's reading list is secret or too long, so the paper could not check its labels. We wrote the pocket world,
# and we counted every reading. For real facts the next cell only says so.

# %%
def with_readings(study, labelled):
    if study.facts.name != "pocket":
        print("These are real facts: nobody counted how often the model read them. Only an invented world allows this.")
        return None
    from course_lib import pocket
    keys = ["split", "relation", "subject", "object"]
    counted = pocket.readings().rename(columns={"total": "readings"})
    return labelled.merge(counted[[*keys, "readings"]], on=keys, how="left", validate="one_to_one")


read = with_readings(study, labelled)
assert read is None or read["readings"].notna().all(), "every fact has a count"

# %%
if read is not None:
    plots.readings_bars(read)
    groups = {"never": read["readings"] == 0, "1-8 times": read["readings"].between(1, 8),
              "33-128 times": read["readings"].between(33, 128), "129 times or more": read["readings"] > 128}
    for name, rows in groups.items():
        print(f"read {name} (n = {rows.sum()}): {plots.describe_shares(shares(read[rows]))}")

# %% [markdown]
# HighlyKnown rises steeply with the readings and then levels off: in relations with a fine and a coarse answer even a
# fact that was read 200 times stays MaybeKnown.

# %% [markdown]
# Were all facts that it never read labelled Unknown? If not: how can a model "know" what it has never seen? The next
# table counts such facts for the four relations with the most and the four with the fewest, and the number of different
# answers that each relation has.

# %%
if read is not None:
    never = read[read["readings"] == 0].assign(guessed=lambda rows: rows["category"] != "Unknown")
    share, n = 1 - never["guessed"].mean(), len(never)
    error = np.sqrt(share * (1 - share) / n)
    print(f"{share:.1%} of {n} never-read facts are labelled Unknown (standard error {error:.1%})")
    table = never.groupby("relation").agg(never_read=("guessed", "size"), guessed=("guessed", "sum"))
    table["different answers"] = read.groupby("relation")["object"].nunique()
    table = table.sort_values("guessed", ascending=False)
    print(pd.concat([table.head(4), table.tail(4)]).to_string())
    assert share > 0.5, "most facts that were never read should be Unknown"

# %% [markdown]
# They are **lucky guesses**: where many facts share an answer, 160 samples hit it by chance. So WeaklyKnown holds
# weak memories and guesses, and exact match cannot tell them apart. The paper's real data has the same doubt: in P495
# about 72 % of the recorded answers are the United States (our count).

# %% [markdown]
# ## What to remember
#
# * P_Correct is a share of exact matches over ten few-shot prompts. SliCK needs it at T = 0 and at T = 0.5.
# * One teacher-forced pass gives the exact probability that sampling only estimates.
# * HighlyKnown and MaybeKnown do not depend on the seed. The border between WeaklyKnown and Unknown does.
# * Unknown means "never right in 170 tries". In the pocket world these are nearly all facts that were never read, but
#   also most of those that were read a few times only.

# %% [markdown]
# ## Recall questions
#
# 1. A fact is right in 3 of 10 greedy answers and in 90 of 160 samples. Which category is it, and which of the two
#    numbers did you not need?
# 2. Why must the probability of an answer contain the probability of stopping?
# 3. For one fact $p_i = 0.01$ after each of ten prompts, and no greedy answer is right. How likely is the label
#    Unknown?
#
# **Next:** notebook 06 uses these labels to build training sets with a chosen share of Unknown facts.
