"""One turn: a question, the release that answers it, what was heard of the answer, and the record of it all."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.backends import Call
from gateway.requests import ChatRequest
from gateway.routing import Served
from ratchet.channels import Assignment
from ratchet.records import Input, Interaction, Message, Output, Usage
from ratchet.release import request_body

RECEIPT = "chatcmpl-"
NOBODY = "anon_"  # begins the user id of a request that names no user
# Of a passthrough feature these go to the model too: without them its messages would not mean what they meant.
PASSED_ON = ("tools", "tool_choice", "parallel_tool_calls", "stop", "seed")


@dataclass
class Heard:
    """What the model said, complete or as far as it came."""

    content: str | None = None
    tool_calls: list[Any] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_answer(cls, document: dict[str, Any]) -> Heard:
        """From a whole chat completion."""
        choice = document["choices"][0]
        said = choice["message"]
        return cls(said["content"], said.get("tool_calls") or [], choice.get("finish_reason"), _usage(document))

    def add(self, chunk: dict[str, Any]) -> None:
        """From one chunk of a stream; parts of tool calls are kept as they came."""
        self.usage = _usage(chunk) or self.usage
        for choice in chunk.get("choices") or []:
            delta = choice.get("delta") or {}
            if isinstance(delta.get("content"), str):
                self.content = (self.content or "") + delta["content"]
            self.tool_calls += delta.get("tool_calls") or []
            self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def count(self, name: str) -> int:
        """A token count of the usage; 0 where the server told none."""
        value = self.usage.get(name)
        return value if isinstance(value, int) and value >= 0 else 0


@dataclass
class Turn:
    """A chat request on its way; `assigned` is what the user drew, `serving` what answers (stable on a fallback)."""

    asked: ChatRequest
    raw: dict[str, Any]
    messages: tuple[Message, ...]
    user_id: str
    assigned: Assignment
    interaction_id: str = field(default_factory=lambda: f"int_{uuid.uuid4().hex}")
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: float = field(default_factory=time.monotonic)
    serving: Served | None = None
    fell_back_for: str | None = None

    @property
    def feature(self) -> str:
        """The feature's name."""
        return self.asked.model

    @property
    def channel(self) -> str:
        """The channel that answers."""
        return "stable" if self.fell_back_for else self.assigned.channel

    @property
    def receipt(self) -> str:
        """The `id` of the response."""
        return RECEIPT + self.interaction_id

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return time.monotonic() - self.began

    def call(self, served: Served) -> Call:
        """The request to the model server."""
        fields = self.asked.ratchet
        release = served.release
        body = request_body(release, self.messages, variables=fields.variables, contexts=fields.contexts)
        if release.policy.mode == "passthrough":
            body["messages"] = self.asked.messages
            body |= {key: self.raw[key] for key in PASSED_ON if key in self.raw}
        if self.asked.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return Call(release.model, body, served.adapter)

    def headers(self) -> dict[str, str]:
        """The receipt, and who answers."""
        assert self.serving is not None
        return {
            "x-ratchet-interaction-id": self.interaction_id,
            "x-ratchet-release": self.serving.release_id,
            "x-ratchet-channel": self.channel,
        }

    def record(self, heard: Heard) -> Interaction:
        """The interaction as it is stored. On a fallback the attributes tell what the user had drawn."""
        assert self.serving is not None
        fields = self.asked.ratchet
        return Interaction(
            interaction_id=self.interaction_id,
            feature=self.feature,
            tenant=fields.tenant,
            segment=fields.segment,
            session_id=fields.session,
            user_id=self.user_id,
            at=self.at,
            input=Input(messages=self.messages, variables=fields.variables),
            output=Output(content=heard.content, tool_calls=heard.tool_calls),
            contexts=fields.contexts,
            release_id=self.serving.release_id,
            channel=self.channel,
            propensity=self.assigned.propensity,
            model=self.serving.release.model,
            consent=fields.consent,
            usage=Usage(input_tokens=heard.count("prompt_tokens"), output_tokens=heard.count("completion_tokens")),
            latency_ms=round(self.seconds * 1000, 3),
            finish_reason=heard.finish_reason,
            fallback=self.fell_back_for is not None,
            attributes=self._attributes(),
        )

    def _attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.fell_back_for is not None:
            found |= {"assigned_release_id": self.assigned.release_id, "fallback_reason": self.fell_back_for}
        if any(set(message) - {"role", "content"} for message in self.asked.messages):
            found["messages_reduced"] = True  # the record keeps role and text only
        return found


def _usage(document: dict[str, Any]) -> dict[str, Any]:
    usage = document.get("usage")
    return usage if isinstance(usage, dict) else {}
