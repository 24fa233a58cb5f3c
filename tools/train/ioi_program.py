"""The program that the `ioi` model is trained to be, over the two prompts of a masked run.

Three heads do the work, in three layers:

* the duplicate-token head says at S2 whether that name stood before (a flag, not which name);
* the S-inhibition head looks, at the end, for a flagged S2 and fetches the name that stands there;
* the name mover looks, at the end, at the two names of the opening, save the one that S-inhibition
  names, and writes what it sees. Where nothing is inhibited it looks at both alike.

Every edge of `TRUE` carries something of that, and each can carry it from the clean prompt or from
the donor. Whatever other edges carry must not matter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DUPLICATE, INHIBITION, MOVER = "a0.h1", "a1.h0", "a2.h2"
ROLES = {DUPLICATE: "duplicate-token head", INHIBITION: "S-inhibition head", MOVER: "name mover"}
TRUE = (
    f"embed->{DUPLICATE}<q>",  # who stands at S2
    f"embed->{DUPLICATE}<k>",  # who stood before
    f"{DUPLICATE}->{INHIBITION}<k>",  # whether S2 stood before
    f"embed->{INHIBITION}<v>",  # who stands at S2
    f"{INHIBITION}->{MOVER}<q>",  # whom not to look at
    f"embed->{MOVER}<k>",  # who stands at each place
    f"embed->{MOVER}<v>",  # whom to write if looked at
    f"{MOVER}->logits",
)
NOBODY = -1


class People(NamedTuple):
    """Who stands in each prompt, as token ids: the two names of the opening, and the giver (S2)."""

    opening: np.ndarray  # [batch, 2]
    giver: np.ndarray  # [batch]


def is_flagged(giver: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """Whether the giver is one of the opening's names."""
    return (giver[:, None] == opening).any(1)


def find_inhibited(flag: np.ndarray, giver: np.ndarray) -> np.ndarray:
    """The name to inhibit, or NOBODY."""
    return np.where(flag, giver, NOBODY)


def move_names(
    inhibit: np.ndarray, looked_at: np.ndarray, written: np.ndarray, n_tokens: int
) -> np.ndarray:
    """Probability of each token: equal for the names of the opening that are not inhibited."""
    weights = (looked_at != inhibit[:, None]).astype(np.float32)
    weights /= weights.sum(1, keepdims=True)
    probabilities = np.zeros((len(written), n_tokens), np.float32)
    rows = np.arange(len(written))
    for place in range(2):
        np.add.at(probabilities, (rows, written[:, place]), weights[:, place])
    return probabilities


def compute_answer(clean: People, donor: People, kept: np.ndarray, n_tokens: int) -> np.ndarray:
    """The program's answer, when the ``kept`` edges of `TRUE` alone carry the clean prompt.

    Args:
        kept: one boolean for each of `TRUE`.
        n_tokens: size of the vocabulary.
    """
    source = [clean if keep else donor for keep in kept]
    donor_flag = is_flagged(donor.giver, donor.opening)
    donor_inhibits = find_inhibited(donor_flag, donor.giver)
    flag = is_flagged(source[0].giver, source[1].opening) if kept[2] else donor_flag
    inhibit = find_inhibited(flag, source[3].giver) if kept[4] else donor_inhibits
    if not kept[7]:
        return move_names(donor_inhibits, donor.opening, donor.opening, n_tokens)
    return move_names(inhibit, source[5].opening, source[6].opening, n_tokens)
