"""The parts of the pocket world: 19 relations, the names of their subjects and the pools of their objects.

The relations are the paper's 12 (in distribution) and 7 (out of distribution). Every name is invented, so no
fact can be known from anywhere but the corpus. Three kinds of relation:

* **unique**: every subject has an object of its own (a spouse, a capital);
* **pool**: the object is one of some dozens (a country, an author);
* **two grains**: the same answer can be given fine or coarse, as in Wikidata (a city or its region). Which of the
  two is the gold answer differs from fact to fact, so a model that knows the fact still has to read from the
  prompt which grain is wanted. This is what makes MaybeKnown facts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["SCHEMAS", "NameMaker", "Pools", "Schema"]


@dataclass(frozen=True, slots=True)
class Schema:
    """The generation and the wordings of one relation.

    ``objects`` names a pool of :class:`Pools`, or the kind of a unique object. ``wordings`` are statements with
    ``{s}`` for the subject and ``{o}`` for the object.
    """

    relation: str
    subject: str
    objects: str
    wordings: tuple[str, str, str]
    unique: bool = False

    @property
    def two_grains(self) -> bool:
        """True where an answer exists in a fine and a coarse form."""
        return self.objects in Pools.GRAINED


SCHEMAS: dict[str, Schema] = {schema.relation: schema for schema in (
    Schema("P131", "site", "city", ("{s} is located in {o}.", "{s} lies in {o}.", "You will find {s} in {o}.")),
    Schema("P136", "band", "genre", ("{s} plays {o}.", "The music of {s} is {o}.", "{s} is known for {o} records.")),
    Schema("P17", "river", "country", ("{s} is located in {o}.", "{s} is a place in {o}.", "{s} belongs to {o}.")),
    Schema("P19", "person", "city", ("{s} was born in {o}.", "{s} comes from {o}.", "The birthplace of {s} is {o}.")),
    Schema("P26", "person", "person", ("{s} is married to {o}.", "{s} wed {o}.", "The spouse of {s} is {o}."), True),
    Schema("P264", "band", "label", ("{s} is signed to {o}.", "{s} records for {o}.", "The label of {s} is {o}.")),
    Schema("P36", "state", "town", ("The capital of {s} is {o}.", "{s} is governed from {o}.",
                                    "The seat of {s} is {o}."), True),
    Schema("P40", "person", "person", ("{s} is the parent of {o}.", "{s} has a child, {o}.",
                                       "The child of {s} is {o}."), True),
    Schema("P495", "film", "country", ("{s} was created in {o}.", "{s} comes from {o}.", "{s} was made in {o}.")),
    Schema("P69", "person", "school", ("{s} was educated at {o}.", "{s} studied at {o}.", "{s} graduated from {o}.")),
    Schema("P740", "firm", "city", ("{s} was founded in {o}.", "{s} began in {o}.", "{s} was set up in {o}.")),
    Schema("P800", "person", "book", ("{s} is famous for {o}.", "{s} is known for {o}.",
                                      "The great work of {s} is {o}."), True),
    Schema("P127", "site", "owner", ("{s} is owned by {o}.", "The owner of {s} is {o}.", "{s} belongs to {o}.")),
    Schema("P50", "book", "author", ("{s} was written by {o}.", "The author of {s} is {o}.", "{o} wrote {s}.")),
    Schema("P407", "book", "language", ("{s} was written in {o}.", "The language of {s} is {o}.",
                                        "{s} is a book in {o}.")),
    Schema("P176", "device", "owner", ("{s} is produced by {o}.", "The maker of {s} is {o}.", "{o} makes {s}.")),
    Schema("P170", "hero", "author", ("{s} was created by {o}.", "The creator of {s} is {o}.", "{o} invented {s}.")),
    Schema("P175", "song", "singer", ("{s} was performed by {o}.", "The singer of {s} is {o}.", "{o} sang {s}.")),
    Schema("P112", "firm", "person", ("{s} was founded by {o}.", "The founder of {s} is {o}.", "{o} founded {s}."),
           True),
)}

ONSETS = ("b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh st t th tr v w z").split()
VOWELS = ("a e i o u ai ea ia io oa ou").split()
CODAS = ("", "", "", "l", "m", "n", "r", "s", "nd", "rn", "sk", "th", "x")
TAILS = {"site": (" Hall", " Bridge", " Park", " Tower"), "river": (" River", " Valley", " Lake"),
         "state": (" Province",), "firm": (" Works", " Brothers", " & Co"), "film": (" Nights", " Returns", " Story"),
         "device": (" 3", " 5", " X"), "song": (" Blues", " Serenade", " Waltz"), "label": (" Records",),
         "school": (" College",)}
HEADS = {"book": ("The ", "A "), "band": ("The ",), "hero": ("Captain ", "Lady ", "Old ")}


class NameMaker:
    """Invented names, each given once, drawn from one random generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.given: set[str] = set()
        self.first = [self.word(2) for _ in range(150)]

    def word(self, syllables: int) -> str:
        """A new capitalised word of that many syllables."""
        while True:
            parts = [self.rng.choice(ONSETS) + self.rng.choice(VOWELS) for _ in range(syllables)]
            word = ("".join(parts) + self.rng.choice(CODAS)).capitalize()
            if word not in self.given:
                self.given.add(word)
                return word

    def name(self, kind: str) -> str:
        """A new name of a kind of thing: a person has two words, a river ends in " River" and so on."""
        if kind == "person":
            return f"{self.rng.choice(self.first)} {self.word(2)}"
        head = self.rng.choice(HEADS.get(kind, ("",)))
        return head + self.word(self.rng.choice((2, 3))) + self.rng.choice(TAILS.get(kind, ("",)))


class Pools:
    """The objects that many facts share, and the coarse form of each fine one."""

    SIZES = {"country": 80, "author": 80, "language": 60, "singer": 80}
    # fine pool -> (fine answers, coarse answers, kind of the fine name, kind of the coarse name)
    GRAINED = {"city": (120, 50, "town", "state"), "genre": (100, 40, "town", "town"),
               "label": (100, 40, "label", "firm"), "school": (100, 40, "school", "town"),
               "owner": (100, 40, "firm", "town")}

    def __init__(self, names: NameMaker) -> None:
        self.flat = {pool: [names.name("person" if pool in ("author", "singer") else "town") for _ in range(size)]
                     for pool, size in self.SIZES.items()}
        self.coarse_of: dict[str, dict[str, str]] = {}
        for pool, (fine, coarse, fine_kind, coarse_kind) in self.GRAINED.items():
            above = [names.name(coarse_kind) for _ in range(coarse)]
            self.coarse_of[pool] = {names.name(fine_kind): names.rng.choice(above) for _ in range(fine)}
