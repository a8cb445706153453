"""One authoriser in front of every management route: deny by default.

A route exists only with the verb it asks for (`route`, `read`, `admin`), or marked PUBLIC. Keys
come as Bearer, Basic, `api_key` in the query or in the body (protocol.md A.1, E). A key bound to
one endpoint group sees only that group; what it may not see answers like what does not exist.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chalice import Blueprint
from chalice.app import Request, Response

from chalicelib.api.errors import ForbiddenError, error_response, json_response
from chalicelib.core.model.caller_key import CallerKeyError
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.keys import Caller, KeyMemory, check_key
from chalicelib.wire.json_body import (
    WireError,
    check_names,
    number,
    number_of_text,
    parse_json_object,
    whole_of_text,
)

MOST_NUMBER: Final = 1e15 - 1.0  # 15 digits
PUBLIC: Final = "public"
NOBODY = Caller(key_id="", verbs=frozenset(), endpoint_id=-1, generation=0)
"""Who calls a public route."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a route asks of a key: a verb, and whether it must be a key of the whole account.

    `fields`: all that a body may hold besides the key; None: the handler looks itself.
    """

    verb: str
    account_only: bool = False
    fields: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One authorised request. `body` is the JSON object, `query` the first value of each name.

    `fields` are those that its route declares; None where it declares none.
    """

    ports: ApiPorts
    caller: Caller
    body: Mapping[str, object]
    query: Mapping[str, str]
    now: float
    fields: tuple[str, ...] | None = None

    def argument(self, name: str) -> object:
        """A value from the body, else from the query, else None.

        Raises:
            LookupError: the route does not declare it. A body that holds it is refused before, so
                the handler asks for what can never come: every call shows the slip, not just one.
        """
        if self.fields is not None and name not in self.fields:
            raise LookupError(f"{name}: the handler reads a field that its route does not declare")
        return self.body.get(name, self.query.get(name))

    def whole(self, name: str, *, low: int = 0, high: int = 2**53) -> int | None:
        """A whole number, also written as text; None when absent.

        Raises:
            WireError: anything else, or out of bounds.
        """
        value = self.argument(name)
        if value is None or value == "":
            return None
        return whole_of_text(name, value, low=low, high=high)

    def number(self, name: str) -> float | None:
        """A finite number of at most 15 digits, also written as text; None when absent.

        Raises:
            WireError: anything else.
        """
        value = self.argument(name)
        if value is None or value == "":
            return None
        if isinstance(value, str):
            return number_of_text(name, value, low=-MOST_NUMBER, high=MOST_NUMBER)
        return number(name, value, low=-MOST_NUMBER, high=MOST_NUMBER)

    def text(self, name: str, *, max_length: int = 1024) -> str | None:
        """A text; None when absent.

        Raises:
            WireError: not a text, or too long.
        """
        value = self.argument(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > max_length:
            raise WireError(f"{name}: {str(value)[:80]!r} is not a text of at most {max_length}")
        return value

    def flag(self, name: str) -> bool:
        """A truth value; False when absent.

        Raises:
            WireError: anything else than true and false.
        """
        value = self.argument(name)
        if value in (None, False, "false", "0", ""):
            return False
        if value in (True, "true", "1"):
            return True
        raise WireError(f"{name}: {str(value)[:80]!r} is neither true nor false")


Handler = Callable[..., object]
Registrar = Callable[[Handler], Handler]


class Routes:
    """Registers a blueprint's handlers behind the authoriser.

    A handler takes the Call and the path's parameters, and gives a JSON value or a Response.
    """

    def __init__(self, blueprint: Blueprint, get_ports: Callable[[], ApiPorts]) -> None:
        self._blueprint = blueprint
        self._get_ports = get_ports
        self._memory = KeyMemory()

    def route(
        self,
        method: str,
        path: str,
        verb: str,
        *,
        account_only: bool = False,
        fields: Sequence[str] | None = None,
    ) -> Registrar:
        """Register a handler for one method and path.

        `fields`: all that its body may hold besides the key; None: the handler looks itself.
        """
        access = Access(verb, account_only, None if fields is None else tuple(fields))

        def register(handler: Handler) -> Handler:
            def view(**values: str) -> Response:
                return self._answer(handler, access, values)

            name = f"{handler.__name__}_{path.strip('/').replace('/', '_')}".translate(_BRACES)
            view.__name__ = name
            view.access = access  # type: ignore[attr-defined]  # read by the matrix test
            self._blueprint.route(path, methods=[method], name=name)(view)
            return handler

        return register

    def _answer(self, handler: Handler, access: Access, values: Mapping[str, str]) -> Response:
        try:
            call = self._authorised(self._blueprint.current_request, access)
            answer = handler(call, **values)
        except Exception as error:  # noqa: BLE001  the table in errors.py names what is expected
            return error_response(error)
        return answer if isinstance(answer, Response) else json_response(answer)

    def _authorised(self, request: Request, access: Access) -> Call:
        ports = self._get_ports()
        now = ports.clock.now()
        given: Any = request.query_params or {}
        query = {name: given[name] for name in given}
        body = parse_json_object(request.raw_body)
        caller = NOBODY
        if access.verb != PUBLIC:
            caller = check_key(ports, self._memory, key_text(request, query, body), now)
            require(caller, access)
        if access.fields is not None:
            check_names("", body, access.fields, ("api_key", "client_id"))
        return Call(
            ports=ports, caller=caller, body=body, query=query, now=now, fields=access.fields
        )


_BRACES = str.maketrans({"{": None, "}": None, ".": "_"})


def require(caller: Caller, access: Access) -> None:
    """Check a key's verbs and scope.

    Raises:
        ForbiddenError: it lacks the verb, or is bound to one group where the account is asked for.
    """
    if access.verb not in caller.verbs:
        raise ForbiddenError(
            f"this key may {' and '.join(sorted(caller.verbs)) or 'do nothing'} only; use one with "
            f"the verb {access.verb}"
        )
    if access.account_only and caller.endpoint_id is not None:
        raise ForbiddenError("this key is bound to one endpoint group; use a key of the account")


def key_text(request: Request, query: Mapping[str, str], body: Mapping[str, object]) -> str:
    """The caller's key as sent: Bearer or Basic first, then query, then body.

    Raises:
        CallerKeyError: none was sent, or the header cannot be read.
    """
    header = str(request.headers.get("authorization", ""))
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        return _basic_key(value)
    for candidate in (query.get("api_key"), body.get("api_key")):
        if isinstance(candidate, str) and candidate:
            return candidate
    raise CallerKeyError("no key was sent")


def _basic_key(value: str) -> str:
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise CallerKeyError("the Basic header cannot be read") from error
    return password or user


# Credentials in headers: Bearer keys of callers, Basic passwords of instances.


def bearer_key(headers: Mapping[str, str]) -> str:
    """The key of `Authorization: Bearer KEY`, or an empty text."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def basic_password(headers: Mapping[str, str]) -> str:
    """The password of `Authorization: Basic …`, or an empty text."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        pair = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return pair.partition(":")[2]
