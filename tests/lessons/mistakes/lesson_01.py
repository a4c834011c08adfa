"""Typical mistakes in lesson 01, and what must be said about them."""

FIRST = "def first_choice(prompt_is_enough, needs_a_program, facts_are_missing):\n"
PROMPT = "    if prompt_is_enough:\n        return 'prompt'\n"
TOOL = "    if needs_a_program:\n        return 'tool'\n"
FACTS = "    if facts_are_missing:\n        return 'retrieval'\n"
PLAIN = "    seen = {question.lower() for question in train}\n"

MISTAKES = [
    ("01.1", f"{FIRST}{PROMPT}{TOOL}    return 'fine-tune'\n", "You fine-tune when facts are missing"),
    ("01.1", f"{FIRST}{FACTS}{PROMPT}{TOOL}    return 'fine-tune'\n", "comes first, whatever else holds"),
    ("01.1", f"{FIRST}{PROMPT}{FACTS}{TOOL}    return 'fine-tune'\n", "tool before retrieval"),
    ("01.1", f"{FIRST}{PROMPT}{TOOL}    return 'retrieval'\n", "expected 'fine-tune', got 'retrieval'"),
    ("01.2", "def leaked(train, held_out):\n    return [question for question in held_out if question in train]\n",
     "letter by letter"),
    ("01.2", f"def leaked(train, held_out):\n{PLAIN}    return [q for q in held_out if q.lower() in seen]\n",
     "Spaces still matter"),
    ("01.2", "def leaked(train, held_out):\n    return len(set(train) & set(held_out))\n", "asks for the questions"),
    ("01.2", "def leaked(train, held_out):\n    plain = [' '.join(q.lower().split()) for q in train]\n"
     "    return [q for q in (' '.join(q.lower().split()) for q in held_out) if q in plain]\n",
     "as they are written in held_out"),
    ("01.3", 'safe = {"a": True, "b": False, "c": False, "d": False, "e": True}\n', "the answer can be read there"),
    ("01.3", 'safe = {"a": True, "b": False, "c": True, "d": True, "e": True}\n', "d has no passage"),
    ("01.3", 'safe = {"a": True, "b": True, "c": True, "d": False, "e": True}\n', "The name is a new fact"),
    ("01.3", 'safe = {"a": False, "b": False, "c": True, "d": False, "e": True}\n', "Row a holds no fact"),
    ("01.3", 'safe = {"a": True}\n', "Give all five rows"),
    ("01.4", "def swaps(before, after):\n    return sum(after) - sum(before), sum(before) - sum(after)\n",
     "They hide the swaps"),
    ("01.4", "def swaps(before, after):\n    return sum(after), sum(before)\n", "Count the questions that changed"),
    ("01.4", "def swaps(before, after):\n    pairs = list(zip(before, after))\n"
     "    return sum(b and not a for b, a in pairs), sum(a and not b for b, a in pairs)\n", "wrong way round"),
    ("01.5", "def rows_needed(curve, reference):\n"
     "    return next((n for n in sorted(curve) if curve[n] >= 0.9 * reference), None)\n", "falls below again"),
    ("01.5", "def rows_needed(curve, reference):\n    needed = None\n    for n in sorted(curve, reverse=True):\n"
     "        if curve[n] < reference:\n            break\n        needed = n\n    return needed\n",
     "Nine tenths of it are enough"),
    ("01.5", "def rows_needed(curve, reference):\n    needed = max(curve)\n    for n in sorted(curve, reverse=True):\n"
     "        if curve[n] < 0.9 * reference:\n            break\n        needed = n\n    return needed\n",
     "give None, not a size"),
]
