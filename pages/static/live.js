// What changes on a page is fetched again with the page and takes the place of what stands there; a form posts JSON.
"use strict";

const csrf = document.querySelector("meta[name=csrf]").content;
const trouble = document.getElementById("trouble");
const told = document.getElementById("told");

function say(place, text) {
  place.textContent = text;
  place.hidden = !text;
}

// A part with a form in which somebody is at work is left alone.
function isInUse(part) {
  const fields = [...part.querySelectorAll("input, textarea")];
  const isFilled = (field) => field.value !== field.defaultValue || field.checked !== field.defaultChecked;
  return part.contains(document.activeElement) || fields.some(isFilled);
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { headers: { "X-Part": "1" } });
    const text = await answer.text();
    if (!answer.ok) return say(trouble, text);
    const now = new DOMParser().parseFromString(text, "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = now.getElementById(part.id);
      if (!next || next.innerHTML === part.innerHTML || isInUse(part)) continue;
      if (part.open) next.open = true;
      part.replaceWith(document.adoptNode(next));
    }
    say(trouble, "");
  } catch {
    say(trouble, "The server does not answer; this page shows what it knew last.");
  }
}

async function post(form, button) {
  const body = Object.fromEntries(new FormData(form, button));
  const buttons = form.querySelectorAll("button");
  for (const one of buttons) one.disabled = true;
  say(trouble, "");
  say(told, form.dataset.busy || "");
  try {
    const answer = await fetch(form.dataset.post, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    say(told, answer.ok ? text : "");
    if (!answer.ok) return say(trouble, text);
    form.reset();
    document.activeElement.blur();
    if (form.dataset.then) location.assign(form.dataset.then);
    else await refresh();
  } catch {
    say(told, "");
    say(trouble, "The server does not answer. Load the page again to see whether it was done.");
  } finally {
    for (const one of buttons) one.disabled = false;
  }
}

document.addEventListener("submit", (event) => {
  event.preventDefault();
  post(event.target, event.submitter);
});

const every = Math.min(...[...document.querySelectorAll("[data-every]")].map((part) => Number(part.dataset.every)));
if (Number.isFinite(every)) setInterval(() => document.hidden || refresh(), 1000 * every);
