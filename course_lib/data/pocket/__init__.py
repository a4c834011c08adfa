"""The pocket world: invented facts, a small Llama that has read them, and the record of how often it read each.

Everything is shipped beside this file: ``facts.json``, ``model/`` (safetensors and tokenizer) and
``provenance.json`` (seeds, versions, command, SHA-256 sums). ``course pocket build`` makes it all again.
"""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__, "build", "pretrain", corpus="CorpusConfig make_corpus", schema="SCHEMAS",
    world="FOLDER PocketFact WorldConfig exposures fact_set load make_world read_world")
