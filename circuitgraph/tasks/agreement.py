"""Agreement: a verb takes the number of its subject, whatever stands between (Finlayson et al.
2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from circuitgraph.choices import Choices
from circuitgraph.errors import ArgumentError, DataError, check_choice
from circuitgraph.tasks.base import Pair, Source, TokenizerLike, task
from circuitgraph.tasks.places import Piece, placed
from circuitgraph.tasks.words import one_token, pick, spaced

SINGULAR = (
    "key cabinet dog king teacher car friend door author doctor farmer driver student singer "
    "writer soldier worker player painter lawyer brother sister girl boy parent lion bird horse "
    "cat book table chair picture letter house garden ship train machine computer phone window "
    "tree flower river road wall ball box clock"
)
NOUNS = tuple(
    (f" {noun}", f" {noun}es" if noun.endswith("x") else f" {noun}s") for noun in SINGULAR.split()
)
ADJECTIVES = "old new small big young red good poor strange little"
PREPOSITIONS = "to near behind beside with above"
CLAUSE_VERBS = "saw liked found wanted loved needed"  # one form for both numbers
VERBS = {"is-are": (" is", " are"), "was-were": (" was", " were"), "has-have": (" has", " have")}
KINDS = ("none", "phrase-same", "phrase-different", "clause-same", "clause-different")
CORRUPTIONS = ("subject", "attractor")
FEWEST_NOUNS = 8


@dataclass(frozen=True)
class _Lexicon:
    """What one tokenizer has of the words above."""

    nouns: Sequence[tuple[str, str]]
    adjectives: Sequence[str]
    prepositions: Sequence[str]
    clause_verbs: Sequence[str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Words:
    """Of one prompt: nouns in singular and plural; adjective may be empty; joining is a preposition
    or a verb.
    """

    adjective: str
    subject: tuple[str, str]
    attractor: tuple[str, str]
    joining: str


@task("agreement", metric="logit_difference", model="agreement", also=("multitask",))
def agreement(
    tokenizer: TokenizerLike,
    attractors: str = "mixed",
    corruption: str = "subject",
    verbs: str = "is-are",
) -> Source:
    """``The keys to the cabinet`` -> `` are``, not `` is``.

    Half of the subjects carry an adjective. An attractor is a noun between subject and verb, of the
    same number as the subject or of the other one.

    Args:
        attractors: ``none``; ``phrase-same`` and ``phrase-different`` (``to the cabinet``);
            ``clause-same`` and ``clause-different`` (``that the farmer saw``); or ``mixed``, each
            of them equally often.
        corruption: ``subject`` (Finlayson et al.) gives the subject the other number, so that the
            distractor becomes right; ``attractor`` gives it to the attractor, the answer stays, and
            prompts without one are not drawn.
        verbs: which pair answer and distractor are: ``is-are``, ``was-were`` or ``has-have``. The
            verbs of right number of all three are right, the others wrong: a prompt settles the
            number only.

    Raises:
        ArgumentError: an unknown choice, or an attractor's number to be changed where there is
            none.
        DataError: the tokenizer has too few of the words as single tokens.
    """
    for name, value, choices in (
        ("attractors", attractors, ("mixed", *KINDS)),
        ("corruption", corruption, CORRUPTIONS),
        ("verbs", verbs, VERBS),
    ):
        check_choice(name, value, choices)
    kinds = _kinds(attractors, corruption)
    lexicon = _lexicon(tokenizer)
    pairs, note = _verb_pairs(tokenizer, verbs)

    def draw(rng: Choices) -> Pair:
        kind = pick(rng, kinds)
        plural = int(rng.integers(2))
        other = plural if kind.endswith("same") else 1 - plural
        words = _words(rng, lexicon, kind)
        clean, roles = placed(_sentence(words, kind, plural, other), tokenizer)
        changed = (1 - plural, other) if corruption == "subject" else (plural, 1 - other)
        corrupted, _ = placed(_sentence(words, kind, *changed), tokenizer)
        right, wrong = (tuple(pair[number] for pair in pairs) for number in (plural, 1 - plural))
        return Pair(
            clean, corrupted, VERBS[verbs][plural], VERBS[verbs][1 - plural], roles, right, wrong
        )

    alike = {
        "nouns": lexicon.nouns,
        "adjectives": lexicon.adjectives,
        "prepositions": lexicon.prepositions,
    }
    return Source(draw, (*lexicon.notes, *note), {**alike, "clause verbs": lexicon.clause_verbs})


def _kinds(attractors: str, corruption: str) -> Sequence[str]:
    kinds = KINDS if attractors == "mixed" else (attractors,)
    if corruption == "subject":
        return kinds
    if attractors == "none":
        raise ArgumentError(
            "corruption is 'attractor', but attractors = 'none' leaves nothing to change: choose "
            "another of the two."
        )
    return tuple(kind for kind in kinds if kind != "none")


def _words(rng: Choices, lexicon: _Lexicon, kind: str) -> _Words:
    subject, attractor = (
        lexicon.nouns[i] for i in rng.choice(len(lexicon.nouns), 2, replace=False)
    )
    adjective = pick(rng, lexicon.adjectives) if rng.integers(2) else ""
    joining = lexicon.clause_verbs if kind.startswith("clause") else lexicon.prepositions
    return _Words(adjective, subject, attractor, pick(rng, joining))


def _sentence(words: _Words, kind: str, plural: int, other: int) -> list[Piece]:
    """Pieces of a prompt whose subject and attractor have these numbers: 0 singular, 1 plural."""
    start: list[Piece] = [f"The{words.adjective}", ("subject", words.subject[plural])]
    if kind == "none":
        return start
    noun = ("attractor", words.attractor[other])
    if kind.startswith("phrase"):
        return [*start, f"{words.joining} the", noun]
    return [*start, " that the", noun, ("clause_verb", words.joining)]


def _lexicon(tokenizer: TokenizerLike) -> _Lexicon:
    forms, notes = one_token(
        [form for pair in NOUNS for form in pair], tokenizer, "nouns", 2 * FEWEST_NOUNS
    )
    nouns = [pair for pair in NOUNS if pair[0] in forms and pair[1] in forms]
    if len(nouns) < FEWEST_NOUNS:
        raise DataError(
            f"Of {len(NOUNS)} nouns only {len(nouns)} are one token of this tokenizer in singular "
            f"and plural, but {FEWEST_NOUNS} are needed. Use a model whose vocabulary has them."
        )
    adjectives, more = one_token(spaced(ADJECTIVES), tokenizer, "adjectives", 1)
    prepositions, and_more = one_token(spaced(PREPOSITIONS), tokenizer, "prepositions", 1)
    clause_verbs, still_more = one_token(spaced(CLAUSE_VERBS), tokenizer, "verbs of clauses", 1)
    return _Lexicon(
        nouns, adjectives, prepositions, clause_verbs, (*notes, *more, *and_more, *still_more)
    )


def _verb_pairs(tokenizer: TokenizerLike, verbs: str) -> tuple[list[tuple[str, str]], list[str]]:
    """All pairs of verbs that are one token each, the scored one among them, and a note."""
    one_token(VERBS[verbs], tokenizer, "forms of the scored verb", 2)
    known, note = one_token(
        [form for pair in VERBS.values() for form in pair], tokenizer, "verbs", 2
    )
    return [pair for pair in VERBS.values() if pair[0] in known and pair[1] in known], note
