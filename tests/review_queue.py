"""Review queues made of the demonstration's records, and a reviewer at a real server over real HTTP."""

from __future__ import annotations

import json
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from pages.app import create_app
from pages.login import Logins
from pages.review import End, address_of, review_pages
from pages.server import configure
from ratchet.blind import LabelBook
from ratchet.desk import Desk
from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.listen import address_of as listens_at
from ratchet.listen import listen
from ratchet.records import Feedback, Interaction, parse_feedback, parse_interaction, read_jsonl
from ratchet.review import read_items
from ratchet.store import Store
from ratchet.verdicts import FeedbackBook

CLONE = Path(__file__).resolve().parents[1]
CSRF = "X-CSRF-Token"
HOME = address_of("support_routing", is_blind=False)


@cache
def demo_records(feature: str) -> tuple[list[Interaction], list[Feedback]]:
    """What the demonstration recorded."""
    asked, said = [], []
    for folder in sorted((CLONE / "data/demo" / feature / "raw/default").iterdir()):
        asked += [parse_interaction(row, where) for where, row in read_jsonl(folder / "interactions.jsonl")]
        said += [parse_feedback(row, where) for where, row in read_jsonl(folder / "feedback.jsonl")]
    return [a for a in asked if isinstance(a, Interaction)], [s for s in said if isinstance(s, Feedback)]


def queue_rows(feature: Feature) -> list[dict[str, Any]]:
    """Review lines of what the demonstration's feedback leaves open, in the form in which curate writes them."""
    asked, said = demo_records(feature.name)
    by_interaction = defaultdict(list)
    for one in said:
        by_interaction[one.interaction_id].append(one)
    doubted = {one.interaction_id for one in said if one.kind == "thumb" and not one.value}
    doubted -= {one.interaction_id for one in said if one.kind == "correction"}
    found = [a for a in asked if a.interaction_id in doubted]
    return [review_row(feature, a, by_interaction[a.interaction_id], "negative without correction") for a in found]


def review_row(feature: Feature, asked: Interaction, said: Sequence[Feedback], reason: str) -> dict[str, Any]:
    """One review line."""
    targets = [feature.wrap_target(f.value) for f in said if f.kind == "correction"]
    targets += [feature.wrap_target(asked.output.content) for f in said if f.kind == "thumb" and f.value]
    suggestions = [{"target": t, "weight": 0.8 * targets.count(t), "sources": targets.count(t)} for t in set(targets)]
    return {
        "item_id": f"it_{asked.interaction_id[-12:]}",
        "interaction_id": asked.interaction_id,
        "reason": reason,
        "messages": [m.model_dump() for m in asked.input.messages],
        "contexts": [c.model_dump() for c in asked.contexts],
        "output": asked.output.content,
        "suggestions": sorted(suggestions, key=lambda s: (-s["weight"], s["target"])),
        "uncertainty": round(1 / (1 + len(targets)), 2),
    }


def blind_rows(feature: str, limit: int = 12) -> list[dict[str, Any]]:
    """Blind lines of the demonstration's traffic."""
    fields = ("messages", "contexts")
    rows = [a.model_dump(mode="json") for a in demo_records(feature)[0]]
    asked = [{"item_id": f"bl_{r['interaction_id'][-12:]}", **r["input"], "contexts": r["contexts"]} for r in rows]
    unique = {json.dumps([row[f] for f in fields]): row for row in asked}
    return list(unique.values())[:limit]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def open_desk(store: Store, feature: Feature, path: Path, *, is_blind: bool = False) -> Desk:
    """The desk of a queue or sample."""
    book = LabelBook(store, feature) if is_blind else FeedbackBook(store, feature)
    return Desk(feature, read_items(path, is_blind=is_blind).items, book, store)


class Served:
    """A running server of the review page."""

    def __init__(self, desk: Desk, address: str, logins: Logins) -> None:
        self.desk, self.address, self.logins = desk, address, logins
        self.home = address_of(desk.feature.name, is_blind=desk.book.is_blind)
        self._clients: list[httpx.Client] = []

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def link(self, person: str = "ana") -> str:
        return f"{self.address}/login#{self.logins.invite(person)}"

    def log_in(self, person: str = "ana") -> Reviewer:
        client = httpx.Client(base_url=self.address, headers={"Origin": self.address})
        self._clients.append(client)
        assert client.post("/login", json={"token": self.logins.invite(person)}).status_code == 200
        page = client.get(self.home).text
        return Reviewer(client, page.split('name="csrf" content="')[1].split('"')[0], self.home)


class Reviewer:
    """A logged-in person."""

    def __init__(self, client: httpx.Client, csrf: str, home: str = HOME) -> None:
        self.client, self.csrf, self.home = client, csrf, home

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.client.post(f"{self.home}/{path}", json=body, headers={CSRF: self.csrf} | headers)

    def shown(self, answer: httpx.Response) -> str | None:
        """The id of the item that an answer shows; None at the end."""
        return answer.text.split('data-item="')[1].split('"')[0] if 'data-item="' in answer.text else None


@contextmanager
def serving(desk: Desk) -> Iterator[Served]:
    """The real application behind a real socket."""
    logins = Logins()

    def find_desk(feature: str, is_blind: bool) -> Desk:
        if (feature, is_blind) != (desk.feature.name, desk.book.is_blind):
            raise BadInput(f"{feature[:40]} has no such queue")
        return desk

    def end(desk: Desk) -> End:
        if not isinstance(desk.book, LabelBook):
            return End("ratchet run support_routing", (), 0)
        desk.book.read()
        return End(
            "ratchet holdout add F FILE", desk.book.agreements(desk.items), desk.book.labelled(desk.items).disputed
        )

    listener: socket.socket = listen("127.0.0.1", 0)
    home = address_of(desk.feature.name, is_blind=desk.book.is_blind)
    app = create_app(logins, review_pages(find_desk, end), home)
    server = uvicorn.Server(configure(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    served = Served(desk, listens_at(listener, "127.0.0.1"), logins)
    try:
        yield served
    finally:
        served.close()
        server.should_exit = True
        thread.join(10)
        listener.close()
