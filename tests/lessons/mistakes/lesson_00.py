"""Typical mistakes in lesson 00, and what must be said about them."""

MISTAKES = [
    ("00.1", "def percent(right, asked):\n    return right / asked\n", "asks for percent"),
    ("00.1", "def percent(right, asked):\n    return 100 * asked / right\n", "You divided asked by right"),
    ("00.1", "def percent(right, asked):\n    return 100 * right // asked\n", "You rounded down"),
    ("00.1", "def percent(right, asked):\n    print(100 * right / asked)\n", "did you forget `return`?"),
    ("00.2", "def prompt_text(solved, question):\n"
             "    text = ''\n    for q, a in solved:\n        text += f'Q: {q}\\nA: {a}\\n'\n"
             "    return text + f'Q: {question}\\nA: '\n", "Something stands behind the last `A:`"),
    ("00.2", "def prompt_text(solved, question):\n"
             "    text = ''\n    for q, a in solved:\n        text += f'Q: {q}\\nA: {a}\\n'\n"
             "    return text + f'Q: {question}'\n", "The prompt ends with the question"),
    ("00.2", "def prompt_text(solved, question):\n"
             "    text = ''\n    for q, a in solved:\n        text += f'Q: {q}\\nA: {a}'\n"
             "    return text + f'Q: {question}\\nA:'\n", "New lines are missing"),
    ("00.2", "def prompt_text(solved, question):\n"
             "    text = f'Q: {question}\\nA:\\n'\n    for q, a in solved:\n        text += f'Q: {q}\\nA: {a}\\n'\n"
             "    return text\n", "It has to come last"),
    ("00.2", "def prompt_text(solved, question):\n"
             "    return f'Q: {solved[0][0]}\\nA: {solved[0][1]}\\nQ: {question}\\nA:'\n", "two solved questions"),
    ("00.3", "def greedy(probabilities):\n    return max(probabilities.values())\n",
     "You return the highest probability"),
    ("00.3", "def greedy(probabilities):\n    return max(probabilities)\n", "give max() a `key`"),
    ("00.3", "def greedy(probabilities):\n    return min(probabilities, key=probabilities.get)\n",
     "lowest probability"),
]
