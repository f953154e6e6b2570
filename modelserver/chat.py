"""OpenAI's chat request: what of it is understood, and what it asks of the engine."""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelserver.engine import Engine
from modelserver.generation import Request
from ratchet.errors import BadInput

MOST_MESSAGES = 2000
LARGEST_SEED = 2**63

Parsed = TypeVar("Parsed", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TextPart(_Part):
    """A piece of a message's content."""

    type: Literal["text"]
    text: str


class ChatMessage(_Part):
    """One message; only text is understood."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]
    name: str | None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(_Part):
    """What a stream ends with."""

    include_usage: bool = False
    include_obfuscation: bool = False


class JsonSchema(BaseModel):
    """The schema of an answer, as OpenAI wraps it; it is always enforced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(_Part):
    """Free text, or JSON of a schema."""

    type: Literal["text", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatRequest(_Part):
    """A chat request. What would change the answer and is not understood is refused; what would not is ignored."""

    model: str = Field(max_length=500)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-LARGEST_SEED, lt=LARGEST_SEED)
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    # Taken only at the value that changes nothing.
    n: Literal[1] | None = None
    top_p: Literal[1] | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    logprobs: Literal[False] | None = None
    logit_bias: dict[str, float] | None = Field(default=None, max_length=0)
    tools: list[Any] | None = Field(default=None, max_length=0)
    tool_choice: Literal["none", "auto"] | None = None
    # Of no effect on the answer.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    parallel_tool_calls: bool | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in stops if text)


class LoadAdapter(_Part):
    """vLLM's request to load a LoRA adapter."""

    lora_name: str = Field(min_length=1, max_length=200)
    lora_path: str = Field(min_length=1, max_length=4096)
    load_inplace: Literal[False] | None = None


class UnloadAdapter(_Part):
    """vLLM's request to unload a LoRA adapter."""

    lora_name: str = Field(min_length=1, max_length=200)
    lora_int_id: int | None = None


def parse(kind: type[Parsed], body: bytes) -> Parsed:
    """Read a request body.

    Raises:
        BadInput: it is not JSON, or names the first parameter that is wrong or not supported.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput("the body is not JSON") from error
    if not isinstance(document, dict):
        raise BadInput("the body is not a JSON object")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise BadInput(_describe(error)) from error


def understand(engine: Engine, chat: ChatRequest) -> Request:
    """What a chat request asks of the engine.

    Raises:
        BadInput: the prompt is too long, or the schema cannot be enforced.
    """
    form = chat.response_format
    if form is not None and (form.type == "json_schema") != (form.json_schema is not None):
        raise BadInput("response_format: json_schema is given with the type json_schema, and only with it")
    prompt = engine.text.encode_chat([{"role": m.role, "content": m.text} for m in chat.messages])
    room = engine.context - len(prompt)
    if room < 1:
        raise BadInput(
            f"This model's maximum context length is {engine.context} tokens, but the messages have {len(prompt)}; "
            "shorten them"
        )
    plan = engine.plan(form.json_schema.schema_) if form and form.json_schema else None
    return Request(
        model=chat.model,
        prompt=prompt,
        max_tokens=min(room, chat.max_completion_tokens or chat.max_tokens or room),
        temperature=1.0 if chat.temperature is None else chat.temperature,
        seed=chat.seed,
        stop=chat.stops,
        plan=plan,
    )


def _describe(error: ValidationError) -> str:
    """The first problem in one line, without the texts of the request."""
    problem = error.errors(include_url=False, include_input=False)[0]
    names = [str(part)[:60] for part in problem["loc"]]
    where = ".".join(names)
    if problem["type"] == "extra_forbidden" or names[0] in ("tools", "logit_bias"):
        return f"{where}: this parameter is not supported"
    if problem["type"] == "literal_error":
        return f"{where}: this value is not supported; {problem['msg'].lower()}"
    return f"{where}: {problem['msg']}"
