"""Checks against the model and the task: sites exist, roles exist, and every claim has a path in
the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

from circuitgraph.engine.tree.checks import find_missing_part
from circuitgraph.errors import CircuitGraphError
from circuitgraph.graph.site import Site
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.checks.declared import rival_problems
from circuitgraph.hypotheses.diagnostics import Diagnostic, describe_unknown, format_share
from circuitgraph.hypotheses.language import Hypothesis, Location
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.study import Study
from circuitgraph.hypotheses.unroll import contains
from circuitgraph.models.spec import Spec

Named = tuple[Location, str, Site]  # where a site is written, what names it, and the site


def name_problems(hypothesis: Hypothesis) -> list[Diagnostic]:
    """Names that can be refused without loading a model: of the task, its settings and the metric."""
    from circuitgraph.tasks.base import tasks
    from circuitgraph.tasks.metrics import metrics

    found: list[Diagnostic] = []

    try:
        if not hypothesis.task.endswith(".jsonl"):
            tasks[hypothesis.task].fill_arguments(hypothesis.settings)
    except CircuitGraphError as error:
        found.append(Diagnostic(hypothesis.location, str(error)))
    if hypothesis.metric is not None and hypothesis.metric not in metrics:
        found.append(
            Diagnostic(
                hypothesis.location, describe_unknown("metric", hypothesis.metric, metrics.names())
            )
        )
    return found


def place_problems(study: Study, prompts: Sequence[Prompt]) -> list[Diagnostic]:
    """Sites that the model lacks, and roles that not all prompts have."""
    have = Counter(role for prompt in prompts for role in prompt.position)
    found: list[Diagnostic] = []
    for where, owner, site in named_sites(study.hypothesis):
        found += [
            Diagnostic(where, f"{owner} is at {site}, but {why}")
            for why in _absent(site, study.model.spec)
        ]
        found += [
            Diagnostic(where, f"{owner}: {why}")
            for role in site.roles
            for why in _role(role, have, prompts, study)
        ]
    for expectation in study.hypothesis.expectations:
        if expectation.to is not None:
            problems = _role(expectation.to, have, prompts, study)
            found += [
                Diagnostic(expectation.location, f"the expectation of {expectation.quantity}: {w}")
                for w in problems
            ]
    return [*dict.fromkeys(found), *(_scored(study, prompts) if not found else [])]


def named_sites(hypothesis: Hypothesis) -> Iterator[Named]:
    """Every site that a hypothesis names."""
    for variable in hypothesis.variables:
        for site in (*variable.sites, *variable.through.values()):
            yield variable.location, f"`{variable.name}`", site
    for rival in hypothesis.rivals:
        for name, sites in rival.move.items():
            for site in sites:
                yield rival.location, f"`{name}` of the rival {rival.name!r}", site
    for expectation in hypothesis.expectations:
        if expectation.site is not None:
            yield (
                expectation.location,
                f"the expectation of {expectation.quantity}",
                expectation.site,
            )


def path_problems(study: Study) -> list[Diagnostic]:
    """Claims without a path in the graph, and claims of one path twice; of the hypothesis and of
    its rivals.
    """
    hypothesis = study.hypothesis
    where = {v.name: v.location for v in hypothesis.variables}
    unrolled = study.unrolled()
    found = [
        Diagnostic(where[p.variable], f"`{p.variable}`: {p.message}") for p in unrolled.problems
    ]
    if not found:
        found += [
            Diagnostic(where[name], message) for name, message in _same_place(study, unrolled.root)
        ]
    if found:
        return found  # a rival would repeat them
    for rival in hypothesis.rivals:
        if not rival_problems(hypothesis, rival):
            problems = study.unrolled(study.program.with_rival(rival)).problems
            who = f"the rival {rival.name!r}"
            found += [
                Diagnostic(rival.location, f"{who}: `{p.variable}`: {p.message}") for p in problems
            ]
    return found


def _absent(site: Site, spec: Spec) -> Iterator[str]:
    """Why the model has no such site, in words."""
    missing = find_missing_part(spec, site)
    if site.kind == "feature":
        yield (
            "no dictionary of features can be attached to a model yet: name the MLP, or some of "
            "its neurons"
        )
    elif missing is not None:
        sentence, n = missing
        yield f"{sentence}, numbered from 0" if n else sentence


def _role(role: str, have: Counter[str], prompts: Sequence[Prompt], study: Study) -> Iterator[str]:
    """What is wrong with a role, in words."""
    if role not in have:
        names = ", ".join(have) or "none"
        yield f"{describe_unknown('role', role, have)} The prompts of task {study.task.name!r} have: {names}."
    elif have[role] < len(prompts):
        lacking = min(
            (p for p in prompts if role not in p.position), key=lambda p: (len(p), p.text)
        )
        yield (
            f"only {format_share(have[role], len(prompts))} prompts have the role {role!r}; {lacking!r} "
            f"has not. Say which prompts the hypothesis is about, as with where=lambda p: {role!r} "
            "in p.position"
        )


def _scored(study: Study, prompts: Sequence[Prompt]) -> Iterator[Diagnostic]:
    """An output at another place than the one where the model's answer is read."""
    output = study.hypothesis.output_variable
    if output is None:
        return
    role = output.sites[0].roles[0]
    wrong = [p for p in prompts if p.position[role] != len(p) - 1]
    if wrong:
        shortest = min(wrong, key=lambda p: (len(p), p.text))
        last = [
            name
            for name in prompts[0].position
            if all(p.position.get(name) == len(p) - 1 for p in prompts)
        ]
        advice = (
            f"the role of the last token is {' or '.join(map(repr, last))}"
            if last
            else "no role is the last token"
        )
        yield Diagnostic(
            output.location,
            f"the output `{output.name}` is at {role!r}, but the answer is read at the last token, "
            f"another one in {format_share(len(wrong), len(prompts))} prompts, as in {shortest!r}; "
            f"{advice}",
        )


def _same_place(study: Study, root: TreeNode) -> Iterator[tuple[str, str]]:
    """Claims of one writer into one input under two roles that are one token in some prompt: they
    would count twice.
    """
    places, roles = study.places, study.roles
    seen: set[tuple[Site, Site, Site, str]] = set()
    for node in root.walk():
        for a, b in combinations(node.children, 2):
            key = (node.site, a.site, b.site, a.feeds)
            if (
                a.feeds != b.feeds
                or key in seen
                or not (contains(a.site, b.site) or contains(b.site, a.site))
            ):
                continue
            seen.add(key)
            at, other = (places[:, [roles.index(role) for role in n.site.roles]] for n in (a, b))
            n = int((at[:, :, None] == other[:, None, :]).any(axis=(1, 2)).sum())
            if n:
                yield (
                    node.variable,
                    f"{a.variable} at {a.site} and {b.variable} at {b.site} both feed {node.site}, "
                    f"but in {format_share(n, len(places))} prompts these roles are one token, which "
                    "would be claimed twice: keep one of them",
                )
