"""The client of espush: push to devices and see what became of it, read what they measured, watch what happens.

`Client` blocks, `AsyncClient` does not; both have the same methods.
"""

from ._async import AsyncClient
from ._client import Client
from ._errors import EspushError, Problem, TimedOut, Unreachable
from ._models import (
    ALL,
    Delivery,
    Device,
    Event,
    Page,
    Point,
    Preview,
    PreviewItem,
    Push,
    Reason,
    Sent,
    Twin,
    TwinChange,
    TwinPart,
)
from ._webhooks import WebhookError, verify_webhook

__all__ = [
    "ALL",
    "AsyncClient",
    "Client",
    "Delivery",
    "Device",
    "EspushError",
    "Event",
    "Page",
    "Point",
    "Preview",
    "PreviewItem",
    "Problem",
    "Push",
    "Reason",
    "Sent",
    "TimedOut",
    "Twin",
    "TwinChange",
    "TwinPart",
    "Unreachable",
    "WebhookError",
    "verify_webhook",
]
