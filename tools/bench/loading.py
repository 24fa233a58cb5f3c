"""Loading at scale: time and peak memory of load_model beside transformers' from_pretrained, on the
same files.

    python tools/bench/loading.py                      # writes a random model of Llama-3.2-1B's
    shape first (5 GB) python tools/bench/loading.py --folder MODEL --dtype bfloat16 --repeats 5

Each measurement is a process of its own; the two take turns, so that both find the files in the
same state of the
system's cache. Peak memory is the process's largest resident set (Linux), less what it had before
loading, as a share
of the weights in the loaded precision.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    options = _options()
    if options.child:
        print(json.dumps(measure(options.child, options.folder, options.dtype)))
        return
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        folder = options.folder or write_random_llama(Path(work), options.stored)
        runs: dict[str, list[dict[str, float]]] = {"transformers": [], "circuitgraph": []}
        for _ in range(options.repeats):
            for name, found in runs.items():
                found.append(run_child(name, folder, options.dtype))
    report(runs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, help="a checkpoint; a random 1B Llama is written if none is given"
    )
    parser.add_argument("--work", type=Path, help="where to write it")
    parser.add_argument("--stored", default="float32", help="its precision in the files")
    parser.add_argument("--dtype", default="float32", help="precision to load in")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", choices=["transformers", "circuitgraph"], help=argparse.SUPPRESS)
    return parser.parse_args()


def write_random_llama(folder: Path, dtype: str) -> Path:
    """A random model of Llama-3.2-1B's shape: 1,235,814,400 parameters, in shards of 2 GB."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_default_dtype(getattr(torch, dtype))
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="2GB")
    return folder


def run_child(name: str, folder: Path, dtype: str) -> dict[str, float]:
    """Measure in a new process."""
    command = [sys.executable, __file__, "--child", name, "--folder", str(folder), "--dtype", dtype]
    return json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )


def measure(name: str, folder: Path, dtype: str) -> dict[str, float]:
    """Load once, touch every weight, and say what it took; imports are done before the clock
    starts.
    """
    load = _with_circuitgraph if name == "circuitgraph" else _with_transformers
    ready = load(folder, dtype)
    before, start = _peak(), time.perf_counter()
    n_bytes = ready()
    return {
        "seconds": time.perf_counter() - start,
        "peak": (_peak() - before) / n_bytes,
        "bytes": n_bytes,
    }


def _with_circuitgraph(folder: Path, dtype: str) -> Any:
    import jax
    import jax.numpy as jnp
    from transformers import AutoModelForCausalLM  # noqa: F401  # imported before the clock starts, as for the other

    from circuitgraph.models.loading import load_model

    jnp.ones(3).block_until_ready()  # start the backend

    def ready() -> int:
        leaves = jax.tree.leaves(load_model(folder, dtype=dtype).transformer)
        jax.block_until_ready(leaves)
        return sum(leaf.nbytes for leaf in leaves)

    return ready


def _with_transformers(folder: Path, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    def ready() -> int:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        for parameter in model.parameters():
            parameter.view(-1)[
                :: 4096 // parameter.element_size()
            ].sum()  # one number of each page: it may be mapped
        return sum(parameter.nbytes for parameter in model.parameters())

    return ready


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report(runs: dict[str, list[dict[str, float]]]) -> None:
    """Medians, and the ratio of the two."""
    for name, found in runs.items():
        seconds = sorted(run["seconds"] for run in found)
        print(
            f"{name:13} {statistics.median(seconds):6.2f} s ({seconds[0]:.2f} to "
            f"{seconds[-1]:.2f}), peak {statistics.median(run['peak'] for run in found):.2f} x the "
            f"weights' {found[0]['bytes'] / 2**30:.2f} GiB"
        )
    ours, theirs = (
        statistics.median(run["seconds"] for run in runs[n])
        for n in ("circuitgraph", "transformers")
    )
    print(f"ratio of times {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
