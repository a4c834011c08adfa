"""Typical mistakes in lesson 03, and what must be said about them."""

MISTAKES = [
    ("03.1", "def lora_weights(shapes, rank):\n    return sum(rank * a * b for a, b in shapes)\n", "add the two"),
    ("03.1", "def lora_weights(shapes, rank):\n    return sum(rank * b for a, b in shapes)\n",
     "one of the two matrices"),
    ("03.1", "def lora_weights(shapes, rank):\n    return sum(a * b for a, b in shapes)\n", "You counted W itself"),
    ("03.2", "def merged(W, A, B, alpha):\n    return W + alpha * (B @ A)\n", "You scaled by alpha"),
    ("03.2", "def merged(W, A, B, alpha):\n    return W + B @ A\n", "scale alpha / r is missing"),
    ("03.2", "def merged(W, A, B, alpha):\n    return alpha / len(A) * (B @ A)\n", "Add it to W"),
    ("03.2", "def merged(W, A, B, alpha):\n    return W + alpha / len(A) * (A @ B)\n",
     "Your code stopped with ValueError"),
    ("03.3", "def diagnose(labels, start, end):\n    if labels[-1] != end:\n        return 'no end'\n"
             "    return 'question counted' if labels[0] != -100 else 'fine'\n", "has both mistakes"),
    ("03.3", "def diagnose(labels, start, end):\n    if labels[0] != -100:\n        return 'question counted'\n"
             "    return 'fine' if labels[-1] == end else 'no end'\n", "Look at all places before it"),
    ("03.4", "import math\n\n\ndef mean_surprise(probabilities):\n    return sum(math.log(p) for p in probabilities)\n",
     "MINUS the logarithm"),
    ("03.4", "import math\n\n\ndef mean_surprise(probabilities):\n    return -sum(map(math.log, probabilities))\n",
     "You have the sum"),
    ("03.4", "import math\n\n\ndef mean_surprise(probabilities):\n"
             "    return -sum(map(math.log2, probabilities)) / len(probabilities)\n", "base 2"),
]
