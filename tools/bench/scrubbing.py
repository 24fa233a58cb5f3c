"""Scrubbing at scale: all trees of a hypothesis with its rivals and nulls, beside the plain way on
a few references.

    python tools/bench/scrubbing.py                  # the shipped induction hypothesis
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
    options = _options()
    keep_compiled_programs()
    start = time.perf_counter()
    (hypothesis,) = load_hypotheses(options.file)
    study = Study.open(hypothesis)
    found: dict[str, Any] = {
        "file": str(options.file),
        "prompts": options.prompts,
        "open": _since(start),
    }
    seconds, evidence = [], Evidence(study, options.prompts)
    for _ in range(options.repeats + 1):
        start = time.perf_counter()
        evidence = Evidence(study, options.prompts)
        scrub_evidence(evidence)
        seconds.append(_since(start))
    record = scrub_evidence(evidence)
    found |= {
        "trees": record.cost.n_trees,
        "node_values": record.cost.n_values,
        "first": seconds[0],
        "warm": statistics.median(seconds[1:]),
        "warm_all": seconds[1:],
        "recovered": record.recovered.model_dump(),
        "mib_kept": round(evidence.activations.bytes / 2**20, 1),
    }
    found |= against_the_plain_way(evidence, options.references)
    print(json.dumps(found, indent=2))


def against_the_plain_way(evidence: Evidence, n: int) -> dict[str, Any]:
    """Seconds for one reference of the hypothesis's own tree, ours and plain."""
    prepared, every = prepare_scrub(evidence), np.arange(len(evidence.batch))
    donors = prepared.sampler.draw_donors(prepared.root, every)
    ours = run_tree(evidence.activations, prepared.root, every, donors.inputs, [METRIC]).values[0]
    start = time.perf_counter()
    for _ in range(3):
        run_tree(evidence.activations, prepared.root, every, donors.inputs, [METRIC])
    ours_each = _since(start) / 3 / len(every)
    oracle, where = _oracle(evidence, donors, n)
    start = time.perf_counter()
    plain = [
        oracle.logits(_claim(prepared.root, donors, where, r), r)[evidence.batch.tokens.answer[r]]
        for r in range(n)
    ]
    plain_each = _since(start) / n
    return {
        "references_plain": n,
        "largest_difference": float(np.abs(np.array([float(x) for x in plain]) - ours[:n]).max()),
        "ms_per_reference": 1000 * ours_each,
        "ms_per_reference_plain": 1000 * plain_each,
        "ratio": plain_each / ours_each,
    }


def _oracle(evidence: Evidence, donors: TreeDonors, n: int) -> tuple[Any, dict[int, int]]:
    """The plain way over the first references and all prompts that they need; and where it has
    those.
    """
    from transformers import AutoModelForCausalLM

    from tests.oracle.tree import Prompt, TreeOracle

    needed = sorted(
        {*range(n), *(int(i) for found in donors.list_inputs() for i in found[:n])},
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
    return TreeOracle(model.eval(), prompts), {prompt: at for at, prompt in enumerate(needed)}


def _claim(node: TreeNode, donors: TreeDonors, where: dict[int, int], reference: int) -> Any:
    """A node as the oracle takes it, for one reference."""
    from tests.oracle.tree import Claim

    children = [_claim(child, donors, where, reference) for child in node.children]
    given = donors.inputs[node.path]
    assert isinstance(given, np.ndarray), "the plain way is timed for one prompt at each node"
    return Claim(
        str(node.site.node), node.site.roles, node.feeds, where[int(given[reference])], children
    )


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)


def _options() -> argparse.Namespace:
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
