# %% [markdown]
# # 05 · What does it know?
#
# **Goal.** Measure, fact by fact, what a model already knows before anybody fine-tunes it.
#
# **You will be able to**
#
# 1. measure P_Correct, the share of right answers to one question, by sampling and exactly;
# 2. sort facts into the four SliCK categories, and say where that sorting is a coin flip and what it costs;
# 3. check the categories, and a rival of theirs, against what the model has really read.
#
# **Time.** 60 minutes to read and run, 35 for the exercises. The cells take under 2 minutes of it on a CPU, and
# 1 minute more the first time, when the facts are measured.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Lesson 04 (facts as closed-book questions, exact match). The method is that of Gekhman et al. 2024,
# [arXiv 2405.05904](https://arxiv.org/abs/2405.05904), section 3; "the paper" always means this one.

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** What a model knows is a measurement with a budget: a category says what 170 tries gave, and at the border
# between WeaklyKnown and Unknown it is the toss of a coin whose odds can be computed.
#
# **Misconceptions.**
#
# * "A wrong greedy answer means Unknown." Exercise 05.2 catches this: WeaklyKnown is exactly that case.
# * "Unknown means never read." The table in "What it really read": nearly half of the pocket model's Unknown facts
#   were read between 1 and 32 times.
# * "Two labels for one fact: somebody made a mistake." The six seeds of "Ask again" are independent runs, all right.
# * "A higher temperature finds every answer in the end." Top-k has cut some off: the Unknown question of "Move the
#   dials" stays Unknown at every temperature.
#
# **Ask.**
#
# * Same model, same fact, two labels: who is wrong? (Nobody. The label is a draw; say its probability.)
# * You may ask only five of the ten prompts. Does the share of Unknown grow or shrink? (It grows: fewer tries.)
# * Why is the exact probability only a lower bound? (Other tokens can spell the same text.)
# * Could you make the last table for a model from the Hub? (Only where its training text is public and can be
#   searched.)
#
# **Where it breaks.**
#
# * The cell of "Ask again" draws 960 samples: 11 seconds on one free core, a minute on a busy machine. It has not hung.
# * On real facts the cells of "What it really read" print one line or nothing. That is meant: nobody counted.
# * In a notebook that was only opened, a control is a line of text. Run its cell.
#
# **When late.** Skip "A rival" with exercise 05.5 (18 minutes) and the two cells on other spellings (4 minutes). Do not
# skip "Ask again".

# %%
from course_lib import analysis
from course_lib.data import paper, pocket
from course_lib.experiments import open_study
from course_lib.figures import plots, widgets
from course_lib.knowledge import one_question, p_true, scoring, slick, tokenisation_gap
from course_lib.lessons import check, data_table, hint, quiz, show, solution

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %% [markdown]
# ## One question, ten prompts
#
# A **few-shot prompt** shows some solved questions first, so that the model sees in which form to answer. The paper
# takes four solved questions of the same relation (App. C). They come from the development split, whose facts are
# neither trained nor tested.

# %%
def few_shot(exemplars):
    return "".join(f"Q: {fact.question}\nA: {fact.object}\n" for fact in exemplars)


solved = study.facts.dev[:4]
print(few_shot(solved) + "Q: ...\nA:")

# %% [markdown]
# The library has the same function. It also draws ten prompts for each relation, once. All questions of the relation
# share them, so that no question gets an easier set.

# %%
assert few_shot(solved) == scoring.few_shot_prompt(solved).prefix, "our prompt must be the library's"
prompts = slick.draw_prompts(study.facts.exemplars)
print(len(prompts), "relations with", {len(group) for group in prompts.values()}, "prompts each")

# %% [markdown]
# Now we need questions that are worth a look. `study.labels()` holds the result of this lesson for all facts: a
# **category** for each, which says how well the model knows it. How it is made comes step by step. We only peek at it,
# to choose one clear test question of each category and one on a border.

# %%
labelled = study.labels()
test = labelled[labelled["split"] == "test"].reset_index(drop=True)
clear = {"HighlyKnown": test["p_sampled"], "MaybeKnown": -(test["p_greedy"] - 0.5).abs(),
         "WeaklyKnown": test["prob_WeaklyKnown"], "Unknown": test["prob_Unknown"]}
rows = {name: value.where(test["category"] == name).idxmax() for name, value in clear.items()
        if (test["category"] == name).any()}
rows["border"] = (test["prob_Unknown"] - 0.5).abs().idxmin()
chosen = {name: study.facts.test[row] for name, row in rows.items()}
for name, fact in chosen.items():
    print(f"{name:12} {fact.question} {fact.object}")
assert all(test["question"][row] == chosen[name].question for name, row in rows.items()), "each row is its fact's"

# %% [markdown]
# ## Greedy and sampled answers
#
# A model gives every possible next token a score, its **logit**. **Greedy** decoding always takes the token with the
# best one. **Sampling** draws a token at random: the higher its logit, the likelier it is.

# %% [markdown]
# Two settings shape the draw. All logits are first divided by the **temperature** T: below 1 it favours likely
# tokens, and T = 0 is a name for greedy decoding. **Top-k** keeps only the k best tokens. The **softmax**, $e^z$ of
# each divided by their sum, then makes probabilities of them. The paper samples with T = 0.5 and k = 40.

# %% [markdown]
# ### Exercise 05.1 · What a sampler draws from
#
# *Difficulty 2 of 3 · 10 minutes.* Write the probability of each next token, in the order of the logits. What top-k
# cuts off gets 0; the others sum to 1. For the logits 2, 1 and 0, T = 1 and k = 2 give 0.731, 0.269 and 0.

# %% tags=["exercise"]
def sampler(logits, temperature, top_k):
    """Probability of each token after temperature, top-k and softmax; a list or an array as long as logits."""
    import numpy as np

    ### BEGIN SOLUTION
    z = np.asarray(logits, float) / temperature
    z[z < np.sort(z)[-top_k]] = -np.inf
    p = np.exp(z - z.max())
    return p / p.sum()
    ### END SOLUTION

# %%
check("05.1", sampler)

# %% [markdown]
# `check` says whether an answer is right, and if not, the likely reason. `hint("05.1")` gives three hints, one after
# the other, and `solution("05.1")` the whole answer. An exercise may stay undone: nothing later needs it.

# %% [markdown]
# The package transformers does all this in `generate`. The next function asks the model once, or draws some samples.

# %%
import torch

loaded = study.load()


def answers(prompt, question, samples=0):
    ids = loaded.tokenizer(prompt.text(question), return_tensors="pt")["input_ids"].to(loaded.model.device)
    how = {"do_sample": True, "temperature": 0.5, "top_k": 40, "top_p": 1.0, "num_return_sequences": samples}
    with loaded.merged():  # on a CPU: restore the 4-bit weights once, not at every token
        out = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=32, stop_strings=["\n"],
                                    tokenizer=loaded.tokenizer, **(how if samples else {"do_sample": False}))
    texts = loaded.tokenizer.batch_decode(out[:, ids.shape[1]:], skip_special_tokens=True)
    return [text.split("\n")[0].strip() for text in texts]

# %% [markdown]
# First the question whose greedy answers waver most, once after each of its ten prompts. Only the four solved examples
# change. In the pocket world, as in Wikidata, some relations name a place finely or coarsely, by its town or by its
# province. The examples suggest which is wanted.

# %%
wavering = (test["p_greedy"] - 0.5).abs().idxmin()
fact = study.facts.test[wavering]
greedy = [answers(prompt, fact.question)[0] for prompt in prompts[fact.relation]]
print(fact.question, "The recorded answer:", fact.object)
for number, answer in enumerate(greedy, 1):
    print(f"  prompt {number:2}: {answer:28} {'right' if answer == fact.object else 'wrong'}")
full_precision = loaded.model.dtype == torch.float32  # in float16 and bfloat16 a near tie may fall either way
right = greedy.count(fact.object)
assert not full_precision or right == round(10 * test["p_greedy"][wavering]), "right as often as the library found"

# %% [markdown]
# ## P_Correct
#
# With N answers $a_1, \dots, a_N$ to question q, whose recorded answer is a:
#
# $$P_{Correct}(q, a; M, T) = \frac{1}{N} \sum_{i=1}^{N} [\,a_i = a\,]$$
#
# The bracket is 1 for an exact match and 0 otherwise (section 3), so P_Correct is a share of right answers. M is the
# model. Greedy answers, T = 0, give N = 10. At T = 0.5 the paper draws 16 answers a prompt: N = 160.

# %%
def p_correct(given, gold):
    return sum(answer == gold for answer in given) / len(given)


def sample_160(fact):
    return [answer for prompt in prompts[fact.relation] for answer in answers(prompt, fact.question, samples=16)]


torch.manual_seed(0)
drawn = {}
for name, fact in chosen.items():
    drawn[name] = [answers(prompt, fact.question)[0] for prompt in prompts[fact.relation]], sample_160(fact)
    greedy, sampled = (p_correct(given, fact.object) for given in drawn[name])
    print(f"{name:12} P(T=0) = {greedy:.2f}   P(T=0.5) = {sampled:.3f}")
assert {len(given) for pair in drawn.values() for given in pair} == {10, 160}, "170 answers a question"

# %% [markdown]
# ## The four categories
#
# **SliCK** (Sampling-based Categorization of Knowledge) needs only these two numbers:
#
# | category | P_Correct at T = 0 | P_Correct at T = 0.5 |
# |---|---|---|
# | HighlyKnown | 1 | does not matter |
# | MaybeKnown | above 0, below 1 | does not matter |
# | WeaklyKnown | 0 | above 0 |
# | Unknown | 0 | 0 |
#
# **Known** means any of the first three. **Unknown** means that none of the 170 answers was right.

# %% [markdown]
# ### Exercise 05.2 · Four categories
#
# *Difficulty 1 of 3 · 5 minutes.* Write the table as a function. In: P_Correct of the greedy answers, then of the
# samples. Out: the name of the category, spelled as in the table. `category(0.3, 0.5)` is `"MaybeKnown"`.

# %% tags=["exercise"]
def category(p_greedy, p_sampled):
    """The SliCK category of a fact from its two P_Correct."""
    ### BEGIN SOLUTION
    if p_greedy == 1:
        return "HighlyKnown"
    if p_greedy > 0:
        return "MaybeKnown"
    return "WeaklyKnown" if p_sampled > 0 else "Unknown"
    ### END SOLUTION

# %%
check("05.2", category)

# %% [markdown]
# The library has the same rules. It wants the right answers counted: which greedy answers are right, and how many of
# the 16 samples after each prompt. Do the five questions get the categories that we chose them for?

# %%
import numpy as np


def label_of(fact, greedy, sampled):
    right = np.array([answer == fact.object for answer in greedy])[None]
    hits = np.array([answer == fact.object for answer in sampled]).reshape(1, len(greedy), 16).sum(axis=2)
    return slick.label_samples(scoring.Samples(right, hits, n_samples=16))["drawn"][0]


for name, pair in drawn.items():
    said = label_of(chosen[name], *pair)
    print(f"{name:12} ->  {said}")
    assert name in ("border", said) or not full_precision, f"chosen as a clear case of {name}"

# %% [markdown]
# ## Ask again
#
# **Predict.** We take the border question and follow the paper's protocol again and again: the same model, question
# and prompts, 160 samples each time. Only the random seed differs. Six seeds: how many different labels will you see?
# Count the answers that the model must write for that, too.

# %%
import time

fact, started = chosen["border"], time.perf_counter()
greedy = [answers(prompt, fact.question)[0] for prompt in prompts[fact.relation]]
said = []
print(fact.question, fact.object)
for seed in range(6):
    torch.manual_seed(seed)
    sampled = sample_160(fact)
    said.append(label_of(fact, greedy, sampled))
    print(f"  seed {seed}: {sampled.count(fact.object)} of {len(sampled)} samples right -> {said[-1]}")
by_sampling = time.perf_counter() - started
print(f"{len(greedy) + 6 * 160} answers in {by_sampling:.0f} s; labels seen: {', '.join(sorted(set(said)))}")
assert len(set(said)) <= 2, "the greedy answers are fixed, so only one border can be crossed"

# %% [markdown]
# Nothing went wrong in any of the six runs: all of them are independent results of the paper's protocol. A right
# answer that comes about once in 200 samples turns up in some sets of 160 and not in others. And it is costly: to
# label all its facts the paper needed more than 15 million answers (section 11).

# %% [markdown]
# ## The same number, without sampling
#
# There is a shorter way. Feed prompt *and* answer through the model once, and read off the probability of each answer
# token. This is **teacher forcing**: the model is told the answer and only asked how likely each step was. The product
# of all steps is the chance that a sample is this answer (Hayes et al. 2024, arXiv 2410.19482).

# %%
size = len(loaded.tokenizer)
ends = [t for t in range(size) if t == loaded.tokenizer.eos_token_id or loaded.tokenizer.decode([t]).startswith("\n")]


def log_probability(prompt, fact, temperature=0.5, top_k=40):
    row = scoring.encode_answers(loaded.tokenizer, prompt, [fact])[0]  # prompt + answer, which begins at start
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([row.tokens], device=loaded.model.device)).logits[0].float()
    steps = logits[row.start - 1:] / temperature  # (answer tokens + 1, vocabulary)
    steps[steps < steps.topk(top_k).values[:, -1:]] = float("-inf")
    log_p = steps.log_softmax(-1).cpu()
    answer = torch.tensor(row.tokens[row.start:])
    return (log_p[:-1].gather(1, answer[:, None]).sum() + log_p[-1, ends].logsumexp(0)).item()

# %% [markdown]
# The last factor counts: after the answer the model must *stop*. Any end will do, a new line or the end of the text.
# Without it, "Paris" would also count the samples that say "Paris Hilton". Is our function the library's? (The library
# computes each prompt once for all its questions and keeps the keys and values of attention, a **KV cache**.)

# %%
fact, started = study.facts.test[wavering], time.perf_counter()
scores = scoring.score(loaded.model, loaded.tokenizer, [fact], prompts[fact.relation])
exact, by_passes = np.exp(scores.log_probability[0]), time.perf_counter() - started
by_hand = np.exp([log_probability(prompt, fact) for prompt in prompts[fact.relation]])
print("by hand:", by_hand.round(3))
print("library:", exact.round(3))
print(f"ten prompts at once: {by_passes:.1f} s; one set of 160 samples took {by_sampling / 6:.1f} s, which makes "
      f"{by_sampling / 6 * len(labelled) / 3600:.1f} hours for the {len(labelled):,} facts of this study")
assert not full_precision or np.allclose(by_hand, exact, atol=0.02), "our twelve lines give the library's numbers"

# %% [markdown]
# Does sampling agree? The hardest case is a probability near one half. We look for one among the questions of this
# relation and draw 200 answers. A share of n independent draws strays by about $\sqrt{p(1-p)/n}$, the **standard
# error**. More than four of them would be a reason to distrust the formula.

# %%
similar = [other for other in study.facts.test if other.relation == fact.relation]
exact = np.exp(scoring.score(loaded.model, loaded.tokenizer, similar, prompts[fact.relation]).log_probability)
row, column = np.unravel_index(np.nanargmin(np.abs(exact - 0.5)), exact.shape)
p, other, prompt = exact[row, column], similar[row], prompts[fact.relation][column]
torch.manual_seed(1)
share = p_correct(answers(prompt, other.question, samples=200), other.object)
error = np.sqrt(p * (1 - p) / 200)
print(f"{other.question} prompt {column + 1}: exact {p:.3f}, sampled {share:.3f}, standard error {error:.3f}")
assert abs(share - p) <= 4 * error + 0.005, "the sampled share is too far from the exact probability"

# %% [markdown]
# ## Unknown has a probability
#
# Back to the border question. After prompt i a sample is right with chance $p_i$, so it misses with chance $1 -
# p_i$. No greedy answer is right. So the protocol says Unknown if all 160 samples miss, and WeaklyKnown otherwise.
# The samples are drawn independently of each other.

# %% [markdown]
# ### Exercise 05.3 · How likely is Unknown?
#
# *Difficulty 2 of 3 · 6 minutes.* No greedy answer is right. Write the probability that all samples miss. In: the
# chance `p` after each prompt, and the samples a prompt. One number comes out. `prob_unknown([0.5, 0], samples=2)`
# is 0.25: two tries with chance one half must fail.

# %% tags=["exercise"]
import numpy as np


def prob_unknown(p, samples=16):
    """Probability that all samples after all prompts are wrong."""
    ### BEGIN SOLUTION
    return float(np.prod((1 - np.asarray(p)) ** samples))
    ### END SOLUTION

# %%
check("05.3", prob_unknown)

# %% [markdown]
# In a formula: $\prod_i (1-p_i)^{16}$. The library computes it for every fact, as the column `prob_Unknown`. Here it is
# for the border question.

# %%
fact = chosen["border"]
scores = scoring.score(loaded.model, loaded.tokenizer, [fact], prompts[fact.relation])
p, chance = np.exp(scores.log_probability[0]), slick.label(scores)["prob_Unknown"][0]
print(f"{fact.question} chance of a right sample after each prompt: {p.round(4)}")
print(f"mean {p.mean():.4f}; probability of the label Unknown {chance:.3f}")
assert scores.greedy.any() or np.isclose(chance, np.prod((1 - p) ** 16)), "the library multiplies the same factors"

# %% [markdown]
# Does this explain what the six seeds said? Each seed is one toss of a coin that shows Unknown with this probability.

# %%
seen, spread = said.count("Unknown"), np.sqrt(6 * chance * (1 - chance))
print(f"Unknown was said by {seen} of 6 seeds: {', '.join(said)}")
print(f"expected 6 x {chance:.3f} = {6 * chance:.1f}, give or take {spread:.1f} (one standard deviation)")
print(f"all six seeds alike would have happened with probability {chance**6 + (1 - chance)**6:.3f}")
assert abs(seen - 6 * chance) <= 4 * spread + 1, "the six labels do not fit to the computed probability"

# %% [markdown]
# What is exact here? The probability of the answer's **canonical** tokens: those that the tokenizer itself makes of the
# text. A sampler may spell the same text with other tokens (`Par` `is`), and that counts as right too. So p is a *lower
# bound* for the text, and P(Unknown) an upper bound. Greedy answers are compared as text and have no gap.

# %% [markdown]
# How wide is the gap? The library can walk all other spellings of an answer. We try 20 pairs of question and prompt.

# %%
gap = tokenisation_gap.spelling_gap(loaded.model, loaded.tokenizer, similar[:30], prompts, sample=20)
found = tokenisation_gap.summary(gap)
print(f"{found.cells} pairs: canonical tokens hold {found.explained:.1%} of the probability of the text; "
      f"largest gap {found.largest_gap:.4f}; chance of a right sample changed by over {found.by:g} in {found.changed}")
assert not full_precision or (gap["canonical"] <= gap["upper"] + 1e-4).all(), "canonical is the lower bound"

# %% [markdown]
# ## Move the dials
#
# A close look at the five questions: the greedy answer after each of ten prompts, and the chance of a right sample at
# four temperatures.

# %%
protocol = {"temperature": 0.5, "n_samples": 16}
near = {name: one_question.measure(loaded.model, loaded.tokenizer, [fact], prompts[fact.relation],
                                   temperatures=widgets.GRID)[0] for name, fact in chosen.items()}
for one in near.values():
    print(plots.describe_question(one, **protocol))
assert not full_precision or np.allclose(near["border"].at(0.5), p, atol=1e-3), "the same numbers as above"

# %% [markdown]
# Five questions are few. We draw two training facts for each relation and category and look at them in the same way. It
# takes some seconds. After this no model runs: the controls only do arithmetic.

# %%
train = labelled[labelled["split"] == "train"].reset_index(drop=True)
more = widgets.browse(loaded.model, loaded.tokenizer, study.facts.train, train, prompts, each=2, progress=False)
found = widgets.Browse((*near.values(), *more.questions), (*near, *more.categories), more.prompts)
print(f"{len(near)} chosen questions and {len(more.questions)} drawn ones, of {len(found.relations)} relations")
assert len(found.categories) == len(found.questions), "a category for each question"

# %% [markdown]
# **Predict.** You can choose a question, and move temperature and number of samples. Can a MaybeKnown fact change its
# label at all? An Unknown one? Does a higher temperature make Unknown more or less likely? Decide first, then move.
# "prompt to read" shows what the model was asked.

# %%
show(widgets.knowledge_explorer(found))

# %% [markdown]
# The same without controls: the border question at two temperatures. A blue bar is a prompt whose greedy answer is
# right (tick), a grey one a prompt whose greedy answer is wrong (cross). Where a bar says 0, top-k has cut a token of
# the right answer off. `data_table` puts a folded table with the figure's numbers under it.

# %%
import matplotlib.pyplot as plt

fig, axes = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
for ax, temperature in zip(axes, (0.5, 1.5), strict=True):
    setting = protocol | {"temperature": temperature}
    plots.question_bars(near["border"], **setting, ax=ax)
    print(plots.describe_question(near["border"], **setting))
assert len(axes[0].patches) >= 10, "a bar for each prompt"
data_table(*axes)

# %% [markdown]
# Now the answer to the prediction: the most likely labels of the five questions, at all four temperatures and with 1,
# 4, 16 and 64 samples a prompt.

# %%
for one in near.values():
    parts = [one_question.label_probabilities(one, temperature=t, n_samples=n)
             for t in widgets.GRID for n in (1, 4, 16, 64)]
    likely = sorted({max(part, key=part.get) for part in parts})
    unknown = [part["Unknown"] for part in parts]
    print(f"{one.fact.question} {' or '.join(likely)}; P(Unknown) from {min(unknown):.3f} to {max(unknown):.3f}")
    assert not one.right.any() or len(likely) == 1, "greedy answers depend on neither slider"

# %% [markdown]
# One right greedy answer decides: HighlyKnown and MaybeKnown depend on neither slider. Without one, more samples make
# Unknown *less* likely. A higher temperature usually does as well: it gives unlikely answers a chance. Not so for a
# right answer that was already likely, which loses some, nor for one that top-k cuts off: its question stays Unknown.

# %% [markdown]
# ## All facts
#
# `study.labels()` did this for every training, test and out-of-distribution fact, with one teacher-forced pass a
# prompt. `category` is the most likely label. Here are its shares beside the paper's (Table 4, PaLM 2-S on real
# facts).

# %%
total = paper.TRAIN_TOTAL
bars = {f"{study.name}, {split}": slick.shares(part) for split, part in labelled.groupby("split", sort=False)}
bars["paper, train"] = {name: count / total.total for name, count in total.by_category.items()}
ax = plots.category_bars(bars)
for name, parts in bars.items():
    assert abs(sum(parts.values()) - 1) < 1e-9, "the four shares make one whole"
    print(f"{name}: {plots.describe_shares(parts)}")
data_table(ax)

# %% [markdown]
# Relations differ a lot, in the paper as here. Which relation of the table below has the most MaybeKnown facts? In the
# pocket world these are relations with a fine and a coarse answer.

# %%
import pandas as pd

table = pd.crosstab(train["relation"], train["category"], normalize="index").mul(100).round(0).astype(int)
table.insert(0, "facts", train["relation"].value_counts())
assert table["facts"].sum() == len(train), "every training fact is counted"
print(f"training facts of preset {study.preset}, % of each relation:")
table

# %% [markdown]
# ## The border is a coin flip
#
# Two independent teams label the same model. Both follow the paper; only the random seed differs. Each label is a
# draw: a team says Unknown with probability P(Unknown), and so on for the other three. When do they disagree about a
# fact?

# %% [markdown]
# ### Exercise 05.4 · Two independent teams
#
# *Difficulty 2 of 3 · 6 minutes.* Write the chance that two teams give one fact different labels. In: the four
# probabilities of its labels, which sum to 1. Each team draws on its own. `disagreement([0, 0, 0.5, 0.5])` is 0.5.

# %% tags=["exercise"]
def disagreement(parts):
    """Chance that two independent draws from these label probabilities differ."""
    ### BEGIN SOLUTION
    return 1 - sum(part**2 for part in parts)
    ### END SOLUTION

# %%
check("05.4", disagreement)

# %% [markdown]
# **Predict.** Now all facts of this study. Two teams, 160 samples a fact each. How many labels in 1,000 will differ:
# none, about 3, about 40, about 200? Write it down, then run the next cell.

# %%
undecided = labelled[labelled["p_greedy"] == 0]
p_unknown, expected = undecided["prob_Unknown"].to_numpy(), labelled["disagreement"].sum()
assert np.allclose(undecided["disagreement"], 2 * p_unknown * (1 - p_unknown), atol=1e-6), "one says Unknown, one not"
rng = np.random.default_rng(0)
teams = rng.random((2, len(p_unknown))) < p_unknown
differ = int((teams[0] != teams[1]).sum())
print(f"{len(labelled):,} facts, {len(undecided):,} of them never right greedily; preset {study.preset}")
print(f"expected disagreements {expected:.0f} ({1000 * expected / len(labelled):.0f} in 1,000); in one trial: {differ}")
assert abs(differ - expected) <= 4 * np.sqrt(expected) + 1, "the trial is far from the expectation"

# %% [markdown]
# Without a right greedy answer only two labels are left: Unknown with probability P, WeaklyKnown otherwise. The two
# teams differ with chance $2P(1-P)$; it is the column `disagreement`. Only facts with P between the extremes cause
# trouble. The figure shows how many there are.

# %%
fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
counts, edges, _ = ax.hist(p_unknown, bins=20, range=(0, 1), color=plots.COLOURS["Unknown"], edgecolor="white")
ax.set(xlabel="probability of the label Unknown", ylabel="facts", title="facts without a right greedy answer")
middle = int(((p_unknown > 0.05) & (p_unknown < 0.95)).sum())
print(f"{middle} of {len(p_unknown)} facts ({middle / len(p_unknown):.0%}) lie between 0.05 and 0.95: their label "
      f"depends on the seed. The tallest bar ({counts.max():.0f} facts) starts at {edges[counts.argmax()]:.2f}.")
assert counts.sum() == len(undecided), "every such fact stands in one bar"
data_table(ax)

# %% [markdown]
# ## What a budget buys
#
# Ten prompts and 16 samples are a choice: a **budget** of tries. What if somebody takes fewer prompts, or more
# samples? From the exact probabilities this, too, is arithmetic: the expected shares of the labels, over all ways to
# pick some of the ten prompts. We take 150 test facts.

# %%
import random

numbers = random.Random(0).sample(range(len(test)), min(150, len(test)))
scores = slick.measure(loaded.model, loaded.tokenizer, [study.facts.test[number] for number in numbers], prompts)
budget = slick.shares_by_budget(scores).set_index(["prompts", "samples"])
at_paper, from_labels = budget.loc[(10, 16), "Unknown"], test["prob_Unknown"][numbers].mean()
assert not full_precision or abs(at_paper - from_labels) < 0.005, "ten prompts and 16 samples are the paper's budget"
print(f"preset {study.preset}, {len(numbers)} test facts; % of each label by number of prompts and samples a prompt")
budget.mul(100).round(1)

# %%
unknown = budget["Unknown"].unstack("samples").mul(100)
low, high = unknown.iloc[-1, -1], unknown.iloc[0, 0]
print(f"% Unknown, {len(numbers)} facts; rows: prompts, columns: samples a prompt")
print(unknown.round(1).to_string())
print(f"The same model and facts: from {high:.0f} % Unknown (1 answer) to {low:.0f} % (640 answers a question).")
assert (unknown.diff().iloc[1:] < 1e-9).all(axis=None), "more prompts never make more facts Unknown"
assert (unknown.diff(axis=1).iloc[:, 1:] < 1e-9).all(axis=None), "nor do more samples"

# %% [markdown]
# Every step to the right or down moves facts out of Unknown. More prompts move HighlyKnown facts to MaybeKnown as
# well: one miss is enough. So **"Unknown" means nothing without its budget.** Two papers with different budgets count
# different things, even on the same model.

# %% [markdown]
# ## A rival: just ask the model
#
# **P(True)** (Kadavath et al. 2022, arXiv 2207.05221) shows the model a question with a proposed answer and asks
# whether it is true. The answer "(A)" stands for True: P(True) is $P(A) / (P(A) + P(B))$. The paper uses it as a
# **baseline**, a simpler method to beat (section 5.4). One pass a fact, no samples.

# %%
print(p_true.proposal(chosen["border"].question, chosen["border"].object))
trust = p_true.p_true(loaded.model, loaded.tokenizer, study.facts.test)
low, middle, high = np.nanquantile(trust, [0.05, 0.5, 0.95])
print(f"\nP(True) of {len(trust)} right answers: median {middle:.3f}; nine in ten between {low:.3f} and {high:.3f}")
assert ((trust >= 0) & (trust <= 1) | np.isnan(trust)).all(), "P(True) is a probability"

# %% [markdown]
# Every proposed answer was the right one, so a model that knows all would say "True" each time. To compare P(True) with
# SliCK we need a judge. A real model's reading list is secret or too long. We wrote the pocket world, and we counted
# every reading.

# %%
def with_readings(study, labelled):
    if study.facts.name != "pocket":
        print("These are real facts: nobody counted how often the model read them. Only an invented world allows this.")
        return None
    keys = ["split", "relation", "subject", "object"]
    counted = pocket.exposures().rename(columns={"total": "readings"})
    return labelled.merge(counted[[*keys, "readings"]], on=keys, how="left", validate="one_to_one")


read = with_readings(study, labelled)
assert read is None or read["readings"].notna().all(), "every fact has a count"

# %% [markdown]
# Take one fact that the model has read and one that it never read. The **separation** of a score is the chance that
# the fact that was read has the higher score; a tie counts half. 1 is perfect, 0.5 is a blind guess. Statisticians call
# it the area under the ROC curve.

# %% [markdown]
# ### Exercise 05.5 · Separation
#
# *Difficulty 2 of 3 · 8 minutes.* Compare every score of `yes` with every score of `no`. Out: the share of pairs in
# which `yes` is higher; a tie counts half. `separation_by_hand([3, 2], [2, 1])` is 0.875: of four pairs three are in
# order and one is a tie.

# %% tags=["exercise"]
def separation_by_hand(yes, no):
    """Chance that a score drawn from yes is higher than one drawn from no; a tie counts half."""
    ### BEGIN SOLUTION
    won = sum((high > low) + 0.5 * (high == low) for high in yes for low in no)
    return won / (len(yes) * len(no))
    ### END SOLUTION

# %%
check("05.5", separation_by_hand)

# %% [markdown]
# How sure is such a number? Draw both groups again from themselves, with repeats, 200 times: this is the **bootstrap**.
# How much the separation moves is its standard error.

# %%
def standard_error(value, judge, draws=200, seed=0):
    rng, groups = np.random.default_rng(seed), (np.flatnonzero(judge), np.flatnonzero(~judge))
    picks = [np.concatenate([rng.choice(group, len(group)) for group in groups]) for _ in range(draws)]
    return np.std([p_true.roc_auc(value[pick], judge[pick]) for pick in picks])


yes, no = np.array([3.0, 2.0]), np.array([2.0, 1.0])
assert p_true.roc_auc(np.r_[yes, no], [1, 1, 0, 0]) == 3.5 / 4, "the library's separation, on the example above"

# %% [markdown]
# On the pocket model the judge is "was read at least once". Where no readings are known, it is SliCK's own label
# "Known", and P(True) stands alone.

# %%
judge = (test["category"] != "Unknown" if read is None else read[read["split"] == "test"]["readings"] > 0).to_numpy()
rivals = {"P(True)": trust} | ({} if read is None else {"SliCK, 1 - P(Unknown)": 1 - test["prob_Unknown"].to_numpy()})
if not 0 < judge.sum() < len(judge):
    rivals = {}  # a model that knows nothing, or everything, leaves nothing to tell apart
print(f"preset {study.preset}; the judge says yes to {judge.sum()} of {len(judge)} test facts")
for name, value in rivals.items():
    print(f"{name:22} separation {p_true.roc_auc(value, judge):.3f}, standard error {standard_error(value, judge):.3f}")
assert all(0 <= p_true.roc_auc(value, judge) <= 1 for value in rivals.values()), "a separation is a probability"

# %%
names = ("Known", "Unknown") if read is None else ("read", "never read")
fig = plt.figure(figsize=(9.6, 3.4), layout="constrained")
for place, (name, value) in enumerate(rivals.items(), 1):
    plots.group_histograms(value, judge, names=names, xlabel=name, ax=fig.add_subplot(1, 2, place))
    print(plots.describe_groups(value, judge, names=names, xlabel=name))
print(f"{len(rivals)} panel(s), each with both groups; the bars of a group sum to 100 %.")
assert len(fig.axes) == len(rivals), "one panel for each score"

# %% [markdown]
# On the pocket model P(True) is no help: its separation is near one half, even a little below. Both groups overlap, all
# far below 0.5: the model has never read a question of this form, and says "(B)" to all. SliCK asks in a form that it
# *has* read. For large models see the paper: Fig. 5, SliCK clearly ahead.

# %% [markdown]
# ## What it really read
#
# Now the whole table: labels against readings. The paper could not make it, and for real facts the next cells show
# nothing. Before you look: should all facts that were never read be Unknown, and all others Known?

# %%
if read is not None:
    counts = pd.crosstab(analysis.exposure_groups(read["readings"]), read["category"])
    percent = counts.div(counts.sum(axis=1), axis=0).mul(100).round().astype(int)
    table = counts.astype(str) + " (" + percent.astype(str) + " %)"
    table["all"] = counts.sum(axis=1)
    print(f"preset {study.preset}: number of facts (% of the row) by times read in pre-training")
    print(table.rename_axis(index="times read", columns=None).to_string())
    assert counts.to_numpy().sum() == len(read), "every fact stands in one cell"

# %%
ax = None
if read is not None:
    ax = plots.exposure_bars(read)
    for name, part in read.groupby(analysis.exposure_groups(read["readings"]), observed=True):
        print(f"read {name} (n = {len(part)}): {plots.describe_shares(slick.shares(part))}")
data_table(ax) if ax else None

# %% [markdown]
# HighlyKnown rises steeply with the readings and then levels off: in relations with a fine and a coarse answer even a
# fact that was read 200 times stays MaybeKnown. And the label Unknown is not the same as "never read". How far apart
# are the two?

# %%
if read is not None:
    never, unknown = read["readings"] == 0, read["category"] == "Unknown"
    both, seldom = (never & unknown).sum(), (unknown & read["readings"].between(1, 32)).sum()
    print(f"{both} of {never.sum()} never-read facts are labelled Unknown ({both / never.sum():.1%})")
    print(f"{both} of {unknown.sum()} facts labelled Unknown were never read ({both / unknown.sum():.1%}); "
          f"{seldom} were read 1 to 32 times ({seldom / unknown.sum():.1%})")
    assert both > never.sum() / 2, "most facts that were never read should be Unknown"

# %% [markdown]
# So Unknown gathers what was never read *and* what was read too seldom to stick. The other slip is stranger: how can a
# model "know" what it has never seen? The next table counts such facts for the four relations with the most and the
# four with the fewest, and the number of different answers that each relation has.

# %%
if read is not None:
    guesses = read[never].assign(guessed=lambda part: part["category"] != "Unknown")
    table = guesses.groupby("relation").agg(never_read=("guessed", "size"), guessed=("guessed", "sum"))
    table["different answers"] = read.groupby("relation")["object"].nunique()
    table = table.sort_values("guessed", ascending=False)
    print(pd.concat([table.head(4), table.tail(4)]).to_string())
    assert table["guessed"].sum() == never.sum() - both, "the rest of the first line above"

# %% [markdown]
# They are **lucky guesses**: where many facts share an answer, 160 samples hit it by chance. So WeaklyKnown holds
# weak memories and guesses, and exact match cannot tell them apart. The paper's real data has the same doubt: in P495
# about 72 % of the recorded answers are the United States (our count).

# %% [markdown]
# ## Quiz
#
# Six questions on this lesson. Each choice is explained.

# %%
quiz("05")

# %% [markdown]
# ## What to remember
#
# * P_Correct is a share of exact matches over ten few-shot prompts. SliCK needs it at T = 0 and at T = 0.5.
# * One teacher-forced pass gives the probability that sampling only estimates, and with it the chance of each label.
# * HighlyKnown and MaybeKnown do not depend on the seed. The border between WeaklyKnown and Unknown does.
# * Unknown means "never right in 170 tries": say the budget with the label.
# * In the pocket world Unknown facts were never read, or too seldom to stick; some never-read facts are guessed.

# %% [markdown]
# ## Recall
#
# 1. A fact is right in 3 of 10 greedy answers and in 90 of 160 samples. Which category is it, and which of the two
#    numbers did you not need?
# 2. For one fact $p_i = 0.01$ after each of ten prompts, and no greedy answer is right. How likely is the label
#    Unknown with 16 samples a prompt? With 64?
# 3. Why must the probability of an answer contain the probability of stopping, and why is it still a lower bound?
#
# **Next:** [06 · Mixing](06_mixing.ipynb). It uses these labels to build training sets with a chosen share of Unknown
# facts.
