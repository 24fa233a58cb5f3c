"""A setup: all that a run depends on, in words that can be typed, stored and read again.

Nothing here loads a model or an array library: what is wrong with the words is said at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circuitgraph.catalog.files import make_graph
from circuitgraph.catalog.folders import find_beside
from circuitgraph.catalog.records import CircuitRecord
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph

N_UNITS = 64


@dataclass(frozen=True, kw_only=True)
class GraphChoice:
    """Which graph of a model is searched; the attributes are as of `circuitgraph.discover`."""

    grouped: bool = False
    granularity: str = "head"
    refine: Sequence[str] = ("auto",)
    n_units: int = N_UNITS
    frozen_errors: bool = False
    own_inputs: bool = False
    split_sources: Sequence[str] = ()

    @property
    def chooses_units(self) -> bool:
        """Whether a first search, among heads and MLPs, chooses the units that become nodes."""
        return self.granularity != "head" and list(self.refine) == ["auto"]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What is asked of a model and a task, whichever they are.

    Attributes:
        graph: how the model's graph is chosen, or the very graph of a circuit.
        metric: what the behaviour is measured by; the task's own if None.
        ablation: what an absent edge carries; ``resample`` if None.
        n_prompts: number of discovery prompts; if None, 50 or all of a file that has fewer.
        n_evaluation: number of evaluation prompts; if None, 200 or all of a file that has fewer.
        memory: limit in bytes for one launch, on each device.
    """

    graph: GraphChoice | Graph = GraphChoice()
    metric: str | None = None
    ablation: str | None = None
    n_prompts: int | None = None
    n_evaluation: int | None = None
    memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class Setup(Terms):
    """Terms with the model and the task that they are for, by name: nothing is loaded yet.

    The command line and its config files make one of options; `from_record` makes the one that a
    stored circuit was found with; `circuitgraph.jobs.workbench.load_setup` loads what it names.

    Attributes:
        model: folder, shipped model or hub name.
        task: a grammar's name, or a file of pairs.
        task_settings: of the grammar or the file, as of `circuitgraph.load_task`.
        loading: keywords of `circuitgraph.load_model`.
        seed: of the prompts.
        beside: the file that names the model, so that a folder is looked for beside it too.
    """

    model: str
    task: str | Path
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    loading: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    beside: Path | None = None

    @classmethod
    def from_record(
        cls,
        record: CircuitRecord,
        path: Path,
        *,
        model: str | None = None,
        task: str | Path | None = None,
        task_settings: Mapping[str, Any] | None = None,
        loading: Mapping[str, Any] | None = None,
        seed: int | None = None,
        memory: int | None = None,
    ) -> Setup:
        """The setup that a stored circuit was found with; what is given replaces what is stored.

        Args:
            path: of the circuit, beside which the files that it names are looked for too.
            model: another model, of which nothing but the precision is as it was.
            task: another task or file, of which nothing but the seed is as it was.
            loading: keywords of `circuitgraph.load_model`, one by one.

        Raises:
            ArgumentError: neither the record nor the caller names a task, or a model, and none is
                shipped for it; the model was loaded with Python of its checkpoint, and ``loading``
                does not trust it.
        """
        own_model, own_task = record.model, record.task
        facts = record.model_dump(mode="json", include={"model", "environment"})
        keywords = recall_loading(facts, path, loading or {}, is_own=model is None)
        settings: Mapping[str, Any] = {}
        if task is None:
            if own_task is None:
                raise ArgumentError("This circuit names no task: give one with --task or --data.")
            task, settings = recall_task(own_task.name, own_task.arguments, path)
        if model is None and own_model is None:
            model = find_shipped_model(task)
        return cls(
            model=model or (own_model.name if own_model else ""),
            task=task,
            task_settings={**settings, **(task_settings or {})},
            loading=keywords,
            seed=seed if seed is not None else own_task.seed if own_task else 0,
            beside=path if model is None else None,
            graph=make_graph(record.graph),
            metric=record.metric,
            ablation=record.ablation,
            n_prompts=own_task.n_prompts if own_task else None,
            n_evaluation=record.evaluation.n_prompts if record.evaluation else None,
            memory=memory,
        )


def find_shipped_model(task: str | Path) -> str:
    """The model that is shipped for a task.

    Raises:
        ArgumentError: there is none.
        UnknownNameError: no task of that name.
    """
    from circuitgraph.tasks.base import tasks

    if isinstance(task, Path):
        raise ArgumentError("--data needs --model: a folder, a shipped model or a hub name.")
    if (shipped := tasks[task].model) is None:
        raise ArgumentError(f"No model is shipped for task {task!r}: name one with --model.")
    return shipped


def recall_task(
    name: str, arguments: Mapping[str, Any], path: Path | None = None
) -> tuple[str | Path, dict[str, Any]]:
    """The task that a record names: a grammar's name or a file, and keywords of `load_task`.

    Args:
        path: of the record, beside which a file of pairs is looked for too.
    """
    # where a record says nothing of BOS, none stood before the prompts
    settings = {"bos": "no", **arguments}
    if "data" not in settings:
        return name, settings
    file = settings.pop("data")
    settings.pop("sha256", None)
    return Path(file if path is None else find_beside(file, path)), settings


def recall_loading(
    provenance: Mapping[str, Any], path: Path, given: Mapping[str, Any], *, is_own: bool
) -> dict[str, Any]:
    """Keywords of `circuitgraph.load_model` for a stored circuit's model.

    What is not given is as it was when the circuit was searched for.

    Args:
        provenance: of the circuit.
        path: of the circuit, beside which a configuration is looked for too.
        is_own: whether it is the model that the circuit was searched for in, not another one.

    Raises:
        ArgumentError: the search trusted Python of the checkpoint: a record is no leave to run it.
    """
    recorded: dict[str, Any] = {}
    if environment := provenance.get("environment"):
        recorded["dtype"] = environment["precision"]
    model = provenance.get("model")
    if is_own and model is not None:
        recorded |= {"revision": model.get("revision"), **(model.get("options") or {})}
        recorded["dictionaries"] = _name_dictionaries(model.get("dictionaries") or [], path)
    if isinstance(config := recorded.get("config"), str):
        recorded["config"] = find_beside(config, path)
    needs_trust = recorded.pop("trust_remote_code", False)
    if needs_trust and not given.get("trust_remote_code"):
        raise ArgumentError(
            "The circuit's model was loaded with Python code of its checkpoint. To run that code "
            "again, add --trust-remote-code."
        )
    keywords = {**recorded, **given}
    return {name: value for name, value in keywords.items() if value is not None}


def _name_dictionaries(recorded: Sequence[Mapping[str, Any]], path: Path) -> list[str] | None:
    """Where the dictionaries of a circuit's model are, each once; None without any.

    Raises:
        ArgumentError: one came from no file.
    """
    names = dict.fromkeys(each["name"] for each in recorded)
    if "" in names:
        raise ArgumentError(
            "A dictionary of the circuit's model came from no file: judge the circuit in Python, "
            "with the same dictionary beside the model (attach_dictionaries)."
        )
    return [find_beside(name, path) for name in names] or None
