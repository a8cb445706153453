"""The proxy's routes: `/v1/…` for the default endpoint group, `/NAME/v1/…` for any."""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from ballast.client.affinity_secret import affinity_secret
from ballast.client.errors import CallError
from ballast.proxy.callers import Caller, OverLimitError
from ballast.proxy.errors import call_error, error_response
from ballast.proxy.guard import FORM, ForeignRequestError, Guard, told_of
from ballast.proxy.metrics import UNKNOWN
from ballast.proxy.reading import BodyError, Prepared, Purpose, Reader, prepare
from ballast.proxy.service import CallersFile, Service
from ballast.proxy.upstream import Call, Upstream
from chalicelib.wire.model_answers import SERVED_MODELS, passed_headers
from chalicelib.wire.trace import HEADER

logger = logging.getLogger(__name__)

ROUTES = (
    *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"),
    *("/v1/rerank", "/rerank", "/v2/rerank", "/v1/score", "/score"),  # all five are vLLM's
    "/v1/audio/speech",
    *("/generate", "/generate_stream"),  # TGI's own
)
FORM_ROUTES = ("/v1/audio/transcriptions", "/v1/audio/translations")
CONVERSATION_HEADER = "Ballast-Conversation"
"""Any text that names the conversation; it is hashed like everything else."""

MAX_BODY = 64 * 2**20
DEFAULT_GUARD = Guard()


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxySettings:
    """What one proxy serves. Without `api_key` each caller's own key is used for routing."""

    url: str
    endpoint: str
    api_key: str = ""
    guard: Guard = DEFAULT_GUARD  # without a key there is nothing that a page could spend
    timeout_s: float = 600.0
    callers: CallersFile | None = None  # who may call, instead of everybody

    @property
    def spends_own_key(self) -> bool:
        """Whether requests are routed with keys that are this proxy's."""
        return bool(self.api_key or self.callers)


class Proxy:
    """Handlers; kept are open connections, and names of models that answers told."""

    def __init__(self, settings: ProxySettings, upstream: Upstream, service: Service) -> None:
        self._settings = settings
        self._service = service
        self._secret = affinity_secret()
        self._upstream = upstream
        self._served: dict[str, tuple[str, ...]] = {}
        self._reader = Reader()

    def close(self) -> None:
        """End its helpers."""
        self._reader.close()

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Route, wait, pass on, and stream the answer back; counted whatever comes of it."""
        seen, limits, metrics = _Seen(), self._service.limits, self._service.metrics
        now = asyncio.get_running_loop().time
        began = now()
        metrics.begin()
        try:
            caller = self._caller(request, began)
            if caller is None:
                return await self._pass_on(request, None, seen, began)
            seen.caller = caller.name
            limits.begin(caller, began)
            try:
                return await self._pass_on(request, caller, seen, began)
            finally:
                limits.end(caller)
        except OverLimitError as error:
            seen.status = 429
            refused = error_response(429, str(error), "rate_limit_exceeded")
            refused.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
            return refused
        except _BadRequestError as error:
            seen.status = error.status
            return error_response(error.status, str(error), "invalid_request_error")
        finally:
            metrics.end(seen.caller, seen.endpoint, seen.status)

    async def _pass_on(
        self, request: web.Request, caller: Caller | None, seen: _Seen, began: float
    ) -> web.StreamResponse:
        if caller is None and not self._settings.api_key and not _key_of(request):
            raise _BadRequestError(401, "no key: send Authorization: Bearer KEY")  # nor a body read
        call = await self._read(request, caller)
        try:
            answer = await self._upstream.open(call)
        except CallError as error:
            refused = call_error(error, call.route)
            seen.status = refused.status
            return refused
        metrics = self._service.metrics
        metrics.first_byte(asyncio.get_running_loop().time() - began)
        seen.endpoint = call.endpoint  # a worker answered: the group is there
        async with answer:
            if names := answer.headers.get(SERVED_MODELS):
                self._served[call.endpoint] = tuple(names.split(","))
            is_whole, response = await _relay(request, answer)
        seen.status = answer.status
        if not is_whole:
            metrics.broke()
        return response

    def _caller(self, request: web.Request, now: float) -> Caller | None:
        """Who calls, by the file of callers; None where there is none."""
        if self._settings.callers is None:
            return None
        found = self._settings.callers.find(_key_of(request), now)
        if found is None:
            raise _BadRequestError(401, "this proxy does not know the key")
        return found

    async def models(self, request: web.Request) -> web.StreamResponse:
        """The endpoint group as a model, and what its workers were seen to serve."""
        try:
            names = self._names(request)
        except _BadRequestError as error:
            return error_response(error.status, str(error), "invalid_request_error")
        return web.json_response({"object": "list", "data": [_model(name) for name in names]})

    async def model(self, request: web.Request) -> web.StreamResponse:
        """One of them."""
        wanted = request.match_info["model"]
        try:
            names = self._names(request)
        except _BadRequestError as error:
            return error_response(error.status, str(error), "invalid_request_error")
        if wanted not in names:
            words = f"the model {wanted[:100]!r} is not served here"
            return error_response(404, words, "invalid_request_error")
        return web.json_response(_model(wanted))

    def _names(self, request: web.Request) -> list[str]:
        endpoint = request.match_info.get("endpoint", self._settings.endpoint)
        caller = self._caller(request, asyncio.get_running_loop().time())
        _check_group(caller, endpoint)
        return list(dict.fromkeys([endpoint, *self._served.get(endpoint, ())]))

    async def _prepared(self, request: web.Request, purpose: Purpose) -> Prepared:
        takes_form = purpose.route in FORM_ROUTES
        try:
            if request.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
                words = "bodies are not inflated: send it without Content-Encoding"
                raise _BadRequestError(415, words)
            if (request.content_length or 0) > MAX_BODY:
                raise _BadRequestError(413, f"the body is larger than {MAX_BODY >> 20} MB")
            if self._settings.spends_own_key:
                self._settings.guard.check_body(request.content_type, takes_form=takes_form)
            if request.content_type == FORM:
                return prepare(await _form(request), purpose)
            return await self._reader.read(await request.read(), purpose)
        except ForeignRequestError as error:
            raise _BadRequestError(error.status, str(error)) from error
        except BodyError as error:
            raise _BadRequestError(error.status, error.message) from error
        except web.RequestPayloadError as error:
            raise _BadRequestError(400, "the body cannot be read: it is cut") from error

    async def _read(self, request: web.Request, caller: Caller | None) -> Call:
        """The request to pass on; its body is read once all else about it holds."""
        endpoint = request.match_info.get("endpoint", self._settings.endpoint)
        own_key = (caller.ballast_key if caller else "") or self._settings.api_key
        api_key = own_key or ("" if caller else _key_of(request))
        _check_group(caller, endpoint)
        if caller and not api_key:
            raise _BadRequestError(500, f"{caller.name} has no ballast_key, and the proxy no -k")
        if not endpoint:
            raise _BadRequestError(
                404, "no endpoint group: use /NAME/v1/… or start with --endpoint"
            )
        purpose = Purpose(
            route=_route_of(request),
            endpoint=endpoint,
            secret=self._secret_of(_key_of(request)),
            conversation=request.headers.get(CONVERSATION_HEADER, ""),
        )
        return Call(
            api_key=api_key,
            endpoint=endpoint,
            route=purpose.route,
            prepared=await self._prepared(request, purpose),
            timeout_s=self._settings.timeout_s,
            traceparent=request.headers.get(HEADER, ""),
        )

    def _secret_of(self, callers_key: str) -> bytes:
        """Callers with own keys may be strangers: nobody is to see that two ask the same."""
        if self._settings.api_key and not self._settings.callers:
            return self._secret
        return hmac.digest(self._secret, callers_key.encode(), "sha256")


def _check_group(caller: Caller | None, endpoint: str) -> None:
    if caller and endpoint and not caller.may_use(endpoint):
        raise _BadRequestError(
            403, f"{caller.name} may use {', '.join(sorted(caller.endpoints))}; not this group"
        )


@dataclass(slots=True)
class _Seen:
    """What is known of a request for the metrics; 499: its caller left."""

    caller: str = UNKNOWN
    endpoint: str = UNKNOWN
    status: int = 499


def _key_of(request: web.Request) -> str:
    """What the caller sent as its key; "" if that can be none: bytes beyond ASCII are no text."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.isascii() else ""


class _BadRequestError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _relay(
    request: web.Request, answer: aiohttp.ClientResponse
) -> tuple[bool, web.StreamResponse]:
    """Stream the answer; gives whether all of it came."""
    response = web.StreamResponse(status=answer.status, headers=passed_headers(answer.headers))
    response.headers.update(request.get(CORS, {}))
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    except (aiohttp.ClientError, TimeoutError) as error:
        logger.warning("answer broke off", extra={"reason": type(error).__name__})
        if request.transport:
            request.transport.abort()  # half an answer is out: only this tells the client
        return False, response
    await response.write_eof()
    return True, response


PROXY = web.AppKey("proxy", Proxy)
SERVICE = web.AppKey("service", Service)
HTTP = web.AppKey("http", aiohttp.ClientSession)
GUARD: web.AppKey[Guard | None] = web.AppKey("guard")
_single_slashes = web.normalize_path_middleware(append_slash=False, remove_slash=True)
CORS: web.RequestKey[dict[str, str]] = web.RequestKey("cors", dict)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _call(request: web.Request) -> web.StreamResponse:
    return await request.app[PROXY].call(request)


async def _models(request: web.Request) -> web.StreamResponse:
    return await request.app[PROXY].models(request)


async def _model_of(request: web.Request) -> web.StreamResponse:
    return await request.app[PROXY].model(request)


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "ballast"}


def _route_of(request: web.Request) -> str:
    """The worker's route, without the group's name in front."""
    endpoint = request.match_info.get("endpoint")
    return request.path.removeprefix(f"/{endpoint}") if endpoint else request.path


async def _form(request: web.Request) -> dict[str, object]:
    """A multipart form as the worker takes it: files as data URLs, repeated fields as lists."""
    payload: dict[str, object] = {}
    try:
        fields = await request.post()
    except (ValueError, LookupError, RuntimeError) as error:  # all that aiohttp says of bad forms
        raise BodyError(400, f"the form cannot be read: {error}"[:200]) from error
    for name, value in fields.items():
        told: object = value
        if isinstance(value, web.FileField):
            data = base64.b64encode(value.file.read()).decode()
            told = f"data:{value.content_type};base64,{data}"
        before = payload.get(name)
        if before is None:
            payload[name] = told
        else:
            payload[name] = [*(before if isinstance(before, list) else [before]), told]
    return payload


@web.middleware
async def _in_openais_form(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Foreign requests are refused, pages that may are told so, and every error has one form."""
    guard = request.app[GUARD]
    cors: dict[str, str] = {}
    try:
        if guard:
            hosts, origins = (request.headers.getall(name, []) for name in ("Host", "Origin"))
            guard.check(told_of(hosts, origins, request.raw_path))
        if origin := request.headers.get("Origin"):
            cors = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        if request.method == "OPTIONS":
            allowed = {"Access-Control-Allow-Methods": "GET, POST", "Access-Control-Max-Age": "600"}
            asked = request.headers.get("Access-Control-Request-Headers", "")
            named = {"Access-Control-Allow-Headers": asked} if asked else {}
            return web.Response(status=204, headers={**cors, **allowed, **named})
        request[CORS] = cors
        response = await handler(request)
    except ForeignRequestError as error:
        response = error_response(error.status, str(error), "invalid_request_error")
    except web.HTTPRedirection:
        raise  # to the same path with single slashes
    except web.HTTPException as error:
        words = f"{error.reason}: {request.method} {request.path[:200]}"
        response = error_response(error.status, words, "invalid_request_error")
    if not response.prepared:
        response.headers.update(cors)
    return response


async def _health(_request: web.Request) -> web.Response:
    """It lives."""
    return web.json_response({"status": "ok"})


async def _ready(request: web.Request) -> web.Response:
    """Whether a balancer should send requests here."""
    problem = await request.app[SERVICE].problem(request.app[HTTP])
    if problem:
        return web.json_response({"status": "not ready", "reason": problem}, status=503)
    return web.json_response({"status": "ready"})


async def _metrics(request: web.Request) -> web.Response:
    return request.app[SERVICE].metrics_page()


def make_application(settings: ProxySettings, service: Service | None = None) -> web.Application:
    """The proxy as an aiohttp application; run it with handler cancellation on."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_in_openais_form, _single_slashes])
    app[GUARD] = settings.guard if settings.spends_own_key else None
    app[SERVICE] = service or Service(settings.url)

    async def connections(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        ) as http:
            app[HTTP] = http
            app[PROXY] = proxy = Proxy(settings, Upstream(settings.url, http), app[SERVICE])
            try:
                yield
            finally:
                proxy.close()

    app.cleanup_ctx.append(connections)
    for prefix in ("", "/{endpoint}"):
        for route in (*ROUTES, *FORM_ROUTES):
            app.router.add_post(prefix + route, _call)
        app.router.add_get(prefix + "/v1/models", _models)
        app.router.add_get(prefix + "/v1/models/{model:.+}", _model_of)
    app.router.add_get("/health", _health)
    app.router.add_get("/ready", _ready)
    app.router.add_get("/metrics", _metrics)
    return app
