"""What clients did and saw, in the order in which this process saw it. The checker knows nothing else.

| event | by | about |
|---|---|---|
| `opening` | a client | `will`: it asks to be let in; the server may know of it though no answer came |
| `opened` | a client | `kept`, `present`, `will` (a key or None), `topic`, `qos` of the will: the server let it in |
| `closed` | a client | `polite`: it had said goodbye, and the server closed |
| `granted` | a client | `filter`, `qos`: the server acknowledged its subscription |
| `sent`, `resent` | a client | `key`, `topic`, `qos`, `retain`, `empty` |
| `acked` | a client | `key`: PUBACK, or PUBREC |
| `received` | a client | `key`, `topic`, `qos`, `dup`, `new`: not a repetition of an exactly-once message that it still has open |
| `receipted` | a client | `key`: it sent PUBACK or PUBREC, or a board its answer |
| `answered` | a client | `key`: it sent an answer in words |
| `pinged`, `settled` | a client | all that it sent before its last ping has been read by the server |
| `asked`, `retained` | a client | `topic`, and `key` or None: what a new subscription found |
| `push_sent`, `push_acked` | the API's caller | `key`, `device`; `push`: its id |
| `push_state` | the API's caller | `push`, `state` |
| `pushes_listed` | the API's caller | `pushes`: ids |
| `upload_sent`, `upload_acked` | a device | `key` |
| `uploads_listed` | the API's caller | `device`, `keys` |
| `killed`, `started` | the harness | |
| `disk_failed` | the harness | before the next `started`: in the life that ended the disk had begun to take nothing |
"""

import dataclasses
import json
import time


@dataclasses.dataclass(frozen=True)
class Event:
    place: int
    when: float
    what: str
    who: str
    about: dict

    def __getattr__(self, name):
        try:
            return self.about[name]
        except KeyError:
            raise AttributeError(f"{self.what} has no {name}") from None


class Journal:
    def __init__(self):
        self.events = []

    def note(self, what, who="", when=None, **about):
        self.events.append(Event(len(self.events), time.monotonic() if when is None else when, what, who, about))

    def write(self, path):
        """For whoever looks for the reason of a violation."""
        with open(path, "w") as out:
            for event in self.events:
                out.write(json.dumps({"when": round(event.when, 4), "what": event.what, "who": event.who, **event.about}) + "\n")
