"""The local AWS: moto with our corrections as a WSGI application, and what a deployment makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moto.server import DomainDispatcherApplication, create_backend_app

import lab.local.moto_plus  # noqa: F401  corrects moto

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def create_application() -> WSGIApplication:
    """Every service, chosen by the request's signature. State lives in the serving process."""
    application: WSGIApplication = DomainDispatcherApplication(create_backend_app)
    return application
