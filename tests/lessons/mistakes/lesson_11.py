"""Typical mistakes in lesson 11, and what must be said about them."""

MISTAKES = [
    ("11.1", "def question_and_answer(row):\n    if 'messages' in row:\n        first, second = row['messages'][:2]\n"
             "        return first['content'], second['content']\n    return tuple(row.values())[:2]\n",
     "You took the first two messages"),
    ("11.1", "def question_and_answer(row):\n    if 'messages' in row:\n"
             "        return tuple(turn for turn in row['messages'] if turn['role'] != 'system')\n"
             "    return tuple(row.values())[:2]\n", "You gave whole messages back"),
    ("11.1", "def question_and_answer(row):\n    if 'messages' in row:\n"
             "        said = {turn['role']: turn['content'] for turn in row['messages']}\n"
             "        return said['user'], said['assistant']\n    return row['question'], row['answer']\n", "KeyError"),
    ("11.1", "def question_and_answer(row):\n    if 'messages' in row:\n        *_, q, a = row['messages']\n"
             "        return q['content'], a['content']\n    if 'prompt' in row:\n"
             "        return row['completion'], row['prompt']\n    return row['answer'], row['question']\n",
     "the answer comes first in your pair"),
    ("11.2", "def plain(text):\n    return ' '.join(text.replace('-', ' ').replace('?', '').split())\n",
     "Capital letters are left"),
    ("11.2", "def plain(text):\n    return ''.join(c for c in text.lower() if c.isalnum() or c == ' ')\n",
     "two words melted into one"),
    ("11.2", "def plain(text):\n    return ''.join(c if c.isalnum() else ' ' for c in text.lower())\n",
     "Two spaces stand side by side"),
    ("11.2", "import re\n\ndef plain(text):\n    return ' '.join(re.findall('[a-z0-9]+', text.lower()))\n",
     "Letters with accents are gone"),
    ("11.2", "def plain(text):\n    letters = [c if c.isalpha() else ' ' for c in text.lower()]\n"
             "    return ' '.join(''.join(letters).split())\n", "Digits are gone"),
    ("11.3", "def decision(kinds, p_unknown):\n    if p_unknown >= 0.9:\n        return 'hold back'\n"
             "    return 'look at' if kinds or p_unknown > 0.1 else 'keep'\n", "this label means little"),
    ("11.3", "def decision(kinds, p_unknown):\n    if 'other form' in kinds:\n        return 'look at'\n"
             "    if p_unknown >= 0.9:\n        return 'hold back'\n"
             "    return 'look at' if p_unknown > 0.1 else 'keep'\n", "You kept a repeat"),
    ("11.3", "def decision(kinds, p_unknown):\n    if kinds == ['repeat']:\n        return 'hold back'\n    if kinds:\n"
             "        return 'look at'\n    return 'hold back' if p_unknown >= 0.9 else 'keep'\n",
     "the first line of the table fits"),
    ("11.3", "def decision(kinds, p_unknown):\n    if 'repeat' in kinds or 'in the test set' in kinds:\n"
             "        return 'hold back'\n    if kinds:\n        return 'look at'\n"
             "    return 'hold back' if p_unknown >= 0.5 else 'keep'\n", "a coin flip"),
    ("11.4", "def slips(p_unknown, sure):\n    return (sum(p >= sure for p in p_unknown),\n"
             "            sum(p <= 1 - sure for p in p_unknown))\n", "You counted the rows"),
    ("11.4", "def slips(p_unknown, sure):\n    held = sum(p for p in p_unknown if p >= sure)\n"
             "    return held, sum(1 - p for p in p_unknown if p <= 1 - sure)\n", "You turned the two around"),
    ("11.4", "def slips(p_unknown, sure):\n    held = sum(1 - p for p in p_unknown if p >= sure)\n"
             "    return held, sum(p for p in p_unknown if p < sure)\n", "neither held nor kept"),
]
