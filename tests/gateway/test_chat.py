from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from ratchet.release import ReleasePolicy
from tests.gateway.conftest import Gateway
from tests.gateway.fake_model_server import FakeModelServer

MESSAGES: list[Any] = [{"role": "user", "content": "my card is lost"}]


def image(url: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


def test_an_openai_client_gets_the_answer_under_the_features_name(gateway: Gateway) -> None:
    answer = gateway.openai.chat.completions.create(model="routing", messages=MESSAGES, user="u1")
    assert answer.choices[0].message.content == '{"route": "cards"}'
    assert answer.model == "routing"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2


def test_the_receipt_is_in_the_id_and_in_the_header_and_in_the_store(gateway: Gateway) -> None:
    answer = gateway.ask()
    receipt = answer.headers["x-ratchet-interaction-id"]
    assert answer.json()["id"] == f"chatcmpl-{receipt}"
    assert [i.interaction_id for i in gateway.shop.interactions()] == [receipt]
    assert answer.headers["x-ratchet-release"] == gateway.shop.stable


def test_the_record_holds_what_was_asked_and_answered(gateway: Gateway) -> None:
    fields = {"session": "s1", "segment": "gold", "tenant": "acme", "variables": {"name": "Ana"}, "consent": True}
    gateway.ask(ratchet=fields | {"contexts": [{"id": "a1", "text": "Cards."}]})
    record = gateway.shop.interactions()[0]
    assert (record.session_id, record.segment, record.tenant, record.user_id) == ("s1", "gold", "acme", "u1")
    assert (record.input.variables, record.contexts[0].id, record.consent) == ({"name": "Ana"}, "a1", True)
    assert (record.output.content, record.finish_reason) == ('{"route": "cards"}', "stop")
    assert (record.channel, record.propensity, record.fallback, record.model) == ("stable", 1.0, False, "tiny")
    assert record.usage.output_tokens == 2
    assert record.latency_ms is not None


def test_a_managed_prompt_is_rendered_and_the_release_decides_how(gateway: Gateway, fake: FakeModelServer) -> None:
    gateway.ask(temperature=1.9, max_tokens=5)
    body = fake.bodies[0]
    assert [m["role"] for m in body["messages"]] == ["system", "user"]
    assert (body["temperature"], body["max_tokens"]) == (0.0, 64)
    assert body["response_format"]["json_schema"]["strict"]


def test_a_passthrough_features_messages_go_through_untouched(gateway: Gateway, fake: FakeModelServer) -> None:
    policy = ReleasePolicy(mode="passthrough", scorer="token_f1")
    gateway.shop.begin("free", gateway.shop.put(text="", feature="free", policy=policy, output_schema=None))
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "card", "name": "ana"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "ok", "tool_call_id": "t1"},
    ]
    assert gateway.ask(model="free", messages=messages, tools=[{"type": "function"}]).status_code == 200
    assert fake.bodies[0]["messages"] == messages
    assert fake.bodies[0]["tools"] == [{"type": "function"}]


def test_without_a_user_each_request_is_somebody_else(gateway: Gateway) -> None:
    gateway.ask(user=None)
    gateway.ask(user=None)
    users = {i.user_id for i in gateway.shop.interactions()}
    assert len(users) == 2
    assert all(u is not None and u.startswith("anon_") for u in users)


def test_the_canary_gets_its_share_and_each_user_always_the_same(gateway: Gateway) -> None:
    gateway.shop.try_canary(gateway.shop.put(text="Other prompt."), share=0.3)
    first = {u: gateway.ask(user=u).headers["x-ratchet-channel"] for u in map(str, range(60))}
    again = {u: gateway.ask(user=u).headers["x-ratchet-channel"] for u in map(str, range(20))}
    assert 8 <= sum(c == "canary" for c in first.values()) <= 28
    assert again.items() <= first.items()
    assert {(i.channel, i.propensity) for i in gateway.shop.interactions()} == {("canary", 0.3), ("stable", 0.7)}


def test_a_moved_channel_is_seen_by_the_next_request(gateway: Gateway) -> None:
    gateway.ask()
    other = gateway.shop.put(text="Other prompt.")
    gateway.shop.try_canary(other)
    assert gateway.ask().headers["x-ratchet-release"] == other


def test_an_adapter_is_loaded_on_demand_and_again_after_a_restart(gateway: Gateway, fake: FakeModelServer) -> None:
    tuned = gateway.shop.put(text="", weights=b"w1")
    gateway.shop.try_canary(tuned)
    assert gateway.ask().headers["x-ratchet-release"] == tuned
    fake.adapters.clear()
    assert gateway.ask().headers["x-ratchet-release"] == tuned
    path = str(gateway.shop.settings.releases_dir / tuned / "adapter")
    assert [body for body, _ in fake.loads] == [{"lora_name": tuned, "lora_path": path}] * 2


def test_a_canary_that_fails_is_answered_by_stable_and_marked(gateway: Gateway, fake: FakeModelServer) -> None:
    tuned = gateway.shop.put(text="", weights=b"w1")
    gateway.shop.try_canary(tuned)
    fake.broken[tuned] = 500
    answer = gateway.ask()
    assert answer.status_code == 200
    assert (answer.headers["x-ratchet-release"], answer.headers["x-ratchet-channel"]) == (gateway.shop.stable, "stable")
    record = gateway.shop.interactions()[0]
    assert (record.fallback, record.release_id, record.channel) == (True, gateway.shop.stable, "stable")
    drawn = {"assigned_release_id": tuned, "assigned_channel": "canary"}
    assert record.attributes == drawn | {"fallback_reason": "backend_error"}


def test_a_canary_whose_release_is_gone_is_answered_by_stable(gateway: Gateway) -> None:
    gateway.shop.try_canary("rel_" + "0" * 64)
    assert gateway.ask().status_code == 200
    assert gateway.shop.interactions()[0].attributes["fallback_reason"] == "release_unusable"


def test_an_unknown_feature_is_404_and_lists_the_known(standing: Gateway) -> None:
    with pytest.raises(openai.NotFoundError, match="there are: routing"):
        standing.openai.chat.completions.create(model="nosuch", messages=MESSAGES)
    assert standing.ask(model="../../etc/passwd").status_code == 404


def test_malformed_json_is_400_in_openais_shape(standing: Gateway) -> None:
    answer = standing.http.post("/v1/chat/completions", content=b'{"model": ')
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}] * 300}, "at most 256"),
        ({"messages": [{"role": "wizard", "content": "SECRET"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
        ({"ratchet": {"sesion": "s1"}}, "ratchet.sesion: unknown field"),
        ({"ratchet": {"tenant": "../x"}}, "ratchet.tenant"),
        ({"n": 9}, "from 1 to 8"),
        ({"messages": [image("https://evil.example/x.png")]}, "only data:image"),
        ({"messages": [image("data:text/html;base64,AAAA")]}, "only data:image"),
    ],
)
def test_a_bad_request_is_400_and_names_the_field(standing: Gateway, change: dict[str, Any], word: str) -> None:
    answer = standing.ask(**change)
    assert answer.status_code == 400
    assert word in answer.json()["error"]["message"]
    assert "SECRET" not in answer.text


def test_a_body_that_is_too_large_or_too_deep_is_refused(standing: Gateway) -> None:
    assert standing.ask("x" * (1 << 20)).status_code == 413
    deep: object = 1
    for _ in range(80):
        deep = [deep]
    assert standing.ask(ratchet={"variables": {"x": deep}}).json()["error"]["code"] == "nested_too_deeply"


def test_text_parts_are_joined(gateway: Gateway) -> None:
    parts = [{"type": "text", "text": "my card "}, {"type": "text", "text": "is lost"}]
    assert gateway.ask(messages=[{"role": "user", "content": parts}]).status_code == 200
    assert gateway.shop.interactions()[0].input.messages[0].content == "my card is lost"


def test_a_server_error_is_tried_once_more_and_then_told_without_user_text(
    gateway: Gateway, fake: FakeModelServer
) -> None:
    fake.broken["tiny"] = 500
    answer = gateway.ask("my card SECRET")
    assert (answer.status_code, len(fake.bodies)) == (502, 2)
    assert "SECRET" not in answer.text
    assert gateway.shop.interactions() == []


def test_a_request_that_the_model_rightly_refuses_is_400_and_opens_no_breaker(
    gateway: Gateway, fake: FakeModelServer
) -> None:
    fake.broken["tiny"] = 400
    assert {gateway.ask("SECRET").status_code for _ in range(5)} == {400}
    assert "SECRET" not in gateway.ask("SECRET").text
    fake.broken.clear()
    assert gateway.ask().status_code == 200


def test_a_model_that_takes_too_long_is_504(gateway: Gateway, fake: FakeModelServer) -> None:
    fake.delay_s = 1.5
    assert gateway.ask().status_code == 504


def test_json_is_passed_on_as_the_model_gave_it(gateway: Gateway) -> None:
    answer = gateway.ask("ünïcode \x00 card").json()
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"route": "cards"}
    assert answer["object"] == "chat.completion"


def test_tools_choices_and_logprobs_are_passed_on_and_come_back(gateway: Gateway, fake: FakeModelServer) -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    fake.tool_calls = [call]
    tools: Any = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    answer = gateway.openai.chat.completions.create(
        model="routing", messages=MESSAGES, tools=tools, tool_choice="auto", n=2, logprobs=True, top_logprobs=1
    )
    assert [c.message.tool_calls[0].function.name for c in answer.choices if c.message.tool_calls] == ["look_up"] * 2
    assert answer.choices[0].logprobs is not None
    assert {key: fake.bodies[0][key] for key in ("tool_choice", "n", "top_logprobs")} == {
        "tool_choice": "auto",
        "n": 2,
        "top_logprobs": 1,
    }
    record = gateway.shop.interactions()[0]
    assert (record.output.tool_calls, record.finish_reason) == ([call], "tool_calls")
    assert record.attributes["other_choices"] == [""]


def test_a_managed_features_tool_results_reach_the_model_after_the_prompt(
    gateway: Gateway, fake: FakeModelServer
) -> None:
    messages = [
        {"role": "user", "content": "card"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "t1", "type": "function", "function": {}}]},
        {"role": "tool", "content": "ok", "tool_call_id": "t1"},
    ]
    assert gateway.ask(messages=messages).status_code == 200
    assert fake.bodies[0]["messages"] == [{"role": "system", "content": "Name the team."}, *messages]


def test_a_schema_of_the_application_counts_where_the_release_has_none(gateway: Gateway, fake: FakeModelServer) -> None:
    policy = ReleasePolicy(mode="passthrough", scorer="token_f1")
    gateway.shop.begin("free", gateway.shop.put(text="", feature="free", policy=policy, output_schema=None))
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    gateway.ask(model="free", response_format=wanted)
    gateway.ask(response_format=wanted)
    assert fake.bodies[0]["response_format"] == wanted
    assert fake.bodies[1]["response_format"]["json_schema"]["name"] == "routing"


def test_an_image_as_data_is_passed_on(gateway: Gateway, fake: FakeModelServer) -> None:
    message = image("data:image/png;base64,iVBORw0KGgo=")
    message["content"].append({"type": "text", "text": "my card"})
    fake.reply = lambda body: "seen"
    assert gateway.ask(messages=[message]).status_code == 200
    assert fake.bodies[0]["messages"][-1] == message
    record = gateway.shop.interactions()[0]
    assert (record.input.messages[0].content, record.attributes["messages_reduced"]) == ("my card", True)


def test_embeddings_are_passed_on_by_the_openai_client(gateway: Gateway, fake: FakeModelServer) -> None:
    found = gateway.openai.embeddings.create(model="mini", input=["one", "three"], encoding_format="float")
    assert [one.embedding[0] for one in found.data] == [3.0, 5.0]
    assert fake.bodies[0]["model"] == "mini"


def test_decide_tells_the_assignment_that_a_chat_would_get(gateway: Gateway) -> None:
    gateway.shop.try_canary(gateway.shop.put(text="Other prompt."), share=0.5)
    for user in map(str, range(10)):
        told = gateway.http.get("/v1/decide", params={"feature": "routing", "user": user}).json()
        headers = gateway.ask(user=user).headers
        assert (told["channel"], told["release_id"]) == (headers["x-ratchet-channel"], headers["x-ratchet-release"])
        assert (told["propensity"], told["mode"]) == (0.5, "managed")
    assert gateway.http.get("/v1/decide", params={"feature": "routing"}).status_code == 400
