"""Typical mistakes in lesson 09, and what must be said about them."""

MISTAKES = [
    ("09.1", "def full_by_hand(by_category, counts):\n    return sum(by_category.values()) / len(by_category)\n",
     "plain mean of the accuracies"),
    ("09.1", "def full_by_hand(by_category, counts):\n    return sum(by_category[k] * n for k, n in counts.items())\n",
     "Divide it by the number of all questions"),
    ("09.2", "def t_of(gaps):\n    return gaps.mean() / (gaps.std() / len(gaps) ** 0.5)\n", "divides by n - 1"),
    ("09.2", "import numpy as np\n\n\ndef t_of(gaps):\n    return np.mean(gaps) / np.std(gaps, ddof=1)\n",
     "divide s by sqrt(n)"),
    ("09.2", "import numpy as np\n\n\ndef t_of(gaps):\n    np.mean(gaps)\n", "did you forget `return`?"),
    ("09.3", "def believable(p, low, high):\n    return p < 0.05 or low > 0 or high < 0\n", "join them by `and`"),
    ("09.3", "def believable(p, low, high):\n    return p < 0.05 and low > 0\n", "may be negative"),
    ("09.3", "def believable(p, low, high):\n    return p <= 0.05 and low * high > 0\n", "not below .05"),
    ("09.4", "def point_of(called, right):\n    return 100 * called.mean(), 100 * (called & right).mean()\n",
     "among ALL questions"),
    ("09.4", "def point_of(called, right):\n    return 100 * called.mean(), 100 * right.mean()\n",
     "Only those of called questions"),
    ("09.4", "def point_of(called, right):\n    return called.mean(), right[called].mean()\n", "asks for percent"),
]
