// The API key, where the gateway asks for one: typed by hand, kept in this page's memory, sent to this gateway only.
import { byId } from "./words.js";

export function authorized(headers = {}) {
  const key = byId("key").value.trim();
  return key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
}

export function wantKey() {
  byId("key-field").hidden = false;
}
