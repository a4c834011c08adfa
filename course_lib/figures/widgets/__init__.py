"""Widgets: thin layers of controls over functions that compute and draw; each of these works alone too.

Display one by ``show(widget)``, so that it leaves a text in a stored notebook.
"""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__,
    display="show",
    explorers="ask_the_model curve_explorer knowledge_explorer memory_calculator mixing_board nf4_explorer",
    ask_model="a_few ask certainty_bars describe_asked describe_many",
    board="board_bars board_grid describe_board examples",
    fact_browser="GRID Browse browse",
    live_training="describe_training training_snapshots watch_training")
