"""SqsLink: a process' way to SQS, through a proxy that reads the JSON protocol, tells the history of every message, and
does what a distributed queue may do: deliver twice, late, in another order, and after the delete.

Copies carry handles of the proxy's own, which never reach SQS. Calls about other queues pass unread.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import orjson

from tests.chaos.history import NO_NUMBER, Deleted, Delivered, History, Released, Sent
from tests.chaos.http1 import Message, answer
from tests.chaos.http_link import HttpLink
from tests.chaos.postbox import OWN_HANDLE, Entry, Postbox
from tests.chaos.world import number_of_ids

MAX_MESSAGES = 10  # SQS: in one receive
LATE_SECONDS, AGAIN_SECONDS = 0.4, 0.3
THROTTLED = orjson.dumps({"__type": "com.amazonaws.sqs#RequestThrottled", "message": "chaos"})
JSON_TYPE = b"application/x-amz-json-1.0"
DONE = {"DeleteMessageBatch", "ChangeMessageVisibilityBatch"}


class SqsLink(HttpLink):
    def __init__(
        self,
        process: str,
        listen: tuple[str, int],
        upstream: tuple[str, int],
        seed: int,
        box: Postbox,
        history: History,
    ) -> None:
        super().__init__(f"{process}/sqs", listen, upstream, seed)
        self._process, self._box, self._history = process, box, history

    async def ask(self, request: Message) -> Message | None:
        action, content = self._read(request)
        if action == "SendMessageBatch":
            return self._ask_send(request, content)
        if action == "ReceiveMessage":
            return self._ask_receive(request)
        return self._ask_done(request, action, content) if action in DONE else None

    async def told(self, request: Message, response: Message) -> Message:
        action, _ = self._read(request)
        if not action or response.status != 200:
            return response
        said: Entry = orjson.loads(response.body or b"{}")
        if action == "SendMessageBatch":
            said["Failed"] = [*said.get("Failed", []), *map(_failed, request.notes["refused"])]
            request.notes["refused"] = {entry["Id"] for entry in said["Failed"]}
        elif action == "ReceiveMessage":
            said["Messages"] = self._receive(request, said.get("Messages", []))
        elif action in DONE:
            said["Successful"] = [*said.get("Successful", []), *map(_done, request.notes["own"])]
        response.body = orjson.dumps(said)
        return response

    def settled(self, request: Message, told: int) -> None:
        """Only now is known whether the peer got what it was to get."""
        action, content = self._read(request)
        if action == "SendMessageBatch":
            for entry in request.notes.get("entries") or content["Entries"]:
                self._note_sent(request, entry, told)
        for event in request.notes.get("deliveries", ()):
            self._history.add(event if told == 200 else replace(event, seen=False))

    def refusal(self, request: Message) -> Message:
        return answer(400, THROTTLED, JSON_TYPE)

    def _read(self, request: Message) -> tuple[str, Entry]:
        """What is asked of the request queue; empty for anything else."""
        if "read" not in request.notes:
            action = request.headers.get(b"x-amz-target", b"").decode().rpartition(".")[2]
            content: Entry = orjson.loads(request.body) if action else {}
            ours = str(content.get("QueueUrl", "")).rpartition("/")[2] == self._box.queue
            request.notes["read"] = (action, content) if ours else ("", {})
        found: tuple[str, Entry] = request.notes["read"]
        return found

    def _ask_send(self, request: Message, content: Entry) -> Message | None:
        """`partial` refuses some of a batch in SQS' name."""
        entries = content["Entries"]
        refused = {entry["Id"] for entry in entries if self.faults.draw("partial")}
        request.notes.update(entries=entries, refused=refused)
        if len(refused) == len(entries):
            return answer(200, orjson.dumps({"Successful": [], "Failed": [*map(_failed, refused)]}), JSON_TYPE)
        if refused:
            taken = [entry for entry in entries if entry["Id"] not in refused]
            request.body = orjson.dumps({**content, "Entries": taken})
        return None

    def _note_sent(self, request: Message, entry: Entry, told: int) -> None:
        refused = told == 400 or (told == 200 and entry["Id"] in request.notes["refused"])
        taken = "no" if refused else "yes" if told == 200 else "unknown"
        message = orjson.loads(entry["MessageBody"])
        number = number_of_ids(message["user_id"], message["exclude_post_ids"])
        self._history.add(
            Sent(
                request.notes["at"], self._process, message["request_id"], NO_NUMBER if number is None else number,
                message["user_id"], message["deadline"] - self._box.epoch, message["reply_to"], taken,
            )
        )  # fmt: skip

    def _ask_receive(self, request: Message) -> Message | None:
        """What is due is delivered at once, and not only when SQS has something."""
        due = self._box.take_due(MAX_MESSAGES)
        if not due:
            return None
        messages = [self._deliver(request, message, how) for message, how in due]
        return answer(200, orjson.dumps({"Messages": messages}), JSON_TYPE)

    def _receive(self, request: Message, messages: list[Entry]) -> list[Entry]:
        given = []
        for message in messages:
            if fault := self.faults.draw("late"):
                self._box.keep_back(self.faults.spread(fault.seconds or LATE_SECONDS), message)
                continue
            given.append(self._deliver(request, message, "plain"))
            if self.faults.draw("duplicate"):
                self._box.again(self.faults.spread(AGAIN_SECONDS), message, "duplicate")
        for message, how in self._box.take_due(MAX_MESSAGES - len(given)):
            given.append(self._deliver(request, message, how))
        if self.faults.draw("reorder"):
            self.faults.shuffle(given)
        return given

    def _deliver(self, request: Message, message: Entry, how: str) -> Entry:
        request_id, number = _identify(message)
        handle = message["ReceiptHandle"]
        self._box.in_hand[handle] = message
        event = Delivered(time.monotonic(), self._process, request_id, number, handle, how)
        request.notes.setdefault("deliveries", []).append(event)
        return message

    def _ask_done(self, request: Message, action: str, content: Entry) -> Message | None:
        """Deletes and releases; those of the proxy's own deliveries end here."""
        own: list[Entry] = []
        theirs: list[Entry] = []
        for entry in content["Entries"]:
            self._note_done(action, entry)
            (own if entry["ReceiptHandle"].startswith(OWN_HANDLE) else theirs).append(entry)
        request.notes["own"] = [entry["Id"] for entry in own]
        if not theirs:
            return answer(200, orjson.dumps({"Successful": [*map(_done, request.notes["own"])]}), JSON_TYPE)
        if own:
            request.body = orjson.dumps({**content, "Entries": theirs})
        return None

    def _note_done(self, action: str, entry: Entry) -> None:
        now, handle = time.monotonic(), entry["ReceiptHandle"]
        message = self._box.in_hand.get(handle)
        request_id = _identify(message)[0] if message else ""
        if action == "DeleteMessageBatch":
            self._history.add(Deleted(now, self._process, request_id, handle))
            if message and self.faults.draw("deleted again"):
                self._box.again(self.faults.spread(AGAIN_SECONDS), message, "deleted")
            return
        seconds = float(entry.get("VisibilityTimeout", 0))
        self._history.add(Released(now, self._process, request_id, handle, seconds))
        if message and handle.startswith(OWN_HANDLE):
            self._box.again(seconds, message, "duplicate")


def _identify(message: Entry) -> tuple[str, int]:
    """Request id and number; empty and NO_NUMBER where the body is none of ours."""
    try:
        body = orjson.loads(message["Body"])
        number = number_of_ids(body["user_id"], body["exclude_post_ids"])
        return str(body["request_id"]), NO_NUMBER if number is None else number
    except (ValueError, KeyError, TypeError):
        return "", NO_NUMBER


def _failed(entry_id: str) -> dict[str, Any]:
    return {"Id": entry_id, "SenderFault": False, "Code": "ThrottlingException", "Message": "chaos"}


def _done(entry_id: str) -> dict[str, Any]:
    return {"Id": entry_id}
