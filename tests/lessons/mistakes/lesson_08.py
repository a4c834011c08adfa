"""Typical mistakes in lesson 08, and what must be said about them."""

INTERVAL = ("import numpy as np\nfrom scipy import stats\n\n\ndef interval(values):\n    n = len(values)\n"
            "    half = {}\n    return np.mean(values) - half, np.mean(values) + half\n")
PREDICTED = ("def predicted(b0, b_kn, b_unk, unknown_percent, known_fitted, unknown_fitted):\n"
             "    share = unknown_percent / 100\n    return {}\n")

MISTAKES = [
    ("08.1", "def largest_fall(early, late):\n    return min(late, key=late.get)\n", "At 100 % the accuracy is lowest"),
    ("08.1", "def largest_fall(early, late):\n    return max(early[p] - late[p] for p in early)\n",
     "You gave the size of the fall"),
    ("08.1", "def largest_fall(early, late):\n    return max(early, key=lambda p: late[p] - early[p])\n",
     "the right way around"),
    ("08.2", INTERVAL.format("stats.t.ppf(0.975, n - 1) * np.std(values) / np.sqrt(n)"), "divides by n - 1"),
    ("08.2", INTERVAL.format("stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1)"), "forgot the root of n"),
    ("08.2", INTERVAL.format("1.96 * np.std(values, ddof=1) / np.sqrt(n)"), "Student's t is 4.30"),
    ("08.2", INTERVAL.format("stats.t.ppf(0.95, n - 1) * np.std(values, ddof=1) / np.sqrt(n)"), "take it at 0.975"),
    ("08.3", "def paired_difference(first, second):\n"
             "    return sum(first.values()) / len(first) - sum(second.values()) / len(second)\n",
     "You compared the two means"),
    ("08.3", "def paired_difference(first, second):\n"
             "    return sum(first[s] - second[s] for s in first if s in second) / len(first)\n",
     "Only seed 0 makes a pair"),
    ("08.4", PREDICTED.format("b0 + b_kn * known_fitted / 100 + b_unk * unknown_fitted / 100"),
     "not with its share of |D|"),
    ("08.4", PREDICTED.format("b0 + b_kn * share * known_fitted / 100 + b_unk * (1 - share) * unknown_fitted / 100"),
     "You swapped the two shares"),
    ("08.4", PREDICTED.format("b0 + b_kn * (1 - share) * known_fitted + b_unk * share * unknown_fitted + 100"),
     "divide by 100"),
]
