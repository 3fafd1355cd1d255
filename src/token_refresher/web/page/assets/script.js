"use strict";
// Fetches this page's own changing part and puts it in place of the old one. Without this the page reloads itself.
(() => {
  const root = document.documentElement;
  const every = Number(root.dataset.every) * 1000;
  const get = (id) => document.getElementById(id);
  let seen = Date.now();
  let timer = 0;

  const swap = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const top = fresh.getElementById("live-top");
    if (!top) throw new Error("no page");
    if (get("live-top").dataset.told !== top.dataset.told) get("announced").textContent = top.dataset.told;
    document.title = top.dataset.title;
    get("icon").href = top.dataset.icon;
    for (const id of ["live-top", "live-credentials"]) {
      const old = get(id);
      const held = old.contains(document.activeElement) ? document.activeElement.id : "";
      old.replaceWith(document.adoptNode(fresh.getElementById(id)));
      if (held && get(held)) get(held).focus({ preventScroll: true });
    }
  };

  const update = async () => {
    try {
      const answer = await fetch(root.dataset.here, { headers: { "X-Fragment": "1" }, cache: "no-store" });
      if (answer.status === 401) return location.assign(root.dataset.here);
      if (!answer.ok) throw new Error(String(answer.status));
      swap(await answer.text());
      seen = Date.now();
      get("offline").hidden = true;
    } catch {
      const last = new Date(seen).toISOString().slice(11, 19);
      get("offline").textContent = `This page could not be updated since ${last} UTC: what it shows is old.`;
      get("offline").hidden = false;
    }
    later();
  };

  const later = () => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(update, every);
  };

  // That a run was asked for is said once, not whenever the page is reloaded.
  if (location.search.includes("asked=")) history.replaceState(null, "", root.dataset.here);
  document.addEventListener("visibilitychange", () => (document.hidden ? later() : update()));
  if (every) later();
})();
