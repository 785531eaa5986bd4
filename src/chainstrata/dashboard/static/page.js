// Brings the page up to date in place: only what changed is touched, so nothing flickers, scrolls or loses its selection.
"use strict";

const EVERY_MS = 5000;

function sync(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh.cloneNode(true));
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) return;
  for (const { name, value } of fresh.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  const mine = [...old.childNodes];
  const theirs = [...fresh.childNodes];
  theirs.forEach((node, index) => (mine[index] ? sync(mine[index], node) : old.append(node.cloneNode(true))));
  mine.slice(theirs.length).forEach((node) => node.remove());
}

async function refresh() {
  if (document.hidden) return;
  const main = document.querySelector("main");
  try {
    const answer = await fetch("/", { signal: AbortSignal.timeout(EVERY_MS) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("main");
    if (!answer.ok || !fresh) throw new Error(answer.statusText);
    sync(main, fresh);
    document.title = page.title;
    document.body.classList.remove("away");
  } catch {
    document.body.classList.add("away");
  }
}

setInterval(refresh, EVERY_MS);
document.addEventListener("visibilitychange", refresh);
