"""Whether a webhook comes from the server that has the secret (Standard Webhooks)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping

from ._errors import EspushError
from ._models import Raw


class WebhookError(EspushError):
    """A request that is not to be believed."""


def verify_webhook(
    body: str | bytes, headers: Mapping[str, str], secret: str, *, tolerance_s: float = 300, now: float | None = None
) -> Raw:
    """The event that a request brings, if it was signed with `secret` (`whsec_…`) not longer than `tolerance_s` ago; else
    raises `WebhookError`. `body` is what came, byte for byte. Keep the header `webhook-id` of what you have dealt with: an
    event may come twice, with the same one."""
    given = {name.lower(): value for name, value in headers.items()}
    try:
        id, at, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as missing:
        raise WebhookError(f"the header {missing} is missing") from None
    # Nothing but digits: what is signed is the text.
    if not (at.isascii() and at.isdigit() and len(at) < 16):
        raise WebhookError("the header webhook-timestamp is no time")
    if abs((time.time() if now is None else now) - int(at)) > tolerance_s:
        raise WebhookError("it was signed too long ago, or one of the clocks is wrong")
    raw = body.encode() if isinstance(body, str) else body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    wanted = base64.b64encode(hmac.new(key, f"{id}.{at}.".encode() + raw, hashlib.sha256).digest())
    # While a secret is being replaced there are several.
    found = (signature.partition(",") for signature in signatures.split(" "))
    if not any([version == "v1" and hmac.compare_digest(wanted, text.encode()) for version, _, text in found]):
        raise WebhookError("no signature fits")
    try:
        event = json.loads(raw)
    except ValueError:
        raise WebhookError("the body is not JSON") from None
    return event if isinstance(event, dict) else {}
