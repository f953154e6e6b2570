// OpenAI's SDK for Node; what it prints: README.md.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "none", maxRetries: 0 });
const ask = client.chat.completions;
const messages = [{ role: "user", content: "my card is lost" }];
const parameters = { type: "object", properties: { card: { type: "string" } } };
const tools = [{ type: "function", function: { name: "look_up", parameters } }];
const schema = { type: "object", properties: { route: { type: "string" } }, required: ["route"] };
const response_format = { type: "json_schema", json_schema: { name: "route", schema } };

const answer = await ask.create({ model: "routing", user: "u1", messages, ratchet: { session: "s-1" } });
const told = { id: answer.id, said: answer.choices[0].message.content, streamed: "" };
for await (const chunk of await ask.create({ model: "routing", messages, stream: true })) {
  told.stream_id = chunk.id;
  told.streamed += chunk.choices[0]?.delta?.content ?? "";
}
const called = (await ask.create({ model: "agent", messages, tools })).choices[0].message.tool_calls[0].function;
const whole = await ask.stream({ model: "agent", messages, tools }).finalChatCompletion();
const calls = [called, whole.choices[0].message.tool_calls[0].function];
told.tools = calls.map((call) => [call.name, JSON.parse(call.arguments)]);
const shaped = await ask.parse({ model: "agent", messages, response_format });
told.fields = shaped.choices[0].message.parsed ?? JSON.parse(shaped.choices[0].message.content);
told.embedding = (await client.embeddings.create({ model: "mini", input: ["one"] })).data[0].embedding;
const thumb = { interaction_id: answer.id, user: "u1", kind: "thumb", value: true };
told.stored = (await client.post("/feedback", { body: thumb })).stored;
console.log(JSON.stringify(told));
