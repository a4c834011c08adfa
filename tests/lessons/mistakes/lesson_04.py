"""Typical mistakes in lesson 04, and what must be said about them."""

MISTAKES = [
    ("04.1", "def leaks(train_file, test_file):\n    return [r['subject'] for r in train_file if r in test_file]\n",
     "You found none"),
    ("04.1", "def leaks(train_file, test_file):\n"
             "    tested = {r['subject'] for r in test_file if len(r['answers']) == 1}\n"
             "    return [r['subject'] for r in train_file if r['subject'] in tested]\n", "Cem is missing"),
    ("04.1", "def leaks(train_file, test_file):\n    answers = {a for r in test_file for a in r['answers']}\n"
             "    return [r['subject'] for r in train_file if set(r['answers']) & answers]\n",
     "Ana is not asked about"),
    ("04.1", "def leaks(train_file, test_file):\n"
             "    return {r['subject'] for r in train_file} & {r['subject'] for r in test_file}\n", "no order"),
    ("04.2", "def exact(generated, answer):\n    return answer in generated\n", "not a part of it"),
    ("04.2", "def exact(generated, answer):\n    return generated.split('\\n')[0].strip().lower() == answer.lower()\n",
     "does not change letters"),
    ("04.2", "def exact(generated, answer):\n    return generated.strip() == answer\n", "Look at the first line only"),
    ("04.3", "def fair_score(score, truly_wrong):\n    return score + 100 - truly_wrong\n", "You added 10 points"),
    ("04.3", "def fair_score(score, truly_wrong):\n    return score * (2 - truly_wrong / 100)\n",
     "a tenth of the right answers"),
    ("04.3", "def fair_score(score, truly_wrong):\n    return score + truly_wrong / 100 * (100 - score)\n",
     "only 10 of 100 are forgiven"),
    ("04.4", "from collections import Counter\n\n\ndef majority_share(train_answers, test_answers):\n"
             "    return 100 * Counter(test_answers).most_common(1)[0][1] / len(test_answers)\n",
     "most common TEST answer"),
    ("04.4", "from collections import Counter\n\n\ndef majority_share(train_answers, test_answers):\n"
             "    return 100 * Counter(train_answers).most_common(1)[0][1] / len(train_answers)\n",
     "share in the training answers"),
]
