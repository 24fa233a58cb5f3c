"""Time and peak memory of load_model beside transformers' from_pretrained, on the same files.

    python tools/bench/loading.py  # writes a random model of Llama-3.2-1B's shape first (5 GB)
    python tools/bench/loading.py --folder MODEL --dtype bfloat16 --repeats 5

Each measurement is a process of its own; the two take turns, so that both find the files in the
same state of the system's cache. Peak memory is the process's largest resident set (Linux), less
what it had before loading, as a share of the weights in the loaded precision.
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
    options = _parse_options()
    if options.child:
        print(json.dumps(measure_loading(options.child, options.folder, options.dtype)))
        return
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        folder = options.folder or write_random_llama(Path(work), options.stored)
        runs: dict[str, list[dict[str, float]]] = {"transformers": [], "circuitgraph": []}
        for _ in range(options.repeats):
            for name, measurements in runs.items():
                measurements.append(run_child(name, folder, options.dtype))
    print_report(runs)


def _parse_options() -> argparse.Namespace:
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


def measure_loading(name: str, folder: Path, dtype: str) -> dict[str, float]:
    """Load once and touch every weight; the clock starts after the imports."""
    prepare = _prepare_circuitgraph if name == "circuitgraph" else _prepare_transformers
    load_all = prepare(folder, dtype)
    before, start = _peak_bytes(), time.perf_counter()
    n_bytes = load_all()
    return {
        "seconds": time.perf_counter() - start,
        "peak": (_peak_bytes() - before) / n_bytes,
        "bytes": n_bytes,
    }


def _prepare_circuitgraph(folder: Path, dtype: str) -> Any:
    import jax
    import jax.numpy as jnp

    # Imported before the clock starts, as it is for the other library.
    from transformers import AutoModelForCausalLM  # noqa: F401

    from circuitgraph.models.loading import load_model

    jnp.ones(3).block_until_ready()  # start the backend

    def load_all() -> int:
        leaves = jax.tree.leaves(load_model(folder, dtype=dtype).transformer)
        jax.block_until_ready(leaves)
        return sum(leaf.nbytes for leaf in leaves)

    return load_all


def _prepare_transformers(folder: Path, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    def load_all() -> int:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        for parameter in model.parameters():
            # The file may be mapped: one number of each page of 4,096 bytes loads all of it.
            parameter.view(-1)[:: 4096 // parameter.element_size()].sum()
        return sum(parameter.nbytes for parameter in model.parameters())

    return load_all


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def print_report(runs: dict[str, list[dict[str, float]]]) -> None:
    """Medians, and the ratio of the two."""
    for name, measurements in runs.items():
        seconds = sorted(run["seconds"] for run in measurements)
        peak = statistics.median(run["peak"] for run in measurements)
        print(
            f"{name:13} {statistics.median(seconds):6.2f} s ({seconds[0]:.2f} to "
            f"{seconds[-1]:.2f}), peak {peak:.2f} x the weights' "
            f"{measurements[0]['bytes'] / 2**30:.2f} GiB"
        )
    ours, theirs = (
        statistics.median(run["seconds"] for run in runs[n])
        for n in ("circuitgraph", "transformers")
    )
    print(f"ratio of times {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
