// The review page: keys press the buttons that are on it, and what the server answers takes the place of the item.
"use strict";

const work = document.getElementById("work");
const trouble = document.getElementById("trouble");
const help = document.getElementById("help");
const home = work.dataset.home;
const csrf = document.querySelector("meta[name=csrf]").content;
const drafts = new Map(); // texts that were begun and not saved, by item
let isBusy = false;

const item = () => document.getElementById("item");
const find = (selector) => item().querySelector(selector);

async function ask(address, body) {
  if (isBusy) return;
  isBusy = true;
  work.setAttribute("aria-busy", "true");
  const request = body
    ? { method: "POST", headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf }, body: JSON.stringify(body) }
    : { headers: { "X-Part": "1" } };
  try {
    const answer = await fetch(address, request);
    const text = await answer.text();
    if (answer.ok) show(text);
    else complain(text);
  } catch {
    complain("The server does not answer. Is the command still running? What you decided before is stored.");
  } finally {
    isBusy = false;
    work.removeAttribute("aria-busy");
  }
}

// The server escapes every text of a user, and the policy of the page runs no script but this file.
function show(html) {
  const begun = find("textarea");
  if (begun && begun.value !== begun.defaultValue) drafts.set(item().dataset.item, begun.value);
  trouble.hidden = true;
  work.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  arrive();
}

function arrive() {
  const { item: id } = item().dataset;
  history.replaceState(null, "", id ? `${home}?item=${encodeURIComponent(id)}` : home);
  const text = find("textarea");
  if (text && drafts.has(id)) text.value = drafts.get(id);
  window.scrollTo(0, 0);
  item().focus({ preventScroll: true });
  document.getElementById("told").textContent = find("h1").textContent;
}

function complain(text) {
  trouble.textContent = text;
  trouble.hidden = false;
}

function decide(value) {
  const id = item().dataset.item;
  drafts.delete(id);
  const text = find("textarea");
  if (text) text.defaultValue = text.value;
  ask(`${home}/decide`, { item: id, value });
}

const acts = {
  decide: (button) => decide(button.dataset.value),
  save: () => decide(find("textarea").value),
  fill: (button) => {
    find("textarea").value = button.dataset.value;
    find("textarea").focus();
  },
  skip: () => ask(`${home}/skip`, { item: item().dataset.item }),
  undo: () => ask(`${home}/undo`, {}),
  help: () => (help.open ? help.close() : help.showModal()),
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  const link = event.target.closest("a[data-go]");
  if (button && !button.disabled) acts[button.dataset.do](button);
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    ask(link.getAttribute("href"));
  }
});

document.addEventListener("input", (event) => {
  if (event.target.id !== "filter") return;
  const wanted = event.target.value.trim().toLowerCase().split(/[\s_-]+/);
  let found = 0;
  for (const label of document.querySelectorAll("#labels button")) {
    label.hidden = !wanted.every((word) => label.dataset.value.toLowerCase().includes(word));
    label.classList.toggle("match", !label.hidden && Boolean(event.target.value) && found === 0);
    found += !label.hidden;
  }
  document.getElementById("none").hidden = found > 0;
});

const commands = { c: correct, "/": correct, ArrowRight: "[data-go=after]", j: "[data-go=after]" };
Object.assign(commands, { ArrowLeft: "[data-go=before]", k: "[data-go=before]", a: "[data-first]", Enter: "[data-first]" });
Object.assign(commands, { s: "[data-do=skip]", u: "[data-do=undo]" });

function correct() {
  const field = find("textarea") || find("#filter");
  if (!field) return;
  field.focus();
  if (field.tagName === "TEXTAREA") field.setSelectionRange(field.value.length, field.value.length);
}

function press(button) {
  if (button && !button.disabled) button.click();
}

document.addEventListener("keydown", (event) => {
  if (help.open || event.isComposing) return;
  const field = event.target.closest("input, textarea");
  if (field) inField(event, field);
  else if (!event.ctrlKey && !event.metaKey && !event.altKey) onPage(event);
});

function inField(event, field) {
  if (event.key === "Escape") {
    if (field.type === "search") {
      field.value = "";
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    item().focus();
  } else if (event.key === "Enter" && !event.repeat) {
    const isSaved = field.tagName === "TEXTAREA" && (event.ctrlKey || event.metaKey);
    const isChosen = field.type === "search" && field.value.trim() !== "";
    if (isSaved || field.type === "search") event.preventDefault();
    if (isSaved) press(find("[data-do=save]"));
    if (isChosen) press(find("#labels button:not([hidden])"));
  }
}

// A key that is held down decides nothing: only the first press does.
function onPage(event) {
  const isMove = ["j", "k", "ArrowLeft", "ArrowRight"].includes(event.key);
  const isOnButton = event.target.closest("button, a, summary") && ["Enter", " "].includes(event.key);
  if (isOnButton || (event.repeat && !isMove)) return;
  const command = commands[event.key];
  if (event.key === "?") acts.help();
  else if (typeof command === "function") command();
  else if (command) press(find(command));
  else if (/^[0-9a-z]$/.test(event.key)) press(find(`[data-key="${event.key}"]`));
  else return;
  event.preventDefault();
}

arrive();
