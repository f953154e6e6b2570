// The token stands behind the # of the link: a browser sends that part to no server, and no log sees it.
"use strict";

const told = document.getElementById("login");
const form = document.getElementById("key");

async function logIn(body) {
  told.textContent = "One moment …";
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (answer.ok) location.replace(document.getElementById("way").dataset.to);
    else told.textContent = await answer.text();
  } catch {
    told.textContent = "The server does not answer. Is the command still running?";
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const key = form.elements.key.value.trim();
  form.reset();
  logIn({ key });
});

function follow() {
  const token = location.hash.slice(1);
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  logIn({ token });
}

addEventListener("hashchange", follow); // the link was pasted while this page was open
follow();
