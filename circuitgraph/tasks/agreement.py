"""Agreement: a verb takes its subject's number, whatever stands between (Finlayson et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from circuitgraph.choices import Choices
from circuitgraph.errors import ArgumentError, DataError, check_choice
from circuitgraph.tasks.base import Source, task
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.words import Piece, join_pieces, pick_item, select_one_token, split_words

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
    """The words above that are one token of one tokenizer."""

    nouns: Sequence[tuple[str, str]]
    adjectives: Sequence[str]
    prepositions: Sequence[str]
    clause_verbs: Sequence[str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _PromptWords:
    """The words of one prompt: nouns in singular and plural; the adjective may be empty."""

    adjective: str
    subject: tuple[str, str]
    attractor: tuple[str, str]
    link: str  # the preposition, or the verb of the clause


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
            of these five equally often.
        corruption: ``subject`` (Finlayson et al.) gives the subject the other number, so that the
            distractor becomes right; ``attractor`` gives it to the attractor, so that the answer
            stays, and draws only prompts that have an attractor.
        verbs: which pair answer and distractor are: ``is-are``, ``was-were`` or ``has-have``. Of
            all three pairs the verb of the right number is right, the other wrong: a prompt
            settles the number only.

    Raises:
        ArgumentError: an unknown choice, or an attractor to be changed where there is none.
        DataError: the tokenizer has too few of the words as single tokens.
    """
    for name, value, choices in (
        ("attractors", attractors, ("mixed", *KINDS)),
        ("corruption", corruption, CORRUPTIONS),
        ("verbs", verbs, VERBS),
    ):
        check_choice(name, value, choices)
    kinds = _choose_kinds(attractors, corruption)
    lexicon = _make_lexicon(tokenizer)
    pairs, note = _select_verb_pairs(tokenizer, verbs)

    def draw(rng: Choices) -> Pair:
        kind = pick_item(rng, kinds)
        plural = int(rng.integers(2))
        other = plural if kind.endswith("same") else 1 - plural
        words = _draw_words(rng, lexicon, kind)
        clean, roles = join_pieces(_make_sentence(words, kind, plural, other), tokenizer)
        # The numbers of subject and attractor: 0 singular, 1 plural.
        changed = (1 - plural, other) if corruption == "subject" else (plural, 1 - other)
        corrupted, _ = join_pieces(_make_sentence(words, kind, *changed), tokenizer)
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


def _choose_kinds(attractors: str, corruption: str) -> Sequence[str]:
    kinds = KINDS if attractors == "mixed" else (attractors,)
    if corruption == "subject":
        return kinds
    if attractors == "none":
        raise ArgumentError(
            "corruption is 'attractor', but attractors = 'none' leaves nothing to change: choose "
            "another of the two."
        )
    return tuple(kind for kind in kinds if kind != "none")


def _draw_words(rng: Choices, lexicon: _Lexicon, kind: str) -> _PromptWords:
    subject, attractor = (
        lexicon.nouns[i] for i in rng.choice(len(lexicon.nouns), 2, replace=False)
    )
    adjective = pick_item(rng, lexicon.adjectives) if rng.integers(2) else ""
    links = lexicon.clause_verbs if kind.startswith("clause") else lexicon.prepositions
    return _PromptWords(adjective, subject, attractor, pick_item(rng, links))


def _make_sentence(words: _PromptWords, kind: str, plural: int, other: int) -> list[Piece]:
    """Pieces of a prompt whose subject and attractor have these numbers: 0 singular, 1 plural."""
    start: list[Piece] = [f"The{words.adjective}", ("subject", words.subject[plural])]
    if kind == "none":
        return start
    noun = ("attractor", words.attractor[other])
    if kind.startswith("phrase"):
        return [*start, f"{words.link} the", noun]
    return [*start, " that the", noun, ("clause_verb", words.link)]


def _make_lexicon(tokenizer: TokenizerLike) -> _Lexicon:
    forms, notes = select_one_token(
        [form for pair in NOUNS for form in pair], tokenizer, "nouns", 2 * FEWEST_NOUNS
    )
    nouns = [pair for pair in NOUNS if pair[0] in forms and pair[1] in forms]
    if len(nouns) < FEWEST_NOUNS:
        raise DataError(
            f"Of {len(NOUNS)} nouns only {len(nouns)} are one token of this tokenizer in singular "
            f"and plural, but {FEWEST_NOUNS} are needed. Use a model whose vocabulary has them."
        )
    adjectives, more = select_one_token(split_words(ADJECTIVES), tokenizer, "adjectives", 1)
    prepositions, and_more = select_one_token(
        split_words(PREPOSITIONS), tokenizer, "prepositions", 1
    )
    clause_verbs, still_more = select_one_token(
        split_words(CLAUSE_VERBS), tokenizer, "verbs of clauses", 1
    )
    return _Lexicon(
        nouns, adjectives, prepositions, clause_verbs, (*notes, *more, *and_more, *still_more)
    )


def _select_verb_pairs(
    tokenizer: TokenizerLike, verbs: str
) -> tuple[list[tuple[str, str]], list[str]]:
    """All pairs of verbs that are one token each, the scored one among them, and a note."""
    select_one_token(VERBS[verbs], tokenizer, "forms of the scored verb", 2)
    known, note = select_one_token(
        [form for pair in VERBS.values() for form in pair], tokenizer, "verbs", 2
    )
    return [pair for pair in VERBS.values() if pair[0] in known and pair[1] in known], note
