"""From a line of a file to a pair: texts or token ids, answers, roles and scored positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from circuitgraph.tasks.pair_lines import Answer, PairLine, Position, Text
from circuitgraph.tasks.pair_problems import find_problems
from circuitgraph.tasks.prompts import Pair, PairTokens, TokenizerLike, encode_pair

END = "end"  # the role of the last token, which every prompt has
ALL = "all"  # as ``score_at``: every position that has a next token


@dataclass(frozen=True)
class ModelSizes:
    """What a model takes: the longest prompt, and the numbers of tokens read and predicted."""

    n_ctx: int
    d_vocab: int | None = None
    d_vocab_out: int | None = None


@dataclass(frozen=True)
class PairMaker:
    """Makes pairs for one tokenizer.

    Attributes:
        score_at: of lines that say nothing of it.
    """

    tokenizer: TokenizerLike
    sizes: ModelSizes
    chat: bool = False
    score_at: Position | list[Position] | None = None

    def make_pair(self, line: PairLine) -> tuple[Pair, list[str]]:
        """The pair of a line, and what is wrong with it, in words."""
        problems = self._find_id_problems(line)
        if problems:
            return Pair("", None, None), problems
        right, wrong = (self._read_answers(given) for given in (line.answer, line.distractor))
        several = len(right) > 1 or len(wrong) > 1
        clean = self._read_text(line.clean)
        pair = Pair(
            clean=clean,
            corrupted=None if line.corrupted is None else self._read_text(line.corrupted),
            answer=right[0] if right else None,
            distractor=wrong[0] if wrong else None,
            right=right if several else (),
            wrong=wrong if several else (),
        )
        own = encode_pair(pair, self.tokenizer)
        ids = self._pin_ids(own, line, several)
        # texts alone where they give the ids, so that properties can exchange their words
        pair = replace(pair, tokens=None if ids == own else ids)
        roles, problems = self._locate_roles(clean, line.roles, len(ids.clean))
        at, more = self._locate_scored(clean, line, roles, len(ids.clean))
        pair = replace(pair, roles=roles, score_at=at)
        problems += more + find_problems(
            pair, self.tokenizer, self.sizes.n_ctx, ids=ids, in_text=True
        )
        return pair, problems

    def _find_id_problems(self, line: PairLine) -> list[str]:
        """Token ids that the model does not have, and ids where only text will do."""
        problems = []
        for name, ids, n_known in (
            ("clean", line.clean, self.sizes.d_vocab),
            ("corrupted", line.corrupted, self.sizes.d_vocab),
            ("answer", line.answer, self.sizes.d_vocab_out),
            ("distractor", line.distractor, self.sizes.d_vocab_out),
        ):
            given = [i for i in (ids if isinstance(ids, list) else [ids]) if isinstance(i, int)]
            kind = "outputs" if name in ("answer", "distractor") else "tokens"
            problems += [
                f"{name}: there is no {i} among the model's {n_known} {kind}"
                for i in given
                if i < 0 or (n_known is not None and i >= n_known)
            ]
            if given and self.chat and name in ("clean", "corrupted"):
                problems.append(f"{name}: a chat template takes text, not token ids")
            if isinstance(ids, list) and len(given) not in (0, len(ids)):
                problems.append(f"{name}: some are token ids, some texts; give one kind")
            if ids == []:
                problems.append(f"{name}: the list is empty")
        return problems

    def _read_text(self, text: Text) -> str:
        if not isinstance(text, str):
            return self.tokenizer.decode(text)
        return self.tokenizer.render_chat(text) if self.chat else text

    def _read_answers(self, given: Answer | Sequence[Answer] | None) -> tuple[str, ...]:
        if given is None:
            return ()
        answers = [given] if isinstance(given, str | int) else given
        return tuple(a if isinstance(a, str) else self._name_output(a) for a in answers)

    def _name_output(self, token: int) -> str:
        """An output's text, with the space that it needs where names stand apart."""
        name = self.tokenizer.decode_answer(token)
        return f" {name}" if self.tokenizer.encode_answer("", f" {name}") == [token] else name

    def _pin_ids(self, own: PairTokens, line: PairLine, several: bool) -> PairTokens:
        """The tokens of a pair's texts, but those that the line gives as ids.

        Args:
            several: whether the line has several answers, or several distractors.
        """
        clean, corrupted, right, wrong = map(
            _take_ids, (line.clean, line.corrupted, line.answer, line.distractor)
        )
        prefix = self.tokenizer.prefix
        return PairTokens(
            clean=own.clean if clean is None else (*prefix, *clean),
            corrupted=own.corrupted if corrupted is None else (*prefix, *corrupted),
            answer=own.answer if right is None else right[:1],
            distractor=own.distractor if wrong is None else wrong[:1],
            right=right if right is not None and several else own.right,
            wrong=wrong if wrong is not None and several else own.wrong,
        )

    def _locate_roles(
        self, clean: str, places: Mapping[str, Position], n_tokens: int
    ) -> tuple[dict[str, int], list[str]]:
        """The positions of a line's roles, and what is wrong with them, in words."""
        roles: dict[str, int] = {}
        problems: list[str] = []
        for name, place in {END: -1, **places}.items():
            position, problem = self._locate(clean, place, n_tokens)
            if problem:
                problems.append(f"roles.{name}: {problem}")
            else:
                roles[name] = position
        return roles, problems if n_tokens > len(self.tokenizer.prefix) else []

    def _locate(self, clean: str, place: Position, n_tokens: int) -> tuple[int, str]:
        """A position in the clean prompt, or what is wrong with it.

        A number counts the text's own tokens, so that it means the same with and without BOS.
        """
        n_before = len(self.tokenizer.prefix)
        if isinstance(place, int):
            n_own = n_tokens - n_before
            if self.chat and place != -1:
                return 0, "numbers count nothing that you wrote in a chat template; give a text"
            if not -n_own <= place < n_own:
                return 0, f"there is no token {place}; the clean prompt has {n_own}"
            return n_before + place % n_own, ""
        times = clean.count(place) if place else 0
        if times != 1:
            return (
                0,
                f"the clean prompt has {place!r} {times} times; give the token's number",
            )
        # The tokens up to the end of the text: the role is the last of them.
        before = self.tokenizer.encode(clean[: clean.find(place) + len(place)])
        if not before or before != self.tokenizer.encode(clean)[: len(before)]:
            return 0, f"no token ends where {place!r} ends; give the token's number"
        return n_before + len(before) - 1, ""

    def _locate_scored(
        self, clean: str, line: PairLine, roles: Mapping[str, int], n_tokens: int
    ) -> tuple[tuple[int, ...] | None, list[str]]:
        """The scored positions: None for the last one alone."""
        places = line.score_at if line.score_at is not None else self.score_at
        if places is None:
            return None, []
        if places == ALL:
            return tuple(range(n_tokens - 1)), []
        positions, problems = set(), []
        for place in places if isinstance(places, list) else [places]:
            if isinstance(place, str) and place in roles:
                positions.add(roles[place])
                continue
            position, problem = self._locate(clean, place, n_tokens)
            positions.add(position)
            problems += [f"score_at: {problem}"] if problem else []
        at = tuple(sorted(positions))
        return (None if at == (n_tokens - 1,) else at), problems


def _take_ids(given: Text | Answer | list[Answer] | None) -> tuple[int, ...] | None:
    """The ids, if it was written in ids."""
    if isinstance(given, int):
        return (given,)
    if not isinstance(given, list):
        return None
    ids = tuple(token for token in given if isinstance(token, int))
    return ids if len(ids) == len(given) else None
