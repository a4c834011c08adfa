"""Typical mistakes in lesson 10, and what must be said about them."""

MISTAKES = [
    ("10.1", "def over_all(accuracy, answered):\n    return accuracy * answered\n", "Divide by 100 once"),
    ("10.1", "def over_all(accuracy, answered):\n    return accuracy\n", "The declined ones count as well"),
    ("10.2", "def wrong_over_all(accuracy, answered):\n    return 100 - accuracy * answered / 100\n",
     "counted the declined questions as wrong"),
    ("10.2", "def wrong_over_all(accuracy, answered):\n    return 100 - accuracy\n", "among the answered ones"),
    ("10.3", "def selectivity(declined):\n    return declined['Unknown'] - declined['HighlyKnown']\n",
     "compared with HighlyKnown alone"),
    ("10.3", "def selectivity(declined):\n    return declined['Unknown'] - sum(declined.values()) / len(declined)\n",
     "Your mean holds Unknown too"),
    ("10.3", "def selectivity(declined):\n    known = [v for k, v in declined.items() if k != 'Unknown']\n"
             "    return sum(known) / len(known) - declined['Unknown']\n", "The sign is turned around"),
    ("10.4", "def best_remedy(remedies, price):\n    return max(remedies, key=lambda name: remedies[name][0])\n",
     "Does your code use the price?"),
    ("10.4", "def best_remedy(remedies, price):\n    return min(remedies, key=lambda name: remedies[name][1])\n",
     "At price 0 a wrong answer costs nothing"),
]
