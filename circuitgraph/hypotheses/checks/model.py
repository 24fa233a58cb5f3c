"""Checks against the model and the task: sites exist, roles exist, and every claim has a path in
the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

from circuitgraph.engine.tree.checks import find_missing_part
from circuitgraph.errors import CircuitGraphError
from circuitgraph.graph.sites import Site
from circuitgraph.graph.tree import Node
from circuitgraph.hypotheses.checks.declared import rival_problems
from circuitgraph.hypotheses.checks.finding import Finding, share, unknown
from circuitgraph.hypotheses.language import Hypothesis, Where
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.study import Study
from circuitgraph.hypotheses.unroll import contains
from circuitgraph.models.spec import Spec

Named = tuple[Where, str, Site]  # where a site is written, what names it, and the site


def name_problems(hypothesis: Hypothesis) -> list[Finding]:
    """Names that can be refused without loading a model: of the task, its settings and the metric."""
    from circuitgraph.tasks.base import tasks
    from circuitgraph.tasks.metrics import metrics

    found: list[Finding] = []

    try:
        if not hypothesis.task.endswith(".jsonl"):
            tasks[hypothesis.task].effective(hypothesis.settings)
    except CircuitGraphError as error:
        found.append(Finding(hypothesis.declared, str(error)))
    if hypothesis.metric is not None and hypothesis.metric not in metrics:
        found.append(
            Finding(hypothesis.declared, unknown("metric", hypothesis.metric, metrics.names()))
        )
    return found


def place_problems(study: Study, prompts: Sequence[Prompt]) -> list[Finding]:
    """Sites that the model lacks, and roles that not all prompts have."""
    have = Counter(role for prompt in prompts for role in prompt.position)
    found: list[Finding] = []
    for where, owner, site in named_sites(study.hypothesis):
        found += [
            Finding(where, f"{owner} is at {site}, but {why}")
            for why in _absent(site, study.model.spec)
        ]
        found += [
            Finding(where, f"{owner}: {why}")
            for role in site.roles
            for why in _role(role, have, prompts, study)
        ]
    for expectation in study.hypothesis.expectations:
        if expectation.to is not None:
            problems = _role(expectation.to, have, prompts, study)
            found += [
                Finding(expectation.where, f"the expectation of {expectation.quantity}: {w}")
                for w in problems
            ]
    return [*dict.fromkeys(found), *(_scored(study, prompts) if not found else [])]


def named_sites(hypothesis: Hypothesis) -> Iterator[Named]:
    """Every site that a hypothesis names."""
    for variable in hypothesis.variables:
        for site in (*variable.sites, *variable.through.values()):
            yield variable.where, f"`{variable.name}`", site
    for rival in hypothesis.rivals:
        for name, sites in rival.move.items():
            for site in sites:
                yield rival.where, f"`{name}` of the rival {rival.name!r}", site
    for expectation in hypothesis.expectations:
        if expectation.site is not None:
            yield expectation.where, f"the expectation of {expectation.quantity}", expectation.site


def path_problems(study: Study) -> list[Finding]:
    """Claims without a path in the graph, and claims of one path twice; of the hypothesis and of
    its rivals.
    """
    hypothesis = study.hypothesis
    where = {v.name: v.where for v in hypothesis.variables}
    unrolled = study.unrolled()
    found = [Finding(where[p.variable], f"`{p.variable}`: {p.message}") for p in unrolled.problems]
    if not found:
        found += [
            Finding(where[name], message) for name, message in _same_place(study, unrolled.root)
        ]
    if found:
        return found  # a rival would repeat them
    for rival in hypothesis.rivals:
        if not rival_problems(hypothesis, rival):
            problems = study.unrolled(study.program.with_rival(rival)).problems
            who = f"the rival {rival.name!r}"
            found += [Finding(rival.where, f"{who}: `{p.variable}`: {p.message}") for p in problems]
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
        yield f"{unknown('role', role, have)} The prompts of task {study.task.name!r} have: {names}."
    elif have[role] < len(prompts):
        lacking = min(
            (p for p in prompts if role not in p.position), key=lambda p: (len(p), p.text)
        )
        yield (
            f"only {share(have[role], len(prompts))} prompts have the role {role!r}; {lacking!r} "
            f"has not. Say which prompts the hypothesis is about, as with where=lambda p: {role!r} "
            "in p.position"
        )


def _scored(study: Study, prompts: Sequence[Prompt]) -> Iterator[Finding]:
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
        yield Finding(
            output.where,
            f"the output `{output.name}` is at {role!r}, but the answer is read at the last token, "
            f"another one in {share(len(wrong), len(prompts))} prompts, as in {shortest!r}; "
            f"{advice}",
        )


def _same_place(study: Study, root: Node) -> Iterator[tuple[str, str]]:
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
                    f"but in {share(n, len(places))} prompts these roles are one token, which "
                    "would be claimed twice: keep one of them",
                )
