"""Scrubbing at scale: all trees of a hypothesis, beside the plain way on a few references.

    python tools/bench/scrubbing.py  # the shipped induction hypothesis
    python tools/bench/scrubbing.py --file hypotheses/ioi.py --prompts 500 --references 5

The plain way is the tests' oracle: Hugging Face's model, one reference at a time, one node after
the other, with every prompt's plain run made once beforehand (which is not counted). Both do the
hypothesis's own tree; the difference between their logits is printed, so that the ratio is between
two programs that do the same. The first scrub may compile or read compiled programs from the cache;
those after it are warm.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the oracle lives among the tests

import numpy as np

from circuitgraph.engine.compile_cache import keep_compiled_programs
from circuitgraph.engine.tree.run import run_tree
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.loading import load_hypotheses
from circuitgraph.hypotheses.scrubbing.prepared import prepare_scrub
from circuitgraph.hypotheses.scrubbing.sampling import TreeDonors
from circuitgraph.hypotheses.scrubbing.scrub import scrub_evidence
from circuitgraph.hypotheses.study import Study
from circuitgraph.models.loading import shipped_models

METRIC = "logit"


def main() -> None:
    options = _parse_options()
    keep_compiled_programs()
    start = time.perf_counter()
    (hypothesis,) = load_hypotheses(options.file)
    study = Study.open(hypothesis)
    results: dict[str, Any] = {
        "file": str(options.file),
        "prompts": options.prompts,
        "open": _seconds_since(start),
    }
    seconds, evidence = [], Evidence(study, options.prompts)
    for _ in range(options.repeats + 1):
        start = time.perf_counter()
        evidence = Evidence(study, options.prompts)
        scrub_evidence(evidence)
        seconds.append(_seconds_since(start))
    record = scrub_evidence(evidence)
    results |= {
        "trees": record.cost.n_trees,
        "node_values": record.cost.n_values,
        "first": seconds[0],
        "warm": statistics.median(seconds[1:]),
        "warm_all": seconds[1:],
        "recovered": record.recovered.model_dump(),
        "mib_kept": round(evidence.activations.bytes / 2**20, 1),
    }
    results |= compare_with_oracle(evidence, options.references)
    print(json.dumps(results, indent=2))


def compare_with_oracle(evidence: Evidence, n: int) -> dict[str, Any]:
    """Seconds for one reference of the hypothesis's own tree, ours and plain."""
    scrub, references = prepare_scrub(evidence), np.arange(len(evidence.batch))
    donors = scrub.sampler.draw_donors(scrub.root, references)
    ours = run_tree(evidence.activations, scrub.root, references, donors.inputs, [METRIC]).values[0]
    start = time.perf_counter()
    for _ in range(3):
        run_tree(evidence.activations, scrub.root, references, donors.inputs, [METRIC])
    ours_each = _seconds_since(start) / 3 / len(references)
    oracle, where = _make_oracle(evidence, donors, n)
    start = time.perf_counter()
    plain = [
        oracle.logits(_make_claim(scrub.root, donors, where, r), r)[
            np.asarray(evidence.batch.tokens.answer)[r]
        ]
        for r in range(n)
    ]
    plain_each = _seconds_since(start) / n
    return {
        "references_plain": n,
        "largest_difference": float(np.abs(np.array([float(x) for x in plain]) - ours[:n]).max()),
        "ms_per_reference": 1000 * ours_each,
        "ms_per_reference_plain": 1000 * plain_each,
        "ratio": plain_each / ours_each,
    }


def _make_oracle(evidence: Evidence, donors: TreeDonors, n: int) -> tuple[Any, dict[int, int]]:
    """Prepare the plain way for the first references and all prompts that they need."""
    from transformers import AutoModelForCausalLM

    from tests.oracle.tree import Prompt, TreeOracle

    needed = sorted(
        {*range(n), *(int(i) for rows in donors.list_inputs() for i in rows[:n])},
        key=lambda i: (i >= n, i),
    )
    roles, batch = evidence.study.roles, evidence.batch
    prompts = [
        Prompt(
            list(batch.prompts[i].ids), dict(zip(roles, map(int, batch.positions[i]), strict=True))
        )
        for i in needed
    ]
    model = AutoModelForCausalLM.from_pretrained(
        shipped_models().get(evidence.study.model.name, evidence.study.model.name)
    )
    return TreeOracle(model.eval(), prompts), {prompt: index for index, prompt in enumerate(needed)}


def _make_claim(node: TreeNode, donors: TreeDonors, where: dict[int, int], reference: int) -> Any:
    """A node as the oracle takes it, for one reference."""
    from tests.oracle.tree import Claim

    children = [_make_claim(child, donors, where, reference) for child in node.children]
    rows = donors.inputs[node.path]
    assert isinstance(rows, np.ndarray), "the plain way is timed for one prompt at each node"
    return Claim(
        str(node.site.node), node.site.roles, node.feeds, where[int(rows[reference])], children
    )


def _seconds_since(start: float) -> float:
    return round(time.perf_counter() - start, 3)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--file", type=Path, default=Path(__file__).parents[2] / "hypotheses" / "induction.py"
    )
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--references", type=int, default=20, help="of the plain way")
    parser.add_argument("--repeats", type=int, default=3, help="warm scrubs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
