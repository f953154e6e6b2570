"""LlamaIndex's OpenAILike; what it prints: README.md."""

import json
import sys

import httpx
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Route(BaseModel):
    """Where a question goes."""

    route: str


def look_up(card: str) -> str:
    """Look a card up."""
    return card


place = {"api_base": sys.argv[1] + "/v1", "api_key": "none", "is_chat_model": True, "max_retries": 0}
ratchet = {"extra_body": {"user": "u1", "ratchet": {"session": "s-1"}}}
llm = OpenAILike(model="routing", additional_kwargs=ratchet, **place)
agent = OpenAILike(model="agent", is_function_calling_model=True, should_use_structured_outputs=True, **place)
question = ChatMessage(role="user", content="my card is lost")
tools = [FunctionTool.from_defaults(fn=look_up)]

answer = llm.chat([question])
parts = list(llm.stream_chat([question]))
responses = [
    agent.chat_with_tools(tools, chat_history=[question]),
    list(agent.stream_chat_with_tools(tools, chat_history=[question]))[-1],
]
calls = [agent.get_tool_calls_from_response(response)[0] for response in responses]
thumb = {"interaction_id": answer.raw.id, "user": "u1", "kind": "thumb", "value": True}
told = {
    "id": answer.raw.id,
    "said": answer.message.content,
    "stream_id": parts[-1].raw.id,
    "streamed": "".join(part.delta or "" for part in parts),
    "tools": [[call.tool_name, call.tool_kwargs] for call in calls],
    "fields": agent.as_structured_llm(Route).chat([question]).raw.model_dump(),
    "embedding": None,
    "stored": httpx.post(sys.argv[1] + "/v1/feedback", json=thumb, trust_env=False).json()["stored"],
}
print(json.dumps(told))
