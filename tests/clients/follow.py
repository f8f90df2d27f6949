"""Prints the value of each point of a device, with the client that is named, and ends after 99."""

import asyncio
import os
import sys

from espush import AsyncClient, Client, Problem

URL, TOKEN, DEVICE = (os.environ[name] for name in ("ESPUSH_URL", "ESPUSH_TOKEN", "DEVICE"))


def show(event):
    if event.kind == "points":
        (point,) = event.data["items"]
        print(point["value"], flush=True)
        return point["value"] == 99
    return False


def follow():
    with Client(URL, TOKEN) as espush:
        for event in espush.events(DEVICE):
            if show(event):
                return


async def follow_async():
    async with AsyncClient(URL, TOKEN) as espush:
        events = espush.events(DEVICE)
        try:
            async for event in events:
                if show(event):
                    return
        finally:
            await events.aclose()


try:
    follow() if sys.argv[1] == "sync" else asyncio.run(follow_async())
except Problem as problem:
    sys.exit(problem.code)
