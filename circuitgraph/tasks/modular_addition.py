"""Modular addition: ``17 + 52 =`` -> 10 modulo 59."""

from __future__ import annotations

from circuitgraph.choices import Choices
from circuitgraph.errors import check_between, check_choice
from circuitgraph.tasks.base import Source, task
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.words import join_pieces, select_one_token

_LARGEST_MODULUS = 100_000
CORRUPTIONS = ("operands", "one-operand")


@task("modular-addition", metric="logit_difference", model="modular-addition")
def modular_addition(
    tokenizer: TokenizerLike, modulus: int = 59, corruption: str = "operands"
) -> Source:
    """Addition modulo a number, each number a token: ``17 + 52 =`` -> 10 (Nanda et al. 2023).

    Roles: ``a``, ``plus``, ``b``, ``equals``. The distractor is the corrupted prompt's answer.

    Args:
        modulus: numbers are below the modulus.
        corruption: ``operands`` (two other numbers, with another result) or ``one-operand``.

    Raises:
        ArgumentError: a modulus below 2, or an unknown corruption.
        DataError: a number below the modulus is not one token.
    """
    check_between("modulus", modulus, 2, _LARGEST_MODULUS)
    check_choice("corruption", corruption, CORRUPTIONS)
    # The first number begins the prompt: byte pairs may know a number after a space only.
    for space in ("", " "):
        select_one_token(
            [f"{space}{number}" for number in range(modulus)], tokenizer, "numbers", modulus
        )
    select_one_token([" +", " ="], tokenizer, "signs", 2)

    def draw(rng: Choices) -> Pair:
        a, b, other_a = (int(x) for x in rng.integers(modulus, size=3))
        result = (a + b) % modulus
        wrong = (result + int(rng.integers(1, modulus))) % modulus
        if corruption == "one-operand":
            # Keeping a changes b alone; the other choice of a changes a alone.
            other_a = a if rng.integers(2) else (wrong - b) % modulus
        other_b = (wrong - other_a) % modulus
        text, roles = join_pieces(
            [("a", f"{a}"), ("plus", " +"), ("b", f" {b}"), ("equals", " =")], tokenizer
        )
        return Pair(text, f"{other_a} + {other_b} =", f" {result}", f" {wrong}", roles)

    return Source(draw)
