"""Facts, the questions that ask for them, the data sets that hold them, and the numbers that the paper printed."""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__, "entityquestions", "facts", "paper", "pocket", datasets="DATASETS Dataset load_questions",
    facts="QUESTIONS Fact FactSet by_relation",
    questions="Problem Question QuestionSet read_file")
