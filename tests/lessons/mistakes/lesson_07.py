"""Typical mistakes in the exercises of lesson 07, each with a part of the reason that the learner must be told."""

PATIENCE = "def stopped_after(dev, patience):\n"

MISTAKES = [
    ("07.1", "def early_stop(table):\n    return max(table.to_dict('records'), key=lambda row: row['dev'])\n",
     "The untuned model does not count"),
    ("07.1", "def early_stop(table):\n    best = None\n    for row in table.to_dict('records')[1:]:\n"
             "        if best is None or row['dev'] >= best['dev']:\n            best = row\n    return best\n",
     "The first one counts"),
    ("07.1", "def early_stop(table):\n    return max(table.to_dict('records')[1:], key=lambda row: row['test'])\n",
     "The test questions take no part in the choice"),
    ("07.1", "def early_stop(table):\n    return table['dev'][1:].idxmax()\n", "Give the whole row"),
    ("07.2", f"{PATIENCE}    waited = 0\n    for epoch in range(1, len(dev)):\n"
             "        waited = 0 if dev[epoch] > dev[epoch - 1] else waited + 1\n"
             "        if waited == patience:\n            return epoch + 1\n    return len(dev)\n",
     "equals the best and does not beat it"),
    ("07.2", f"{PATIENCE}    best, waited = dev[0], 0\n    for epoch, accuracy in enumerate(dev):\n"
             "        waited = 0 if epoch == 0 or accuracy > best else waited + 1\n        best = max(best, accuracy)\n"
             "        if waited == patience:\n            return epoch\n    return len(dev)\n", "Epochs count from 1"),
    ("07.2", f"{PATIENCE}    best, waited = dev[0], 0\n    for epoch, accuracy in enumerate(dev, start=1):\n"
             "        waited += epoch > 1 and accuracy <= best\n        best = max(best, accuracy)\n"
             "        if waited == patience:\n            return epoch\n    return len(dev)\n",
     "start again at 0 after each new best"),
    ("07.2", f"{PATIENCE}    return dev.index(max(dev)) + 1\n", "2 is the best epoch"),
    ("07.3", "def lost_and_gained(early, late):\n    fall = sum(early) - sum(late)\n"
             "    return max(fall, 0), max(-fall, 0)\n", "You counted the difference"),
    ("07.3", "def lost_and_gained(early, late):\n    pairs = list(zip(early, late))\n"
             "    return sum(b and not a for a, b in pairs), sum(a and not b for a, b in pairs)\n", "lost first"),
    ("07.3", "def lost_and_gained(early, late):\n    return sum(early), sum(late)\n", "right answers of both models"),
    ("07.4", "def errors_above(share, chance, n):\n    return (share - chance) / (share * (1 - share) / n) ** 0.5\n",
     "use the chance"),
    ("07.4", "def errors_above(share, chance, n):\n    return (share - chance) / (chance * (1 - chance) / n)\n",
     "you divided by the variance"),
    ("07.4", "def errors_above(share, chance, n):\n    return (share - chance) / (chance * (1 - chance)) ** 0.5\n",
     "n is missing"),
]
