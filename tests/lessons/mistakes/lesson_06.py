"""Typical mistakes in the exercises of lesson 06, each with a part of the reason that the learner must be told."""

MISTAKES = [
    ("06.1", "def rows_of(counts, rule):\n    return min(counts.values())\n", "the three Known categories together"),
    ("06.1", "def rows_of(counts, rule):\n"
             "    return min(counts.values()) if rule == 'category' else counts['Unknown']\n",
     "here the 5 Known ones are fewer"),
    ("06.1", "def rows_of(counts, rule):\n"
             "    return max(counts.values()) if rule == 'category' else counts['Unknown']\n", "the largest category"),
    ("06.2", "def unknown_rows(sizes, percent):\n    return [round(size * percent / 100) for size in sizes]\n",
     "give 10 Unknown rows together, and 7.5 are meant"),
    ("06.2", "def unknown_rows(sizes, percent):\n    return [int(size * percent / 100) for size in sizes]\n",
     "give 5 Unknown rows together, and 7.5 are meant"),
    ("06.2", "def unknown_rows(sizes, percent):\n    return [size * percent / 100 for size in sizes]\n",
     "1.5 is no whole number of rows"),
    ("06.2", "def unknown_rows(sizes, percent):\n    rows = [int(size * percent / 100) for size in sizes]\n"
             "    rows[0] += round(sum(sizes) * percent / 100) - sum(rows)\n    return rows\n",
     "Spread the rounding over all relations"),
    ("06.3", "def common(x, y):\n    return min(x, y) / 100\n", "0.25 are the common Unknown rows"),
    ("06.3", "def common(x, y):\n    return 1 - (y - x) / 100\n", "the order of the two must not matter"),
    ("06.3", "def common(x, y):\n    return 100 - abs(x - y)\n", "75 is in percent"),
    ("06.4", "def without_unknown(rows):\n    return tuple(row for row in rows if row.category == 'HighlyKnown')\n",
     "Some Known rows are missing"),
    ("06.4", "def without_unknown(rows):\n    known = [row for row in rows if not row.unknown]\n"
             "    return tuple(known[i % len(known)] for i in range(len(rows)))\n", "D_Known is smaller than D"),
    ("06.4", "def without_unknown(rows):\n    return [row for row in rows if not row.unknown]\n", "Make it a tuple"),
    ("06.4", "def without_unknown(rows):\n    return tuple(row.fact for row in rows if not row.unknown)\n",
     "Give whole rows"),
]
