"""Typical mistakes in the exercises of lesson 05, each with a part of the reason that the learner must be told."""

SOFTMAX = "    p = np.exp(z - z.max())\n    return p / p.sum()\n"
SAMPLER = "import numpy as np\n\n\ndef sampler(logits, temperature, top_k):\n"

MISTAKES = [
    ("05.1", f"{SAMPLER}    z = np.asarray(logits, float) * temperature\n"
             f"    z[z < np.sort(z)[-top_k]] = -np.inf\n{SOFTMAX}", "you multiplied by the temperature"),
    ("05.1", f"{SAMPLER}    z = np.asarray(logits, float) / temperature\n    p = np.exp(z) / np.exp(z).sum()\n"
             f"    p[p < np.sort(p)[-top_k]] = 0\n    return p\n", "the probabilities sum to 0.910"),
    ("05.1", f"{SAMPLER}    z = np.asarray(logits, float) / temperature\n{SOFTMAX}",
     "the third token still has probability 0.090"),
    ("05.1", f"{SAMPLER}    z = np.asarray(logits, float)\n    z[z < np.sort(z)[-top_k]] = -np.inf\n"
             f"    p = np.exp(z) / np.exp(z).sum() / temperature\n    return p / p.sum()\n",
     "the temperature has no effect"),
    ("05.2", "def category(p_greedy, p_sampled):\n    if p_greedy == 1:\n        return 'HighlyKnown'\n"
             "    if p_greedy > 0:\n        return 'MaybeKnown'\n    return 'Unknown'\n",
     "you counted a wrong greedy answer as Unknown; Unknown also needs no right sample"),
    ("05.2", "def category(p_greedy, p_sampled):\n    if p_greedy > 0.5:\n        return 'HighlyKnown'\n"
             "    if p_greedy > 0:\n        return 'MaybeKnown'\n"
             "    return 'WeaklyKnown' if p_sampled > 0 else 'Unknown'\n", "needs every greedy answer right"),
    ("05.2", "def category(p_greedy, p_sampled):\n    if p_greedy == p_sampled == 1:\n        return 'HighlyKnown'\n"
             "    if p_greedy > 0:\n        return 'MaybeKnown'\n"
             "    return 'WeaklyKnown' if p_sampled > 0 else 'Unknown'\n", "the greedy answers alone decide"),
    ("05.2", "def category(p_greedy, p_sampled):\n    if p_greedy == 1:\n        return 'Highly Known'\n"
             "    if p_greedy > 0:\n        return 'MaybeKnown'\n"
             "    return 'WeaklyKnown' if p_sampled > 0 else 'Unknown'\n", "got 'Highly Known'"),
    ("05.3", "import numpy as np\n\n\ndef prob_unknown(p, samples=16):\n"
             "    return (1 - np.mean(p)) ** (samples * len(p))\n", "you averaged the chances first"),
    ("05.3", "import numpy as np\n\n\ndef prob_unknown(p, samples=16):\n"
             "    return 1 - np.prod((1 - np.asarray(p)) ** samples)\n", "the probability of WeaklyKnown"),
    ("05.3", "import numpy as np\n\n\ndef prob_unknown(p, samples=16):\n    return np.prod(1 - np.asarray(p))\n",
     "Each of the samples must miss"),
    ("05.3", "import numpy as np\n\n\ndef prob_unknown(p, samples=16):\n    return (1 - np.asarray(p)) ** samples\n",
     "You give 2 numbers, one a prompt"),
    ("05.4", "def disagreement(parts):\n    return parts[2] * parts[3]\n", "The other way round they differ as well"),
    ("05.4", "def disagreement(parts):\n    return sum(part**2 for part in parts)\n", "that the teams agree"),
    ("05.4", "def disagreement(parts):\n    return 1 - max(parts)\n", "Both teams draw, and both may miss it"),
    ("05.5", "def separation_by_hand(yes, no):\n"
             "    return sum(high > low for high in yes for low in no) / (len(yes) * len(no))\n", "a tie counts half"),
    ("05.5", "def separation_by_hand(yes, no):\n    return float(sum(yes) / len(yes) > sum(no) / len(no))\n",
     "not their means"),
    ("05.5", "def separation_by_hand(yes, no):\n"
             "    return sum((high < low) + 0.5 * (high == low) for high in yes for low in no) / 4\n",
     "the pairs in which no is higher"),
]
