"""OpenAI's SDK for Python; what it prints: README.md."""

import json
import sys

import openai
from pydantic import BaseModel


class Route(BaseModel):
    route: str


client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
ask = client.chat.completions
messages = [{"role": "user", "content": "my card is lost"}]
function = {"name": "look_up", "parameters": {"type": "object", "properties": {"card": {"type": "string"}}}}
tools = [{"type": "function", "function": function}]

answer = ask.create(model="routing", user="u1", messages=messages, extra_body={"ratchet": {"session": "s-1"}})
chunks = list(ask.create(model="routing", messages=messages, stream=True))
called = ask.create(model="agent", messages=messages, tools=tools).choices[0].message.tool_calls[0].function
with ask.stream(model="agent", messages=messages, tools=tools) as stream:
    streamed_call = stream.get_final_completion().choices[0].message.tool_calls[0].function
parsed = ask.parse(model="agent", messages=messages, response_format=Route).choices[0].message.parsed
thumb = {"interaction_id": answer.id, "user": "u1", "kind": "thumb", "value": True}
told = {
    "id": answer.id,
    "said": answer.choices[0].message.content,
    "stream_id": chunks[-1].id,
    "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
    "tools": [[call.name, json.loads(call.arguments)] for call in (called, streamed_call)],
    "fields": parsed.model_dump(),
    "embedding": client.embeddings.create(model="mini", input=["one"]).data[0].embedding,
    "stored": client.post("/feedback", body=thumb, cast_to=object)["stored"],
}
print(json.dumps(told))
