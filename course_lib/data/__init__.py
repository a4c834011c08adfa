"""Facts, questions and the numbers of the paper."""
