"""The tokenizer with a memory, so that fresh prompts seldom ask it anything."""

from __future__ import annotations

from functools import lru_cache

from circuitgraph.engine.fixed_shape import TokenisedPrompt
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.tasks.prompts import Pair, TokenizerLike, encode_answer, encode_clean

_REMEMBERED = 20_000  # prompts and answers whose tokens are remembered


class TokenCache:
    """Remembers the texts of tokens, and the tokens of words."""

    def __init__(self, tokenizer: TokenizerLike) -> None:
        self.tokenizer = tokenizer
        self._texts: dict[int, str] = {}
        self.decode_answer = lru_cache(maxsize=_REMEMBERED)(self._decode_answer)
        self.find_answer = lru_cache(maxsize=_REMEMBERED)(self._find_answer)

    def decode_token(self, token: int) -> str:
        """A token's text without the space before it."""
        if token not in self._texts:
            self._texts[token] = self.tokenizer.decode([token]).strip()
        return self._texts[token]

    def _decode_answer(self, token: int) -> str:
        """An answer's text without the space before it."""
        return self.tokenizer.decode_answer(token).strip()

    def make_prompt(self, pair: Pair) -> Prompt:
        """The clean side of a pair."""
        ids = encode_clean(pair, self.tokenizer)
        return Prompt(pair, ids, tuple(self.decode_token(token) for token in ids))

    def make_plain_prompt(self, text: str) -> Prompt:
        """A prompt of which nothing is known but its text.

        Raises:
            HypothesisError: it is empty, or some of it is unknown to the tokenizer.
        """
        prompt = self.make_prompt(Pair(text, None, None))
        unknown = self.tokenizer.unknown_id
        if not prompt.ids or (unknown is not None and unknown in prompt.ids):
            raise HypothesisError(
                f"The prompt {text!r} has no tokens, or some that the model does not know."
            )
        return prompt

    def _find_answer(self, prompt: str, text: str) -> int:
        """The one token by which a prompt goes on with a text.

        Raises:
            HypothesisError: it is several tokens, or an unknown one.
        """
        ids = encode_answer(prompt, text, self.tokenizer)
        if len(ids) != 1 or ids[0] == self.tokenizer.unknown_id:
            raise HypothesisError(
                f"{text!r} is no single token of the model: it has no probability of its own."
            )
        return ids[0]

    def tokenise_prompt(self, prompt: Prompt) -> TokenisedPrompt:
        """A prompt with its answers as tokens.

        Raises:
            HypothesisError: an answer is several tokens, or an unknown one; or not the end is
                scored.
        """
        pair = prompt.pair
        if pair.score_at is not None:
            raise HypothesisError(
                f"Properties look at what follows a prompt, but {prompt!r} is scored at "
                f"{list(pair.score_at)}: use pairs that are scored at their end."
            )
        answer, distractor, right, wrong = (
            tuple(self.find_answer(pair.clean, text) for text in texts)
            for texts in (
                (pair.answer or "",),
                () if pair.distractor is None else (pair.distractor,),
                pair.right,
                pair.wrong,
            )
        )
        distractor_token = distractor[0] if distractor else None
        return TokenisedPrompt(pair, prompt.ids, answer[0], distractor_token, right, wrong)
