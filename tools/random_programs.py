"""Does exact ACDC return the true circuit of random programs? Prints the number, and each miss.

python tools/random_programs.py --n 500 --seed 0
python tools/random_programs.py --n 200 --neurons  # every hidden unit is a node of its own
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from circuitgraph.errors import ProgramError
from circuitgraph.models.constructed.compile import ConstructedModel, compile_program
from circuitgraph.tasks.prompts import Prompts
from tests.models.constructed.agreement import (
    Agreement,
    NeuronAgreement,
    random_prompts,
    search_and_compare,
    search_neurons_and_compare,
)
from tests.models.constructed.generator import SIZES, random_program

Result = TypeVar("Result", Agreement, NeuronAgreement)


def search_programs(
    search: Callable[[ConstructedModel, Prompts], Result], n: int, seed: int, n_prompts: int
) -> tuple[list[Result], int]:
    """Search in ``n`` different programs; also, how many were too large for the common size."""
    agreements: list[Result] = []
    seen: set[str] = set()
    too_large = 0
    bar = tqdm(total=n, desc="programs", disable=None)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=10 * n,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
    )
    @given(st.data())
    def search_one(data: st.DataObject) -> None:
        nonlocal too_large
        program = random_program(data.draw)
        if len(agreements) == n or str(program) in seen:
            return
        seen.add(str(program))
        try:
            constructed = compile_program(program, sizes=SIZES, exact=True)
        except ProgramError:
            too_large += 1
            return
        prompts = random_prompts(constructed, n_prompts, seed + len(agreements))
        agreements.append(search(constructed, prompts))
        bar.update()

    search_one()
    bar.close()
    return agreements, too_large


def print_report(agreements: list[Agreement], too_large: int) -> None:
    """The figures, then the misses."""
    unique = [a for a in agreements if a.truth.unique]
    true, kept = _edge_sets(agreements)
    hits = sum(len(t & k) for t, k in zip(true, kept, strict=True))
    print(
        f"{len(agreements)} programs ({too_large} more were too large), "
        f"{sum(map(len, true))} true edges"
    )
    sizes = Counter(min(len(t), 9) for t in true)
    print(
        "programs by number of true edges: "
        + ", ".join(f"{size}: {sizes[size]}" for size in range(10))
        + " or more"
    )
    print(f"exact: {sum(a.exact for a in agreements)} of {len(agreements)}")
    print(f"exact where only one circuit is true: {sum(a.exact for a in unique)} of {len(unique)}")
    print(
        f"edge precision {hits / max(1, sum(map(len, kept))):.4f}, recall "
        f"{hits / max(1, sum(map(len, true))):.4f}"
    )
    print(
        f"least effect kept {min(a.least_kept for a in agreements):.3g}, greatest removed "
        f"{max(a.greatest_removed for a in agreements):.3g}"
    )
    for a in agreements:
        if not a.exact:
            print(f"\n{a.difference}")


def search_neurons(constructed: ConstructedModel, prompts: Prompts) -> NeuronAgreement:
    """With every hidden unit of every MLP as a node."""
    d_mlp = constructed.model.spec.d_mlp
    assert d_mlp is not None
    return search_neurons_and_compare(constructed, prompts, d_mlp)


def print_neuron_report(agreements: list[NeuronAgreement], too_large: int) -> None:
    """How many searches found the true edges, from units that carry them and from no others."""
    print(f"{len(agreements)} programs ({too_large} more were too large), every unit a node")
    unique = [a for a in agreements if a.truth.unique]
    print(f"exact: {sum(a.exact for a in agreements)} of {len(agreements)}")
    print(f"exact where only one circuit is true: {sum(a.exact for a in unique)} of {len(unique)}")
    print(f"with no unit of another expression: {sum(not a.strangers for a in agreements)}")
    print(f"with all true edges: {sum(set(a.truth.edges) <= a.edges for a in agreements)}")
    print(f"greatest KL of a circuit: {max(a.loss for a in agreements):.3g}")
    for a in agreements:
        if not a.exact:
            true = set(a.truth.edges)
            print(f"\nmissed: {sorted(true - a.edges)}; not true: {sorted(a.edges - true)}")
            print(f"from units of others: {a.strangers}; only one is true: {a.truth.unique}")


def _edge_sets(agreements: list[Agreement]) -> tuple[list[set[str]], list[set[str]]]:
    return [set(a.truth.edges) for a in agreements], [set(a.edges) for a in agreements]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=500, help="number of programs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompts", type=int, default=40, help="prompts for each")
    parser.add_argument("--neurons", action="store_true", help="all hidden units are nodes")
    options = parser.parse_args()
    counts = (options.n, options.seed, options.prompts)
    start = time.perf_counter()
    if options.neurons:
        print_neuron_report(*search_programs(search_neurons, *counts))
    else:
        print_report(*search_programs(search_and_compare, *counts))
    print(f"\n{time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
