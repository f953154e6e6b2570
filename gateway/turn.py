"""One turn: a question, the release that answers it, what was heard of the answer, and the record of it all."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from gateway.backends import Answered, Call
from gateway.requests import ChatRequest
from gateway.routing import Served
from ratchet.channels import Assignment
from ratchet.presets import BackendConfig
from ratchet.records import Input, Interaction, Message, Output, Usage
from ratchet.release import request_body
from ratchet.tenants import Tenant

RECEIPT = "chatcmpl-"
OURS = "int_"  # begins the id of an interaction that this gateway had
NOBODY = "anon_"  # begins the user id of a request that names no user
# What the application asks beside its messages goes to the model too; how answers are drawn is the release's.
PASSED_ON = ("tools", "tool_choice", "parallel_tool_calls", "n", "logprobs", "top_logprobs")
# Of a passthrough feature these as well: it has no prompt of ours, so that its own rules hold.
PASSED_THROUGH = (*PASSED_ON, "stop", "seed", "logit_bias", "presence_penalty", "frequency_penalty")


@dataclass
class Heard:
    """What the model said, complete or as far as it came; `others` are the texts of the choices after the first."""

    content: str | None = None
    tool_calls: list[Any] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    others: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of_answer(cls, document: dict[str, Any]) -> Heard:
        """From a whole chat completion."""
        first, *others = document["choices"]
        said = first["message"]
        return cls(
            said.get("content"),
            said.get("tool_calls") or [],
            first.get("finish_reason"),
            _usage(document),
            {number: choice["message"].get("content") or "" for number, choice in enumerate(others, start=1)},
        )

    def add(self, chunk: dict[str, Any]) -> None:
        """From one chunk of a stream; parts of tool calls are kept as they came."""
        self.usage = _usage(chunk) or self.usage
        for choice in chunk.get("choices") or []:
            delta = choice.get("delta") or {}
            if number := choice.get("index") or 0:
                self.others[number] = self.others.get(number, "") + (delta.get("content") or "")
                continue
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
    interaction_id: str = field(default_factory=lambda: OURS + uuid.uuid4().hex)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: float = field(default_factory=time.monotonic)
    serving: Served | None = None
    fell_back_for: str | None = None
    tenant: Tenant = field(default_factory=Tenant)
    backend: BackendConfig | None = None
    model_there: str | None = None
    backend_fell_back_for: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    stored: Interaction | None = None

    @property
    def feature(self) -> str:
        """The feature's name."""
        return self.asked.model

    @property
    def channel(self) -> str:
        """The channel that answers."""
        return "stable" if self.fell_back_for else self.assigned.channel

    @property
    def is_streamed_through(self) -> bool:
        """Whether the answer is passed on as it comes; not where a guard must see all of it first."""
        assert self.serving is not None
        guards = self.serving.release.policy.guards
        return bool(self.asked.stream) and not (guards is not None and guards.needs_whole_answer)

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
        is_passthrough = release.policy.mode == "passthrough"
        passed = {key: self.raw[key] for key in (PASSED_THROUGH if is_passthrough else PASSED_ON) if key in self.raw}
        if is_passthrough:
            body["messages"] = self.asked.messages
        elif self._is_more_than_text:  # the release's part of the messages comes first
            body["messages"] = body["messages"][: -len(self.messages)] + self.asked.messages
        if release.output_schema is None and "response_format" in self.raw:
            passed["response_format"] = self.raw["response_format"]
        body |= passed
        if self.is_streamed_through:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        is_mirrored = self.channel == "shadow"
        is_trial = is_mirrored or self.channel == "canary"
        base = release.base_model.name
        return Call(release.model, body, served.adapter, base, self.tenant, is_trial, is_mirrored)

    def answered_by(self, answered: Answered[Any]) -> None:
        """Note which backend answers."""
        self.backend, self.model_there = answered.backend, answered.model
        self.backend_fell_back_for = answered.fell_back_for

    def headers(self) -> dict[str, str]:
        """The receipt, and who answers."""
        assert self.serving is not None
        told = {
            "x-ratchet-interaction-id": self.interaction_id,
            "x-ratchet-release": self.serving.release_id,
            "x-ratchet-channel": self.channel,
        }
        if self.is_fallback:
            told["x-ratchet-fallback"] = self.fell_back_for or self.backend_fell_back_for or ""
        if "guards" in self.notes:
            told["x-ratchet-guards"] = "; ".join(self.notes["guards"])
        return told

    @property
    def is_fallback(self) -> bool:
        """Whether another release or another backend answers than was meant to."""
        return self.fell_back_for is not None or self.backend_fell_back_for is not None

    def cost_usd(self, heard: Heard) -> float | None:
        """What the answer cost; None where its backend names no price."""
        if self.backend is None or self.model_there is None:
            return None
        return self.backend.cost_usd(self.model_there, heard.count("prompt_tokens"), heard.count("completion_tokens"))

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
            cost_usd=self.cost_usd(heard),
            latency_ms=round(self.seconds * 1000, 3),
            finish_reason=heard.finish_reason,
            fallback=self.is_fallback,
            attributes=self._attributes(heard),
        )

    def _attributes(self, heard: Heard) -> dict[str, Any]:
        found: dict[str, Any] = self.notes | self.assigned.facts
        if self.fell_back_for is not None:
            drawn = {"assigned_release_id": self.assigned.release_id, "assigned_channel": self.assigned.channel}
            found |= drawn | {"fallback_reason": self.fell_back_for}
        if self.backend_fell_back_for is not None and self.backend is not None:
            found |= {"backend": self.backend.name, "backend_model": self.model_there}
            found |= {"backend_fallback_reason": self.backend_fell_back_for}
        if heard.others:
            found["other_choices"] = [heard.others[number] for number in sorted(heard.others)]
        if self._is_more_than_text:
            found["messages_reduced"] = True  # the record keeps role and text only
        return found

    @cached_property
    def _is_more_than_text(self) -> bool:
        """Whether the messages hold more than roles and texts: names, tool calls, images."""
        return any(set(message) - {"role", "content"} or _holds_images(message) for message in self.asked.messages)


def _holds_images(message: dict[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(part.get("type") == "image_url" for part in content)


def _usage(document: dict[str, Any]) -> dict[str, Any]:
    usage = document.get("usage")
    return usage if isinstance(usage, dict) else {}
