// Asks through Node's `openai`: node ask_openai.mjs FOLDER BASE_URL [MODEL]
// Prints what it got as JSON. FOLDER has the package in its node_modules.
import { createRequire } from "node:module";
import path from "node:path";

const [folder, baseURL, model = "tiny", prompt = "Where to?"] = process.argv.slice(2);
const { OpenAI } = createRequire(path.join(folder, "package.json"))("openai");
const client = new OpenAI({ baseURL, apiKey: "none" });
const asked = { model, temperature: 0, messages: [{ role: "user", content: prompt }] };
const told = { unary: null, streamed: "", error: null };
try {
  const answer = await client.chat.completions.create(asked);
  told.unary = answer.choices[0].message.content;
  for await (const event of await client.chat.completions.create({ ...asked, stream: true })) {
    told.streamed += event.choices[0]?.delta?.content ?? "";
  }
} catch (error) {
  told.error = { name: error.constructor.name, code: error.code ?? null, status: error.status ?? null };
}
process.stdout.write(JSON.stringify(told));
