"""What moto and botocore find out anew each time though it never changes is found out once.

No answer is another for it. Most of the time of a test that deploys went there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import botocore.hooks
import moto.core.responses
import moto.kms.models
import yaml
from botocore.hooks import EventAliaser, NodeList
from botocore.utils import EVENT_ALIASES
from moto.cloudformation.utils import yaml_tag_constructor
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser
from moto.kms.utils import KeySpec, generate_private_key

from lab.local.moto_plus.correcting import instead_of

_ASYMMETRIC = frozenset(KeySpec.rsa_key_specs() + KeySpec.ecc_key_specs())
_NODES: dict[type, tuple[type, ...]] = {}
_NAMES: dict[str, str] = {}


# Asked of a class at each request, and of each of the 130 handlers of each client.
moto.core.responses.method_names_from_class = lru_cache(moto.core.responses.method_names_from_class)
botocore.hooks.accepts_kwargs = lru_cache(maxsize=4096)(botocore.hooks.accepts_kwargs)


@instead_of(EventAliaser, "__init__")
def _share_names(self: Any, stock: Any, emitter: Any, event_aliases: Any = None) -> None:
    """Each client of botocore goes through 130 aliases for each name of an event."""
    stock(emitter, event_aliases)
    if self._event_aliases == EVENT_ALIASES:
        self._alias_name_cache = _NAMES


def _copy_trie(node: dict[str, Any]) -> dict[str, Any]:
    """Each client has the session's handlers: copied without asking each value how."""
    copied: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            copied[key] = _copy_trie(value)
        elif isinstance(value, NodeList):
            copied[key] = NodeList(value.first[:], value.middle[:], value.last[:])
        else:
            copied[key] = value
    return copied


botocore.hooks._PrefixTrie._recursive_copy = staticmethod(_copy_trie)  # type: ignore[attr-defined]


@instead_of(DepthFirstTraverser, "nodes_to_be_processed")
def _find_kinds_once(self: Any, _stock: Any) -> tuple[type, ...]:
    """Stock moto asks at each node of an expression which kinds of nodes it is to process."""
    kind = type(self)
    if kind not in _NODES:
        _NODES[kind] = tuple(self._processing_map())
    return _NODES[kind]


@lru_cache(maxsize=1)
def _never_used() -> Any:
    return generate_private_key(KeySpec.RSA_2048)


def _private_key(spec: str) -> Any:
    """Stock moto makes an RSA key, 0.1 s, for a symmetric key too, which never signs with it."""
    return generate_private_key(spec) if spec in _ASYMMETRIC else _never_used()


moto.kms.models.generate_private_key = _private_key


class _Loader(yaml.CSafeLoader):
    """PyYAML's parser in C, ten times as fast, with CloudFormation's short forms (`!Ref`)."""


_Loader.add_multi_constructor("", yaml_tag_constructor)


def parse_template(template: str) -> Any:
    """A template of CloudFormation's, in YAML or JSON (which is YAML)."""
    return yaml.load(template, Loader=_Loader)  # noqa: S506 - a safe loader's child
