"""Every family beside transformers, as a Markdown table: logits, residual stream, no idle node.

    python tools/parity_table.py  # all configurations of tests/parity/cases
    python tools/parity_table.py --only cohere2 "gemma2: layer types by default, caps off"
    python tools/parity_table.py --write docs/families.md          # replace the table in that file

Each configuration is written to disk as a random checkpoint and loaded as any model is. The figures
are those of tests/parity/test_families.py, so that the table says how far inside its gates a family
lies. The exit status is 1 if a figure is outside.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # where transformers' own run is
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from circuitgraph.engine.batch import unpadded_inputs
from circuitgraph.engine.grid import Grid
from circuitgraph.errors import unknown_name
from circuitgraph.evaluation.parity import measure_residual_errors
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.models.reference import run_reference
from tests.parity.cases import CASES
from tests.parity.harness import (
    everywhere,
    gate,
    masks_without_one_node,
    random_tokens,
    reversed_batch,
    run_masks,
    run_ours,
    save_random,
)

RESIDUAL_GATE = 1e-5
BFLOAT16_GATE = 2e-2
LIVE = 1e-5  # a node whose removal moves no logit by this much is idle
SMALL = 0.1  # standard deviation of weights that do not amplify the rounding of bfloat16

BEGIN, END = "<!-- parity table -->", "<!-- end of the parity table -->"
NOTE = """\
* Logits: the largest difference to transformers in float32, of what is allowed: max(1e-4, 1e-5 of the largest logit).
* bfloat16: root mean square of the difference, relative to that of the logits; {bfloat16:.0e} is allowed. In brackets,
  transformers' own bfloat16 beside its float32: what rounding alone comes to.
* Residual: the largest difference between the stream before any layer, or after the last, and embedding + writers +
  constants, relative to the stream's largest number; {residual:.0e} is allowed.
* Live: readers and writers that move some logit by {live:.0e} or more when their edges carry another prompt's values,
  of all. All must.
* \\*: a mixture of experts. Where a router's choice is close, two implementations that round differently may send a
  token to different experts, and what follows is another computation. Such a figure is shown, but not held to the
  gate; the tests hold the positions where no choice was close.

Random weights, 3 prompts of 13 tokens, every position; {versions}."""


@dataclass(frozen=True)
class Row:
    """What one configuration came to."""

    name: str
    difference: float
    allowed: float
    bfloat16: float
    rounding: float
    residual: float
    n_live: int
    n_nodes: int
    experts: bool

    @property
    def broken_gates(self) -> list[str]:
        """What is outside its gate, in words. A figure that is no number is outside, too."""
        checks = {
            f"logits differ by {self.difference:.1e}": self.difference <= self.allowed,
            f"bfloat16 is off by {self.bfloat16:.1e}": self.experts
            or self.bfloat16 <= BFLOAT16_GATE,
            f"the residual stream is off by {self.residual:.1e}": self.residual <= RESIDUAL_GATE,
            f"{self.n_nodes - self.n_live} of {self.n_nodes} nodes are idle": self.n_live
            == self.n_nodes,
        }
        return [text for text, passes in checks.items() if not passes]

    @property
    def line(self) -> str:
        family, _, special = self.name.partition(": ")
        grid = (
            f"`{family}`",
            special or "away from the defaults",
            f"{self.difference:.1e} of {self.allowed:.1e}",
            f"{self.bfloat16:.1e}{' *' if self.experts else ''} ({self.rounding:.1e})",
            f"{self.residual:.1e}",
            f"{self.n_live}/{self.n_nodes}",
        )
        return f"| {' | '.join(grid)} |"


def main() -> None:
    options, names = _parse_options()
    rows = []
    with tqdm(names, unit="case", file=sys.stderr) as bar:
        for name in bar:
            bar.set_postfix_str(name)
            rows.append(measure_case(name))
    text = format_table(rows)
    print(text)
    failures = [f"{row.name}: {', '.join(row.broken_gates)}" for row in rows if row.broken_gates]
    if failures:
        sys.exit("Outside the gate:\n  " + "\n  ".join(failures))
    if options.write:
        replace_table(options.write, text)


def _parse_options() -> tuple[argparse.Namespace, list[str]]:
    """The options, and the names of the cases that they ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="families, or single cases by their whole name"
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="put the table into this file, between its markers",
    )
    options = parser.parse_args()
    if options.only and options.write:
        parser.error("--write needs the whole table, so it does not go with --only.")
    if options.write:
        try:
            split_at_table(options.write)
        except (OSError, ValueError) as error:
            parser.error(f"--write: {error}")
    known = {*CASES, *(name.partition(":")[0] for name in CASES)}
    for name in options.only or ():
        if name not in known:
            parser.error(str(unknown_name("case", name, sorted(known))))
    names = options.only or known
    return options, [name for name in CASES if name in names or name.partition(":")[0] in names]


def measure_case(name: str) -> Row:
    """All figures of one case."""
    with tempfile.TemporaryDirectory() as work:
        family, fields = name.partition(":")[0], CASES[name]
        model = load_model(save_random(Path(work, "float32"), family, **fields))
        tokens = random_tokens(model.spec.d_vocab)
        theirs = run_reference(model, tokens)
        moved = measure_liveness(model, tokens)
        small = load_model(
            save_random(Path(work, "bfloat16"), family, scale=SMALL, **fields), dtype="bfloat16"
        )
        rounded, exact = (
            run_reference(small, tokens, dtype=dtype).logits for dtype in ("bfloat16", "float32")
        )
        return Row(
            name,
            difference=float(np.abs(run_ours(model, tokens) - theirs.logits).max()),
            allowed=gate(theirs.logits),
            bfloat16=relative_difference(run_ours(small, tokens), rounded),
            rounding=relative_difference(rounded, exact),
            residual=max(measure_residual_errors(model, unpadded_inputs(tokens), theirs.streams)),
            n_live=int((moved >= LIVE).sum()),
            n_nodes=len(moved),
            experts=model.spec.experts is not None,
        )


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Root mean square of the difference, relative to that of ``theirs``."""
    return float(np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2)))


def measure_liveness(model: LanguageModel, tokens: np.ndarray) -> np.ndarray:
    """How far some logit moves if a node's edges carry another prompt's values, for each node."""
    graph = model.graph()
    masks = np.stack([np.ones(graph.n_edges, bool), *masks_without_one_node(graph).values()])
    network, clean = model.transformer, everywhere(tokens)
    replaced = reversed_batch(network, tokens)
    edge_masks = jnp.asarray(masks, jnp.float32)
    full, *without = np.asarray(run_masks(network, edge_masks, Grid.of(graph), replaced, clean))
    return np.array([np.abs(logits - full).max() for logits in without])


def format_table(rows: list[Row]) -> str:
    """The rows, their heads, and what the figures mean."""
    heads = ("family", "configuration", "logits", "bfloat16", "residual", "live")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(row.line for row in rows)]
    versions = ", ".join(
        f"{package} {metadata.version(package)}" for package in ("transformers", "torch", "jax")
    )
    note = NOTE.format(bfloat16=BFLOAT16_GATE, residual=RESIDUAL_GATE, live=LIVE, versions=versions)
    return "\n".join([*lines, "", note])


def split_at_table(path: Path) -> tuple[str, str]:
    """The text before the table of a file and the text after it, with the markers."""
    match = re.fullmatch(
        rf"(.*{re.escape(BEGIN)}\n).*({re.escape(END)}.*)", path.read_text("utf-8"), re.DOTALL
    )
    if match is None:
        raise ValueError(f"{path} needs the lines {BEGIN!r} and, after it, {END!r}.")
    return match[1], match[2]


def replace_table(path: Path, text: str) -> None:
    """Put ``text`` between the markers; the file is the old or the new one at every moment."""
    before, after = split_at_table(path)
    new = path.with_name(f"{path.name}.new")
    new.write_text(f"{before}\n{text}\n\n{after}", "utf-8")
    new.replace(path)


if __name__ == "__main__":
    main()
