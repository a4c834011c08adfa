# %% [markdown]
# # 03 · QLoRA
#
# **Goal.** Train a model whose weights are frozen in 4 bits, and read what the training does.
#
# **You will be able to**
#
# 1. build a LoRA layer by hand and get the same numbers as PEFT;
# 2. say exactly which tokens the loss sees, and read a loss curve;
# 3. save an adapter, load it onto a fresh base, and take it off again.
#
# **Time.** 45 minutes to read and run, 24 for the exercises.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Lesson 02. Sources: LoRA, Hu et al. 2021, [arXiv 2106.09685](https://arxiv.org/abs/2106.09685); QLoRA,
# Dettmers et al. 2023, [arXiv 2305.14314](https://arxiv.org/abs/2305.14314).

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** A frozen 4-bit base and a small trained correction beside it; and a falling loss does not say which rows are
# learned.
#
# **Misconceptions.**
#
# * "QLoRA trains the 4-bit weights." It never touches them: the cell that prints their gradient says None.
# * "B = 0 is a bug, since then nothing can be learned." A is random, so B gets a gradient at once; see the next cell.
# * "The loss sees the whole row." Decode the labels: only the answer and the end of text.
# * "The loss falls, so the model gets better." The right panel: which rows are fitted when.
#
# **Ask.**
#
# * What happens to the share of trained weights when the model gets wider? (It falls: in + out against in times out.)
# * Why must the end of text be in the labels? (Else the model never learns to stop.)
# * Can this adapter be put on the unquantised model? (Not well: it was trained beside the 4-bit weights.)
#
# **Where it breaks.**
#
# * Running one of the adapter cells twice adds a second adapter: restart and run all.
# * On some CPUs bitsandbytes repacks weights in evaluation; the library's `load` prevents it (see "Three traps").
#
# **When late.** Skip "Save the adapter and load it again" (5 minutes), "Three traps" (4 minutes) and exercise 03.2 (6
# minutes).

# %%
from course_lib.data import FactSet, by_relation
from course_lib.experiments import forecast_study, open_study
from course_lib.figures import plots
from course_lib.knowledge import scoring, slick
from course_lib.lessons import check, data_table, hint, quiz, solution
from course_lib.training import finetune, mixing

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %%
import warnings

warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # PEFT calls a name that will go
base = study.load()
model, tokenizer = base.model, base.tokenizer
layer = model.model.layers[0].mlp.up_proj
print(f"{type(layer).__name__}: {layer.in_features} in, {layer.out_features} out, stored as {layer.weight.dtype}")
assert not any(weight.requires_grad for weight in model.parameters()), "the base must be frozen"

# %% [markdown]
# ## The problem and the idea
#
# Training changes weights by tiny steps. A weight with 16 possible values cannot take a tiny step. So the 4-bit
# weights W stay **frozen** (never changed), and a small correction is trained beside them:
#
# $$y = W x + \frac{\alpha}{r} B A x$$

# %% [markdown]
# The matrix A has r rows, B has r columns. The **rank** r is small, so A and B have few weights. The number **alpha**
# sets how strong the correction is. This is **LoRA**, low-rank adaptation; A and B together are an **adapter**. On a
# 4-bit base it is called **QLoRA**.

# %%
import math

import torch


class LoRALinear(torch.nn.Module):
    """A frozen linear layer, and (alpha / rank) B A x beside it."""

    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.scale, at = base.requires_grad_(False), alpha / rank, base.weight.device
        self.A = torch.nn.Parameter(torch.empty(rank, base.in_features, device=at))
        self.B = torch.nn.Parameter(torch.zeros(base.out_features, rank, device=at))
        torch.nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))  # small random numbers

    def forward(self, x):  # x: (..., in)
        y = self.base(x)
        return y + (self.scale * (x.float() @ self.A.T @ self.B.T)).to(y.dtype)


# %% [markdown]
# A starts random, B starts at **zero**. So at the start B A = 0, and the layer must do exactly what it did before.
# A useful check whenever you build an adapter:

# %%
torch.manual_seed(0)
x = torch.randn(5, layer.in_features, device=layer.weight.device, dtype=model.dtype)
ours = LoRALinear(layer, rank=16, alpha=32)
with torch.no_grad():
    assert torch.equal(ours(x), layer(x)), "with B = 0 nothing may change"
print("With B = 0 the output is exactly the old one.")

# %% [markdown]
# Why not start A at zero too? The **gradient** says for each weight which way to move it. With both at zero, both
# gradients would be zero, and nothing would ever move. With A random, B gets a gradient in the first step:

# %%
ours(x).float().pow(2).sum().backward()
print(f"gradient of A: {ours.A.grad.norm():.3g}; of B: {ours.B.grad.norm():.3g}; "
      f"of the 4-bit weights: {ours.base.weight.grad}")
assert ours.A.grad.norm() == 0 < ours.B.grad.norm(), "first B moves, then A"
assert ours.base.weight.grad is None, "the base must stay frozen"
ours.zero_grad()

# %% [markdown]
# ## The same with PEFT
#
# **PEFT** is the library that most people take for adapters. Our `add_lora` calls it with the settings of the study.
# We put random numbers into B, give our layer the same A and B, and compare.

# %%
adapted = finetune.add_lora(model, finetune.TuneConfig(rank=16, alpha=32, seed=0))
theirs = adapted.base_model.model.model.layers[0].mlp.up_proj
A, B = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
torch.manual_seed(0)
with torch.no_grad():
    B.normal_(std=0.02)
    ours.A.copy_(A)
    ours.B.copy_(B)
    difference = (ours(x) - theirs(x)).abs().max().item()
assert difference < 1e-5 * max(1, x.abs().max()) or model.dtype != torch.float32, "both layers must agree"
print(f"same A, same B: largest difference {difference:.1e}; B changed the output by "
      f"{(ours(x) - layer(x)).abs().max().item():.2f}")

# %% [markdown]
# ## Count what is trained
#
# **Predict.** A LoRA layer of rank r on a matrix (out, in) has r x (in + out) weights instead of in x out. How many
# percent of your model's weights are trained at rank 16? Write your guess down, then run the cell.

# %%
my_guess = None  # percent

lora = [module for module in adapted.modules() if hasattr(module, "lora_A")]
by_hand = sum(16 * (module.in_features + module.out_features) for module in lora)
trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
assert trained == by_hand, "rank x (in + out), summed over the layers, must be what PEFT trains"
share = 100 * trained / (model.num_parameters() - trained)  # of the base alone
print(f"preset {study.preset}: {len(lora)} layers, {trained:,} weights, {share:.1f} % of the base; guess: {my_guess}")
print(f"float32, its gradient and two Adam states: {16 * trained / 1e6:.1f} MB")

# %% [markdown]
# ### Exercise 03.1 · How many weights are trained?
#
# *Difficulty 1 of 3 · 5 minutes.* `shapes` is a list of (out, in), one for each linear layer. Give the number of
# weights in all A and B of this rank. Example: one layer of (4, 3) at rank 2 has 14.

# %% tags=["exercise"]
def lora_weights(shapes, rank):
    """Number of trained weights of LoRA on layers of these shapes."""
    ### BEGIN SOLUTION
    return sum(rank * (outputs + inputs) for outputs, inputs in shapes)
    ### END SOLUTION

# %%
check("03.1", lora_weights)

# %% [markdown]
# in x out grows with the square of the width, in + out only with the width. So the share is large in a tiny model and
# small in a large one: 18.1 M of 1,711 M weights are 1.1 % of SmolLM2-1.7B (lesson 02 computes both).
#
# `remove_lora` takes the adapter off. The base was never touched, so it must answer as before:

# %%
probe = tokenizer(study.facts.test[0].question, return_tensors="pt").to(model.device)
with torch.no_grad():
    with_adapter = adapted(**probe).logits
    with adapted.disable_adapter():
        switched_off = adapted(**probe).logits
    model = finetune.remove_lora(adapted)
    without = model(**probe).logits
assert torch.equal(switched_off, without), "off and removed must be the same"
assert not torch.equal(with_adapter, without), "the random B should have changed something"
print("Switched off or removed: the same output. The base is as it was.")

# %% [markdown]
# ### Exercise 03.2 · Merge
#
# *Difficulty 2 of 3 · 6 minutes.* For a model that shall only answer, the correction can be added to the weights once:
# **merging**. Give the matrix that does the same as W with its adapter. A is (r, in), B is (out, r), all numpy arrays;
# r is the number of rows of A.

# %% tags=["exercise"]
def merged(W, A, B, alpha):
    """One matrix, shape (out, in), for W x + (alpha / r) B A x."""
    ### BEGIN SOLUTION
    return W + alpha / len(A) * (B @ A)
    ### END SOLUTION

# %%
check("03.2", merged)

# %% [markdown]
# We do not merge in this course: a merged matrix is no longer on the 4-bit levels, so it would have to be quantised
# again, with a new error.

# %% [markdown]
# ## What the loss sees
#
# A training row is an instruction, a question and its answer (paper, App. E). The **loss** measures how surprised the
# model is by a token: minus the logarithm of the probability that it gave.
#
# We count it on the answer only: the model shall learn to answer, not to ask. What the loss wants at each place are
# the **labels**.

# %%
def labels_of(row, end):
    """The tokens of a row with its end of text, and what the loss wants: -100 means "do not count this one"."""
    tokens = [*row.tokens, end]
    return tokens, [-100] * row.start + tokens[row.start:]


fact = study.facts.train[0]
row = scoring.encode_answers(tokenizer, scoring.INSTRUCTION, [fact])[0]
tokens, labels = labels_of(row, tokenizer.eos_token_id)
print(tokenizer.decode(tokens))

# %%
seen = tokenizer.decode([label for label in labels if label != -100])
print(f"{len(tokens)} tokens in the row, {sum(label != -100 for label in labels)} seen by the loss: {seen!r}")
assert seen.replace(tokenizer.eos_token, "").strip() == fact.object, "only the answer may be seen"
assert labels[-1] == tokenizer.eos_token_id, "the end of text must be learned, or the model never stops"

# %% [markdown]
# **Always decode what the loss sees.** The two usual mistakes: the question is counted too, or the **end of text** (a
# token of its own, which tells the model to stop) is not.

# %% [markdown]
# ### Exercise 03.3 · Find the mistake
#
# *Difficulty 2 of 3 · 8 minutes.* A colleague made `labels` for a row whose answer begins at place `start`; `end` is
# the token for end of text. Give "question counted" if any place before `start` counts, else "no end" if the last
# label is not `end`, else "fine".

# %% tags=["exercise"]
def diagnose(labels, start, end):
    """ "question counted", "no end" or "fine"."""
    ### BEGIN SOLUTION
    if any(label != -100 for label in labels[:start]):
        return "question counted"
    return "fine" if labels[-1] == end else "no end"
    ### END SOLUTION

# %%
check("03.3", diagnose)

# %% [markdown]
# ## The training loop is four lines
#
# Loss, gradient, step, and forget the gradient. **AdamW**, a form of Adam, is the usual rule for the size of a step;
# the **learning rate** `lr` scales all steps.
#
# First the loss itself. For each answer token the model gave a probability; its surprise is minus the natural logarithm
# of it. The unit is called **nat**.

# %% [markdown]
# ### Exercise 03.4 · The loss of an answer
#
# *Difficulty 1 of 3 · 5 minutes.* `probabilities` are those that the model gave to the tokens of the right answer. Give
# the mean surprise. Example: for 1.0 and 0.5 it is 0.347.

# %% tags=["exercise"]
def mean_surprise(probabilities):
    """Mean of -log p, in nats a token."""
    import math

    ### BEGIN SOLUTION
    return sum(-math.log(p) for p in probabilities) / len(probabilities)
    ### END SOLUTION

# %%
check("03.4", mean_surprise)

# %% [markdown]
# torch calls this **cross-entropy**, and takes it from the model's raw scores, the **logits**: one number for each
# token of the vocabulary, from one **forward pass** through the model. (Its exponential is the **perplexity**: among
# how many equally likely tokens the model hesitates.) Here it is, and then five steps on this one row:

# %%
def loss_of(model, tokens, labels):
    """Mean surprise at the answer's tokens, in nats; position i predicts token i + 1."""
    logits = model(torch.tensor([tokens], device=model.device)).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(labels[1:], device=model.device))


# %%
adapted = finetune.add_lora(model, finetune.TuneConfig(seed=0))
optimizer = torch.optim.AdamW([w for w in adapted.parameters() if w.requires_grad], lr=1e-3, weight_decay=0.0)
losses = []
for _ in range(5):
    loss = loss_of(adapted, tokens, labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
model = finetune.remove_lora(adapted)
print("loss before each step:", ", ".join(f"{loss:.3f}" for loss in losses))
assert losses[-1] < losses[0], "five steps on one row should lower its loss"

# %% [markdown]
# The library's `tune` is this loop with several rows in each step (a **batch**; how many is the **batch size**), a
# slow start of the learning rate (**warm-up**), and a limit on the gradient (**gradient clipping**). Such settings,
# chosen before training, are **hyperparameters**. Its first loss must be ours:

# %%
one = mixing.Mix("D", 0, 0, (mixing.Row(fact, "Known"),))
nobody = FactSet("nobody", train=(), dev=(), test=(), ood=())
tuned = finetune.tune(model, tokenizer, one, nobody, finetune.TuneConfig(epochs=1, seed=0), progress=False)
model = finetune.remove_lora(tuned.model)
theirs = tuned.history.records[1].loss
print(f"first loss by hand {losses[0]:.4f}, of the library {theirs:.4f} (nats a token)")
assert abs(losses[0] - theirs) < 0.01 * max(1, theirs), "both losses must agree"

# %% [markdown]
# ## A small mix
#
# We want facts that the model knows and facts that it does not. A rough test for now: ask once, with four solved
# examples, and believe the answer. (Lesson 05 asks properly, lesson 06 mixes properly.)

# %%
import random

candidates = random.Random(0).sample(study.facts.train, min(400, len(study.facts.train)))
prompts = slick.draw_prompts(study.facts.exemplars, n_prompts=1, seed=0)
groups = {True: [], False: []}
for relation, facts in by_relation(candidates).items():
    for fact, right in zip(facts, scoring.exact_match(model, tokenizer, facts, prompts[relation][0]), strict=True):
        groups[bool(right)].append(fact)
print(f"asked {len(candidates)}: {len(groups[True])} right, {len(groups[False])} wrong")

# %%
size = min(80, *map(len, groups.values()))
assert size, "the mix needs facts of both kinds; ask more candidates"
rows = [mixing.Row(fact, "Known" if right else "Unknown") for right in groups for fact in groups[right][:size]]
random.Random(0).shuffle(rows)
data = mixing.Mix("D", 50, 0, tuple(rows))
pools = (study.facts.dev, study.facts.test)
dev, test = (tuple(random.Random(0).sample(facts, min(120, len(facts)))) for facts in pools)
watched = FactSet("a few", train=(), dev=dev, test=test, ood=())
print(f"{len(data.known)} known, {len(data.unknown)} unknown rows; watched: {len(dev)} dev, {len(test)} test facts")

# %% [markdown]
# ## Train
#
# One **epoch** is one pass over all rows. After each, `tune` asks four things: how many known rows and how many
# unknown rows the model now answers exactly (**fitted**), and how many **dev** and **test** questions. No dev or test
# question is ever trained on: dev is for choosing an epoch, test for the result.

# %% [markdown]
# **Predict.** After which of the five epochs will half of the known rows be fitted? And half of the unknown ones?

# %%
my_epochs = {"known": None, "unknown": None}

# %% [markdown]
# **Will it fit?** On a real model you want to know that before you wait. The forecast adds up the weights, a restored
# copy of them where there is room, the adapters, and what one step needs in passing. Where a batch would not fit, it
# is taken in **micro-batches**, whose gradients are added up before the step: **gradient accumulation**.

# %%
print(forecast_study(study))

# %%
from dataclasses import replace

config = replace(study.settings.tune, epochs=5, batch=8, warmup=1, seed=0)  # fewer and smaller steps than the sweep
tuned = finetune.tune(model, tokenizer, data, watched, config, progress=False)
history = tuned.history.to_frame().assign(variant="D", unknown_percent=50, seed=0)
history[["epoch", "loss", "known_fitted", "unknown_fitted", "dev", "test"]].round(2)

# %% [markdown]
# What was measured beside the forecast that training itself made, when it knew the rows and what was already in use
# (on a CPU that is mostly Python and PyTorch):

# %%
print(tuned.memory)
assert tuned.memory.peak > 0, "some memory must have been in use"

# %%
import matplotlib.pyplot as plt

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(history["epoch"][1:], history["loss"][1:], "o-", color="black", label="training loss")
left.set(xlabel="epoch", ylabel="training loss (nats a token)", ylim=(0, None), xlim=(0, None))
left.grid(alpha=0.3)
plots.run_curve(history, ax=right)
first, last = history["loss"].iloc[1], history["loss"].iloc[-1]
print(f"Figure, preset {study.preset}, one run of {len(rows)} rows, {len(dev)} dev facts. Left: the loss falls from "
      f"{first:.2f} to {last:.2f}. Right: {plots.describe_run(history)}")
assert last < first, "the loss should fall"
data_table(left, right)

# %% [markdown]
# Read the two panels together. The loss falls smoothly and looks like plain success. The right panel tells what it
# hides: which rows are learned when.
#
# With 120 dev questions a percentage is uncertain by up to 9 points (two standard errors). The full runs of lessons 07
# and 08 have expected ranges; this small one has none.

# %%
half = {kind: history.loc[history[f"{kind}_fitted"] >= 50, "epoch"].min() for kind in ("known", "unknown")}
for kind, epoch in half.items():
    when = "not within this run" if epoch != epoch else f"epoch {epoch:g}"
    print(f"half of the {kind} rows fitted: {when}; your guess: {my_epochs[kind]}")

# %% [markdown]
# Known rows need only the form of the answer; unknown rows need a new fact each. Lesson 07 looks at what this late
# learning does to the rest.

# %% [markdown]
# ## Save the adapter and load it again
#
# Only A and B are saved, a small file: a **checkpoint**, a stored state of the training. The base comes from where it
# always comes from.

# %%
from peft import PeftModel

folder = study.folder / "lesson03" / study.name
tuned.model.save_pretrained(folder)
size = (folder / "adapter_model.safetensors").stat().st_size
print(f"{size / 1e6:.2f} MB for {trained:,} weights: {8 * size / trained:.1f} bits each (float32)")

# %%
fresh = PeftModel.from_pretrained(study.load().model, folder)
groups = {"test": test, "unknown rows": data.unknown}
saved, loaded = (finetune.evaluate(it, tokenizer, groups) for it in (tuned.model, fresh))
print(f"trained model {saved}\nreloaded      {loaded}")
assert saved == loaded, "a reloaded adapter must answer the same"

# %% [markdown]
# The adapter fits only the base that it was trained on, 4-bit weights included. Put on the unquantised model it would
# correct errors that are not there.
#
# At last, take the adapter off: the model must know nothing of the unknown rows again.

# %%
model = finetune.remove_lora(tuned.model)
again = finetune.evaluate(model, tokenizer, {"unknown rows": data.unknown})["unknown rows"]
print(f"unknown rows answered: {history['unknown_fitted'].iloc[0]:.1f} % before training, "
      f"{loaded['unknown rows']:.1f} % with the adapter, {again:.1f} % without")
assert again == history["unknown_fitted"].iloc[0], "the base must be as it was"

# %% [markdown]
# ## Three traps
#
# Each of them gives a model that trains, and is wrong without a word.

# %% [markdown]
# * **Evaluation and training must compute alike.** bitsandbytes 0.50 on some CPUs (AVX512-BF16) repacks the 4-bit
#   weights in the first evaluation. From then on the gradient through the base is silently wrong. Our `load` turns the
#   repacking off (`models.keep_exact_on_cpu`).

# %% [markdown]
# * **A T4 has no bfloat16**, a 16-bit format made for training. Yet `torch.cuda.is_bf16_supported()` says yes, because
#   emulation counts. Decide by **compute capability**, the number of a GPU's generation: 8.0 or more.
# * **Adapters stay float32**, the rest computes in 16 bits: **mixed precision**. In float16 small gradients vanish, so
#   `tune` multiplies the loss and divides the gradient again: **loss scaling**.

# %%
import bitsandbytes as bnb

four_bit = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
assert not any(module.support_avx512bf16_for_cpu for module in four_bit), "the repacking must be off"
print(f"repacking is off in all {len(four_bit)} layers")


def compute_dtype(capability):
    return "float32" if capability is None else "bfloat16" if capability >= (8, 0) else "float16"


for name, capability in {"T4": (7, 5), "A100": (8, 0), "no GPU": None}.items():
    print(f"{name:7} computes in {compute_dtype(capability)}")

# %% [markdown]
# ## Quiz
#
# Five questions. Every answer is explained, and nobody counts your tries.

# %%
quiz("03")

# %% [markdown]
# ## What to remember
#
# * QLoRA: the base is frozen in 4 bits; A and B, small and float32, are trained beside each linear layer.
# * B starts at zero, so nothing changes at first. Check it.
# * The loss sees the answer and the end of text. Decode the labels and look.
# * A falling loss does not say *which* rows are learned: known rows come first, unknown rows late.

# %% [markdown]
# ## Recall
#
# 1. Why does B start at zero and A not?
# 2. You double the width of a model. What happens to the number of LoRA weights, and to their share?
# 3. What goes wrong when the end of text is not part of the labels?
#
# **Next:** [04 · Facts as questions](04_facts_as_questions.ipynb). What exactly do we ask, and when is an answer
# right?
