"""Finds out whether the cloud's endpoint answers at all, and what time it is there. It needs no key.

Apart from `client`, whose calls are signed: a check must work before there is a key.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from spotcompute.cloud.errors import NotSent, OutcomeUnknown
from spotcompute.cloud.tencent.client import host_of, refuse_unsafe_endpoint
from spotcompute.settings import Settings


async def read_clock(settings: Settings) -> datetime | None:
    """Returns the endpoint's time, None when it does not tell. Any answer will do, a refusal too.

    Raises UnsafeEndpoint, and NotSent or OutcomeUnknown when nothing answers.
    """
    refuse_unsafe_endpoint(settings)
    context = ssl.create_default_context()
    if settings.ca_bundle is not None:
        is_folder = settings.ca_bundle.is_dir()
        context = ssl.create_default_context(
            cafile=None if is_folder else settings.ca_bundle, capath=settings.ca_bundle if is_folder else None
        )
    timeout = aiohttp.ClientTimeout(total=settings.request_timeout_seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=settings.protocol == "https") as session,
            session.get(f"{settings.protocol}://{host_of(settings)}/", ssl=context, allow_redirects=False) as answer,
        ):
            date = answer.headers.get("Date")
    except TimeoutError:
        raise NotSent("ConnectTimeout", f"no answer within {settings.request_timeout_seconds:g} s") from None
    except aiohttp.ClientConnectionError as error:
        kind = NotSent if isinstance(error, aiohttp.ClientConnectorError) else OutcomeUnknown
        raise kind("ClientNetworkError", f"{type(error).__name__}: {error}") from None
    except aiohttp.ClientError as error:
        raise OutcomeUnknown("BadStatusLine", type(error).__name__) from None
    return parsedate_to_datetime(date).astimezone(UTC) if date else None
