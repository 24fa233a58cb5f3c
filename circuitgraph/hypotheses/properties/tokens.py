"""The tokenizer with a memory, so that fresh prompts seldom ask it anything."""

from __future__ import annotations

from functools import lru_cache

from circuitgraph.engine.fixed_shape import TokenisedPrompt
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.tasks.prompts import Pair, TokenizerLike

_REMEMBERED = 20_000  # texts, and sets of texts, whose tokens are remembered


class TokenCache:
    """Remembers the texts of tokens, and the tokens of words."""

    def __init__(self, tokenizer: TokenizerLike) -> None:
        self.tokenizer = tokenizer
        self._texts: dict[int, str] = {}
        self.find_token = lru_cache(maxsize=_REMEMBERED)(self._find_token)
        self._find_tokens = lru_cache(maxsize=_REMEMBERED)(self._find_each_token)

    def decode_token(self, token: int) -> str:
        """A token's text without the space before it."""
        if token not in self._texts:
            self._texts[token] = self.tokenizer.decode([token]).strip()
        return self._texts[token]

    def make_prompt(self, pair: Pair) -> Prompt:
        """The clean side of a pair."""
        ids = tuple(self.tokenizer.encode(pair.clean))
        return Prompt(pair, ids, tuple(self.decode_token(token) for token in ids))

    def make_plain_prompt(self, text: str) -> Prompt:
        """A prompt of which nothing is known but its text.

        Raises:
            HypothesisError: it is empty, or some of it is unknown to the tokenizer.
        """
        prompt = self.make_prompt(Pair(text, text, ""))
        unknown = self.tokenizer.unknown_id
        if not prompt.ids or (unknown is not None and unknown in prompt.ids):
            raise HypothesisError(
                f"The prompt {text!r} has no tokens, or some that the model does not know."
            )
        return prompt

    def _find_token(self, text: str) -> int:
        """The one token of a text.

        Raises:
            HypothesisError: it is several tokens, or an unknown one.
        """
        ids = self.tokenizer.encode(text)
        if len(ids) != 1 or ids[0] == self.tokenizer.unknown_id:
            raise HypothesisError(
                f"{text!r} is no single token of the model: it has no probability of its own."
            )
        return ids[0]

    def _find_each_token(self, texts: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(map(self.find_token, texts))

    def tokenise_prompt(self, prompt: Prompt) -> TokenisedPrompt:
        """A prompt with its answers as tokens; raises `HypothesisError` as `find_token` does."""
        pair = prompt.pair
        return TokenisedPrompt(
            pair,
            prompt.ids,
            self.find_token(pair.answer),
            None if pair.distractor is None else self.find_token(pair.distractor),
            self._find_tokens(pair.right),
            self._find_tokens(pair.wrong),
        )
