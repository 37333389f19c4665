// Numbers and times as people read them, and elements made of text. Nothing here takes HTML: data is text, always.

/** An element with a class and children, which are elements or text. */
export function made(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

export function milliseconds(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds >= 1) return `${seconds.toFixed(1)} s`;
  const value = seconds * 1000;
  return `${value >= 10 ? value.toFixed(0) : value.toFixed(1)} ms`;
}

export function whole(number) {
  return number === null || number === undefined ? "–" : Math.round(number).toLocaleString("en");
}

export function share(part) {
  const percent = part * 100;
  return `${percent > 0 && percent < 1 ? percent.toFixed(1) : percent.toFixed(0)} %`;
}

/** "3 min ago" of an ISO time; both clocks are this machine's, or nearly. */
export function ago(iso, nowSeconds) {
  const then = Date.parse(iso) / 1000;
  if (Number.isNaN(then)) return "";
  const seconds = Math.max(0, nowSeconds - then);
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const EXACT_DIGITS = 15; // what a number of JavaScript holds for sure

/** JSON in which integers that JavaScript would round stay as they are written, as text. */
export function parseExactly(text) {
  return JSON.parse(text.replace(TOKEN, (token) => (isLong(token) ? `"${token}"` : token)));
}

function isLong(token) {
  return /^-?\d+$/.test(token) && token.length > EXACT_DIGITS;
}
