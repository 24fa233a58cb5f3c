"""A strict environment: shapes are checked, warnings are errors, hypothesis waits for compilers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.type_checks import install_checks

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Most of the suite's programs run once or twice and take longer to compile. So the machine code is
# left unpolished (`optimised` is the exception), and written in one piece by the older of XLA's two
# emitters: a quarter of the compile time. XLA ends a process whose flags it does not know, and
# these are to go one day. Commands that tests run as users do (`tests.users`) compile as for users.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if tuple(map(int, version("jaxlib").split(".")[:2])) <= (0, 10):
    _FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ.setdefault("XLA_FLAGS", _FLAGS)
# The tests themselves run side by side. Threads of libraries wait for one another in loops: k-means
# of 40 prompts took nine times the processor time with two of them on a busy machine.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

# Before the first import of circuitgraph, so that every annotated shape is checked on every call.
install_checks("circuitgraph")

hypothesis.settings.register_profile("ours", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ours")

# Imported where they are used: the process that hands out tests to others needs none of them, and
# the others start when it is ready.
if TYPE_CHECKING:
    from circuitgraph.models.language_model import LanguageModel
    from tests.checkpoints import Tiny

# memory maps: a process that has compiled thousands of programs ends at Linux's limit of 65,530
_PROGRAMS = 20_000


# What takes more than about a second of a processor, by folder, file or test (`pytest
# --durations=0` measured it): these tests carry the marker ``slow``, so that ``pytest -m "not
# slow"`` is quick and touches every room.
SLOW = (
    "analysis/test_circuit_nodes.py",
    "analysis/test_token_shapley.py::test_tokens_of_a_prompt",
    "analysis/test_knock_out.py",
    "analysis/test_mechanisms.py",
    "analysis/test_neuron_methods.py",
    "analysis/test_neuron_overlap.py",
    "analysis/test_path_patching.py",
    "analysis/test_probes.py",
    "analysis/test_super_weights.py",
    "laws",
    "oracle",
    "parity",
    "tools/test_bench",
    "tools/test_train",
    "hypotheses/properties",
    "hypotheses/scrubbing",
    "hypotheses/interventions",
    "hypotheses/writing",
    "hypotheses/test_shipped.py",
    "analysis/test_activation_patching.py",
    "analysis/test_causal_tracing.py",
    "analysis/test_direct_logits.py",
    "analysis/test_logit_lens.py",
    "engine/test_patching.py",
    "engine/test_attribution.py",
    "engine/test_devices.py",
    "engine/test_sharding.py::test_cut",
    "engine/test_experiment.py",
    "engine/test_feature_sites.py",
    "engine/test_head_sources.py",
    "engine/test_frontier.py",
    "engine/test_mask_gradient.py",
    "engine/test_sharing.py",
    "engine/test_swap.py",
    "engine/test_tree.py",
    "real",
    "drawing/page/test_browser.py",
    "catalog/test_store.py::test_processes",
    "discovery/test_acdc.py::test_guesses",
    "discovery/test_acdc.py::test_speculation",
    "discovery/test_every_algorithm.py",
    "discovery/test_forecast.py",
    "discovery/test_features.py",
    "discovery/test_hybrid.py",
    "discovery/test_journal.py::test_cut_anywhere",
    "discovery/test_journal.py::test_entries_without_meaning",
    "discovery/test_learned_masks.py",
    "discovery/test_refinement.py",
    "discovery/test_sweep.py",
    "evaluation/test_faithfulness.py",
    "evaluation/test_splice_quality.py",
    "models/constructed/test_compiled.py::test_random",
    "models/constructed/test_loading.py::test_discover",
    "models/gguf/test_reference.py",
    "models/test_attention_rate.py::test_circuits",
    "models/test_attention_rate.py::test_ends",
    "models/test_checkpoints.py",
    "notebook/test_notebooks.py::test_find",
    "notebook/test_notebooks.py::test_refute",
    "notebook/test_notebooks.py::test_your",
    "models/test_saving.py::test_every",
    "models/dictionaries/test_training.py",
    "models/test_parity.py",
    "cli/test_analyze.py::test_text_json",
    "cli/test_analyze.py::test_a_unit_report",
    "cli/test_analyze.py::test_one_prompt",
    "cli/test_bad_data.py::test_a_dozen",
    "cli/test_catalog_exchange.py",
    "cli/test_formats_page.py::test_the_commands",
    "cli/test_bad_values.py::test_bad_value_is_refused_and_nothing_is_left[more prompts",
    "cli/test_bad_values.py::test_negative_threshold",
    "cli/test_catalog_compare.py::test_all_circuits",
    "cli/test_catalog_page.py::test_a_circuit",
    "cli/test_catalog_verify.py",
    "cli/test_completion.py::test_libraries",
    "cli/test_completion.py::test_every",
    "cli/test_config_file.py",
    "cli/test_dictionary.py",
    "cli/test_edit.py::test_a_share",
    "cli/test_edit.py::test_edits",
    "cli/test_evaluate.py",
    "cli/test_feature_options.py",
    "cli/test_full_disk.py::test_a_full_disk",
    "cli/test_full_disk.py::test_results",
    "cli/test_grouped.py",
    "cli/test_hypothesize.py::test_a_circuit_becomes",
    "cli/test_interchange.py",
    "cli/test_interrupts.py::test_a_search",
    "cli/test_kills.py",
    "cli/test_loading_options.py::test_a_circuit_is_judged",
    "cli/test_own_data_page.py",
    "cli/test_refinement_options.py::test_named",
    "cli/test_resume.py",
    "cli/test_scrub.py",
    "cli/test_settings.py::test_a_table",
    "cli/test_settings.py::test_settings_of_the_task",
    "cli/test_space_options.py::test_edges_on_no_path",
    "cli/test_split_sources.py::test_a_head",
    "cli/test_start.py::test_without_a_home",
    "cli/test_thresholds.py",
    "cli/test_planted_errors.py",
    "cli/test_verify.py",
    "cli/test_view.py::test_the_model",
    "tasks/test_pairs_file.py::test_no_seed",
    "jobs/test_certainty.py::test_a_stopped",
    "jobs/test_certainty.py::test_nearby",
    "jobs/test_certainty.py::test_thresholds",
    "jobs/test_dictionary_training.py",
    "jobs/test_editing.py::test_a_node",
    "jobs/test_editing.py::test_neurons_that",
    "jobs/test_editing.py::test_tasks_before",
    "jobs/test_editing.py::test_the_edited",
    "jobs/test_fine_tuning.py",
    "test_foreign.py::test_what_json",
    "jobs/test_judging.py::test_judgement_by",
    "jobs/test_judging.py::test_one_circuit",
    "jobs/test_known.py::test_acdc",
    "jobs/test_leaderboard.py",
    "jobs/test_cluster.py::test_a_killed",
    "jobs/test_sweep_grid.py::test_another_process",
    "jobs/test_sweep_grid.py::test_circuits_land",
    "test_pytest_plugin.py",
    "jobs/test_setup.py::test_a_record",
    "jobs/test_steering.py::test_a_look_up",
    "jobs/test_steering.py::test_a_post_norm",
    "jobs/test_steering.py::test_features_are",
    "jobs/test_steering.py::test_neurons_are",
    "jobs/test_steering.py::test_what_is_written",
    "test_tutorial.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and what runs a real model."""
    real = f"{Path(__file__).parent.as_posix()}/real/"
    slow = tuple(f"{Path(__file__).parent.as_posix()}/{name}" for name in SLOW)
    for item in items:
        if f"{item.path.as_posix()}::{item.name}".startswith(slow):
            item.add_marker(pytest.mark.slow)
        if item.path.as_posix().startswith(real):
            item.add_marker(pytest.mark.real)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Compile with all optimisations what a test with the marker ``optimised`` runs many times."""
    if item.get_closest_marker("optimised") is None:
        return (yield)
    import jax

    name = "jax_disable_most_optimizations"
    usual = jax.config.read(name)
    jax.config.update(name, False)
    try:
        return (yield)
    finally:
        jax.config.update(name, usual)


@pytest.fixture(scope="session", autouse=True)
def shared_programs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What one worker has compiled the others need not, nor the next run if a folder is given."""
    import jax

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "programs"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The tests themselves run side by side."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def few_programs() -> Iterator[None]:
    """Compiled programs are forgotten before there are too many for one process."""
    import jax

    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > _PROGRAMS:
        jax.clear_caches()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Long runs of neighbouring tests for each worker: neighbours share fixtures and compiled
    programs.
    """
    if config.getvalue("dist") != "load":
        return None  # asked for otherwise
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A random GPT-2 with every field away from its default, loaded by us and by transformers."""
    from tests.checkpoints import save_tiny

    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def shipped() -> LanguageModel:
    """The trained model that comes with circuitgraph, with its tokenizer."""
    from circuitgraph.models.loading import load_model

    return load_model("induction-2l")
