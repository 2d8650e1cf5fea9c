// Keeps a page as new as the service is: parts that changed are exchanged in place, so that scroll, focus, selection and
// opened details stay as they are. Logs are followed while they grow. Without this script every page still works.
"use strict";

const live = Number(document.body.dataset.live || 0);
const said = document.getElementById("live");
let paused = false;
let waiting = 0;

// --- parts of the page -----------------------------------------------------------------------------------------------

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(String(answer.status));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.title = fresh.title;
  const focused = document.activeElement;
  for (const part of document.querySelectorAll("[data-part]")) {
    const other = fresh.getElementById(part.id);
    if (other) become(part, other);
  }
  // What had to move to another place has lost the focus by that.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  followAll();
  return Number(fresh.body.dataset.live || 0);
}

// Let a node of this page become like one of the fresh page, and touch only what differs.
function become(node, fresh) {
  if (node.isEqualNode(fresh)) return;
  if (node.nodeType !== Node.ELEMENT_NODE) {
    if (node.nodeValue !== fresh.nodeValue) node.nodeValue = fresh.nodeValue;
    return;
  }
  attributesBecome(node, fresh);
  if (node.dataset.follow) return; // What a log says comes from following it.
  const known = new Map();
  for (const child of node.children) if (child.id) known.set(child.id, child);
  let place = node.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const same = wanted.id ? known.get(wanted.id) : isLike(place, wanted) ? place : null;
    if (!same) {
      node.insertBefore(document.importNode(wanted, true), place);
      continue;
    }
    if (same === place) place = place.nextSibling;
    else node.insertBefore(same, place);
    become(same, wanted);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function isLike(node, wanted) {
  return Boolean(node) && node.nodeName === wanted.nodeName && !node.id && !wanted.id;
}

function attributesBecome(node, fresh) {
  // Whether details are open is the reader's choice, not the server's.
  for (const { name, value } of fresh.attributes) {
    if (name !== "open" && node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  for (const { name } of [...node.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) node.removeAttribute(name);
  }
}

async function keepFresh(seconds) {
  window.clearTimeout(waiting);
  waiting = window.setTimeout(async () => {
    let next = seconds;
    if (!paused && !document.hidden) {
      try {
        next = await refresh();
        tell(next ? "" : "Everything on this page has ended.");
        said.querySelector("button").hidden = !next;
      } catch {
        tell("The service does not answer just now; it is asked again.");
      }
    }
    if (next) keepFresh(next);
  }, seconds * 1000);
}

function tell(text) {
  const words = said.querySelector("[data-words]");
  const sentence = text || (paused ? "This page stays as it is." : "This page keeps itself up to date.");
  if (words.textContent !== sentence) words.textContent = sentence;
}

function offerPause() {
  const words = document.createElement("span");
  words.dataset.words = "";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  button.textContent = "Pause";
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    tell("");
  });
  said.append(words, " ", button);
}

// --- logs --------------------------------------------------------------------------------------------------------------

const MOST_CHARACTERS = 1000000; // of a log that grows for days; the whole of it is a link away
const followed = new WeakSet();

function followAll() {
  for (const log of document.querySelectorAll("[data-follow]")) {
    if (followed.has(log)) continue;
    followed.add(log);
    follow(log);
  }
}

function follow(log) {
  const lines = Number(log.dataset.lines || 0);
  let since = log.dataset.since === undefined ? null : Number(log.dataset.since);
  let text = since === null ? "" : log.textContent;
  if (since !== null) log.scrollTop = log.scrollHeight;

  async function look() {
    let more = true;
    try {
      if (!document.hidden && !paused) more = await add();
    } catch {
      more = true;
    }
    if (more && log.isConnected) window.setTimeout(look, 1500);
  }

  async function add() {
    const answer = await fetch(log.dataset.follow + (since === null ? "" : `&since=${since}`));
    if (!answer.ok) return answer.status >= 500;
    const found = await answer.json();
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    if (found.anew || (since !== null && found.start > since)) text = "";
    text += found.text;
    if (atEnd && text.length > MOST_CHARACTERS) text = text.slice(text.indexOf("\n", text.length - MOST_CHARACTERS / 2) + 1);
    since = found.end;
    const shown = lines ? text.trimEnd().split("\n").slice(-lines).join("\n") : text;
    const words = shown || (lines ? found.trouble : "");
    // Where the log itself is gone, the end of it that is remembered stays.
    if (shown || log.dataset.known === undefined) show(log, words);
    if (atEnd) log.scrollTop = log.scrollHeight;
    tellTrouble(found.trouble);
    return found.grows || found.end < found.size;
  }

  if (log.dataset.grows !== "no") look();
}

function show(log, words) {
  const before = log.textContent;
  if (before && words.startsWith(before)) {
    // What is selected stays selected.
    if (words !== before) log.append(words.slice(before.length));
  } else {
    log.textContent = words;
  }
}

function tellTrouble(words) {
  const trouble = document.querySelector("[data-trouble]");
  if (!trouble) return;
  trouble.textContent = words;
  trouble.hidden = !words;
}

// --- times: what they are where the reader sits ------------------------------------------------------------------------

document.addEventListener("mouseover", ({ target }) => {
  const time = target.closest("time[datetime]");
  if (!time || time.dataset.told) return;
  time.dataset.told = "yes";
  time.title = `${new Date(time.dateTime).toLocaleString()} here`;
});

// --- the pipeline on a narrow screen: its middle is what everything goes through -------------------------------------

function toTheMiddle() {
  for (const wide of document.querySelectorAll(".scroll.middle")) {
    wide.scrollLeft = (wide.scrollWidth - wide.clientWidth) / 2;
  }
}

// --- begin -------------------------------------------------------------------------------------------------------------

toTheMiddle();
followAll();
if (live) {
  offerPause();
  tell("");
  keepFresh(live);
}
