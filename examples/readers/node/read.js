// Print both credentials of an application: npm install && node read.js APP_ID
import { createClient } from "redis";

const appId = process.argv[2];
const client = createClient({ url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379/0" });
client.on("error", (error) => { console.error(error.message); process.exit(1); });
await client.connect();
for (const name of ["server_access_token", "js_ticket"]) {
  const key = `type/${name}_info/app_id/${appId}`;
  const value = await client.get(key);
  if (value === null) throw new Error(`nothing is stored under ${key}: run token-refresher status`);
  console.log(JSON.parse(value)[name]);
}
await client.close();
