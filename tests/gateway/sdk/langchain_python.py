"""LangChain's ChatOpenAI and OpenAIEmbeddings; what it prints: README.md."""

import json
import sys
from functools import reduce
from operator import add

import httpx
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class Route(BaseModel):
    """Where a question goes."""

    route: str


@tool
def look_up(card: str) -> str:
    """Look a card up."""
    return card


place = {"base_url": sys.argv[1] + "/v1", "api_key": "none", "max_retries": 0}
fields = {"user": "u1", "ratchet": {"session": "s-1"}}
# Of a stream LangChain keeps an id of its own, so the receipt is taken from the header.
chat = ChatOpenAI(model="routing", extra_body=fields, include_response_headers=True, **place)
agent = ChatOpenAI(model="agent", **place)
question = "my card is lost"

answer = chat.invoke(question)
streamed = reduce(add, chat.stream(question))
calls = [agent.bind_tools([look_up]).invoke(question), reduce(add, agent.bind_tools([look_up]).stream(question))]
# Texts are sent as they are: by default it would send numbers of OpenAI's own tokens.
embeddings = OpenAIEmbeddings(model="mini", check_embedding_ctx_length=False, **place)
thumb = {"interaction_id": answer.response_metadata["id"], "user": "u1", "kind": "thumb", "value": True}
told = {
    "id": answer.response_metadata["id"],
    "said": answer.content,
    "stream_id": "chatcmpl-" + streamed.response_metadata["headers"]["x-ratchet-interaction-id"],
    "streamed": streamed.content,
    "tools": [[call.tool_calls[0]["name"], call.tool_calls[0]["args"]] for call in calls],
    "fields": agent.with_structured_output(Route, method="json_schema").invoke(question).model_dump(),
    "embedding": embeddings.embed_query("one"),
    "stored": httpx.post(sys.argv[1] + "/v1/feedback", json=thumb, trust_env=False).json()["stored"],
}
print(json.dumps(told))
