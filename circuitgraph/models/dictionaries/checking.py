"""Whether a dictionary is one of this model: what does not fit is refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from circuitgraph.errors import ModelError, list_problems
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.dictionaries.stored_dictionary import StoredDictionary
from circuitgraph.models.spec import Spec


def check_dictionary(dictionary: Dictionary | StoredDictionary, model: Spec) -> None:
    """Refuse a dictionary of another width, or of a layer or place that the model does not have.

    Raises:
        ModelError: names each problem, with what was expected.
    """
    spec = dictionary.spec
    if spec.reads is None or not spec.writes:
        raise ModelError(
            "The files of this dictionary do not say where it reads and writes. Say it when it is "
            "loaded: hook, and hook_out for a transcoder, such as blocks.3.hook_mlp_out."
        )
    problems = _list_hook_problems((spec.reads, *spec.writes), model)
    for what, width, hook in (
        ("reads", dictionary.d_in, spec.reads),
        ("writes", dictionary.d_out, spec.writes[0]),
    ):
        if width != count_width(hook, model):
            problems.append(
                f"it {what} {width:,} numbers at {hook}, where the model has "
                f"{count_width(hook, model):,}"
            )
    if problems:
        raise ModelError(list_problems("The dictionary does not fit the model:", problems))


def check_hooks(hooks: Sequence[Hook], model: Spec) -> None:
    """Refuse places that the model does not have.

    Raises:
        ModelError: names each problem.
    """
    if problems := _list_hook_problems(hooks, model):
        raise ModelError(list_problems("The model does not have these places:", problems))


def count_width(hook: Hook, model: Spec) -> int:
    """How many numbers a token has at a place."""
    return model.n_heads * model.d_head if hook.place == "z" else model.d_model


def _list_hook_problems(hooks: Sequence[Hook], model: Spec) -> list[str]:
    problems: list[str] = []
    for hook in hooks:
        problems += [p for p in _list_place_problems(hook, model) if p not in problems]
    return problems


def _list_place_problems(hook: Hook, model: Spec) -> Iterator[str]:
    if hook.layer >= model.n_layers:
        yield f"{hook} is in layer {hook.layer}, but the model's last layer is {model.n_layers - 1}"
    if (hook.place.startswith("mlp") or hook.after_mlp) and model.d_mlp is None:
        yield f"{hook} belongs to an MLP, and the model's layers have none"
    if hook.place == "resid_mid" and model.parallel:
        yield (
            f"{hook} is between a layer's attention and its MLP, which in this model stand side by "
            "side"
        )
    if hook.place in ("mlp_normed", "mlp_normalised") and model.norm is None:
        yield f"{hook} is behind the norm of an MLP's input, and the model has no such norm"
    if hook.place.startswith("raw") and (model.post_norm is not None or model.residual_scale != 1):
        yield (
            f"{hook} is what the module gives, which this model norms or scales before it is added "
            "to the stream: only what is added can be read and replaced"
        )
