"""Names of nodes and edges: one canonical form is printed, the forms of papers and other tools are
understood.

Canonical: ``embed``, ``a5.h1`` (head 1 of layer 5), ``m3`` (MLP 3), ``logits``; a head's inputs
    ``a5.h1<q>``,
``<k>``, ``<v>``; those of a key-value head that is one reader for a group of heads ``a5.kv1<k>``,
``<v>``; an edge
``a5.h1->a7.h3<q>``. Aliases: ``L5H1`` and ``5.1`` (papers), ``input`` (EAP-IG),
``blocks.5.attn.hook_result[1]``,
``blocks.7.hook_q_input[3]``, ``blocks.3.hook_mlp_out`` ... (TransformerLens).
"""

from __future__ import annotations

import re
from functools import lru_cache

from circuitgraph.errors import UnknownNameError

ARROW = "->"

_INPUT = r"(?:<(?P<input>[qkv])>|[._](?P<input_dot>[qkv]))?"
_HEAD_FORMS = [
    rf"a(?P<layer>\d+)\.h(?P<head>\d+){_INPUT}",
    rf"l(?P<layer>\d+)\.?h(?P<head>\d+){_INPUT}",
    rf"(?P<layer>\d+)\.(?P<head>\d+){_INPUT}",
    r"blocks\.(?P<layer>\d+)\.attn\.hook_(?:result|z)(?:\[(?:[:,\s]*)(?P<head>\d+)\]|\.(?P<head_dot>\d+))",
    r"blocks\.(?P<layer>\d+)\.hook_(?P<input>[qkv])_input(?:\[(?:[:,\s]*)(?P<head>\d+)\]|\.(?P<head_dot>\d+))",
]
_KV_FORM = r"a(?P<layer>\d+)\.kv(?P<head>\d+)<(?P<input>[kv])>"
_MLP_FORMS = [
    r"m(?P<layer>\d+)",
    r"mlp[ _.]?(?P<layer>\d+)",
    r"blocks\.(?P<layer>\d+)\.hook_mlp_(?:in|out)",
]
_FIXED = {
    "embed": {"embed", "input", "embeds", "hook_embed", "blocks.0.hook_resid_pre"},
    "logits": {"logits", "output", "resid_post", "unembed"},
}


def head_name(layer: int, head: int) -> str:
    """``a5.h1`` for head 1 of layer 5."""
    return f"a{layer}.h{head}"


def kv_name(layer: int, kv_head: int) -> str:
    """``a5.kv1`` for key-value head 1 of layer 5."""
    return f"a{layer}.kv{kv_head}"


def mlp_name(layer: int) -> str:
    """``m3`` for the MLP of layer 3."""
    return f"m{layer}"


def edge_name(src: str, dst: str) -> str:
    """``a5.h1->a7.h3<q>``."""
    return f"{src}{ARROW}{dst}"


@lru_cache(maxsize=4096)  # the same few are asked for in every launch
def canonical_node(text: str) -> str:
    """The canonical name of a writer or reader given in any known form.

    Raises:
        UnknownNameError: the text has none of the known forms. Whether the node exists in a given
            graph is for the graph to say.
    """
    wanted = text.strip().lower()
    for name, forms in _FIXED.items():
        if wanted in forms:
            return name
    for form in _HEAD_FORMS:
        if match := re.fullmatch(form, wanted):
            parts = match.groupdict()
            head = parts.get("head") or parts.get("head_dot")
            which = parts.get("input") or parts.get("input_dot")
            return head_name(int(parts["layer"]), int(head or 0)) + (f"<{which}>" if which else "")
    if match := re.fullmatch(_KV_FORM, wanted):
        return f"{kv_name(int(match['layer']), int(match['head']))}<{match['input']}>"
    for form in _MLP_FORMS:
        if match := re.fullmatch(form, wanted):
            return mlp_name(int(match["layer"]))
    raise UnknownNameError(
        f"{text!r} is not the name of a node. Expected for example 'embed', 'a5.h1' (or 'L5H1', "
        "'5.1'), 'a5.h1<q>', 'm3' or 'logits'."
    )


def canonical_edge(text: str) -> str:
    """The canonical name of an edge given as ``writer->reader``, each in any known form.

    Raises:
        UnknownNameError: no arrow, or an end that is not a node's name.
    """
    ends = text.split(ARROW)
    if len(ends) != 2:
        raise UnknownNameError(
            f"{text!r} is not the name of an edge. Expected for example 'a5.h1->a7.h3<q>'."
        )
    return edge_name(canonical_node(ends[0]), canonical_node(ends[1]))
