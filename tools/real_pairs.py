"""Pairs for the behaviours of a real model that no shipped task draws, for the catalog.

    python tools/real_pairs.py --out catalog/circuits/smollm2-135m-q4_1/pairs

Each file is written anew, the same each time. The words were chosen because SmolLM2's tokenizer has
each as one token, so that both sides of a pair have as many; `circuitgraph pairs check` says so.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Pair = dict[str, Any]

CAPITALS = {
    **{"France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid"},
    **{"Japan": "Tokyo", "China": "Beijing", "Russia": "Moscow", "Egypt": "Cairo"},
    **{"Greece": "Athens", "Austria": "Vienna", "Poland": "Warsaw", "Portugal": "Lisbon"},
    **{"Sweden": "Stockholm", "Norway": "Oslo", "Ireland": "Dublin", "Cuba": "Havana"},
    **{"Peru": "Lima", "Kenya": "Nairobi", "Iran": "Tehran", "Iraq": "Baghdad"},
    **{"Canada": "Ottawa", "Finland": "Helsinki", "Denmark": "Copenhagen"},
    **{"Hungary": "Budapest", "Belgium": "Brussels"},
    **{"England": "London", "Chile": "Santiago", "Syria": "Damascus"},
    **{"Australia": "Canberra", "Bulgaria": "Sofia"},
}
MEN = [
    *("John", "James", "Robert", "Michael", "David", "William", "Richard", "Thomas"),
    *("Mark", "Paul", "George", "Peter", "Daniel", "Matthew", "Andrew", "Henry"),
]
WOMEN = [
    *("Mary", "Sarah", "Emily", "Anna", "Elizabeth", "Susan", "Margaret", "Alice"),
    *("Jennifer", "Laura", "Helen", "Emma", "Rachel", "Kate", "Lisa", "Julia"),
]
EVENTS = ("war", "strike", "siege", "voyage", "project", "campaign", "study", "treaty")


def list_capitals(rng: random.Random) -> Iterator[Pair]:
    """``The capital city of France is called`` -> ``Paris``; corrupted: another country."""
    for template in ("The capital city of {} is called", "The capital of {} is"):
        for country, capital in CAPITALS.items():
            other = rng.choice([name for name in CAPITALS if name != country])
            yield {
                "clean": template.format(country),
                "corrupted": template.format(other),
                "answer": f" {capital}",
                "distractor": f" {CAPITALS[other]}",
                "roles": {"country": country},
            }


def list_pronouns(rng: random.Random) -> Iterator[Pair]:
    """``So John is a really great friend, isn't`` -> ``he``; corrupted: a name of the other
    gender.
    """
    template = "So {} is a really great friend, isn't"
    for names, others, answer, distractor in (
        (MEN, WOMEN, " he", " she"),
        (WOMEN, MEN, " she", " he"),
    ):
        for name in names:
            for other in rng.sample(others, 2):
                yield {
                    "clean": template.format(name),
                    "corrupted": template.format(other),
                    "answer": answer,
                    "distractor": distractor,
                    "roles": {"name": name},
                }


def list_years(rng: random.Random) -> Iterator[Pair]:
    """``The war lasted from the year 1741 to the year 17`` -> a digit from 4 on; corrupted: 1701.

    As Hanna et al. (2023) corrupt it. The tokenizer has digits one by one. The decade's own digit
    is right as well: a later year of the same decade can follow.
    """
    for _ in range(80):
        century, decade, year = rng.randint(11, 19), rng.randint(2, 8), rng.randint(0, 8)
        event = rng.choice(EVENTS)
        start = f"The {event} lasted from the year "
        yield {
            "clean": f"{start}{century}{decade}{year} to the year {century}",
            "corrupted": f"{start}{century}01 to the year {century}",
            "answer": [str(digit) for digit in range(decade, 10)],
            "distractor": [str(digit) for digit in range(decade)],
        }


def list_sums(rng: random.Random) -> Iterator[Pair]:
    """``4 + 1 = `` -> ``5``, a sum of one digit after two others; corrupted: another sum."""
    cases = [(a, b) for a in range(1, 9) for b in range(1, 9) if a + b <= 9]
    for a, b in cases:
        (c, d), *others = rng.sample([case for case in cases if sum(case) != a + b], 3)
        shown = "".join(f"{x} + {y} = {x + y}\n" for x, y in others)
        yield {
            "clean": f"{shown}{a} + {b} = ",
            "corrupted": f"{shown}{c} + {d} = ",
            "answer": str(a + b),
            "distractor": str(c + d),
        }


FILES: dict[str, tuple[Callable[[random.Random], Iterator[Pair]], str]] = {
    "capitals": (list_capitals, "logit_difference"),
    "pronoun": (list_pronouns, "logit_difference"),
    "greater-than": (list_years, "probability_difference"),
    "sums": (list_sums, "logit_difference"),
}


def write_pairs(name: str, folder: Path) -> Path:
    """The file of one behaviour: a line that names the metric, then the pairs, each once."""
    list_pairs, metric = FILES[name]
    lines = [json.dumps(pair) for pair in list_pairs(random.Random(0))]  # noqa: S311
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join([json.dumps({"metric": metric}), *dict.fromkeys(lines)]) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        print(write_pairs(name, folder))


if __name__ == "__main__":
    main()
