"""Checks against the model and the task: sites and roles exist, and claims have paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from circuitgraph.engine.tree.checks import find_missing_part
from circuitgraph.errors import CircuitGraphError
from circuitgraph.graph.site import Site
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.checks.declared import check_rival
from circuitgraph.hypotheses.diagnostics import Diagnostic, describe_unknown, format_share
from circuitgraph.hypotheses.language import Hypothesis, Location
from circuitgraph.hypotheses.prompt import Prompt, order_prompts
from circuitgraph.hypotheses.study import Study
from circuitgraph.hypotheses.unroll import contains_site
from circuitgraph.models.language_model import LanguageModel

NamedSite = tuple[Location, str, Site]  # the line that names a site, the site's owner, the site


def check_names(hypothesis: Hypothesis) -> list[Diagnostic]:
    """Names to refuse without loading a model: of the task, its settings and the metric."""
    from circuitgraph.tasks.base import tasks
    from circuitgraph.tasks.loading import COMMON_SETTINGS, is_pairs_file
    from circuitgraph.tasks.metrics import metrics

    problems: list[Diagnostic] = []
    try:
        if not is_pairs_file(hypothesis.task):
            own = {n: v for n, v in hypothesis.settings.items() if n not in COMMON_SETTINGS}
            tasks[hypothesis.task].fill_arguments(own)
    except CircuitGraphError as error:
        problems.append(Diagnostic(hypothesis.location, str(error)))
    if hypothesis.metric is not None and hypothesis.metric not in metrics:
        message = describe_unknown("metric", hypothesis.metric, metrics.names())
        problems.append(Diagnostic(hypothesis.location, message))
    return problems


def check_positions(study: Study, prompts: Sequence[Prompt]) -> list[Diagnostic]:
    """Sites that the model lacks, and roles that not all prompts have."""
    role_counts = Counter(role for prompt in prompts for role in prompt.position)
    problems: list[Diagnostic] = []
    for location, owner, site in _list_sites(study.hypothesis):
        missing = _explain_missing(site, study.model)
        if missing is not None:
            problems.append(Diagnostic(location, f"{owner} is at {site}, but {missing}"))
        for role in site.roles:
            for reason in _check_role(role, role_counts, prompts, study):
                problems.append(Diagnostic(location, f"{owner}: {reason}"))
    for expectation in study.hypothesis.expectations:
        if expectation.to is not None:
            owner = f"the expectation of {expectation.quantity}"
            for reason in _check_role(expectation.to, role_counts, prompts, study):
                problems.append(Diagnostic(expectation.location, f"{owner}: {reason}"))
    return list(dict.fromkeys(problems)) or list(_check_output_position(study, prompts))


def _list_sites(hypothesis: Hypothesis) -> Iterator[NamedSite]:
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
            owner = f"the expectation of {expectation.quantity}"
            yield expectation.location, owner, expectation.site


def check_paths(study: Study) -> list[Diagnostic]:
    """Claims without a path in the graph, and claims of one path twice, also of rivals."""
    hypothesis = study.hypothesis
    locations = {v.name: v.location for v in hypothesis.variables}
    unrolled = study.unroll_claims()
    problems = [
        Diagnostic(locations[p.variable], f"`{p.variable}`: {p.message}") for p in unrolled.problems
    ]
    if not problems:
        problems += [
            Diagnostic(locations[name], message)
            for name, message in _check_shared_positions(study, unrolled.root)
        ]
    if problems:
        return problems  # a rival would repeat them
    for rival in hypothesis.rivals:
        if not check_rival(hypothesis, rival):
            unrolled = study.unroll_claims(study.program.with_rival(rival))
            problems += [
                Diagnostic(rival.location, f"the rival {rival.name!r}: `{p.variable}`: {p.message}")
                for p in unrolled.problems
            ]
    return problems


def _explain_missing(site: Site, model: LanguageModel) -> str | None:
    """Why the model has no such site, in words; None if the model has the site."""
    missing = find_missing_part(model, site)
    if missing is None:
        return None
    sentence, n = missing
    return f"{sentence}, numbered from 0" if n else sentence


def _check_role(
    role: str, role_counts: Counter[str], prompts: Sequence[Prompt], study: Study
) -> Iterator[str]:
    """What is wrong with a role, in words."""
    if role not in role_counts:
        advice = describe_unknown("role", role, role_counts)
        names = ", ".join(role_counts) or "none"
        yield f"{advice} The prompts of task {study.task.name!r} have: {names}."
    elif role_counts[role] < len(prompts):
        lacking = min((p for p in prompts if role not in p.position), key=order_prompts)
        yield (
            f"only {format_share(role_counts[role], len(prompts))} prompts have the role {role!r}; "
            f"{lacking!r} has not. Say which prompts the hypothesis is about, as with "
            f"where=lambda p: {role!r} in p.position"
        )


def _check_output_position(study: Study, prompts: Sequence[Prompt]) -> Iterator[Diagnostic]:
    """An output at another position than the last, where the model's answer is read."""
    output = study.hypothesis.output_variable
    if output is None:
        return
    role = output.sites[0].roles[0]
    wrong = [p for p in prompts if p.position[role] != len(p) - 1]
    if wrong:
        last_roles = [
            repr(name)
            for name in prompts[0].position
            if all(p.position.get(name) == len(p) - 1 for p in prompts)
        ]
        advice = (
            f"the role of the last token is {' or '.join(last_roles)}"
            if last_roles
            else "no role is the last token"
        )
        yield Diagnostic(
            output.location,
            f"the output `{output.name}` is at {role!r}, but the answer is read at the last token, "
            f"another one in {format_share(len(wrong), len(prompts))} prompts, as in "
            f"{min(wrong, key=order_prompts)!r}; {advice}",
        )


def _check_shared_positions(study: Study, root: TreeNode) -> Iterator[tuple[str, str]]:
    """Claims of one writer into one input under two roles that are one token in some prompt.

    The token's contribution would count twice.
    """
    seen: set[tuple[Site, Site, Site, str]] = set()
    for node in root.walk():
        for a, b in combinations(node.children, 2):
            key = (node.site, a.site, b.site, a.feeds)
            same = contains_site(a.site, b.site) or contains_site(b.site, a.site)
            if a.feeds != b.feeds or key in seen or not same:
                continue
            seen.add(key)
            n = _count_shared_positions(study, a.site, b.site)
            if n:
                yield (
                    node.variable,
                    f"{a.variable} at {a.site} and {b.variable} at {b.site} both feed {node.site}, "
                    f"but in {format_share(n, len(study.sample))} prompts these roles are one "
                    "token, which would be claimed twice: keep one of them",
                )


def _count_shared_positions(study: Study, a: Site, b: Site) -> int:
    """In how many prompts of the sample two sites have a position in common."""
    positions = study.sample_positions
    a_at, b_at = (positions[:, [study.roles.index(role) for role in site.roles]] for site in (a, b))
    # [prompts, roles of a, roles of b]
    return int(np.sum((a_at[:, :, None] == b_at[:, None, :]).any(axis=(1, 2))))
