# %% [markdown]
# # 02 · Quantise
#
# **Goal.** Store the weights of a model in about 4 bits each, by hand, and know what that costs.
#
# **You will be able to**
#
# 1. build NF4, the number format of QLoRA, and get the same bits as bitsandbytes;
# 2. compute the bits per weight and the memory that a model needs on a GPU;
# 3. measure how much knowledge the model loses.
#
# **Time.** 40 minutes to read and run, 30 for the exercises.
#
# **Memory.** 1 GB with the pocket preset. GPU presets: the forecast of `course doctor`.
#
# **Before.** Lesson 00. Source of the method: QLoRA, Dettmers et al. 2023,
# [arXiv 2305.14314](https://arxiv.org/abs/2305.14314), sections 2 and 3.

# %% [markdown] tags=["instructor"]
# ## For the instructor
#
# **Goal.** Four bits are no magic: sixteen levels, one scale for 64 weights, and a cost that one can count and measure.
#
# **Misconceptions.**
#
# * "4 bits means 4 bits a weight." The scales count too: 4.5, or 4.127 with double quantisation (exercise 02.2).
# * "A 7B model is 3.5 GB, so it trains on a 4 GB card." The section on sizing: embedding, adapters and working memory.
# * "NF4 is always better than even levels." The figure of block sizes: in very small blocks it is not.
# * "No difference was seen, so there is none." The paired comparison at the end: look at the interval.
#
# **Ask.**
#
# * What happens to a block with one huge weight? (The others land on few levels near zero: small blocks limit this.)
# * Why 7 levels below zero and 8 above? (Zero itself takes one of the sixteen.)
# * Why does a small model shrink less? (Its embedding, which stays in 16 or 32 bits, is a larger part.)
#
# **Where it breaks.**
#
# * On a GPU the loaded weights are in another dtype: the last digits of a few printed errors differ.
# * Own models of odd sizes stop at the cell about whole blocks. That is its purpose: bitsandbytes would be silently
#   wrong there on a CPU.
#
# **When late.** Skip step 3's byte comparison (5 minutes) and exercise 02.3 (10 minutes); tell the 4.127.

# %%
from course_lib import models
from course_lib.data import by_relation
from course_lib.experiments import open_study
from course_lib.figures import plots, widgets
from course_lib.knowledge import scoring, slick
from course_lib.lessons import check, data_table, hint, quiz, show, solution

study = open_study()
print(f"Preset {study.preset}: {sum(study.facts.totals().values()):,} facts.")

# %% [markdown]
# ## A weight is a number, and a number takes bits
#
# A model is a long list of numbers, its **weights**. A **bit** is a 0 or a 1; eight are a **byte**. In the format
# float32 a weight takes 32 bits, in float16 16.
#
# **Quantising** means to store each weight with fewer bits, as the nearest of a few allowed values, the **levels**.

# %%
full = models.load(study.preset, four_bit=False)
count = full.model.num_parameters()
bits = 8 * full.model.dtype.itemsize
print(f"{count:,} weights of {bits} bits = {count * bits / 8e6:.1f} MB")
print(f"A model with 7 billion weights: {7 * bits / 8:.0f} GB in this format, {7 * 4 / 8:.1f} GB with 4 bits each")

# %% [markdown]
# We take one **linear layer**: a matrix W (a table of numbers) that turns an input x, a list of numbers, into W x.
# Nearly all weights of a model stand in such matrices. So these are what **QLoRA**, the method of this lesson and the
# next, quantises.

# %%
layer = full.model.model.layers[0].mlp.up_proj
weight = layer.weight.detach().float().cpu()
print(f"{tuple(weight.shape)} = {weight.numel():,} weights")
print(f"mean {weight.mean():+.4f}, standard deviation {weight.std():.4f}, largest {weight.abs().max():.3f}")
assert weight.abs().max() > 3 * weight.std(), "we expect a bell curve with a few far values"

# %% [markdown]
# ## Step 1: sixteen levels
#
# Four bits can name 2⁴ = 16 values. Which 16? Trained weights look like a bell curve (the **normal curve**): many
# near zero, few far out. So the levels should stand close together near zero.
#
# NF4 ("normal float") takes **quantiles**: it cuts the bell curve into parts of equal area, and each level gets one
# part.

# %%
import numpy as np
from scipy.stats import norm


def nf4_levels():
    """Quantiles of the normal curve: 7 below zero, zero itself, 8 above; the largest is made 1."""
    edge = 1 - (1 / 30 + 1 / 32) / 2  # half a part inside the tail, between the cuts into 15 and 16 parts
    above = norm.ppf(np.linspace(edge, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(edge, 0.5, 8)[:-1])
    levels = np.sort(np.concatenate([below, [0.0], above]))
    return levels / levels.max()


print(np.round(nf4_levels(), 4))

# %% [markdown]
# Zero is one of the levels, so a weight of zero stays exactly zero. That is why there are 7 levels on one side and 8
# on the other. **bitsandbytes**, the library that most people quantise with, keeps the same 16 numbers in a table:

# %%
import bitsandbytes.functional as bnb_functional
import torch

levels = bnb_functional.get_4bit_type("nf4", device="cpu")
difference = np.abs(nf4_levels() - levels.numpy()).max()
assert difference < 1e-6, "the levels must be those of bitsandbytes"
print(f"largest difference to the table of bitsandbytes: {difference:.1e} (rounding)")

# %% [markdown]
# Not the level itself is stored but its number from 0 to 15, the **code**. For that, each weight has to find its
# nearest level.

# %% [markdown]
# ### Exercise 02.1 · The nearest level
#
# *Difficulty 1 of 3 · 5 minutes.* `levels` is a list of numbers in rising order. Return the code of `value`: the place,
# counted from 0, of the level that is nearest to it. With the levels `[-1, 0, 0.4, 1]`, 0.3 has the code 2.

# %% tags=["exercise"]
def nearest(value, levels):
    """The place, from 0, of the level nearest to a value."""
    ### BEGIN SOLUTION
    return min(range(len(levels)), key=lambda place: abs(levels[place] - value))
    ### END SOLUTION


# %%
check("02.1", nearest)

# %% [markdown]
# ## Step 2: blocks and scales
#
# The levels go from -1 to 1, the weights do not. So we cut the weights into **blocks** of 64 and divide each block by
# its largest absolute value (**absmax**). This number, the block's **scale**, must be stored too.
#
# Small blocks keep one far value from making a whole matrix coarse.

# %%
def quantise(weight, levels, block=64):
    """Codes 0 ... 15, shape (blocks, block), and one scale a block, shape (blocks, 1)."""
    blocks = weight.reshape(-1, block)
    scale = blocks.abs().amax(dim=1, keepdim=True).clamp(min=1e-38)
    borders = (levels[1:] + levels[:-1]) / 2  # halfway between neighbours: the nearest level wins
    return torch.bucketize(blocks * (1 / scale), borders), scale


def dequantise(codes, scale, levels, shape):
    """The nearest allowed weights, in the shape of the matrix."""
    return (levels[codes] * scale).reshape(shape)


# %% [markdown]
# Look at the first weights of one block. Each becomes a code, and each code becomes a weight again, a little wrong.

# %%
import pandas as pd

codes, scale = quantise(weight, levels)
restored = dequantise(codes, scale, levels, weight.shape)
print(f"scale of block 0: {scale[0].item():.4f}")
pd.DataFrame({"weight": weight.flatten()[:6], "code": codes.flatten()[:6], "level": levels[codes.flatten()[:6]],
              "restored": restored.flatten()[:6]}).round(4)

# %%
gaps = (levels[1:] - levels[:-1]).max() / 2
worst = ((weight - restored).abs().reshape(-1, 64) / scale).max()
assert worst <= gaps + 1e-6, "no weight may move by more than half of the widest gap"
print(f"largest error: {worst:.3f} of the block's scale; half of the widest gap between levels is {gaps:.3f}")

# %% [markdown]
# ### Exercise 02.2 · Bits a weight
#
# *Difficulty 1 of 3 · 5 minutes.* A weight takes 4 bits for its code. A block of `block` weights shares one scale in
# float32. How many bits does one weight take in all? Return that number. Example: with blocks of 16 weights it is 6.

# %% tags=["exercise"]
def bits_a_weight(block):
    """Bits that one weight takes, with one float32 scale for each `block` weights."""
    ### BEGIN SOLUTION
    return 4 + 32 / block
    ### END SOLUTION


# %%
check("02.2", bits_a_weight)

# %% [markdown]
# ## Bit for bit the same as bitsandbytes
#
# bitsandbytes packs two codes into one byte. We do the same and compare every bit: codes, scales, restored weights.

# %%
flat = codes.flatten()
packed = ((flat[::2] << 4) | flat[1::2]).to(torch.uint8)
theirs, state = bnb_functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")

assert torch.equal(packed, theirs.flatten()), "the packed codes differ"
assert torch.equal(scale.flatten(), state.absmax), "the scales differ"
assert torch.equal(restored, bnb_functional.dequantize_4bit(theirs, state)), "the restored weights differ"
print(f"{packed.numel():,} bytes, {scale.numel():,} scales and {restored.numel():,} weights: all equal")

# %% [markdown]
# One warning that this comparison brought up. On a CPU, bitsandbytes 0.50.2 restores **wrong** weights, without a
# word, where a row of the matrix is not made of whole blocks. Check it before you quantise a model of odd sizes on a
# CPU:

# %%
odd = [name for name, module in full.model.named_modules()
       if isinstance(module, torch.nn.Linear) and module.in_features % 64]
assert not odd, f"rows that are not made of whole blocks of 64: {odd}"
print("Every linear layer of this model has rows of whole blocks.")

# %% [markdown]
# ## What the levels look like on real weights

# %%
import matplotlib.pyplot as plt

scaled = (weight.reshape(-1, 64) / scale).flatten().numpy()
even = np.linspace(-1, 1, 16)
fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
ax.hist(scaled, bins=81, color="#56B4E9", label="weights")
top = ax.get_ylim()[1]
ax.plot(levels, [1.06 * top] * 16, "|", markersize=14, color="#D55E00", label="NF4 levels")
ax.plot(even, [1.16 * top] * 16, "|", markersize=14, color="black", label="even levels")
ax.set(xlabel="weight / scale of its block", ylabel="number of weights", ylim=(0, 1.55 * top))
ax.legend(frameon=False, ncols=3, loc="upper center")
inner = [np.mean(np.abs(values) < 0.5) for values in (scaled, levels.numpy(), even)]
print(f"Figure: a bell curve of weights. {inner[0]:.0%} of the weights lie between -0.5 and 0.5, and so do "
      f"{inner[1]:.0%} of the NF4 levels, but only {inner[2]:.0%} of evenly spaced levels.")
data_table(ax)

# %% [markdown]
# The two small peaks at -1 and 1 are there because the largest weight of every block is divided by itself.

# %% [markdown]
# ## Step 3: quantise the scales as well
#
# One float32 scale for 64 weights costs 32 / 64 = 0.5 bits a weight. **Double quantisation** stores the scales in 8
# bits: subtract their mean, cut them into blocks of 256, and give each such block one float32 scale.

# %%
double, state2 = bnb_functional.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
table = state2.state2.code  # 256 levels, closer together near zero
centred = scale.flatten() - scale.mean()
centred = torch.nn.functional.pad(centred, (0, -len(centred) % 256)).reshape(-1, 256)
outer = centred.abs().amax(dim=1, keepdim=True)
bytes_ = torch.bucketize(centred * (1 / outer), (table[1:] + table[:-1]) / 2).flatten()[: scale.numel()]
same = (bytes_ == state2.absmax).float().mean().item()
assert same > 0.98, "our 8-bit scales should agree with bitsandbytes; rare ties may fall to the other side"
print(f"{scale.numel():,} scales in 8 bits each, {outer.numel()} outer scales; {same:.1%} of the bytes are equal")

# %% [markdown]
# **Predict.** How many bits does a weight take now, with the scales of the scales counted? Write your guess down,
# then run the cell.

# %%
my_guess = None  # for example 4.25

single_bits = 4 + 32 / 64
double_bits = 4 + 8 / 64 + 32 / (64 * 256)
print(f"single: {single_bits} bits a weight; double: {double_bits:.3f}; your guess: {my_guess}")
measured = 8 * (double.nbytes + state2.absmax.nbytes + state2.state2.absmax.nbytes) / weight.numel()
assert abs(measured - double_bits) < 0.01, "the stored bytes must tell the same"
print(f"measured on this layer: {measured:.3f}; double quantisation saves {single_bits - double_bits:.2f} bits")

# %% [markdown]
# The QLoRA paper says the same: 0.5 bits of scales become 0.127 (section 3, arXiv 2305.14314).

# %% [markdown]
# ## How large should a block be?
#
# A larger block needs fewer scales but makes each weight coarser. We measure both, for the NF4 levels and for evenly
# spaced ones. The **relative error** is the size of what quantising changed, divided by the size of the weights.

# %%
def relative_error(weight, levels, block):
    """Root of the summed squared error over that of the weights."""
    restored = dequantise(*quantise(weight, levels, block), levels, weight.shape)
    return ((weight - restored).norm() / weight.norm()).item()


sizes = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096]
part = weight.flatten()[: weight.numel() // 4096 * 4096]
errors = pd.DataFrame({"block": sizes, "bits a weight": [4 + 32 / size for size in sizes],
                       "NF4": [relative_error(part, levels, size) for size in sizes],
                       "even levels": [relative_error(part, torch.linspace(-1, 1, 16), size) for size in sizes]})
errors.round(4)

# %%
fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for name, style, colour in (("NF4", "o-", "#D55E00"), ("even levels", "s--", "black")):
    ax.plot(errors["block"], 100 * errors[name], style, color=colour, label=name)
ax.axvline(64, color="grey", linestyle=":", label="QLoRA's choice: 64")
ax.set(xscale="log", xlabel="weights in a block", ylabel="relative error (%)", ylim=(0, None))
ax.set_xticks(sizes, [str(size) for size in sizes], fontsize="small")
ax.legend(frameon=False)
at = errors.set_index("block")
print(f"Figure: the error grows with the block. NF4: {at.loc[64, 'NF4']:.1%} with blocks of 64, "
      f"{at.loc[4096, 'NF4']:.1%} with 4096. Even levels: {at.loc[64, 'even levels']:.1%} and "
      f"{at.loc[4096, 'even levels']:.1%}.")
data_table(ax)

# %%
better = errors.loc[errors["NF4"] < errors["even levels"], "block"]
assert errors["NF4"].is_monotonic_increasing, "larger blocks should be coarser"
assert 64 in set(better), "with blocks of 64, NF4 should beat even levels on bell-shaped weights"
print(f"Larger blocks are coarser. On this layer NF4 beats even levels at block sizes {', '.join(map(str, better))}.")

# %% [markdown]
# In a very small block the largest weight is not far from the others. Divided by it, the weights look flat, not like
# a bell, and even levels do as well.

# %% [markdown]
# **Predict.** On which weights do NF4 levels beat even ones: those of our trained layer, numbers from the normal curve,
# or numbers with a **heavy tail** (some very far from zero)? Does your answer hold for blocks of 16 as well as of
# 4096? Decide, then move the sliders.

# %%
samples = models.nf4.weight_samples(weight.numpy(), seed=0)
assert len({len(weights) for weights in samples.values()}) == 1, "as many weights of each kind"
show(widgets.nf4_explorer(samples))

# %% [markdown]
# The same without controls: the error by block size, one line for each kind of weights and levels.

# %%
error_rows = models.nf4.error_table(samples, bits=4)
ax = plots.error_curves(error_rows)
print(plots.describe_errors(error_rows))
data_table(ax)

# %% [markdown]
# ### Exercise 02.3 · The plain way: int4
#
# *Difficulty 2 of 3 · 10 minutes.* **int4** stores whole numbers from -7 to 7. The scale of a block is its largest
# absolute value divided by 7. Divide the block by its scale, round to whole numbers, and multiply again. Return these
# restored weights. `block` is a numpy array, not all zero.

# %% [markdown]
# Worked out for `[7.0, -3.4, 0.2]`: the largest absolute value is 7, so the scale is 1. Rounded: 7, -3, 0. Restored:
# `[7.0, -3.0, 0.0]`.

# %% tags=["exercise"]
import numpy as np


def int4(block):
    """A block of weights after storing it as whole numbers from -7 to 7 with one scale."""
    ### BEGIN SOLUTION
    scale = np.abs(block).max() / 7
    return np.round(block / scale) * scale
    ### END SOLUTION


# %%
check("02.3", int4)

# %% [markdown]
# ## The whole model, before and after
#
# The library's `load` does all of this: every linear layer in NF4 with double quantisation. Three parts stay as they
# are: the **embedding** (the table that turns a token into numbers), the **norms** (small layers that rescale), and
# the output layer, which turns numbers into tokens again.

# %%
quantised = study.load()
stored = quantised.model.model.layers[0].mlp.up_proj.weight.data.flatten().cpu()
agree = (stored == packed).float().mean().item()
assert agree > 0.999, "the loaded layer should hold the codes that we made by hand"
print(f"layer 0, up_proj: {agree:.2%} of the bytes in the loaded model are ours")

# %% [markdown]
# Now count bytes: codes, scales, and the rest.

# %%
import bitsandbytes as bnb


def stored_bytes(model):
    """Bytes of the linear layers of the blocks, and of everything else."""
    linear = 0
    for module in model.model.layers.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            state = module.weight.quant_state
            linear += module.weight.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes
        elif isinstance(module, torch.nn.Linear):
            linear += module.weight.nbytes
    return {"linear layers": linear, "everything": linear + rest_bytes(model)}


# %%
def rest_bytes(model):
    """Bytes of the embedding, the norms, the biases, and of an output layer of its own."""
    matrices = {f"{name}.weight" for name, module in model.named_modules()
                if isinstance(module, torch.nn.Linear) and ".layers." in name}
    return sum(weight.nbytes for name, weight in model.named_parameters() if name not in matrices)


sizes_mb = pd.DataFrame({"before": stored_bytes(full.model), "after": stored_bytes(quantised.model)}) / 1e6
sizes_mb["after / before"] = sizes_mb["after"] / sizes_mb["before"]
assert sizes_mb.loc["linear layers", "after"] < sizes_mb.loc["linear layers", "before"] / 3, "four bits should be small"
print("Megabytes:")
sizes_mb.round(3)

# %% [markdown]
# The linear layers shrink a lot; the whole model less, because the embedding does not shrink. The smaller a model,
# the larger this part. (Each layer also keeps two small tables, about 1 kB, which we left out.)

# %% [markdown]
# ## Size a model for a GPU
#
# Four terms: the linear layers at 4.127 bits; the rest in 16 bits; the **LoRA adapters**, the small matrices that
# lesson 03 trains beside the frozen weights; and the working memory of a training step.

# %% [markdown]
# A trained weight needs four numbers of 4 bytes: itself, its **gradient** (which way to move it), and two running
# means that **Adam**, the usual rule for the size of a step, keeps. So 16 bytes. The **rank** of an adapter is its
# width (lesson 03).

# %%
def memory(hidden, inner, layers, keys, vocabulary, tied, rank=16):
    """Gigabytes of a Llama-like model; ``keys`` is the width of keys and values, ``tied`` shares the output layer."""
    pairs = [(hidden, hidden)] * 2 + [(hidden, keys)] * 2 + [(hidden, inner)] * 3  # q o, k v, gate up down
    linear = layers * sum(a * b for a, b in pairs)
    rest = vocabulary * hidden * (1 if tied else 2)
    lora = layers * sum(rank * (a + b) for a, b in pairs)
    return {"weights (M)": (linear + rest) / 1e6, "float16 (GB)": 2 * (linear + rest) / 1e9,
            "NF4 + rest (GB)": (linear * double_bits / 8 + 2 * rest) / 1e9, "LoRA + Adam (GB)": 16 * lora / 1e9}


# %%
configurations = {
    "SmolLM2-360M": (960, 2560, 32, 320, 49152, True), "SmolLM2-1.7B": (2048, 8192, 24, 2048, 49152, True),
    "OLMo-2-0425-1B": (2048, 8192, 16, 2048, 100352, False), "Qwen2.5-1.5B": (1536, 8960, 28, 256, 151936, True),
    "Mistral-7B-v0.3": (4096, 14336, 32, 1024, 32768, False), "Qwen2.5-7B": (3584, 18944, 28, 512, 152064, False)}
needed = pd.DataFrame({name: memory(*sizes) for name, sizes in configurations.items()}).T
needed["sum (GB)"] = needed["NF4 + rest (GB)"] + needed["LoRA + Adam (GB)"]
needed.round(2)

# %% [markdown]
# Check the formula: the numbers of weights are known, and so are the bytes of the model that we have just measured.

# %%
known = {"SmolLM2-360M": 361.8, "SmolLM2-1.7B": 1711.4, "OLMo-2-0425-1B": 1484.9, "Qwen2.5-1.5B": 1543.7,
         "Mistral-7B-v0.3": 7248.0, "Qwen2.5-7B": 7615.6}  # millions, counted from the published configurations
error = max(abs(needed.loc[name, "weights (M)"] - value) / value for name, value in known.items())
assert error < 0.001, "norms and biases aside, the formula must count every weight"
print(f"Weights: the formula is right within {error:.2%} (it leaves out norms and biases).")
config = quantised.model.config
keys = config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
ours = memory(config.hidden_size, config.intermediate_size, config.num_hidden_layers, keys, config.vocab_size,
              config.tie_word_embeddings)
print(f"{study.preset}: formula {ours['weights (M)']:.2f} M weights, the loaded model {count / 1e6:.2f} M.")

# %% [markdown]
# **Does it fit?** A **T4**, the GPU that Colab lends for free, has about 15 GB. So even a 7B model (7 billion weights)
# fits before training begins. The step itself needs more: published T4 runs of Qwen2.5-7B went from 5.8 GB before to
# 7.9 GB at the peak (outputs stored in [unslothai/notebooks](https://github.com/unslothai/notebooks), rank 16). Leave
# 2 to 3 GB free.

# %% [markdown]
# **Predict.** Qwen2.5-7B in 4 bits fits on a T4 before training begins. Does a training step with 8 rows of 512 tokens
# still fit? What helps most: fewer bits, a smaller rank, or shorter rows? Decide first, then move the controls.
# (A **GiB** is 2 to the power of 30 bytes, 1.074 GB.)

# %%
show(widgets.memory_calculator())

# %% [markdown]
# The same without controls: all models with one setting, and three GPUs as lines. **Activations** are what the layers
# have computed and need again for the gradient; **logits** are one number for each token of the vocabulary. Both are
# the working memory of a step.

# %%
needed = {name: models.memory.estimate_trainer(shape, bits=4, rank=16, batch=8, tokens=128)
          for name, shape in models.memory.SHAPES.items()}
ax = plots.memory_bars(needed)
print(plots.describe_fits(needed))
assert needed["pocket"].total < needed["Qwen2.5-7B"].total, "more weights need more memory"
data_table(ax)

# %% [markdown]
# Activations grow with the number of rows and their length, so fewer and shorter rows help most. The published run
# above took 2 rows a step, and **gradient checkpointing**: most activations are thrown away and computed again when
# they are needed. That saves memory and costs time. The calculator leaves it out.

# %% [markdown]
# ### Exercise 02.4 · Will it fit?
#
# *Difficulty 2 of 3 · 10 minutes.* Return the gigabytes (a billion bytes) that training needs. `linear`, `rest` and
# `lora` are billions of weights: in NF4 with double quantisation (4.127 bits), in 16 bits, and trained (16 bytes).
# `working` is in gigabytes.
#
# Example: `gigabytes(8, 0, 0, 2)` is 8 x 4.127 / 8 + 2 = 6.127.

# %% tags=["exercise"]
def gigabytes(linear, rest, lora, working):
    """Memory for training: 4-bit layers, 16-bit rest, adapters with gradient and Adam, and the step itself."""
    ### BEGIN SOLUTION
    return linear * 4.127 / 8 + rest * 16 / 8 + lora * 16 + working
    ### END SOLUTION


# %%
check("02.4", gigabytes)

# %% [markdown]
# ## What does NF4 cost in knowledge?
#
# Now the question of this course. We ask both models the same facts, with four solved examples in front of each
# question, and compare their **greedy** answers (always the most likely token). An answer counts as right when it is
# letter for letter the right one: **exact match**.

# %%
import random

asked = by_relation(random.Random(0).sample(study.facts.test, min(240, len(study.facts.test))))
prompts = slick.draw_prompts(study.facts.exemplars, n_prompts=1, seed=0)


def answers_right(loaded):
    """For each asked fact, whether the greedy answer is exactly right."""
    return np.concatenate([scoring.exact_match(loaded.model, loaded.tokenizer, facts, prompts[relation][0])
                           for relation, facts in asked.items()])


before, after = answers_right(full), answers_right(quantised)

# %% [markdown]
# The two models answer the same questions, so we compare in pairs: only the facts where they differ tell anything. A
# **95 % interval** is made so that in 95 of 100 such samples it holds the true value.

# %%
n, lost, won = len(before), int((before & ~after).sum()), int((~before & after).sum())
change = 100 * (won - lost) / n
half = 196 * np.sqrt((won + lost) / n - ((won - lost) / n) ** 2) / np.sqrt(n)
print(f"n = {n} test facts, preset {study.preset}")
print(f"exact match before: {100 * before.mean():.1f} %, in NF4: {100 * after.mean():.1f} %")
print(f"lost {lost}, won {won}: {change:+.1f} points, 95 % interval {change - half:+.1f} to {change + half:+.1f}")
assert lost + won < n / 4, "NF4 should leave most answers as they were"

# %% [markdown]
# If zero lies in the interval, this sample shows no loss; it does not prove that there is none. Some answers change
# all the same: facts that the model hardly knew. From here on **the 4-bit model is our base model**: what it knows is
# measured on it, and it is the one we tune.

# %% [markdown]
# ## Quiz
#
# Five questions about this lesson. Choose, and read why.

# %%
quiz("02")

# %% [markdown]
# ## What to remember
#
# * Quantising replaces each weight by the nearest of a few levels; NF4 has 16, at the quantiles of a bell curve.
# * A block of 64 weights shares one scale, and the scales are quantised too: 4.127 bits a weight.
# * Memory = linear layers at 4.127 bits + the rest in 16 bits + 16 bytes for each LoRA weight + working memory.
# * Quantise first, then measure what the model knows.

# %% [markdown]
# ## Recall
#
# 1. Why are the NF4 levels not evenly spaced?
# 2. What do you gain, and what do you lose, with blocks of 256 instead of 64?
# 3. Why does a small model shrink less, as a whole, than a large one?
#
# **Next:** [03 · QLoRA](03_qlora.ipynb). The base is frozen in 4 bits; how can it learn anything?
