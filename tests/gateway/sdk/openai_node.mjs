// Runs against the gateway named in argv: a chat, a stream, the models and an embedding, as the OpenAI Node SDK makes them.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "my card is lost" }];
const ratchet = { session: "s-1", tenant: "acme" };

const answer = await client.chat.completions.create({ model: "routing", user: "u1", messages, ratchet });
const { response } = await client.chat.completions.create({ model: "routing", user: "u1", messages }).withResponse();
let streamed = "";
for await (const chunk of await client.chat.completions.create({ model: "routing", messages, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
const models = (await client.models.list()).data.map((model) => model.id);
const embedded = await client.embeddings.create({ model: "mini", input: ["one"], encoding_format: "float" });
let refused = null;
try {
  await client.chat.completions.create({ model: "nosuch", messages });
} catch (error) {
  refused = error.status;
}
const said = answer.choices[0].message.content;
const receipt = response.headers.get("x-ratchet-interaction-id");
console.log(
  JSON.stringify({ id: answer.id, said, streamed, models, receipt, embedding: embedded.data[0].embedding, refused }),
);
