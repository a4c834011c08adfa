"""Typical mistakes in lesson 02, and what must be said about them."""

MISTAKES = [
    ("02.1", "def nearest(value, levels):\n    return min(levels, key=lambda level: abs(level - value))\n",
     "You return the level itself"),
    ("02.1", "def nearest(value, levels):\n"
             "    return min(range(len(levels)), key=lambda place: levels[place] - value)\n", "A distance has no sign"),
    ("02.1", "def nearest(value, levels):\n    return sum(level <= value for level in levels) - 1\n",
     "You took the next level below"),
    ("02.1", "def nearest(value, levels):\n    return sum(level < value for level in levels)\n",
     "You took the next level above"),
    ("02.1", "def nearest(value, levels):\n"
             "    return 1 + min(range(len(levels)), key=lambda place: abs(levels[place] - value))\n",
     "You count from 1"),
    ("02.2", "def bits_a_weight(block):\n    return 4 + 32\n", "You count a whole scale for each weight"),
    ("02.2", "def bits_a_weight(block):\n    return 4 + block / 32\n", "It is the other way round"),
    ("02.2", "def bits_a_weight(block):\n    return 32 / block\n", "The code's 4 bits come on top"),
    ("02.2", "def bits_a_weight(block):\n    return 4 + 4 / block\n", "that is 32 bits"),
    ("02.2", "def bits_a_weight(block):\n    return 4.5\n", "blocks of 128: expected 4.25, got 4.5"),
    ("02.3", "import numpy as np\n\n\ndef int4(block):\n    scale = block.max() / 7\n"
             "    return np.round(block / scale) * scale\n", "take the absolute value before max()"),
    ("02.3", "import numpy as np\n\n\ndef int4(block):\n    scale = np.abs(block).max() / 7\n"
             "    return np.round(block / scale)\n", "These are the codes"),
    ("02.3", "import numpy as np\n\n\ndef int4(block):\n    scale = np.abs(block).max() / 8\n"
             "    return np.round(block / scale) * scale\n", "divided by 8"),
    ("02.3", "import numpy as np\n\n\ndef int4(block):\n    scale = np.abs(block).max() / 7\n"
             "    return np.trunc(block / scale) * scale\n", "You cut the digits off"),
    ("02.3", "import numpy as np\n\n\ndef int4(block):\n    scale = np.abs(block).max() / 7\n"
             "    return block / scale * scale\n", "They must be rounded in between"),
    ("02.4", "def gigabytes(linear, rest, lora, working):\n"
             "    return linear * 4.127 + rest * 2 + lora * 16 + working\n", "divide by 8"),
    ("02.4", "def gigabytes(linear, rest, lora, working):\n"
             "    return linear * 4 / 8 + rest * 2 + lora * 16 + working\n", "The scales count too"),
    ("02.4", "def gigabytes(linear, rest, lora, working):\n"
             "    return linear * 4.127 / 8 + rest * 16 + lora * 16 + working\n", "not 16 bytes"),
    ("02.4", "def gigabytes(linear, rest, lora, working):\n"
             "    return (linear + rest) * 4.127 / 8 + lora * 16 + working\n", "You quantised the rest as well"),
    ("02.4", "def gigabytes(linear, rest, lora, working):\n"
             "    return linear * 4.127 / 8 + rest * 2 + lora * 4 + working\n", "its gradient and two numbers of Adam"),
    ("02.4", "def gigabytes(linear, rest, lora, working):\n"
             "    return linear * 4.127 / 8 + rest * 2 + lora * 16\n", "expected 6.127"),
]
