"""All heads knocked out one by one: our two sweeps beside hooks on the torch model, head by head.

    python tools/bench/head_sweep.py  # about 10 minutes on two idle cores
    python tools/bench/head_sweep.py --sample  # torch does one head of each layer, times the heads

A random model of GPT-2 small's shape, 144 heads, 32 prompts of up to 16 tokens. The hooks zero a
head's columns of what the output weights read, in one batch of all prompts: ``everywhere`` at all
positions, ``scored`` at the last one, which costs torch the same. torch computes the logits of all
positions, as a model that is called does; ``logits_to_keep`` would spare it that, and is measured
too. Compile time is left out, and shown. Quote ratios only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from circuitgraph.engine.readings.head_sweep import sweep_everywhere, sweep_scored
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.metrics import metrics
from circuitgraph.tasks.prompts import Prompts
from tools.bench.search_cases import Compiling, list_cases

METRICS = (metrics["log_probability"],)
TOLERANCE = 1e-3


def sweep_by_hooks(
    hf: Any, prompts: Prompts, heads: Sequence[int], *, everywhere: bool, last_only: bool = False
) -> tuple[np.ndarray, float]:
    """The answer's log-probability without these heads of each layer, [layers, heads, batch]; and
    the seconds for a head.
    """
    start = time.perf_counter()
    tokens, mask = torch.tensor(prompts.clean).long(), torch.tensor(prompts.mask).long()
    rows, at = torch.arange(len(prompts)), torch.tensor(prompts.score_at).long()
    answer, n_heads = torch.tensor(prompts.answer).long(), hf.config.n_head
    width = hf.config.n_embd // n_heads
    values = []
    for block in hf.transformer.h:
        for head in heads:
            columns = slice(head * width, (head + 1) * width)

            def silence(_: Any, args: Any, columns: slice = columns) -> Any:
                z = args[0].clone()
                if everywhere:
                    z[..., columns] = 0
                else:
                    z[rows, at, columns] = 0
                return (z, *args[1:])

            hook = block.attn.c_proj.register_forward_pre_hook(silence)
            with torch.no_grad():
                if last_only:
                    logits = hf(tokens, attention_mask=mask, logits_to_keep=1).logits[:, -1]
                else:
                    logits = hf(tokens, attention_mask=mask).logits[rows, at]
            hook.remove()
            values.append(logits.log_softmax(-1)[rows, answer].numpy())
    seconds = (time.perf_counter() - start) / len(values)
    return np.array(values).reshape(len(hf.transformer.h), len(heads), -1), seconds


def compare_sweeps(work: Path, *, sample: bool, tiny: bool) -> Table:
    """All sweeps in a table; where ours and torch's disagree, an error."""
    case = list_cases(tiny)["gpt2"]
    case = replace(case, prompts=3 if tiny else 32)
    folder, prompts, compiling = case.folder(work), case.random_prompts(), Compiling()
    model = load_model(str(folder)).transformer
    hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    n_heads, n_all = model.spec.n_heads, model.spec.n_layers * model.spec.n_heads
    heads = [0] if sample else range(n_heads)
    table = Table("knocked out at", "how", "s", "times faster", "compiling, s", "difference")
    for name, sweep in (("everywhere", sweep_everywhere), ("scored", sweep_scored)):
        theirs, of_head = sweep_by_hooks(hf, prompts, heads, everywhere=name == "everywhere")
        hooked = n_all * of_head
        table.add_row(name, "torch, head by head", f"{hooked:.1f}", "1", "", "")
        before, start = compiling.seconds, time.perf_counter()
        ours = sweep(model, prompts, METRICS).without[:, list(heads), 0]
        compiled = compiling.seconds - before
        seconds = time.perf_counter() - start - compiled
        difference = float(np.abs(ours - theirs).max())
        if difference > TOLERANCE:
            raise SystemExit(f"{name}: ours and torch's differ by {difference}")
        cells = (f"{seconds:.1f}", f"{hooked / seconds:.1f}", f"{compiled:.1f}")
        table.add_row(name, "one batched run", *cells, f"{difference:.1e}")
    _, of_head = sweep_by_hooks(hf, prompts, heads, everywhere=True, last_only=True)
    table.add_row("either", "torch, one position's logits", f"{n_all * of_head:.1f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", action="store_true", help="hook one head of each layer only")
    parser.add_argument("--tiny", action="store_true", help="only show that the tool works")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        Console().print(compare_sweeps(Path(work), sample=options.sample, tiny=options.tiny))


if __name__ == "__main__":
    main()
