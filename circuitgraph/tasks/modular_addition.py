"""Modular addition: ``17 + 52 =`` -> 10 modulo 59."""

from __future__ import annotations

from circuitgraph.choices import Choices
from circuitgraph.errors import check_at_least, check_choice
from circuitgraph.tasks.base import Pair, Source, TokenizerLike, task
from circuitgraph.tasks.places import placed
from circuitgraph.tasks.words import one_token

CORRUPTIONS = ("operands", "one-operand")


@task("modular-addition", metric="logit_difference", model="modular-addition")
def modular_addition(
    tokenizer: TokenizerLike, modulus: int = 59, corruption: str = "operands"
) -> Source:
    """Addition modulo a number, each number a token: ``17 + 52 =`` -> 10 (Nanda et al. 2023).

    Roles: ``a``, ``plus``, ``b``, ``equals``. The distractor is the corrupted prompt's answer.

    Args:
        modulus: the numbers are those below it.
        corruption: ``operands`` (two others, with another result) or ``one-operand``.

    Raises:
        ArgumentError: a modulus below 2, or a corruption that there is not.
        DataError: a number below the modulus is not one token.
    """
    check_at_least("modulus", modulus, 2)
    check_choice("corruption", corruption, CORRUPTIONS)
    for space in (
        "",
        " ",
    ):  # the first number begins the prompt: byte pairs may know it after a space only
        one_token([f"{space}{number}" for number in range(modulus)], tokenizer, "numbers", modulus)
    one_token([" +", " ="], tokenizer, "signs", 2)

    def draw(rng: Choices) -> Pair:
        a, b, other_a = (int(x) for x in rng.integers(modulus, size=3))
        result = (a + b) % modulus
        wrong = (result + int(rng.integers(1, modulus))) % modulus
        if corruption == "one-operand" and rng.integers(2):
            other_a = a
        elif corruption == "one-operand":
            other_a = (wrong - b) % modulus
        other_b = (wrong - other_a) % modulus
        text, roles = placed(
            [("a", f"{a}"), ("plus", " +"), ("b", f" {b}"), ("equals", " =")], tokenizer
        )
        return Pair(text, f"{other_a} + {other_b} =", f" {result}", f" {wrong}", roles)

    return Source(draw)
